package caddymodule_test

import (
	"net/http"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

func TestAdminAPI_ExplainsTheGatesOfTheServer(t *testing.T) {
	g := newGateway(t, "backend trial\n\t\tgrace 12h\n\t\tupstream_key "+backendKey)
	key, _ := g.issue(keystore.NewKey{})
	c := newAdminClient(t)
	allowed := c.object(http.StatusOK, http.MethodPost, "explain", `{"key_id":"`+key.ID+`","client_ip":"192.0.2.1","method":"POST","path":"/v1/recognize"}`)
	if allowed["allowed"] != true || allowed["backend"] != "trial" || allowed["dialect"] != "amivoice" {
		t.Errorf("the explanation is %v", allowed)
	}
	refused := c.object(http.StatusOK, http.MethodPost, "explain", `{"client_ip":"192.0.2.1","method":"POST","path":"/v1/recognize"}`)
	if refused["allowed"] != false || refused["reason"] != "credential_missing" || refused["answer"] == nil {
		t.Errorf("the explanation is %v", refused)
	}
	if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodPost, "explain", `{"client_ip":"192.0.2.1","method":"GET","path":"/","dialect":"openai"}`); p.Field != "backend" {
		t.Errorf("no gate speaks the API: %+v", p)
	}
}

func TestAdminAPI_SaysWhoTheCallerIs(t *testing.T) {
	newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	c.header.Set("Speechgate-Operator", "alice")
	seen := c.object(http.StatusOK, http.MethodGet, "whoami", "")
	if servers, ok := seen["servers"].([]any); seen["operator"] != "alice" || seen["actor_ip"] != "192.0.2.9" || seen["remote_ip"] != "192.0.2.9" || !ok || len(servers) == 0 {
		t.Errorf("the caller is %v", seen)
	}
	for _, test := range []struct {
		remote, forwarded, client string
		trusted                   bool
	}{
		{"127.0.0.1", "&forwarded_for=203.0.113.1,%20198.51.100.7", "198.51.100.7", true}, // the harness trusts this proxy, strictly
		{"192.0.2.1", "&forwarded_for=203.0.113.1", "192.0.2.1", false},
		{"2001:db8::1", "", "2001:db8::1", false},
	} {
		seen := c.object(http.StatusOK, http.MethodGet, "whoami?remote_ip="+test.remote+test.forwarded, "")
		for _, server := range seen["servers"].([]any) { //nolint:forcetypeassert // or it panics
			if s := server.(map[string]any); s["client_ip"] != test.client || s["trusted_proxy"] != test.trusted { //nolint:forcetypeassert // or it panics
				t.Errorf("%+v: %v", test, s)
			}
		}
	}
}

func TestAdminAPI_HealthFollowsTheKeystore(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	if health := c.object(http.StatusOK, http.MethodGet, "health", ""); health["status"] != "ok" || health["live_streams"] != 0.0 {
		t.Errorf("the health is %v", health)
	}
	if err := g.keys.Close(); err != nil {
		t.Fatal(err)
	}
	g.place.Move(t, g.place.Beside("away"))
	eventually(t, func() bool { return c.ask(http.MethodGet, "health", "").Code == http.StatusServiceUnavailable })
	c.refused(http.StatusServiceUnavailable, "keystore_unavailable", http.MethodGet, "health", "")
}
