// Package issue is the Caddy handler of the issuance API, where applications get short-lived
// keys.
package issue

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for machines without a time zone database

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/configcheck"
	"github.com/speechgate/speechgate/caddymodule/endpoint"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/issuance"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(Issue))
}

// Issue is the issuance API, where applications get short-lived keys. An application
// gives such a key to the machine of a user, so that the machine needs neither the
// account's service password nor a long-lived key. The API answers every request for its
// path, with any method. Requests for other paths go to the next handler.
//
// A call is a `POST` with a form as its body (`application/x-www-form-urlencoded`, up to
// 16 KiB). The credentials are either the service ID and the service password of the
// account, in the fields `sid` and `spw`, or a key with the issuance right, as
// `Authorization: Bearer`. A call with both is refused. Two more fields describe the new
// key:
//
// Field | Meaning
// ------|--------
// `epi` | When the key expires: milliseconds from now (`60000`), a time from now (`30s`, `5m`, `1h`, `2d`, `1w`), the end of a date (`2031/02/03`), or an instant (`2031/02/03 10:00:00`, with or without milliseconds and time zone). Default: `default_lifetime`.
// `ipa` | The addresses from which the key may be used: single addresses, CIDR blocks and ranges, separated by spaces or commas. Default: all or, with `children narrow`, those of the key that calls.
//
// Other fields are ignored. A field that is like a known one, such as `IPA` or `ip`, is an
// error, so that a misspelled field does not lead to a key that is valid from anywhere.
//
// The answer is only the key, as `text/plain`. A refused call gets a line with the
// reason:
//
// Status | Meaning
// -------|--------
// 400 | The form or a value in it is wrong, or there are two credentials. The text says what would be right.
// 401 | The credentials are missing, unknown, wrong, no longer valid, or not valid from the address of the caller. The answer is the same in all cases except the first.
// 403 | The key has no issuance right, or asks for more than it may do itself.
// 405, 413, 415 | Not a `POST`, more than 16 KiB, not a form.
// 425 | The request came as TLS early data, which anybody can repeat.
// 429 | The account has reached `max_live_keys` or `max_rate`. Or the address of the caller has got 30 answers of 401 within a minute: it gets 429 in place of each further 401. The addresses of an IPv6 /64 count together.
// 503 | The keystore returned an error. Call again after `Retry-After` seconds.
//
// Decisions are logged, counted and put into placeholders like those of the gate. The
// operation is `issue_key`, and the backend name is `issuance`.
type Issue struct {
	// The path of the API. Default: `/issue_service_authorization`.
	Path string `json:"path,omitempty"`

	// The lifetime of a key if the call has no `epi`. Default: `30s`, or `max_lifetime` if
	// this is shorter.
	DefaultLifetime caddy.Duration `json:"default_lifetime,omitempty"`

	// The longest lifetime that a call may ask for. Default: no limit.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`

	// The time zone for a date or an instant in `epi` that has no time zone itself. The
	// value is a name of the tz database. Default: `Asia/Tokyo`.
	TimeZone string `json:"time_zone,omitempty"`

	// What a key that was issued by another key may do. `narrow`: it ends when its issuer
	// ends, by expiry or by a rotation, and it can be used only from addresses from which
	// its issuer can be used. `free`: it has neither limit. In both cases it cannot issue
	// keys. Default: `narrow`.
	Children string `json:"children,omitempty"`

	// How many unexpired keys from this API an account may have, so that one account
	// cannot fill the disk. From 1 to 1,000,000,000. Default: 1,000,000, which take 340 MB
	// in the keystore.
	MaxLiveKeys int `json:"max_live_keys,omitempty"`

	// How many keys a second an account may get on average, by its service ID and by all
	// its keys together. A burst may have a hundred times as many. From 1 to 1,000,000.
	// Default: 100, which is 8.6 million a day, and 10,000 in a burst.
	MaxRate int `json:"max_rate,omitempty"`

	// The origins whose pages may call. `*` is every origin. `off` sends no CORS headers,
	// and refuses preflight requests. Default: `*`, because a page without credentials can
	// do nothing.
	CORS handler.Origins `json:"cors,omitempty"`

	// The header fields that pages of other origins may send, besides Authorization and
	// Content-Type. Default: every field that a preflight request asks for, because tracing
	// libraries add fields.
	CORSHeaders []string `json:"cors_headers,omitempty"`

	authority *issuance.Authority
	unshare   func() // stops counting failures together with other gateways
	app       *app.App
	counters  *handler.DecisionCounters
	logger    *zap.Logger
}

