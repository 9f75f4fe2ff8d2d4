package gate

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/configcheck"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
)

func init() {
	caddy.RegisterModule(new(Gate))
}

// Gate checks API keys in front of a speech-recognition API. It finds the key of a
// request in every place where clients of the API put it, and decides whether the key
// may be used. If so, the gate replaces the key with the upstream key and forwards the
// request. If not, the gate refuses the request with the answer that the API itself
// would give.
//
// After a key has expired, it can still read the asynchronous jobs that it created, for
// a grace window. It can do nothing else.
//
// A request that the API does not list is refused, with any method.
//
// The gate sets these placeholders for every request on which it decides. It sets
// `{http.auth.user.id}` only for requests that it lets through:
//
// Placeholder | Description
// ------------|------------
// `{http.auth.user.id}` | The ID of the key's account
// `{speechgate.account_id}` | The same
// `{speechgate.key_id}` | The key's public ID
// `{speechgate.operation}` | What the request asks for: `recognize`, `create_job`, `read_job`, …
// `{speechgate.reason}` | The reason of the decision: `allowed`, `key_expired`, …
type Gate struct {
	// The API that the clients speak: `amivoice`, `assemblyai`, `deepgram`,
	// `openai` or `speechmatics`. Required.
	Dialect string `json:"dialect,omitempty"`

	// The key that the backend gets in place of the client's key. `drop` sends no
	// key, and `pass` sends the client's key, which the backend then checks itself.
	// Use a placeholder, such as `{env.AMIVOICE_KEY}`: it is resolved when the
	// configuration is loaded, and its value is never shown. A key has at least 8
	// characters. Default: `drop`.
	UpstreamKey string `json:"upstream_key,omitempty"`

	// Upstream keys that were in `upstream_key` before, the newest first, while jobs and
	// streams still need them. New work takes `upstream_key`. A job or a stream goes on with
	// the key with which it began. If that key is neither here nor in `upstream_key`, the job
	// takes `upstream_key`. Up to 3. Default: none.
	OldUpstreamKeys []string `json:"old_upstream_keys,omitempty"`

	// The backend name, under which the keystore records jobs. Gates that use the same
	// upstream account need the same name. Gates that use different upstream accounts
	// need different names. Up to 64 letters, digits and `-._`. Default: the name of the
	// dialect.
	Backend string `json:"backend,omitempty"`

	// The grace window. For this time after the creation of a job, the key that created
	// the job may read it even if the key has expired. 0 is no grace. Default: `24h`.
	Grace *caddy.Duration `json:"grace,omitempty"`

	// How long the grace lasts after the gate has seen the end of the job. It never
	// lasts longer than the grace window, so the value is less than `grace`. 0 is no such
	// limit. Default: `0`.
	GraceAfterEnd caddy.Duration `json:"grace_after_end,omitempty"`

	// What the gate does when a client reads or deletes a job that has no record in the
	// keystore. `refuse` answers that the job does not exist, and drops it from lists.
	// `backend` forwards the request if its key is valid, and the backend decides; lists
	// then have the job. This needs `upstream_key pass` or `single_account`. Default:
	// `refuse`.
	UnrecordedJobs string `json:"unrecorded_jobs,omitempty"`

	// Set this if all clients belong to one account, so that each of them may read and
	// delete the jobs of the others. The only effect is to permit `unrecorded_jobs backend`,
	// and without that option it is an error. Default: not set.
	SingleAccount bool `json:"single_account,omitempty"`

	// Requests that a valid key may make, in addition to those that the dialect lists.
	// A path that the dialect knows is an error in this option. If several entries fit a
	// request, the first of them counts.
	AlsoAllow []Allowance `json:"also_allow,omitempty"`

	// The origins whose pages may read answers. The gate answers their preflight
	// requests itself. `*` is every origin. `off` leaves CORS to the backend, and
	// refuses preflight requests. Default: `*`, because a page without a key can do
	// nothing.
	CORS handler.Origins `json:"cors,omitempty"`

	// The header fields that pages of other origins may send, besides the fields that
	// clients of the API send. Default: every field that a preflight request asks for,
	// because tracing libraries add fields.
	CORSHeaders []string `json:"cors_headers,omitempty"`

	// Who answers if the next handlers return an error, such as when the backend
	// cannot be reached. `gate`: the gate answers in the form of the API, with status
	// 502. `caddy`: the error routes of the site answer; they get the request without
	// its body and without credentials. Errors with a status below 500 always go to
	// the error routes. Default: `gate`.
	BackendErrors string `json:"backend_errors,omitempty"`

	// How many bytes of a multipart body may come before the audio, if clients of the API
	// can have their key in the body (`amivoice`). The gate holds these bytes in memory
	// while it looks for the key. The global option `max_heads` limits this memory for all
	// requests together. From 1 KiB to 16 MiB. Default: 1 MiB, which is enough for some
	// 12,000 inline words.
	MaxHead int `json:"max_head,omitempty"`

	// What happens to a live stream whose key expires: `finish` lets the stream go on,
	// `cut` ends it. With both, a stream ends at once when its key is revoked or deleted, or
	// the account of its key is closed. Default: `finish`.
	OnExpiry string `json:"on_expiry,omitempty"`

	// How long a live stream may last, from its handshake. Default: no limit.
	MaxStreamTime caddy.Duration `json:"max_stream_time,omitempty"`

	// How many live streams a key may have at a time. Up to 1,000,000, and not more than
	// an account may have. Default: no limit.
	MaxStreamsPerKey int `json:"max_streams_per_key,omitempty"`

	// How many live streams an account may have at a time. Default: no limit.
	MaxStreamsPerAccount int `json:"max_streams_per_account,omitempty"`

	// The time from the handshake of a live stream to the last byte of its first
	// command. Some clients connect early, and send the command when somebody speaks.
	// Each later command has 30 seconds from its first byte to its last.
	// Up to 24 hours. Default: `60s`, or `max_stream_time` if that is shorter.
	StartTimeout caddy.Duration `json:"start_timeout,omitempty"`

	// How many bytes a command of a live stream may have. From 1 KiB to 16 MiB.
	// Default: 1048576.
	MaxCommand int `json:"max_command,omitempty"`

	// How many control frames of a live stream may come before its first command.
	// Default: 16.
	MaxEarlyFrames int `json:"max_early_frames,omitempty"`

	// How many live streams of one client address, or of one IPv6 /64 network, may
	// wait for their first command at a time. Default: 64.
	MaxPendingStreams int `json:"max_pending_streams,omitempty"`

	decider
	upstreamKeys

	api      *dialect.API
	upstream credential.Upstream // of new work
	session  string              // the session header of the API, in the spelling of net/http

	recordJobWithin   time.Duration // how long the record of a new job may take; tests change it
	recordStateWithin time.Duration // how long the record of a job's state may take; tests change it

	unloaded        atomic.Bool         // another configuration has replaced this one
	upstreamRefused handler.OnceAMinute // limits the errors in the log about a refused upstream key
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

// Provision resolves defaults and placeholders, and gets the app.
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
	g.recordJobWithin, g.recordStateWithin = defaultRecordJobWithin, defaultRecordStateWithin
	g.provisionStreams()
	if err := g.provisionUpstream(); err != nil {
		return err
	}
	shared, err := app.Of(ctx)
	if err != nil {
		return err
	}
	g.decider = newDecider(shared, g.api, g.Backend, g.PolicyRules(), ctx.Logger())
	g.noteUses()
	shared.Explain(g.ExplainConfig())
	return nil
}

