package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

func TestR15_AlsoAllowOpensAFamilyOfPaths(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey+`
		also_allow GET /profilewords/-a-general/{speechgate.account_id}
		also_allow POST /profilewords/-a-general/{speechgate.account_id}
		also_allow GET /classnames/*`)
	_, key := g.issue(keystore.NewKey{})
	bearer := "Authorization: Bearer " + key + "\r\n"
	own := "/profilewords/-a-general/" + g.account.ID
	other := g.newAccount("Other").ID
	g.backend.respondText(http.StatusOK, "words")

	for _, line := range []string{"GET " + own, "POST " + own, "GET /classnames/-a-general", "GET /classnames/a.b~c_d:e"} {
		if got := g.request(line, bearer); got.status != http.StatusOK || got.body != "words" {
			t.Errorf("%s: status %d, body %q", line, got.status, got.body)
		}
		if sent := g.backend.received(); !strings.HasPrefix(sent, line+" ") || !strings.Contains(sent, backendKey) || strings.Contains(sent, key) {
			t.Errorf("%s: the backend got\n%s", line, sent)
		}
	}
	for _, line := range []string{
		"GET /profilewords/-a-general/" + other, "GET /profilewords/-a-general/", "GET /profilewords/-a-general",
		"GET " + strings.ToUpper(own), "GET " + own + "/", "GET " + own + "/x", "GET " + own + "%20", "DELETE " + own, "HEAD " + own,
		"GET /profilewords/-a-general/x/../" + g.account.ID, "GET /profilewords/-a-other/" + g.account.ID,
		"GET /classnames/", "GET /classnames", "GET /classnames/.", "GET /classnames/..", "GET /classnames/%2e%2e",
		"GET /classnames/a/b", "GET /classnames/a%2fb", "GET /classnames/a;b", "GET /classnames/a%20b", "GET /classnames//", "POST /classnames/a",
	} {
		if got := g.request(line, bearer); got.status != http.StatusNotFound || got.body != "{}" && !strings.HasPrefix(line, "HEAD") {
			t.Errorf("%s: status %d, body %q", line, got.status, got.body)
		}
		if sent := g.backend.received(); sent != "" {
			t.Errorf("%s: the backend got\n%s", line, sent)
		}
	}
	if log := g.log(); !strings.Contains(log, `"reason":"operation_unlisted"`) {
		t.Errorf("the log does not say why:\n%s", log)
	}

	preflight := g.request("OPTIONS "+own, "Origin: https://app.example.com\r\n", "Access-Control-Request-Method: POST\r\n")
	if got := preflight.header.Get("Access-Control-Allow-Methods"); preflight.status != http.StatusNoContent || got != "GET, POST" {
		t.Errorf("a preflight request for what is opened: status %d, methods %q", preflight.status, got)
	}
}
