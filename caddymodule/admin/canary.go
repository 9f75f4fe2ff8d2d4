package admin

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
)

// CanaryPath answers POST with a Canary that gates expect, and GET, with the ID in the parameter id,
// with a Canary and what gates have seen of it.
const CanaryPath = "/speechgate/canary"

// Canary is a request without a key that shows which address a gate takes for the client's.
type Canary struct {
	ID   string             `json:"canary"` // the value of the field Speechgate-Canary
	Seen []handler.Sighting `json:"seen"`
}

func (*Admin) serveCanary(w http.ResponseWriter, r *http.Request) error {
	canaries := app.Canaries()
	switch r.Method {
	case http.MethodPost:
		id := canaries.Expect(time.Now())
		if id == "" {
			return caddy.APIError{HTTPStatus: http.StatusTooManyRequests, Err: errors.New("too many canaries are expected: try again in a minute")}
		}
		return writeJSON(w, Canary{ID: id, Seen: []handler.Sighting{}})
	case http.MethodGet:
		id := r.URL.Query().Get("id")
		seen, ok := canaries.Seen(id)
		if !ok {
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is no canary %q: make one with POST", id)}
		}
		return writeJSON(w, Canary{ID: id, Seen: append([]handler.Sighting{}, seen...)})
	}
	return wrongMethod(w, r, "GET, POST")
}
