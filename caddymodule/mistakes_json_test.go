package caddymodule_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// warningsOfServers validates servers in JSON, beside a server with a gate. GATE and PROXY are a
// gate and a proxy.
func warningsOfServers(t *testing.T, servers string) []string {
	t.Helper()
	const beside = `{"b": {"listen": [":80"], "routes": [{"handle": [GATE, PROXY]}]}, `
	text := `{"apps": {"http": {"servers": ` + beside + strings.TrimPrefix(servers, "{") + `}, "speechgate": {}}}`
	return warningsOfJSON(t, strings.NewReplacer(
		"GATE", `{"handler": "speechgate", "dialect": "amivoice"}`,
		"PROXY", `{"handler": "reverse_proxy", "upstreams": [{"dial": "engine:8080"}]}`,
	).Replace(text))
}

// JSON can say what no Caddyfile says. If Caddy takes the configuration, the check of the
// configuration must not panic.
func TestMistakes_OddJSON(t *testing.T) {
	for name, servers := range map[string]string{
		"no routes":                           `{"a": {"routes": null}}`,
		"an empty route":                      `{"a": {"routes": [{}]}}`,
		"a route of null":                     `{"a": {"routes": [null]}}`,
		"no handlers":                         `{"a": {"routes": [{"handle": null}, {"handle": []}]}}`,
		"no matchers":                         `{"a": {"routes": [{"match": null}, {"match": []}]}}`,
		"an empty matcher":                    `{"a": {"routes": [{"match": [{}]}]}}`,
		"a matcher of null":                   `{"a": {"routes": [{"match": [null]}]}}`,
		"matchers without values":             `{"a": {"routes": [{"match": [{"host": [], "path": [], "method": [], "not": []}]}]}}`,
		"hosts and paths that are empty":      `{"a": {"routes": [{"match": [{"host": ["", "*", "*.*"], "path": ["", "*", "**", "/"]}]}]}}`,
		"a matcher of not in a not":           `{"a": {"routes": [{"match": [{"not": [{"not": [{"host": ["a"]}, {}]}, null]}]}]}}`,
		"a regular expression of null":        `{"a": {"routes": [{"match": [{"path_regexp": {}}]}]}}`,
		"subroutes":                           `{"a": {"routes": [{"handle": [{"handler": "subroute"}, {"handler": "subroute", "routes": null}, {"handler": "subroute", "routes": [{}, {"handle": [{"handler": "subroute", "routes": [{}]}]}]}]}]}}`,
		"a rewrite of nothing":                `{"a": {"routes": [{"handle": [{"handler": "rewrite"}]}]}}`,
		"a rewrite to nothing":                `{"a": {"routes": [{"handle": [{"handler": "rewrite", "uri": "{http.request.nothing}", "method": "{http.request.nothing}", "strip_path_prefix": "/", "strip_path_suffix": "{", "uri_substring": [{}], "query": {}}]}]}}`,
		"a rewrite to the client and its TLS": `{"a": {"routes": [{"handle": [{"handler": "rewrite", "uri": "/{http.request.remote.host}{http.request.remote.port}{http.request.local.host}{http.request.tls.client.subject}{http.request.cookie.a}{http.request.body}{http.request.uuid}{http.request.orig_uri}{http.request.host.labels.9}{http.request.uri.path.9}{http.vars.a}{http.matchers.file.relative}{http.error.status_code}{http.response.header.A}{http.reverse_proxy.upstream.address}"}]}]}}`,
		"a rewrite to a query":                `{"a": {"routes": [{"handle": [{"handler": "rewrite", "uri": "?"}, {"handler": "rewrite", "uri": "#"}, {"handler": "rewrite", "uri": "%"}]}]}}`,
		"a proxy of nothing":                  `{"a": {"routes": [{"handle": [{"handler": "reverse_proxy"}]}]}}`,
		"upstreams of null":                   `{"a": {"routes": [{"handle": [{"handler": "reverse_proxy", "upstreams": null, "headers": null, "rewrite": null, "handle_response": [null]}]}]}}`,
		"an upstream of nothing":              `{"a": {"routes": [{"handle": [{"handler": "reverse_proxy", "upstreams": [{}], "rewrite": {}, "headers": {}}]}]}}`,
		"an upstream by placeholders":         `{"a": {"routes": [{"handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": "{http.vars.a}"}], "rewrite": {"uri": "{http.vars.a}"}}]}]}}`,
		"a named route that is missing":       `{"a": {"routes": [{"handle": [{"handler": "invoke", "name": "a"}]}]}}`,
		"a named route that is empty":         `{"a": {"named_routes": {"a": {}}, "routes": [{"handle": [{"handler": "invoke", "name": "a"}]}]}}`,
		"a named route that invokes itself":   `{"a": {"named_routes": {"a": {"handle": [{"handler": "invoke", "name": "a"}, {"handler": "invoke", "name": "a"}]}}, "routes": [{"handle": [{"handler": "invoke", "name": "a"}, {"handler": "invoke", "name": "a"}]}]}}`,
		"named routes that invoke each other": `{"a": {"named_routes": {"a": {"handle": [{"handler": "invoke", "name": "b"}, {"handler": "invoke", "name": "b"}]}, "b": {"handle": [{"handler": "invoke", "name": "a"}, {"handler": "invoke", "name": "a"}]}}, "routes": [{"handle": [{"handler": "invoke", "name": "a"}]}]}}`,
		"authentication of nothing":           `{"a": {"routes": [{"handle": [{"handler": "authentication"}]}]}}`,
		"TLS policies that are empty":         `{"a": {"tls_connection_policies": [{}]}}`,
		"listeners that are empty":            `{"a": {"listen": []}}`,
		"a listener of a socket":              `{"a": {"listen": ["unix//tmp/a"]}}`,
		"logs of null":                        `{"a": {"logs": {"logger_names": {"a": [], "": []}, "skip_hosts": [""]}}}`,
		"error routes of null":                `{"a": {"errors": {"routes": [null]}}}`,
		"a gate in odd routes":                `{"a": {"routes": [{}, {"match": [{}], "handle": [GATE, GATE]}, {"handle": [{"handler": "subroute", "routes": [{}, {"handle": [GATE, {"handler": "subroute"}, PROXY]}]}]}]}}`,
		"a gate behind empty matchers":        `{"a": {"routes": [{"match": [{"host": [], "path": [], "method": []}], "handle": [GATE, PROXY]}]}}`,
		"a gate alone":                        `{"a": {"routes": [{"handle": [GATE]}]}}`,
		"proxies of null":                     `{"a": {"trusted_proxies": {"source": "static"}, "client_ip_headers": []}}`,
	} {
		t.Run(name, func(t *testing.T) {
			warningsOfServers(t, servers)
		})
	}
}

