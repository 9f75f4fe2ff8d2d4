package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin is the gateway's part of Caddy's admin API, below `/speechgate/`.
//
// Request | Meaning
// --------|--------
// `GET /speechgate/streams` | An array of the live streams, oldest first: `stream_id`, `key_id` and `account_id` (null before the first command), `backend`, `client_ip`, `begun_at`, `accepted_at`.
// `POST /speechgate/streams/cut` | Cuts streams at once. The body is an object with one of `stream_id`, `key_id` and `account_id`; the answer has as `cut` how many there were.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.speechgate",
		New: func() caddy.Module { return new(Admin) },
	}
}

const (
	adminStreams = "/speechgate/streams"
	adminCut     = "/speechgate/streams/cut"
	maxAdminBody = 4 << 10
)

// Routes are those of the admin API.
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminStreams, Handler: caddy.AdminHandlerFunc(a.listStreams)},
		{Pattern: adminCut, Handler: caddy.AdminHandlerFunc(a.cutStreams)},
	}
}

func (*Admin) listStreams(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return notThisMethod(w, r, http.MethodGet)
	}
	return writeJSON(w, streams.list())
}

// cutOrder says which streams to cut: one, or those of a key or an account.
type cutOrder struct {
	StreamID  string `json:"stream_id,omitempty"`
	KeyID     string `json:"key_id,omitempty"`
	AccountID string `json:"account_id,omitempty"`
}

// given is how many IDs the order has, of which it should have one.
func (o *cutOrder) given() (n int) {
	for _, id := range []string{o.StreamID, o.KeyID, o.AccountID} {
		if id != "" {
			n++
		}
	}
	return n
}

// means reports whether s is one of the streams to cut.
func (o *cutOrder) means(s *liveStream) bool {
	return o.StreamID != "" && s.id == o.StreamID ||
		o.KeyID != "" && s.holder.key == o.KeyID ||
		o.AccountID != "" && s.holder.account == o.AccountID
}

// cutResult says how many were cut.
type cutResult struct {
	Cut int `json:"cut"`
}

func (*Admin) cutStreams(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return notThisMethod(w, r, http.MethodPost)
	}
	var order cutOrder
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdminBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&order); err != nil {
		return badAdmin(fmt.Errorf("the body: %w", err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badAdmin(errors.New("the body: want one object, and nothing after it"))
	}
	if order.given() != 1 {
		return badAdmin(errors.New("want one of stream_id, key_id and account_id"))
	}
	var result cutResult
	for _, s := range streams.find(order.means) {
		if s.cut(policy.CutByOperator, "the operator's word") {
			result.Cut++
		}
	}
	return writeJSON(w, result)
}

func writeJSON(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(value)
}

func notThisMethod(w http.ResponseWriter, r *http.Request, want string) error {
	w.Header().Set("Allow", want)
	return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %s: want %s", r.Method, want)}
}

func badAdmin(err error) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
}

// Interface guards
var _ caddy.AdminRouter = (*Admin)(nil)
