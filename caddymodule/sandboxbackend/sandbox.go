// Package sandboxbackend is the Caddy handler that serves the sandbox: a backend with which
// people try a gate.
package sandboxbackend

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(Sandbox))
	httpcaddyfile.RegisterHandlerDirective("speechgate_sandbox", parseSandbox)
}

// Sandbox is a replacement for a speech backend, with which a gate can be tried and
// tested. It speaks the protocol of the API. It recognizes no words, and answers with
// what it measures in the audio. It has the rules of the API for keys, forms, format names
// and amounts of audio. Pages of every origin may call it, except the sandboxes of `assemblyai`
// and `deepgram`: of them they can only open WebSockets, as of the API. It reads the audio formats of
// the API that have no compression. For all other files it answers that their format is
// unsupported. Its jobs are in memory, and end with the configuration.
type Sandbox struct {
	// The API of the sandbox: `amivoice`, `assemblyai`, `deepgram`, `openai` or `speechmatics`.
	// Required. The sandboxes of `deepgram` and `openai` have no jobs, and only the option `key`.
	// The jobs of `assemblyai` and `speechmatics` do not pause.
	Dialect string `json:"dialect,omitempty"`

	// The key that the sandbox accepts, in every place where the API reads a key.
	// Placeholders are supported. Default: not set, and requests need no key.
	Key string `json:"key,omitempty"`

	// How long a job waits before it starts. Default: `2s`.
	QueueTime *caddy.Duration `json:"queue_time,omitempty"`

	// How long a job runs after it has started. Default: `3s`.
	WorkTime *caddy.Duration `json:"work_time,omitempty"`

	// How long after its start a job pauses to be authenticated again. A job of the real
	// backend may pause under congestion. The value is less than `work_time`, and needs
	// `reauthenticate`. Default: `0`, and jobs do not pause.
	PauseAt caddy.Duration `json:"pause_at,omitempty"`

	// The URL that the sandbox asks whether a paused job may go on, such as the URL of
	// a `speechgate_verify`. After 204 the job goes on. After 503, or without an answer,
	// the sandbox asks again a few times. After any other answer, the job ends with an
	// error that names the answer. Default: none.
	Reauthenticate string `json:"reauthenticate,omitempty"`

	config  sandbox.Config
	backend http.Handler
}

// dialects are the APIs that a sandbox can speak.
var dialects = map[string]struct {
	serve  func(sandbox.Config) http.Handler
	jobs   bool // whether the API has jobs
	pauses bool // whether a job can pause to be authenticated again
}{
	"amivoice":     {func(c sandbox.Config) http.Handler { return sandbox.NewAmiVoice(c) }, true, true},
	"assemblyai":   {func(c sandbox.Config) http.Handler { return sandbox.NewAssemblyAI(c) }, true, false},
	"deepgram":     {func(c sandbox.Config) http.Handler { return sandbox.NewDeepgram(c) }, false, false},
	"openai":       {func(c sandbox.Config) http.Handler { return sandbox.NewOpenAI(c) }, false, false},
	"speechmatics": {func(c sandbox.Config) http.Handler { return sandbox.NewSpeechmatics(c) }, true, false},
}

// CaddyModule returns the Caddy module information.
func (*Sandbox) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.speechgate_sandbox",
		New: func() caddy.Module { return new(Sandbox) },
	}
}

// Provision resolves defaults and placeholders, and makes the backend.
func (s *Sandbox) Provision(caddy.Context) error {
	dialect, ok := dialects[s.Dialect]
	if !ok {
		return fmt.Errorf("unknown sandbox %q: want %s", s.Dialect, words.Alternatives(slices.Sorted(maps.Keys(dialects))))
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
	s.backend = dialect.serve(s.config)
	return nil
}

// orNone returns d for sandbox.Config. There, 0 means the default and -1 means no time, so orNone
// returns -1 for 0.
func orNone(d caddy.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return time.Duration(d)
}

// Validate checks the configuration.
func (s *Sandbox) Validate() error {
	set := s.jobOptions()
	if len(set) > 0 && !dialects[s.Dialect].jobs {
		return fmt.Errorf("%s: the sandbox %s has no jobs: remove the option", set[0], s.Dialect)
	}
	for _, option := range set {
		if (option == "pause_at" || option == "reauthenticate") && !dialects[s.Dialect].pauses {
			return fmt.Errorf("%s: the jobs of the sandbox %s do not pause: remove pause_at and reauthenticate", option, s.Dialect)
		}
	}
	for name, d := range map[string]*caddy.Duration{"queue_time": s.QueueTime, "work_time": s.WorkTime} {
		if d != nil && (*d < 0 || *d > longestTime) {
			return fmt.Errorf("%s %s: want a duration of 0 or more, such as 3s, and 7d at most", name, time.Duration(*d))
		}
	}
	if err := policy.CheckSecret(policy.NewSecret(s.config.Key)); err != nil {
		return fmt.Errorf("key: it %w", err)
	}
	if (s.PauseAt != 0) != (s.Reauthenticate != "") {
		return errors.New("pause_at and reauthenticate: want both or neither, since a job that pauses waits for its authentication")
	}
	if s.PauseAt != 0 && (s.config.PauseAt < 0 || s.config.PauseAt >= s.config.WorkTime) {
		return fmt.Errorf("pause_at %s: want less than work_time, which is %s", s.config.PauseAt, max(s.config.WorkTime, 0))
	}
	if s.Reauthenticate != "" && !isURL(s.Reauthenticate) {
		return fmt.Errorf("reauthenticate %q: want a URL such as http://localhost:8080/verify", s.Reauthenticate)
	}
	return nil
}

// jobOptions returns the names of the options for jobs that are set.
func (s *Sandbox) jobOptions() (set []string) {
	for _, option := range []struct {
		name string
		set  bool
	}{
		{"queue_time", s.QueueTime != nil},
		{"work_time", s.WorkTime != nil},
		{"pause_at", s.PauseAt != 0},
		{"reauthenticate", s.Reauthenticate != ""},
	} {
		if option.set {
			set = append(set, option.name)
		}
	}
	return set
}

// longestTime is the largest value of queue_time and of work_time: seven days, for which the API
// keeps results.
const longestTime = caddy.Duration(7 * 24 * time.Hour)

// isURL reports whether a request can be sent to the URL in text: the scheme is http or https,
// there is a host, and there is no fragment, no user and no impossible port.
func isURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Contains(text, "#") {
		return false
	}
	port, err := strconv.Atoi(u.Port())
	return u.Port() == "" && !strings.HasSuffix(u.Host, ":") || err == nil && port > 0 && port < 1<<16
}

// Cleanup ends the jobs of the backend.
func (s *Sandbox) Cleanup() error {
	if jobs, ok := s.backend.(interface{ Close() }); ok {
		jobs.Close()
	}
	return nil
}

// ServeHTTP answers like the backend.
func (s *Sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	s.backend.ServeHTTP(w, r)
	return nil
}

func parseSandbox(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	s := new(Sandbox)
	err := s.UnmarshalCaddyfile(h.Dispenser)
	return s, err
}

// UnmarshalCaddyfile reads the directive speechgate_sandbox.
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
