package gate

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/logfilter"
	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
)

func init() {
	caddy.RegisterModule(new(Gate))
}

// Gate is an API-key gate in front of a speech-recognition API. It reads each
// request as that API's dialect does, finds the key in it wherever the API's
// clients put it, decides whether the key may be used, and either swaps it for
// the backend's own and lets the request through, or refuses it as the backend
// itself would.
//
// The key of an asynchronous job goes on reading that job for a grace window
// after it expires, and nothing else.
//
// What the API does not list is refused, whatever the method.
//
// Placeholders, set for requests that are let through and for refused requests.
// `{http.auth.user.id}` is set only for requests that are let through:
//
// Placeholder | Description
// ------------|------------
// `{http.auth.user.id}` | The ID of the key's account
// `{speechgate.account_id}` | The same
// `{speechgate.key_id}` | The key's public ID
// `{speechgate.operation}` | What was asked for: `recognize`, `create_job`, `read_job`, …
// `{speechgate.reason}` | Why it was decided so: `allowed`, `key_expired`, …
type Gate struct {
	// The API that the clients speak: `amivoice`. Required.
	Dialect string `json:"dialect,omitempty"`

	// What the backend gets in place of the client's key: its own key, or `drop`
	// for none, or `pass` for the client's. Under `pass` the backend checks the
	// key too, and its own expiry still applies. Placeholders are supported, and
	// should be used, since they are resolved at load and shown nowhere:
	// `{env.AMIVOICE_KEY}`. A key has at least 8 characters. Default: `drop`.
	UpstreamKey string `json:"upstream_key,omitempty"`

	// The namespace of job IDs, one per upstream account. Gates in front of the
	// same upstream account share it. Default: the dialect's name.
	Backend string `json:"backend,omitempty"`

	// How long after a job's creation the expired key that created it may still
	// read it; 0 for not at all. Default: `24h`.
	Grace *caddy.Duration `json:"grace,omitempty"`

	// How long after the gate has seen a job end that grace goes on, where this
	// is earlier; 0 for no such limit. Default: `0`.
	GraceAfterEnd caddy.Duration `json:"grace_after_end,omitempty"`

	// What becomes of reads of jobs that were not created through this gateway:
	// `refuse` answers as if there were no such job; `backend` lets a valid key
	// through and leaves it to the backend. A gate that replaces keys cannot use
	// `backend` unless `single_account` is set. Default: `refuse`.
	UnrecordedJobs string `json:"unrecorded_jobs,omitempty"`

	// States that all clients are one account, so that reading one another's
	// jobs is no harm.
	SingleAccount bool `json:"single_account,omitempty"`

	// Operations beyond the dialect's that a valid key may use. They cannot be on
	// a path that the dialect knows. The first one that a request fits counts.
	AlsoAllow []Allowance `json:"also_allow,omitempty"`

	// The origins whose pages may read answers. The gate answers their preflight
	// requests itself. `*` is every origin; `off` leaves cross-origin matters to
	// the backend and refuses preflights. Default: `*`, since a page without a
	// key gains nothing.
	CORS handler.Origins `json:"cors,omitempty"`

	// The header fields that pages of other origins may send, besides those that
	// the API's own clients send. Default: every field that a preflight request
	// asks for, since tracing adds fields of its own.
	CORSHeaders []string `json:"cors_headers,omitempty"`

	// Who answers a request that the next handlers have failed to answer, as when
	// the backend cannot be reached. With `gate`, the gate does, in the dialect's
	// own form and with status 502. With `caddy`, the site's error routes do; they
	// see a request without a body and without any credential. Errors below 500
	// always go to the error routes. Default: `gate`.
	BackendErrors string `json:"backend_errors,omitempty"`

	// How much of a multipart body may come before the audio, in bytes. It is
	// held in memory while the key is looked for. What all requests may hold so is
	// bounded by `max_heads` of the app. From 1 KiB to 16 MiB. Default: 1 MiB, which
	// holds some 12,000 inline words.
	MaxHead int `json:"max_head,omitempty"`

	// What becomes of a live stream whose key expires: `finish` lets it go on,
	// `cut` ends it. A key that is revoked or deleted, and an account that is
	// closed, end their streams at once. Default: `finish`.
	OnExpiry string `json:"on_expiry,omitempty"`

	// How long a stream may last, from its handshake. Default: no limit.
	MaxStreamTime caddy.Duration `json:"max_stream_time,omitempty"`

	// How many streams a key may have at a time. Default: no limit.
	MaxStreamsPerKey int `json:"max_streams_per_key,omitempty"`

	// How many streams an account may have at a time. Default: no limit.
	MaxStreamsPerAccount int `json:"max_streams_per_account,omitempty"`

	// How long after its handshake a stream's first command must have come whole.
	// Some clients connect early and send the command when somebody speaks. Any
	// later command has 30 seconds from its first byte to its last.
	// Default: `60s`.
	StartTimeout caddy.Duration `json:"start_timeout,omitempty"`

	// How many bytes a command may have. Default: 1048576.
	MaxCommand int `json:"max_command,omitempty"`

	// How many frames may come before the first command. Only control frames can, with
	// up to 125 bytes each. Default: 16.
	MaxEarlyFrames int `json:"max_early_frames,omitempty"`

	// How many streams of one client address, or one IPv6 network of 64 bits, may
	// wait for their first command at a time. Default: 64.
	MaxPendingStreams int `json:"max_pending_streams,omitempty"`

	decider

	api      *dialect.API
	upstream credential.Upstream
	redactor *credential.Redactor // masks the upstream key; nil if the gate has none
	session  string               // the API's session header, in the spelling of net/http

	gone            atomic.Bool         // the configuration is no longer in force
	upstreamRefused handler.OnceAMinute // for the log
}