const (
	// DefaultPath is the path of the API if no other is configured.
	DefaultPath = "/issue_service_authorization"

	defaultLifetime = 30 * time.Second
	defaultZone     = "Asia/Tokyo"
	childrenNarrow  = "narrow"
	childrenFree    = "free"

	// The default limits are for accounts that get one key for each session of a user. A rate
	// of 100 keys a second is enough for 8.6 million sessions a day. The machine of
	// BenchmarkIssue issues some thousands of keys a second.
	defaultMaxLiveKeys = 1_000_000
	defaultMaxRate     = 100
	mostLiveKeys       = 1_000_000_000
	mostRate           = 1_000_000
)

// CaddyModule returns the Caddy module information.
func (*Issue) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.speechgate_issue",
		New: func() caddy.Module { return new(Issue) },
	}
}

// Provision resolves defaults, and gets the app.
func (i *Issue) Provision(ctx caddy.Context) error {
	i.logger = ctx.Logger()
	if i.Path == "" {
		i.Path = DefaultPath
	}
	if i.DefaultLifetime == 0 {
		i.DefaultLifetime = caddy.Duration(defaultLifetime)
		if i.MaxLifetime > 0 {
			i.DefaultLifetime = min(i.DefaultLifetime, i.MaxLifetime)
		}
	}
	if i.TimeZone == "" {
		i.TimeZone = defaultZone
	}
	if i.MaxLiveKeys == 0 {
		i.MaxLiveKeys = defaultMaxLiveKeys
	}
	if i.MaxRate == 0 {
		i.MaxRate = defaultMaxRate
	}
	zone, err := time.LoadLocation(i.TimeZone)
	if err != nil || i.TimeZone == "Local" {
		return fmt.Errorf("time_zone %q: want a time zone as the tz database names it, such as Asia/Tokyo, Europe/Berlin or UTC", i.TimeZone)
	}
	i.authority = issuance.New(issuance.Settings{
		DefaultLifetime: time.Duration(i.DefaultLifetime),
		MaxLifetime:     time.Duration(i.MaxLifetime),
		Zone:            zone,
		FreeChildren:    i.Children == childrenFree,
		MaxLiveKeys:     i.MaxLiveKeys,
		MaxRate:         i.MaxRate,
	})
	if i.app, err = app.Of(ctx); err != nil {
		return err
	}
	i.unshare = i.app.ShareFailures(i.authority.Failures(i.app.FailureName))
	i.counters = i.app.CountersOf(issuance.BackendName)
	i.app.ExplainIssuance(i.Path)
	return nil
}

// Cleanup stops counting failures together with other gateways.
func (i *Issue) Cleanup() error {
	if i.unshare != nil {
		i.unshare()
	}
	return nil
}

// Validate checks the configuration.
func (i *Issue) Validate() error {
	if err := endpoint.CheckPath(i.Path, DefaultPath); err != nil {
		return err
	}
	switch {
	case i.MaxLifetime != 0 && i.MaxLifetime < caddy.Duration(time.Millisecond):
		return fmt.Errorf("max_lifetime %s: want a duration of 1ms or more, such as 24h", plainDuration(i.MaxLifetime))
	case i.DefaultLifetime < caddy.Duration(time.Millisecond):
		return fmt.Errorf("default_lifetime %s: want a duration of 1ms or more, such as 30s", plainDuration(i.DefaultLifetime))
	case i.MaxLifetime > 0 && i.DefaultLifetime > i.MaxLifetime:
		return fmt.Errorf("default_lifetime %s is longer than max_lifetime %s", plainDuration(i.DefaultLifetime), plainDuration(i.MaxLifetime))
	case i.MaxLiveKeys < 1 || i.MaxLiveKeys > mostLiveKeys:
		return fmt.Errorf("max_live_keys %d: want a number from 1 to %d", i.MaxLiveKeys, mostLiveKeys)
	case i.MaxRate < 1 || i.MaxRate > mostRate:
		return fmt.Errorf("max_rate %d: want keys a second, from 1 to %d", i.MaxRate, mostRate)
	case i.Children != "" && i.Children != childrenNarrow && i.Children != childrenFree:
		return fmt.Errorf("children %q: want narrow or free", i.Children)
	}
	if err := handler.ValidateCORSHeaders(i.CORSHeaders, i.CORS); err != nil {
		return err
	}
	return i.CORS.Validate()
}

