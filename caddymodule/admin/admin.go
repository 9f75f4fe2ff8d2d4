// Package admin adds Speechgate's admin API to Caddy's admin endpoint.
//
// The table of routes is in routes.go: each route has its path, its parameters, the types of its
// body and of its answer, and the method of package manage that it calls. The requests are
// decoded, and the OpenAPI document is generated, from this table.
package admin

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin is the admin API of Speechgate on Caddy's admin endpoint, below `/speechgate/`.
//
// Path below `/speechgate/` | Meaning
// --------------------------|--------
// `accounts` | Creates, lists, renames, rotates, suspends, resumes and closes accounts.
// `keys` | Issues, lists, renames, rotates, suspends, resumes, deletes and revokes keys. The secret of a key is only in the answer to the request that issues the key. `keys/{key_id}/limits` shows how much of its limits a key uses.
// `jobs` | Lists and shows the recorded jobs.
// `upstream-keys` | Lists the upstream keys of the gates, and what still needs each of them, without the keys.
// `streams` | Lists the live streams: an array, oldest first, of `stream_id`, `key_id` and `account_id` (null before the first command), `backend`, `client_ip`, `begun_at`, `accepted_at`.
// `streams/cut` | Cuts streams at once. The body is an object with one of `stream_id`, `key_id` and `account_id` (an account's ID or name), and, for the audit trail, `operator`, who cuts. The answer has the number of streams that were cut as `cut`, and `audit_error` if the audit trail could not be written. It is 404 if no stream was cut and the keystore does not have the key or the account.
// `audit` | Lists the audit trail. `audit/verify` checks it.
// `usage` | Lists sums of usage. `usage/keys` lists the usage of each key.
// `forecast` | Lists the keys that end soon, the first one first.
// `explain` | Says what would be decided on a request, rule by rule.
// `whoami` | Says as whom and from where the server sees the caller, and which client address its sites would take from a request.
// `health` | 200 if the keystore can be read and is the right one, else 503.
// `canary` | `POST`: the answer has a random ID as `canary`. For a minute, the gates note refused requests whose field `Speechgate-Canary` has this ID. `GET` with the parameter `id`: what gates have seen of these requests, as `seen`.
// `openapi.json` | The whole API as an OpenAPI 3.1 document.
//
// An error is an `application/problem+json` (RFC 9457). Caddy's protections of the admin endpoint
// are in front of this API: the check of Host and Origin, `enforce_origin`, and the permissions of a
// unix socket.
type Admin struct {
	ctx     caddy.Context
	streams *livestream.Registry
	paths   *http.ServeMux
}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.speechgate",
		New: func() caddy.Module { return new(Admin) },
	}
}

// The paths that the command line asks.
const (
	root = "/speechgate/"
	// StreamsPath answers GET with an array of StreamInfo.
	StreamsPath = root + "streams"
	// CutPath takes a CutOrder with POST, and answers with a CutResult.
	CutPath = root + "streams/cut"
	// HealthPath answers GET with a Health.
	HealthPath = root + "health"
	// KeysPath, the ID of a key, and LimitsOfKey answer GET with a manage.KeyLimits. The query can
	// have an operation.
	KeysPath    = root + "keys/"
	LimitsOfKey = "/limits"
	// WhoamiPath answers GET with a Seen. The query is a SeenQuery.
	WhoamiPath = root + "whoami"
)

// Provision gets the registry of the live streams, and collects the routes.
func (a *Admin) Provision(ctx caddy.Context) error {
	a.ctx, a.streams = ctx, app.Streams()
	a.paths = http.NewServeMux()
	byPath := make(map[string]map[string]*route)
	for _, r := range routes() {
		if byPath[r.path] == nil {
			byPath[r.path] = make(map[string]*route)
			methods := byPath[r.path]
			a.paths.HandleFunc(root+r.path, func(w http.ResponseWriter, r *http.Request) { a.answer(w, r, methods) })
		}
		byPath[r.path][r.method] = r
	}
	a.paths.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, problemNotFound.with("there is no such path: GET "+root+"openapi.json lists the paths"))
	})
	return nil
}

// Routes returns the routes of the admin API.
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: root, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

func (a *Admin) serve(w http.ResponseWriter, r *http.Request) error {
	handler.ForbidCaching(w.Header())
	if holdsSecret(r) {
		writeProblem(w, problemSecretInURL.with("the URL has a key or a service password in it, which is a secret, and Caddy logs the URL of each request: rotate the secret, and send secrets in the body only"))
		return nil
	}
	a.paths.ServeHTTP(w, r)
	return nil
}

// holdsSecret reports whether a secret is in the URL of a request.
func holdsSecret(r *http.Request) bool {
	if policy.HoldsSecret(r.URL.Path) || policy.HoldsSecret(r.URL.RawQuery) {
		return true
	}
	for name, values := range r.URL.Query() {
		if policy.HoldsSecret(name) || slices.ContainsFunc(values, policy.HoldsSecret) {
			return true
		}
	}
	return false
}

// answer answers a request for a path that has these methods.
func (a *Admin) answer(w http.ResponseWriter, r *http.Request, methods map[string]*route) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	served, ok := methods[method]
	if !ok {
		allowed := slices.Collect(maps.Keys(methods))
		if methods[http.MethodGet] != nil {
			allowed = append(allowed, http.MethodHead)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, problemMethod.with("method "+r.Method+": want "+words.Alternatives(allowed)))
		return
	}
	result, err := a.call(w, r, served)
	if err != nil {
		problem := problemOf(err)
		if problem.Status == http.StatusInternalServerError {
			caddy.Log().Named("admin.api.speechgate").Error("a request failed", zap.String("operation", served.name), zap.Error(err))
		}
		writeProblem(w, problem)
		return
	}
	writeJSON(w, "application/json", served.status, result)
}

// writeJSON writes the whole answer to a request.
func writeJSON(w http.ResponseWriter, contentType string, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // if the client is gone, nobody reads the error
}

// servers returns the HTTP servers of the configuration by name, or nil if it has none.
func (a *Admin) servers() map[string]*caddyhttp.Server {
	// The admin API is provisioned before the apps, so the app is looked up for each request.
	module, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	return module.(*caddyhttp.App).Servers //nolint:forcetypeassert // the ID of the app
}

// Interface guards
var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)
