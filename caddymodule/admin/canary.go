package admin

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
)

// CanaryPath answers POST with a Canary that gates expect, and GET, with the ID in the parameter id,
// with a Canary and what gates have seen of it.
const CanaryPath = root + "canary"

// Canary is a request without a key that shows which address a gate takes for the client's.
type Canary struct {
	ID   string             `json:"canary"` // the value of the field Speechgate-Canary
	Seen []handler.Sighting `json:"seen"`
}

type canaryQuery struct {
	ID string `json:"id"`
}

func canaryRoutes() []*route {
	return []*route{
		change(http.MethodPost, "canary", "expectCanary", "Makes the gates note, for a minute, refused requests whose field Speechgate-Canary has the ID of this answer.", func(*call, none) (Canary, error) {
			id := app.Canaries().Expect(time.Now())
			if id == "" {
				return Canary{}, problemTooMany.of(errors.New("too many canaries are expected: try again in a minute"))
			}
			return Canary{ID: id, Seen: []handler.Sighting{}}, nil
		}),
		get("canary", "getCanary", "Says what gates have seen of requests with the ID of a canary.", func(_ *call, q canaryQuery) (Canary, error) {
			seen, ok := app.Canaries().Seen(q.ID)
			if !ok {
				return Canary{}, problemNotFound.of(fmt.Errorf("there is no canary %q: make one with POST", q.ID))
			}
			return Canary{ID: q.ID, Seen: append([]handler.Sighting{}, seen...)}, nil
		}),
	}
}
