// Package issue is the Caddy handler of the issuance API.
package issue

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for machines that have no time zones

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/issuance"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(Issue))
	httpcaddyfile.RegisterDirective("speechgate_issue", parseIssue)
}

// Issue is the issuance API: where applications get short-lived keys to hand to
// their users' machines, instead of an account's own. It answers every request
// for its path, whatever the method; others it passes on.
//
// A call is a `POST` with a form as its body (`application/x-www-form-urlencoded`,
// up to 16 KiB). Who calls is told by the account's service ID and service
// password, as the fields `sid` and `spw`, or by a key that carries the issuance
// right, as `Authorization: Bearer`; never both. Two more fields say what the new
// key can do:
//
// Field | Meaning
// ------|--------
// `epi` | When it expires: milliseconds from now (`60000`), a time from now (`30s`, `5m`, `1h`, `2d`, `1w`), a date, which lasts to its end (`2031/02/03`), or an instant (`2031/02/03 10:00:00`, with or without milliseconds and time zone). Default: `default_lifetime`.
// `ipa` | The addresses that it may be used from: single ones, CIDR blocks and ranges, with spaces or commas between them. Default: any or, with `children narrow`, those of the key that calls.
//
// The answer is the key alone, as `text/plain`. A call that is refused gets a
// line that says why:
//
// Status | Meaning
// -------|--------
// 400 | The form, or a value in it, is not as it should be, or there are two credentials. The text says what would be right.
// 401 | The credentials are missing, unknown, wrong, ended, or not good from the caller's address: one answer for all but the first.
// 403 | The key carries no issuance right, or asks for more than it has itself.
// 405, 413, 415 | Not a `POST`, more than 16 KiB, not a form.
// 425 | The request came as TLS early data, which anybody can repeat.
// 429 | In the place of 401, from the 31st of the address within a minute on; an IPv6 address counts with its /64. Only answers that would be 401 count, and only they become 429. Or, to a caller with valid credentials: the account has reached `max_live_keys` or `max_rate`.
// 503 | The keystore is at fault. Call again after `Retry-After` seconds.
//
// Decisions are logged, counted and put into placeholders as the gate's are; the
// operation is `issue_key`, the backend name `issuance`.
type Issue struct {
	// The path of the API. Default: `/issue_service_authorization`.
	Path string `json:"path,omitempty"`

	// How long a key lives for which nothing is asked. Default: `30s`.
	DefaultLifetime caddy.Duration `json:"default_lifetime,omitempty"`

	// The longest that a key can be asked to live. Default: no limit.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`

	// The time zone of times in `epi` that do not say theirs, as the tz database
	// names it. Default: `Asia/Tokyo`.
	TimeZone string `json:"time_zone,omitempty"`

	// What a key that is issued by a key may be: `narrow` lets it neither outlive
	// its issuer (whose end may be its expiry or that of a rotation, scheduled
	// before or after) nor be used from where its issuer may not; `free` lets it.
	// Either way it can issue no keys itself. Default: `narrow`.
	Children string `json:"children,omitempty"`

	// How many keys from this API an account may have that have not expired, so
	// that one account cannot fill the disk. From 1 to 1,000,000,000. Default:
	// 1,000,000, which take 340 MB in the keystore.
	MaxLiveKeys int `json:"max_live_keys,omitempty"`

	// How many keys a second an account may have issued over time, by service ID
	// and by all its keys together. A hundred times as many may come at once. From 1
	// to 1,000,000. Default: 100, which is 8.6 million a day, and 10,000 at once.
	MaxRate int `json:"max_rate,omitempty"`

	// The origins whose pages may call. `*` is every one; `off` sends no such
	// headers and refuses preflight requests. Default: `*`, since a page without
	// credentials gains nothing.
	CORS handler.Origins `json:"cors,omitempty"`

	// The header fields that pages of other origins may send, besides
	// Authorization and Content-Type. Default: every field that a preflight request
	// asks for, since tracing adds fields of its own.
	CORSHeaders []string `json:"cors_headers,omitempty"`

	authority *issuance.Authority
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

	// One key for each user session is what the API is for. Few accounts have
	// 8.6 million sessions a day, and all together issue some thousands of keys a
	// second on the machine of BenchmarkIssue.
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

// Provision resolves the configuration.
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
	i.counters = i.app.CountersOf(issuance.BackendName)
	return nil
}

