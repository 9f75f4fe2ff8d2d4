package caddymodule

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/sandbox"
)

func init() {
	caddy.RegisterModule(new(Sandbox))
	httpcaddyfile.RegisterHandlerDirective("speechgate_sandbox", parseSandbox)
	httpcaddyfile.RegisterDirectiveOrder("speechgate_sandbox", httpcaddyfile.After, "file_server")
}

// Sandbox is a stand-in for a speech backend, to try a gate with and to test
// it. It speaks the API's protocol and answers with what it measures in the
// audio that it gets, but recognizes no words. Its jobs are in memory, and gone
// with the configuration.
type Sandbox struct {
	// The API that it speaks: `amivoice`. Required.
	Dialect string `json:"dialect,omitempty"`

	// The key that it accepts. Placeholders are supported. Default: none, and
	// no key is asked for.
	Key string `json:"key,omitempty"`

	// How long a job waits before it starts. Default: `2s`.
	QueueTime *caddy.Duration `json:"queue_time,omitempty"`

	// How long a job then runs. Default: `3s`.
	WorkTime *caddy.Duration `json:"work_time,omitempty"`

	backend http.Handler
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
	key, err := caddy.NewReplacer().ReplaceOrErr(s.Key, true, true)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	cfg := sandbox.Config{Key: key, QueueTime: 2 * time.Second, WorkTime: 3 * time.Second}
	if s.QueueTime != nil {
		cfg.QueueTime = time.Duration(*s.QueueTime)
	}
	if s.WorkTime != nil {
		cfg.WorkTime = time.Duration(*s.WorkTime)
	}
	s.backend = sandbox.NewAmiVoice(cfg)
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
//	    key        <key>
//	    queue_time <duration>
//	    work_time  <duration>
//	}
func (s *Sandbox) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := text(&s.Dialect)(d); err != nil {
		return d.Errf("want the dialect after speechgate_sandbox, and nothing else: speechgate_sandbox amivoice")
	}
	return parseBlock(d, map[string]option{
		"key":        text(&s.Key),
		"queue_time": duration(func(v caddy.Duration) { s.QueueTime = &v }),
		"work_time":  duration(func(v caddy.Duration) { s.WorkTime = &v }),
	})
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Sandbox)(nil)
	_ caddyhttp.MiddlewareHandler = (*Sandbox)(nil)
	_ caddyfile.Unmarshaler       = (*Sandbox)(nil)
)