const (
	defaultMaxHead = 1 << 20
	minMaxHead     = 1 << 10
	maxMaxHead     = 16 << 20
	defaultGrace   = 24 * time.Hour

	defaultStartTimeout   = 60 * time.Second
	defaultMaxCommand     = 1 << 20
	defaultMaxEarlyFrames = 16
	defaultMaxPending     = 64

	expiryFinish = "finish"
	expiryCut    = "cut"
)

// CaddyModule returns the Caddy module information.
func (*Gate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.speechgate",
		New: func() caddy.Module { return new(Gate) },
	}
}

// Provision resolves the configuration.
func (g *Gate) Provision(ctx caddy.Context) error {
	var err error
	if g.api, err = g.dialectAPI(); err != nil {
		return err
	}
	g.session = http.CanonicalHeaderKey(g.api.SessionHeader)
	g.Backend = g.BackendName()
	if g.BackendErrors == "" {
		g.BackendErrors = backendErrorsGate
	}
	if g.MaxHead == 0 {
		g.MaxHead = defaultMaxHead
	}
	g.provisionStreams()
	if err := g.provisionUpstream(); err != nil {
		return err
	}
	shared, err := app.Of(ctx)
	if err != nil {
		return err
	}
	g.decider = newDecider(shared, g.Backend, g.PolicyRules(), ctx.Logger())
	return nil
}

func (g *Gate) provisionUpstream() error {
	switch g.UpstreamKey {
	case "", options.UpstreamDrop:
		g.upstream.Mode = credential.Drop
		return nil
	case options.UpstreamPass:
		g.upstream.Mode = credential.Pass
		return nil
	}
	key, err := options.ResolveSecret(g.UpstreamKey)
	if err != nil {
		return fmt.Errorf("upstream_key: %w", err)
	}
	if err := options.CheckUpstreamKey(key); err != nil {
		return fmt.Errorf("upstream_key: %w", err)
	}
	g.upstream = credential.ReplaceWith(key)
	if err := credential.CheckUpstreamKey(g.upstream.Key); err != nil {
		return fmt.Errorf("upstream_key: %w", err)
	}
	g.redactor = credential.NewRedactor(g.upstream.Key, 0)
	logfilter.MaskUpstreamKey(g.upstream.Key)
	return nil
}

// Cleanup notes that the configuration is no longer in force. Requests of the
// configuration may still be on their way.
func (g *Gate) Cleanup() error {
	g.gone.Store(true)
	return nil
}

// Validate checks what was configured.
func (g *Gate) Validate() error {
	if err := validateGrace(g.rules.Grace); err != nil {
		return err
	}
	switch {
	case g.BackendErrors != backendErrorsGate && g.BackendErrors != backendErrorsCaddy:
		return fmt.Errorf("backend_errors %q: want gate or caddy", g.BackendErrors)
	case g.MaxHead < minMaxHead || g.MaxHead > maxMaxHead:
		return fmt.Errorf("max_head %d: want a size from 1KiB to 16MiB", g.MaxHead)
	case int64(g.MaxHead) > g.app.HeadBudget().Max:
		return fmt.Errorf("max_head %d is larger than max_heads %d, which bounds the heads of all requests: want one of them changed", g.MaxHead, g.app.HeadBudget().Max)
	case g.UnrecordedJobs != "" && g.UnrecordedJobs != "refuse" && g.UnrecordedJobs != "backend":
		return fmt.Errorf("unrecorded_jobs %q: want refuse or backend", g.UnrecordedJobs)
	case g.admitsUnrecordedJobs() && g.upstream.Mode != credential.Pass && !g.SingleAccount:
		return errors.New("unrecorded_jobs backend: the backend cannot tell this gate's clients apart, since it does not get their keys, so that each could read the jobs of all; set single_account if all clients are one account")
	}
	if err := g.validateStreams(); err != nil {
		return err
	}
	if err := g.validateAllowances(); err != nil {
		return err
	}
	if err := g.CORS.Validate(); err != nil {
		return err
	}
	if err := handler.ValidateCORSHeaders(g.CORSHeaders); err != nil {
		return err
	}
	g.app.KeepJobs(g.rules.Grace.Window)
	return g.app.AddGate(g.Backend, g.upstream)
}

// RulesByAddress marks a handler whose decisions depend on the client's address.
func (*Gate) RulesByAddress() {}

// SendsKey reports whether the gate sends a key upstream: its own or the client's.
func (g *Gate) SendsKey() bool { return g.upstream.Mode != credential.Drop }

// Interface guards
var (
	_ caddy.Provisioner = (*Gate)(nil)
	_ caddy.Validator   = (*Gate)(nil)

	_ caddy.CleanerUpper = (*Gate)(nil)
)