// Validate checks what was configured.
func (i *Issue) Validate() error {
	switch {
	case !dialect.CleanPath(i.Path):
		return fmt.Errorf("path %q: want one whole path that begins with a slash, without wildcards, dot segments, doubled slashes or escapes", i.Path)
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
	for _, name := range dialect.Names() {
		if api, _ := dialect.ByName(name); api.Knows(i.Path) {
			return fmt.Errorf("path %s: it belongs to the %s API, whose clients could not reach it any more; want another, such as %s", i.Path, name, DefaultPath)
		}
	}
	if err := handler.ValidateCORSHeaders(i.CORSHeaders); err != nil {
		return err
	}
	return i.CORS.Validate()
}

// plainDuration spells a duration as a configuration can: 100us.
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
		Owner: handler.Identity{KeyID: answer.KeyID, AccountID: answer.AccountID}, Client: handler.ClientIP(r),
	}
	d.Report(r)
	i.log(d, answer)
	i.respond(w, r, call, answer)
	return nil
}

// answer decides on a call.
func (i *Issue) answer(r *http.Request, call *issuance.KeyRequest) *issuance.Result {
	i.app.AcquireStore()
	defer i.app.ReleaseStore()
	store, err := i.app.Store() //nolint:contextcheck // what it opens outlives the request
	if err != nil {
		return issuance.Unavailable(err)
	}
	// If the caller goes away, the call goes on: its end would look like an error of the
	// store.
	return i.authority.Issue(context.WithoutCancel(r.Context()), i.app.Now(), handler.ClientIP(r), handler.IsEarlyData(r), store, call)
}

func (i *Issue) log(d handler.DecisionRecord, answer *issuance.Result) {
	level, message := zap.InfoLevel, "refused"
	switch {
	case answer.Reason.OK():
		message = "issued"
	case answer.Reason == policy.StoreUnavailable:
		level = zap.ErrorLevel
	}
	if c := i.logger.Check(level, message); c != nil {
		c.Write(append(d.LogFields(), zap.String("issued_key_id", answer.Key.ID), zap.String("detail", answer.Detail))...)
	}
}

func (i *Issue) respond(w http.ResponseWriter, r *http.Request, call *issuance.KeyRequest, answer *issuance.Result) {
	header := w.Header()
	header.Set("Content-Type", "text/plain")
	handler.ForbidCaching(header)
	header.Set("X-Content-Type-Options", "nosniff") // a refusal shows what was sent
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

// parseIssue takes a lone path for that of the API, which it would else only
// match.
func parseIssue(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	i := new(Issue)
	h.Next()
	if h.NextArg() && strings.HasPrefix(h.Val(), "/") {
		i.Path = h.Val()
	}
	h.Reset()
	h.Next()
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	if i.Path != "" {
		matcher = nil
	}
	if err := i.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matcher, i), nil
}

// UnmarshalCaddyfile sets up the API.
//
// Syntax:
//
//	speechgate_issue [<matcher>|<path>] {
//	    path             <path>
//	    default_lifetime <duration>
//	    max_lifetime     <duration>
//	    time_zone        <name>
//	    children         narrow|free
//	    max_live_keys    <number>
//	    max_rate         <keys a second>
//	    cors             <origins...>|*|off
//	    cors_headers     <names...>
//	}
func (i *Issue) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return options.ParseBlock(d, map[string]options.Option{
		"path":             i.unmarshalPath,
		"default_lifetime": options.PositiveDuration(func(v caddy.Duration) { i.DefaultLifetime = v }),
		"max_lifetime":     options.PositiveDuration(func(v caddy.Duration) { i.MaxLifetime = v }),
		"time_zone":        options.Text(&i.TimeZone),
		"children":         options.Text(&i.Children),
		"max_live_keys":    options.Number(&i.MaxLiveKeys),
		"max_rate":         options.Number(&i.MaxRate),
		"cors":             i.CORS.UnmarshalCaddyfile,
		"cors_headers":     handler.CORSHeaders(&i.CORSHeaders),
	})
}

func (i *Issue) unmarshalPath(d *caddyfile.Dispenser) error {
	if i.Path != "" {
		return d.Errf("the path is given twice: %s stands behind speechgate_issue already", i.Path)
	}
	return options.Text(&i.Path)(d)
}

// RulesByAddress marks a handler whose decisions depend on the client's address.
func (*Issue) RulesByAddress() {}

// Interface guards
var (
	_ caddy.Provisioner           = (*Issue)(nil)
	_ caddy.Validator             = (*Issue)(nil)
	_ caddyhttp.MiddlewareHandler = (*Issue)(nil)
	_ caddyfile.Unmarshaler       = (*Issue)(nil)
)
