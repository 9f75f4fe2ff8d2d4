// Package sandboxbackend is the Caddy handler that serves the sandbox, a backend to try a
// gate with.
package sandboxbackend

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/internal/sandbox"
)

func init() {
	caddy.RegisterModule(new(Sandbox))
	httpcaddyfile.RegisterHandlerDirective("speechgate_sandbox", parseSandbox)
}

// Sandbox is a stand-in for a speech backend, to try a gate with and to test
// it. It speaks the API's protocol and answers with what it measures in the
// audio that it gets, but recognizes no words. It takes keys, forms, format
// names and amounts of audio as the API does, and lets the pages of every origin
// call it. Of the API's audio formats it reads those without compression; to
// all other files it says that they are unsupported. Its jobs are in memory, and
// end with the configuration.
type Sandbox struct {
	// The API that it speaks: `amivoice`. Required.
	Dialect string `json:"dialect,omitempty"`

	// The key that it accepts, wherever the API reads one. Placeholders are
	// supported. Default: none, and no key is asked for.
	Key string `json:"key,omitempty"`

	// How long a job waits before it starts. Default: `2s`.
	QueueTime *caddy.Duration `json:"queue_time,omitempty"`

	// How long a job then runs. Default: `3s`.
	WorkTime *caddy.Duration `json:"work_time,omitempty"`

	// How far into its work a job pauses, to be authenticated again, as it may
	// with the real backend under congestion. Less than `work_time`. Needs
	// `reauthenticate`. Default: `0`, and jobs do not pause.
	PauseAt caddy.Duration `json:"pause_at,omitempty"`

	// The URL that is asked whether a job that has paused may go on, such as
	// that of a `speechgate_verify`. 204 lets it go on; after a 503, or where
	// nobody answers, it is asked again a few times; after any other answer the
	// job ends in an error that names it. Default: none.
	Reauthenticate string `json:"reauthenticate,omitempty"`

	config  sandbox.Config
	backend *sandbox.AmiVoice
}

// CaddyModule returns the Caddy module information.
func (*Sandbox) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.speechgate_sandbox",
		New: func() caddy.Module { return new(Sandbox) },
	}
}

// Provision sets up the backend.
func (s *Sandbox) Provision(caddy.Context) error {
	if s.Dialect != "amivoice" {
		return fmt.Errorf("unknown sandbox %q: want amivoice", s.Dialect)
	}
	key, err := options.ResolveSecret(s.Key)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	s.config = sandbox.Config{
		Key: key.Reveal(), QueueTime: 2 * time.Second, WorkTime: 3 * time.Second,
		PauseAt: time.Duration(s.PauseAt), Reauthenticate: s.Reauthenticate,
	}
	if s.QueueTime != nil {
		s.config.QueueTime = orNone(*s.QueueTime)
	}
	if s.WorkTime != nil {
		s.config.WorkTime = orNone(*s.WorkTime)
	}
	s.backend = sandbox.NewAmiVoice(s.config)
	return nil
}

// orNone spells a configured 0 as the sandbox does, to which 0 is the default.
func orNone(d caddy.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return time.Duration(d)
}

// Validate checks what was configured.
func (s *Sandbox) Validate() error {
	if (s.PauseAt != 0) != (s.Reauthenticate != "") {
		return errors.New("pause_at and reauthenticate: want both or neither, since a job that pauses waits for its authentication")
	}
	if s.PauseAt != 0 && (s.config.PauseAt < 0 || s.config.PauseAt >= s.config.WorkTime) {
		return fmt.Errorf("pause_at %s: want less than work_time, which is %s", s.config.PauseAt, max(s.config.WorkTime, 0))
	}
	if u, err := url.Parse(s.Reauthenticate); s.Reauthenticate != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("reauthenticate %q: want a URL such as http://localhost:8080/verify", s.Reauthenticate)
	}
	return nil
}

// Cleanup ends what goes on without a request.
func (s *Sandbox) Cleanup() error {
	if s.backend != nil {
		s.backend.Close()
	}
	return nil
}

// ServeHTTP answers as the backend would.
func (s *Sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	s.backend.ServeHTTP(w, r)
	return nil
}

func parseSandbox(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	s := new(Sandbox)
	return s, s.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the sandbox.
//
// Syntax:
//
//	speechgate_sandbox [<matcher>] <dialect> {
//	    key            <key>
//	    queue_time     <duration>
//	    work_time      <duration>
//	    pause_at       <duration>
//	    reauthenticate <url>
//	}
func (s *Sandbox) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := options.Text(&s.Dialect)(d); err != nil {
		return d.Errf("want the dialect after speechgate_sandbox, and nothing else: speechgate_sandbox amivoice")
	}
	return options.ParseBlock(d, map[string]options.Option{
		"key":            options.Secret(&s.Key),
		"queue_time":     options.Duration(func(v caddy.Duration) { s.QueueTime = &v }),
		"work_time":      options.Duration(func(v caddy.Duration) { s.WorkTime = &v }),
		"pause_at":       options.Duration(func(v caddy.Duration) { s.PauseAt = v }),
		"reauthenticate": options.Text(&s.Reauthenticate),
	})
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Sandbox)(nil)
	_ caddy.Validator             = (*Sandbox)(nil)
	_ caddy.CleanerUpper          = (*Sandbox)(nil)
	_ caddyhttp.MiddlewareHandler = (*Sandbox)(nil)
	_ caddyfile.Unmarshaler       = (*Sandbox)(nil)
)
