package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
)

// check asks for the gateway's health.
func (g *gateway) check(method, path string) reply {
	g.t.Helper()
	return g.send(method + " " + path + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\n\r\n")
}

func TestHealth_ACheckNeedsNoKeyAndLeavesNoLine(t *testing.T) {
	g := newGatewayWith(t, &gateway{site: "speechgate_health\n" + defaultSite})
	if got := g.check("GET", "/healthz"); got.status != http.StatusOK || got.body != "ok\n" || got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("a check: %d %q %v", got.status, got.body, got.header)
	}
	if got := g.check("HEAD", "/healthz?probe=1"); got.status != http.StatusOK || got.body != "" {
		t.Errorf("HEAD: %d %q", got.status, got.body)
	}
	if got := g.check("POST", "/healthz"); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", got.status, got.header)
	}
	for _, path := range []string{"/healthz/", "/Healthz", "/healthz%2f", "/v1/healthz"} {
		if got := g.check("GET", path); got.status != http.StatusNotFound || got.body != "{}" {
			t.Errorf("%s: %d %q, want the gate's refusal", path, got.status, got.body)
		}
	}
	eventually(t, func() bool { return strings.Contains(g.log(), `"uri":"/v1/healthz"`) }) // of the last request
	if log := g.log(); strings.Contains(log, "probe=1") || strings.Contains(log, `"uri":"/healthz"`) {
		t.Error("the access log has a line for a check")
	}
}

func TestHealth_AnotherPath(t *testing.T) {
	for name, lines := range map[string]string{"argument": "speechgate_health /up", "option": "speechgate_health {\n path /up\n }", "matcher": "@local remote_ip 127.0.0.1\nspeechgate_health @local {\n path /up\n }"} {
		t.Run(name, func(t *testing.T) {
			g := newGatewayWith(t, &gateway{site: lines + "\n" + defaultSite})
			if up, other := g.check("GET", "/up"), g.check("GET", "/healthz"); up.status != http.StatusOK || other.status != http.StatusNotFound {
				t.Errorf("/up: %d, /healthz: %d", up.status, other.status)
			}
		})
	}
}

// A gateway whose keystore is lost refuses every request. A load balancer must take it out, and in
// again when the keystore is back.
func TestR17_Health_FollowsTheKeystore(t *testing.T) {
	g := newGatewayWith(t, &gateway{site: "speechgate_health\n" + defaultSite})
	if err := g.keys.Close(); err != nil {
		t.Fatal(err)
	}
	place, away, another := g.place, g.place.Beside("away"), storetest.New(t)
	other, err := keystore.Open(t.Context(), another.CommandLine())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	place.Move(t, away)
	g.waitForHealth(http.StatusServiceUnavailable)
	if got := g.check("GET", "/healthz"); got.body != "unavailable\n" {
		t.Errorf("the answer is %q", got.body)
	}
	// Another keystore knows none of the keys.
	another.Move(t, place)
	anothers := func(n int) { // waits until the server has found another keystore so many times
		t.Helper()
		eventually(t, func() bool { return strings.Count(g.log(), `"same_store":false`) == n })
	}
	anothers(1)
	if got := g.check("GET", "/healthz"); got.status != http.StatusServiceUnavailable {
		t.Errorf("with another keystore: %d", got.status)
	}
	place.Move(t, another)
	away.Move(t, place)
	g.waitForHealth(http.StatusOK)
	anothers(2)
	// With a reload, the operator chooses the keystore that is there now.
	place.Move(t, away)
	another.Move(t, place)
	g.waitForHealth(http.StatusServiceUnavailable)
	anothers(3)
	g.load()
	g.waitForHealth(http.StatusOK)
}

// waitForHealth waits until a check is answered with this status.
func (g *gateway) waitForHealth(status int) {
	g.t.Helper()
	holdsSoon(g.t, "a check is answered with "+http.StatusText(status), func() bool { return g.check("GET", "/healthz").status == status })
}
