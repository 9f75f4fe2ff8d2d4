// Package admin adds the live streams to Caddy's admin API.
package admin

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin lists and cuts live streams in Caddy's admin API, below `/speechgate/`.
//
// Request | Meaning
// --------|--------
// `GET /speechgate/streams` | An array of the live streams, oldest first: `stream_id`, `key_id` and `account_id` (null before the first command), `backend`, `client_ip`, `begun_at`, `accepted_at`.
// `POST /speechgate/streams/cut` | Cuts streams at once. The body is an object with one of `stream_id`, `key_id` and `account_id` (an account's ID or name), and, for the audit trail, `operator`, who cuts. The answer has the number of streams that were cut as `cut`, and `audit_error` if the audit trail could not be written. It is 404 if no stream was cut and the keystore does not have the key or the account.
// `POST /speechgate/canary` | The answer has a random ID as `canary`. For a minute, the gates note refused requests whose field `Speechgate-Canary` has this ID.
// `GET /speechgate/canary?id=…` | What gates have seen of these requests, as `seen`: `connection` (the address of the connection), `header` (the fields in which proxies name clients) and `client_ip` (the address that counts).
type Admin struct {
	ctx     caddy.Context
	streams *livestream.Registry
}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.speechgate",
		New: func() caddy.Module { return new(Admin) },
	}
}

// The paths of the admin API.
const (
	// StreamsPath answers GET with an array of StreamInfo.
	StreamsPath = "/speechgate/streams"
	// CutPath takes a CutOrder with POST, and answers with a CutResult.
	CutPath = "/speechgate/streams/cut"
)

const maxOrderSize = 4 << 10 // bytes of a CutOrder

// Provision gets the registry of the live streams.
func (a *Admin) Provision(ctx caddy.Context) error {
	a.ctx, a.streams = ctx, app.Streams()
	return nil
}

// Routes returns the routes of the admin API.
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: StreamsPath, Handler: caddy.AdminHandlerFunc(a.listStreams)},
		{Pattern: CutPath, Handler: caddy.AdminHandlerFunc(a.cutStreams)},
		{Pattern: CanaryPath, Handler: caddy.AdminHandlerFunc(a.serveCanary)},
	}
}

func (a *Admin) listStreams(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return wrongMethod(w, r, http.MethodGet)
	}
	return writeJSON(w, describe(a.streams.List()))
}

// StreamInfo is the JSON of a live stream. Instants are in RFC 3339.
type StreamInfo struct {
	ID         string  `json:"stream_id"`
	KeyID      *string `json:"key_id"`      // nil before the first accepted start command
	AccountID  *string `json:"account_id"`  // nil before the first accepted start command
	Backend    string  `json:"backend"`     // backend name of the gate
	ClientIP   *string `json:"client_ip"`   // nil if it is unknown
	BegunAt    string  `json:"begun_at"`    // the instant of the handshake
	AcceptedAt *string `json:"accepted_at"` // when the last start command was accepted; nil before the first
}

func describe(all []livestream.Snapshot) []StreamInfo {
	infos := make([]StreamInfo, len(all))
	for i, s := range all {
		infos[i] = StreamInfo{ID: s.ID, Backend: s.Backend, BegunAt: s.Begun.String(), AcceptedAt: words.TimeText(s.Accepted)}
		if owner := s.Owner; owner != (policy.Identity{}) {
			infos[i].KeyID, infos[i].AccountID = &owner.KeyID, &owner.AccountID
		}
		if s.Client.IsValid() {
			text := s.Client.String()
			infos[i].ClientIP = &text
		}
	}
	return infos
}

func writeJSON(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(value)
}

func wrongMethod(w http.ResponseWriter, r *http.Request, want string) error {
	w.Header().Set("Allow", want)
	return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %s: want %s", r.Method, want)}
}

func badRequest(err error) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
}

// Interface guards
var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)