// Cleanup notes that another configuration has replaced this one. Requests of this
// configuration may still be running.
func (g *Gate) Cleanup() error {
	g.unloaded.Store(true)
	return nil
}

// Validate checks the configuration.
func (g *Gate) Validate() error {
	if err := validateGrace(g.rules.Grace); err != nil {
		return err
	}
	if err := validateBackend(g.Backend); err != nil {
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
	case g.SingleAccount && !g.admitsUnrecordedJobs():
		return errors.New("single_account: the option has no effect without unrecorded_jobs backend: want both or neither")
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
	if err := handler.ValidateCORSHeaders(g.CORSHeaders, g.CORS); err != nil {
		return err
	}
	g.app.KeepJobs(g.Backend, g.rules.Grace)
	g.counters.ShowUpstreamRefusals()
	return g.app.AddGate(g.Backend, g.upstream.Mode, g.keys)
}

// RulesByAddress marks a handler whose decisions depend on the address of the client. The app
// looks for this method.
func (*Gate) RulesByAddress() {}

// SendsKey reports whether the gate sends a key upstream: the upstream key or the client's.
func (g *Gate) SendsKey() bool { return g.upstream.Mode != credential.Drop }

// PassesKey reports whether the gate sends the client's key upstream.
func (g *Gate) PassesKey() bool { return g.upstream.Mode == credential.Pass }

// DialectName returns the name of the API that the clients speak.
func (g *Gate) DialectName() string { return g.api.Name }

// AllowsMore reports whether the gate has also_allow.
func (g *Gate) AllowsMore() bool { return len(g.AlsoAllow) > 0 }

// Interface guards
var (
	_ configcheck.Gate = (*Gate)(nil)

	_ caddy.Provisioner = (*Gate)(nil)
	_ caddy.Validator   = (*Gate)(nil)

	_ caddy.CleanerUpper = (*Gate)(nil)
)
