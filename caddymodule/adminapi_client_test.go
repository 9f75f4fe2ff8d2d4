package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/caddymodule/admin"
)

// adminClient calls the admin API of a gateway.
type adminClient struct {
	*testing.T

	header http.Header // of each request
}

func newAdminClient(t *testing.T) *adminClient {
	t.Helper()
	return &adminClient{t, make(http.Header)}
}

func (c *adminClient) ask(method, target, body string) *httptest.ResponseRecorder {
	c.Helper()
	r := httptest.NewRequestWithContext(c.Context(), method, "/speechgate/"+target, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.9:1234"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(r.Header, c.header)
	return answerOfAdmin(c.T, r)
}

// object returns the object in the answer to a request, which must have this status.
func (c *adminClient) object(status int, method, target, body string) (object map[string]any) {
	c.Helper()
	w := c.ask(method, target, body)
	if err := json.Unmarshal(w.Body.Bytes(), &object); err != nil || w.Code != status {
		c.Fatalf("%s %s: status %d, want %d: %s", method, target, w.Code, status, w.Body)
	}
	return object
}

// refused returns the problem that a request has.
func (c *adminClient) refused(status int, kind, method, target, body string) admin.Problem {
	c.Helper()
	w := c.ask(method, target, body)
	if w.Code != status {
		c.Fatalf("%s %s %s: status %d, want %d: %s", method, target, body, w.Code, status, w.Body)
	}
	p := problemOf(c.T, w)
	if path.Base(strings.ReplaceAll(p.Type, "#", "/")) != kind {
		c.Errorf("%s %s %s: the type is %s, want %s", method, target, body, p.Type, kind)
	}
	return p
}

func text(value any) string { return fmt.Sprint(value) }
