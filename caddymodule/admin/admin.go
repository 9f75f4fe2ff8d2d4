// Package admin adds the live streams to Caddy's admin API.
package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
// `POST /speechgate/streams/cut` | Cuts streams at once. The body is an object with one of `stream_id`, `key_id` and `account_id`. The answer has the number of streams that were cut as `cut`.
type Admin struct {
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
func (a *Admin) Provision(caddy.Context) error {
	a.streams = app.Streams()
	return nil
}

// Routes returns the routes of the admin API.
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: StreamsPath, Handler: caddy.AdminHandlerFunc(a.listStreams)},
		{Pattern: CutPath, Handler: caddy.AdminHandlerFunc(a.cutStreams)},
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

// CutOrder says which streams to cut: one stream, or those of a key or of an account.
type CutOrder struct {
	StreamID  string `json:"stream_id,omitempty"`
	KeyID     string `json:"key_id,omitempty"`
	AccountID string `json:"account_id,omitempty"`
}

// Given returns how many IDs the order has. A valid order has exactly one.
func (o *CutOrder) Given() (n int) {
	for _, id := range []string{o.StreamID, o.KeyID, o.AccountID} {
		if id != "" {
			n++
		}
	}
	return n
}

// matches reports whether s is one of the streams that the order wants to be cut.
func (o *CutOrder) matches(s *livestream.Snapshot) bool {
	return o.StreamID != "" && s.ID == o.StreamID ||
		o.KeyID != "" && s.Owner.KeyID == o.KeyID ||
		o.AccountID != "" && s.Owner.AccountID == o.AccountID
}

// CutResult says how many streams were cut.
type CutResult struct {
	Cut int `json:"cut"`
}

func (a *Admin) cutStreams(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return wrongMethod(w, r, http.MethodPost)
	}
	var order CutOrder
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrderSize))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&order); err != nil {
		return badRequest(fmt.Errorf("the body: %w", err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest(errors.New("the body: want one object, and nothing after it"))
	}
	if order.Given() != 1 {
		return badRequest(errors.New("want one of stream_id, key_id and account_id"))
	}
	return writeJSON(w, CutResult{Cut: a.streams.CutIf(order.matches)})
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
