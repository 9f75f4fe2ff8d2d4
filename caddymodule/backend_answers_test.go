package caddymodule_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// A gate with an upstream key holds the bytes back that could be the beginning of the key. If
// the answer ends there, the client must get them.
func TestR18_TheEndOfAnAnswerThatBeginsLikeTheUpstreamKeyArrives(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	beginning := backendKey[:len(backendKey)-1]
	for name, c := range map[string]struct {
		ask    func() reply
		status int
		pieces []string
	}{
		"a recognition":                {func() reply { return g.send(requestForms["curl's form with u"](g, secret)) }, 200, []string{"text ", beginning}},
		"a recognition, nothing else":  {func() reply { return g.send(requestForms["curl's form with u"](g, secret)) }, 200, []string{beginning[:1], beginning[1:]}},
		"a large recognition":          {func() reply { return g.send(requestForms["curl's form with u"](g, secret)) }, 200, []string{strings.Repeat("x", 100<<10), beginning}},
		"a poll":                       {func() reply { return g.poll("j", secret) }, 200, []string{`{"status":"queued"}`, beginning}},
		"a job's creation":             {func() reply { return g.create(secret) }, 200, []string{`{"text":"...","x":"`, `"}` + strings.Repeat(" ", 10)}},
		"an error":                     {func() reply { return g.poll("j", secret) }, 404, []string{"no ", beginning}},
		"an error of the server":       {func() reply { return g.poll("j", secret) }, 500, []string{beginning, beginning}},
		"an error after 64 KiB":        {func() reply { return g.poll("j", secret) }, 404, []string{strings.Repeat("x", 64<<10-3), beginning}},
		"a refused job, for no reason": {func() reply { return g.create(secret) }, 400, []string{`{"code":"+"}`, beginning}},
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			want := strings.Join(c.pieces, "")
			for _, length := range []int{-1, len(want)} {
				g.backend.respondPieces(c.status, length, c.pieces...)
				if got := c.ask(); got.status != c.status || got.body != want {
					t.Errorf("length %d: status %d, %d bytes that end in %q; want %d that end in %q",
						length, got.status, len(got.body), got.body[max(0, len(got.body)-40):], len(want), want[max(0, len(want)-40):])
				}
			}
		})
	}
}

// A redirect is the only status that a gate replaces by an error of its own: some libraries send the key
// to the address that a redirect names.
func TestR16_EveryStatusButARedirectPasses(t *testing.T) {
	for mode, unmodified := range map[string]int{backendKey: http.StatusBadGateway, "pass": http.StatusNotModified, "drop": http.StatusNotModified} {
		t.Run("upstream_key "+mode, func(t *testing.T) {
			g := newGateway(t, "upstream_key "+mode)
			key, secret := g.issue(keystore.NewKey{})
			g.recordJob("j", key, now())
			for name, ask := range map[string]func() reply{
				"a poll":        func() reply { return g.poll("j", secret) },
				"a recognition": func() reply { return g.send(requestForms["curl's form with u"](g, secret)) },
				"a creation":    func() reply { return g.create(secret) },
			} {
				for _, status := range []int{200, 201, 206, 299, 300, 301, 302, 303, 304, 307, 308, 399, 400, 403, 404, 409, 429, 499, 500, 502, 503, 599} {
					want, body := status, "as it is" // a client's proxy can answer so
					if status < 300 {
						body = `{"message":"as it is"}`
					}
					if status >= 300 && status < 400 {
						want = http.StatusBadGateway
					}
					if status == http.StatusNotModified {
						want, body = unmodified, ""
					}
					g.backend.respondPieces(status, -1, body)
					if got := ask(); got.status != want || (got.body == body) != (want == status) || got.header.Get("Cache-Control") != "no-store" {
						t.Errorf("%s: status %d became %d, body %q", name, status, got.status, got.body)
					}
				}
			}
			// None of these answers names a job.
			if _, err := g.keys.Job(context.Background(), "amivoice", ""); !errors.Is(err, keystore.ErrNotFound) {
				t.Errorf("a job was recorded: %v", err)
			}
		})
	}
}
