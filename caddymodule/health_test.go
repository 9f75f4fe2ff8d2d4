package caddymodule_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	place := filepath.Dir(g.path)
	away, another := place+".away", place+".another"
	other, err := keystore.Open(t.Context(), keystore.Config{Path: filepath.Join(another, filepath.Base(g.path)), Clock: now, CommandLine: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	moveStore(t, place, away)
	g.waitForHealth(http.StatusServiceUnavailable)
	if got := g.check("GET", "/healthz"); got.body != "unavailable\n" {
		t.Errorf("the answer is %q", got.body)
	}
	// Another keystore knows none of the keys.
	moveStore(t, another, place)
	eventually(t, func() bool { return strings.Contains(g.log(), `"same_store":false`) })
	if got := g.check("GET", "/healthz"); got.status != http.StatusServiceUnavailable {
		t.Errorf("with another keystore: %d", got.status)
	}
	moveStore(t, place, another)
	moveStore(t, away, place)
	g.waitForHealth(http.StatusOK)
	// With a reload, the operator chooses the keystore that is there now.
	moveStore(t, place, away)
	moveStore(t, another, place)
	g.waitForHealth(http.StatusServiceUnavailable)
	eventually(t, func() bool { return strings.Count(g.log(), `"same_store":false`) == 3 }) // with the return of the first one
	g.load()
	g.waitForHealth(http.StatusOK)
}

// moveStore renames the directory of a keystore, so that all of its files are moved in one step. The server
// notices it soon.
func moveStore(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// waitForHealth waits until a check is answered with this status.
func (g *gateway) waitForHealth(status int) {
	g.t.Helper()
	holdsSoon(g.t, "a check is answered with "+http.StatusText(status), func() bool { return g.check("GET", "/healthz").status == status })
}
