package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// Fields of the backend's answer are not masked, so error routes must not see them.
func TestR18_ErrorRoutesSeeNoFieldOfTheBackend(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey + "\n backend_errors caddy",
		site: `handle_errors {
	respond "debug: {rp.header.X-Debug}."
}
reverse_proxy {backend} {
	@bad status 500
	handle_response @bad {
		error 502
	}
}`,
	})
	_, secret := g.issue(keystore.NewKey{})
	g.backend.respond(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Debug", "key="+backendKey)
		w.WriteHeader(http.StatusInternalServerError)
	})
	got := g.send(requestForms["curl's form with u"](g, secret))
	if got.status != http.StatusBadGateway || !strings.HasPrefix(got.body, "debug: ") || strings.Contains(got.body, backendKey) {
		t.Errorf("status %d, body %q", got.status, got.body)
	}
}

func TestR18_ErrorRoutesGetNoBodyAndNoCookie(t *testing.T) {
	other := newBackend(t)
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey + "\n backend_errors caddy",
		site:    "handle_errors {\n reverse_proxy " + other.addr() + "\n}\nreverse_proxy " + freeAddr(t),
	})
	_, secret := g.issue(keystore.NewKey{})
	form := g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"a", audio})
	if got := g.send(strings.Replace(form, "Content-Length", "Cookie: session=1\r\nProxy-Authorization: Basic eDp5\r\nContent-Length", 1)); got.status != http.StatusOK {
		t.Errorf("status %d, body %q", got.status, got.body)
	}
	sent := other.received()
	head, body, _ := strings.Cut(sent, "\r\n\r\n")
	if head == "" || strings.Trim(body, "\r\n0") != "" || strings.Contains(sent, audio) {
		t.Errorf("the other backend got\n%s", sent)
	}
	for _, field := range []string{"Cookie:", "Proxy-Authorization:", "Content-Length: 1"} {
		if strings.Contains(head, field) {
			t.Errorf("%s went to the other backend:\n%s", field, head)
		}
	}
}

// An error of a later handler can quote the request.
func TestR18_AnErrorQuotesNoKeyOfTheClient(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey + "\n backend_errors caddy",
		site: `handle_errors {
	respond "failed: {http.error.message}"
}
error "cannot serve {http.request.orig_uri}" 502`,
	})
	_, secret := g.issue(keystore.NewKey{})
	got := g.request("POST /v1/recognize?u="+secret, "")
	if got.status != http.StatusBadGateway || !strings.HasPrefix(got.body, "failed: cannot serve /v1/recognize?u=*") || strings.Contains(got.body, secret) {
		t.Errorf("status %d, body %q", got.status, got.body)
	}
	if strings.Contains(g.log(), secret) {
		t.Error("the log has the key")
	}
}
