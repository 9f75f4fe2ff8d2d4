package gate

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// No refusal of an API may have a status that a proxy takes for yes: AmiVoice's refusal of a
// recognition has the status 200.
func TestVerify_NoRefusalLetsARequestPass(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		calls := []dialect.Call{{}}
		for i := range api.Routes {
			calls = append(calls, dialect.Call{Operation: api.Routes[i].Operation, Route: &api.Routes[i]})
		}
		for _, call := range calls {
			for _, reason := range policy.Reasons() {
				if reason.OK() {
					continue
				}
				for i := range askingProxies {
					proxy := &askingProxies[i]
					got := proxy.refusalStatus(api.Refusal(call, reason).Status)
					if got < 400 || proxy.denials && got != http.StatusUnauthorized && got != http.StatusForbidden {
						t.Errorf("%s, %s, %s, %s: a refusal with status %d", name, call.Operation, reason, proxy.name, got)
					}
				}
			}
		}
	}
}

// A proxy can ask about every operation that needs nothing of the backend's answer, and about no
// other.
func TestVerify_WhatAProxyCannotAsk(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		for i := range api.Routes {
			route := &api.Routes[i]
			answerCounts := route.Edits != nil || route.Mint != nil
			switch route.Operation {
			case policy.CreateJob, policy.ListJobs, policy.Mint, policy.Upload:
				answerCounts = true
			default:
			}
			if needsAnswer(route) != answerCounts {
				t.Errorf("%s %s %s: needsAnswer is %v", name, route.Method, route.Path, !answerCounts)
			}
		}
		for _, place := range withoutBodies(api).Places {
			if place.Location == dialect.Part {
				t.Errorf("%s: a proxy can ask about a key in the part %s", name, place.Name)
			}
		}
	}
}

// Whatever a client sends, an allowed question is about the path that the proxy has sent as text, and
// the client's address is the last one of the list that is not a caller's.
func FuzzProxyQuestion(f *testing.F) {
	for _, seed := range [][3]string{
		{"POST", "/v1/recognize?u=key", "203.0.113.7"},
		{"GET", "/v1/recognitions/job", "198.51.100.1, 203.0.113.7, 10.0.0.1"},
		{"GET", "/v1/recognitions/%6aob", "unknown, 10.0.0.1"},
		{"POST", "//v1/recognize", ", 10.0.0.1"},
		{"POST", "http://a/v1/recognize", "::1"},
		{"POST", "/v1/recognize#x?u=key", "10.0.0.1"},
		{"POST", "/v1/./recognize", ""},
		{"get", "*", "fe80::1%eth0"},
		{"POST", "/v1/recognize?a=%zz;u=b", "::ffff:10.0.0.1"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	callers, err := policy.ParseAddrSet("10.0.0.0/8")
	if err != nil {
		f.Fatal(err)
	}
	api, _ := dialect.ByName("amivoice")
	v := &Verify{callers: callers, api: api, asProxied: withoutBodies(api), proxy: askingProxyByName("traefik")}
	f.Fuzz(func(t *testing.T, method, uri, chain string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Forwarded-Method"], r.Header["X-Forwarded-Uri"], r.Header["X-Forwarded-For"] = []string{method}, []string{uri}, []string{chain}
		q := v.proxyQuery(r, netip.MustParseAddr("10.0.0.1"))
		path, query, _ := strings.Cut(uri, "?")
		if q.call.Route != nil && (q.fault != "" || q.r.Method != method || q.r.URL.EscapedPath() != path || q.r.URL.RawQuery != query || api.Classify(method, path).Route == nil) {
			t.Errorf("%q %q is taken for %s %s, fault %q", method, uri, q.r.Method, q.r.URL, q.fault)
		}
		var want netip.Addr
		for i, text := range strings.Split(chain, ",") {
			addr, err := netip.ParseAddr(strings.Trim(text, " \t"))
			addr = addr.Unmap().WithZone("")
			if i == 0 || err != nil || !callers.Contains(addr) {
				want = addr
			}
		}
		if q.asked.Client != want {
			t.Errorf("the client of %q is %s, want %s", chain, q.asked.Client, want)
		}
	})
}