// plainDuration returns a duration in the spelling of a configuration, such as 100us.
func plainDuration(d caddy.Duration) string {
	return strings.ReplaceAll(time.Duration(d).String(), "µ", "u")
}

// ServeHTTP answers a call.
func (i *Issue) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.URL.EscapedPath() != i.Path {
		return next.ServeHTTP(w, r)
	}
	if i.CORS.PreflightMethod(r) == http.MethodPost {
		i.CORS.ServePreflight(w, r, []string{http.MethodPost}, []string{"Authorization", "Content-Type"}, i.CORSHeaders)
		return nil
	}
	call := issuance.ReadKeyRequest(r)
	answer := i.answer(r, call)

	d := handler.DecisionRecord{
		Counters: i.counters, Operation: policy.IssueKey, Reason: answer.Reason,
		Owner: policy.Identity{KeyID: answer.KeyID, AccountID: answer.AccountID}, Client: handler.ClientIP(r),
		At: i.app.Now(), Store: i.app.OpenStore(),
	}
	d.Report(r)
	i.log(r, d, answer)
	i.respond(w, r, call, answer)
	return nil
}

// answer decides on a call.
func (i *Issue) answer(r *http.Request, call *issuance.KeyRequest) *issuance.Result {
	i.app.AcquireStore()
	defer i.app.ReleaseStore()
	store, err := i.app.Store() //nolint:contextcheck // the store stays open after the request
	if err != nil {
		return issuance.Unavailable(err)
	}
	// If the caller goes away, the call goes on. A cancelled call would look like an error of
	// the store.
	return i.authority.Issue(context.WithoutCancel(r.Context()), i.app.Now(), handler.ClientIP(r), handler.IsEarlyData(r), store, call)
}

func (i *Issue) log(r *http.Request, d handler.DecisionRecord, answer *issuance.Result) {
	level, message := zap.InfoLevel, "refused"
	switch {
	case answer.Reason.OK():
		message = "issued"
	case answer.Reason == policy.StoreUnavailable:
		level = zap.ErrorLevel
	}
	if c := i.logger.Check(level, message); c != nil {
		fields := append(d.LogFields(), zap.String("issued_key_id", answer.Key.ID))
		if answer.Reason == policy.OperationUnlisted {
			fields = append(fields, zap.String("method", credential.MaskMethod(r.Method)), zap.String("path", i.Path))
		}
		c.Write(append(fields, zap.String("detail", answer.Detail))...)
	}
}

func (i *Issue) respond(w http.ResponseWriter, r *http.Request, call *issuance.KeyRequest, answer *issuance.Result) {
	header := w.Header()
	header.Set("Content-Type", "text/plain")
	handler.ForbidCaching(header)
	header.Set("X-Content-Type-Options", "nosniff") // a refusal quotes the request
	if answer.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(answer.RetryAfter))
	}
	if answer.Challenge {
		header.Set("WWW-Authenticate", "Bearer")
	}
	if answer.Status == http.StatusMethodNotAllowed {
		header.Set("Allow", http.MethodPost)
	}
	i.CORS.Set(header, r, "Retry-After")
	body := answer.Secret.Reveal()
	if answer.Status != http.StatusOK {
		body = answer.Text + "\n"
	}
	state := handler.BodyUntouched
	if call.BodyRead() {
		state = handler.BodyDone
	}
	own := handler.OwnAnswer{Status: answer.Status, Body: body, State: state}
	own.Send(w, r, i.app.Drainer(), i.logger)
}

// RulesByAddress marks a handler whose decisions depend on the address of the client. The app
// looks for this method.
func (*Issue) RulesByAddress() {}

// Directive returns the name of the directive.
func (*Issue) Directive() string { return "speechgate_issue" }

// OnlyPath returns the path of the issuance API. Other requests go to the next handler.
func (i *Issue) OnlyPath() string { return i.Path }

// Interface guards
var (
	_ configcheck.Endpoint        = (*Issue)(nil)
	_ caddy.CleanerUpper          = (*Issue)(nil)
	_ caddy.Provisioner           = (*Issue)(nil)
	_ caddy.Validator             = (*Issue)(nil)
	_ caddyhttp.MiddlewareHandler = (*Issue)(nil)
)