// Routes of all kinds, one within the other, with gates and proxies among them.
func TestMistakes_RandomJSON(t *testing.T) {
	matchers := []string{
		`{}`, `{"host": ["a.test", "*.test"]}`, `{"host": ["{http.vars.a}"]}`, `{"path": ["/v1/*", "*", ""]}`, `{"path_regexp": {"pattern": "^/v1"}}`,
		`{"method": ["POST"]}`, `{"not": [{"host": ["b.test"]}, {"path": ["/v2/*"]}]}`, `{"header": {"A": ["a"]}}`, `{"protocol": "https"}`,
	}
	handlers := []string{
		"GATE", "PROXY", `{"handler": "subroute"}`, `{"handler": "invoke", "name": "n"}`, `{"handler": "invoke", "name": "missing"}`,
		`{"handler": "rewrite", "strip_path_prefix": "/v1"}`, `{"handler": "rewrite", "uri": "/v1{http.request.uri}", "method": "GET"}`,
		`{"handler": "static_response"}`, `{"handler": "error"}`, `{"handler": "file_server", "pass_thru": true}`, `{"handler": "vars"}`,
		`{"handler": "speechgate_verify", "dialect": "amivoice", "callers": ["10.0.0.5"]}`, `{"handler": "waf"}`,
	}
	list := func(rt *rapid.T, label string, from []string) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(from), 0, 3).Draw(rt, label), ", ")
	}
	rapid.Check(t, func(rt *rapid.T) {
		routes := func(handlers []string) string {
			var all []string
			for range rapid.IntRange(0, 4).Draw(rt, "routes") {
				group := rapid.SampledFrom([]string{``, `"group": "a", `, `"group": "b", `, `"terminal": true, `}).Draw(rt, "group")
				all = append(all, `{`+group+`"match": [`+list(rt, "match", matchers)+`], "handle": [`+list(rt, "handle", handlers)+`]}`)
			}
			return `[` + strings.Join(all, ", ") + `]`
		}
		nested := handlers
		for range rapid.IntRange(0, 3).Draw(rt, "depth") {
			nested = append(slices.Clip(nested), `{"handler": "subroute", "routes": `+routes(nested)+`}`)
		}
		warningsOfServers(t, `{"a": {"named_routes": {"n": {"handle": [`+list(rt, "named", nested)+`]}}, "routes": `+routes(nested)+`}}`)
	})
}
