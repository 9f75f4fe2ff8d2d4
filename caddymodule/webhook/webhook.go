// Package webhook is a handler of events that posts them to a URL.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/speechgate/speechgate/caddymodule/events"
	"github.com/speechgate/speechgate/caddymodule/options"
)

func init() {
	caddy.RegisterModule(new(Webhook))
}

// Webhook posts the gateway's events to a URL, as [Standard Webhooks] describes it: the body is JSON
// with the members `type`, `timestamp` and `data`, and the request has the fields `webhook-id`,
// `webhook-timestamp` and, if there is a secret, `webhook-signature`.
//
// A delivery has arrived if the answer has a status of 2xx. Otherwise it is tried again after 5
// seconds, 30 seconds, 2 minutes, 10 minutes and 30 minutes, with the same `webhook-id`. A status of
// 410 ends the tries. Deliveries wait in memory, up to 1000 of them, and 500 of them are of the events
// `refused`, `limit_met` and `job_on_grace` at most. A reload does not lose them. A server that stops
// tries each of them once more, for 5 seconds.
//
// The events of Caddy itself are not posted, because their data can have secrets.
//
// [Standard Webhooks]: https://www.standardwebhooks.com
type Webhook struct {
	// The URL that gets the events. A placeholder, such as `{env.WEBHOOK_URL}`, is resolved when the
	// configuration is loaded. The log shows the host only, because the URL can be a secret.
	URL string `json:"url,omitempty"`

	// The secrets that sign the deliveries: `whsec_` and the base64 text of 24 to 64 random bytes. Use
	// placeholders, such as `{env.WEBHOOK_SECRET}`. Each secret makes a signature, so that the receiver
	// can change from one to the other. Default: none, and deliveries have no signature.
	Secrets []string `json:"secrets,omitempty"`

	// How long one try may take. From 1 second to 1 minute. Default: `15s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	sender *sender
	host   string // of the URL, for logs
}

const (
	defaultTimeout = 15 * time.Second
	leastTimeout   = time.Second
	mostTimeout    = time.Minute
)

// CaddyModule returns the Caddy module information.
func (*Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "events.handlers.speechgate_webhook",
		New: func() caddy.Module { return new(Webhook) },
	}
}

// UnmarshalCaddyfile reads the handler.
//
// Syntax:
//
//	on <event> speechgate_webhook <url> {
//	    secret  <secret> [<secret>]
//	    timeout <duration>
//	}
func (h *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Errf("speechgate_webhook: want one URL behind it, and there are %d arguments, which are not shown because they may be secrets", len(args))
	}
	h.URL = args[0]
	return options.ParseBlock(d, map[string]options.Option{
		"secret": func(d *caddyfile.Dispenser) error {
			if h.Secrets = d.RemainingArgs(); len(h.Secrets) == 0 || len(h.Secrets) > 2 {
				return d.Errf("secret: want one secret, or two while the receiver changes from one to the other, and there are %d, which are not shown", len(h.Secrets))
			}
			return nil
		},
		"timeout": options.PositiveDuration(func(t caddy.Duration) { h.Timeout = t }),
	})
}

// Provision resolves placeholders and defaults, and starts the sender.
func (h *Webhook) Provision(ctx caddy.Context) error {
	if h.Timeout == 0 {
		h.Timeout = caddy.Duration(defaultTimeout)
	}
	if timeout := time.Duration(h.Timeout); timeout < leastTimeout || timeout > mostTimeout {
		return fmt.Errorf("timeout %s: want a duration from 1s to 1m", timeout)
	}
	target, err := resolveURL(h.URL)
	if err != nil {
		return err
	}
	h.host = target.Host
	logger := ctx.Logger().With(zap.String("host", h.host))
	if target.Scheme == "http" && !isLocal(target) {
		logger.Warn("the events go over the network without encryption: want a URL that begins with https://")
	}
	keys, err := resolveSecrets(h.Secrets)
	if err != nil {
		return err
	}
	h.sender = newSender(target.String(), keys, time.Duration(h.Timeout), logger)
	go h.sender.run()
	// Caddy cleans up one handler after the other. All of them make their last tries at the same time.
	context.AfterFunc(ctx.Context, func() { h.sender.stop(caddy.Exiting()) })
	return nil
}

func resolveURL(text string) (*url.URL, error) {
	resolved, err := options.ResolveSecret(text)
	if err != nil {
		return nil, fmt.Errorf("the webhook's URL: %w", err)
	}
	target, err := url.Parse(resolved.Reveal())
	if err != nil || target.Host == "" || target.Scheme != "https" && target.Scheme != "http" {
		return nil, errors.New("the webhook's URL, which is not shown because it may be a secret: want one such as https://hooks.example.com/speechgate")
	}
	return target, nil
}

func isLocal(target *url.URL) bool {
	addr, err := netip.ParseAddr(target.Hostname())
	return target.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// Cleanup ends the sender when nothing waits in it. A server that stops waits for this, for a while.
func (h *Webhook) Cleanup() error {
	if h.sender != nil {
		h.sender.close(caddy.Exiting())
	}
	return nil
}

// Handle implements [caddyevents.Handler]. It does not wait for the delivery. It waits for room for
// the event of a key, which is not lost meanwhile: see [events.Queue.Wait].
func (h *Webhook) Handle(_ context.Context, e caddy.Event) error {
	if !strings.HasPrefix(e.Name(), events.Prefix) {
		h.sender.warnOfOther(e.Name())
		return nil
	}
	body, err := json.Marshal(struct {
		Type      string         `json:"type"`
		Timestamp time.Time      `json:"timestamp"`
		Data      map[string]any `json:"data"`
	}{e.Name(), e.Timestamp().UTC(), e.Data})
	if err != nil {
		return err
	}
	switch id := e.ID().String(); e.Name() {
	case events.KeyEnded.String(), events.KeyExpiring.String():
		return h.sender.addPatiently(id, body)
	case events.UpstreamRefused.String():
		return h.sender.add(id, body, mostWaiting)
	default:
		return h.sender.add(id, body, mostOfMany)
	}
}

// MarshalLogObject keeps the URL and the secrets out of logs: Caddy logs handlers at level DEBUG.
func (h *Webhook) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("host", h.host)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Webhook)(nil)
	_ caddy.CleanerUpper      = (*Webhook)(nil)
	_ caddyevents.Handler     = (*Webhook)(nil)
	_ caddyfile.Unmarshaler   = (*Webhook)(nil)
	_ zapcore.ObjectMarshaler = (*Webhook)(nil)
)
