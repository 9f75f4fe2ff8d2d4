package caddymodule_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/internal/storetest"
)

// passing has the ID of a handler of another plugin, and calls the next handler for every request.
type passing struct {
	id  caddy.ModuleID
	Key string `json:"key,omitempty"`
}

func (p passing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: p.id, New: func() caddy.Module { return &passing{id: p.id} }}
}

func (passing) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

func init() {
	for directive, order := range map[string]struct {
		position httpcaddyfile.Positional
		beside   string
	}{"cache": {httpcaddyfile.Before, "rewrite"}, "rate_limit": {httpcaddyfile.Before, "basic_auth"}, "coraza_waf": {httpcaddyfile.Before, "header"}} {
		name := directive
		if name == "coraza_waf" {
			name = "waf"
		}
		module := passing{id: caddy.ModuleID("http.handlers." + name)}
		caddy.RegisterModule(module)
		httpcaddyfile.RegisterHandlerDirective(directive, func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
			handler := &passing{id: module.id}
			h.Next()
			h.Args(&handler.Key)
			return handler, nil
		})
		httpcaddyfile.RegisterDirectiveOrder(directive, order.position, order.beside)
	}
}

const (
	cacheInFront = "a cache handler comes before the gate"
	limitInFront = "a rate_limit handler whose key is a placeholder of the gate comes before the gate"
	authBehind   = "a forward_auth handler comes behind the gate"
	wafBehind    = "a WAF comes behind the gate"
	proxiesLax   = "trusted_proxies is not strict"
	proxiesAll   = "trusted_proxies has every address"
	headersAll   = "proxy_protocol takes the PROXY header of every address"
)

func TestStart_WarnsOfHandlersInTheWrongOrder(t *testing.T) {
	const forwardAuth = "forward_auth localhost:1 {\n uri /auth\n }\n"
	const swaps = "speechgate amivoice {\n upstream_key " + backendKey + "\n }"
	for name, test := range map[string]struct {
		options, site string
		want          []string
	}{
		"nothing around it":                        {site: "speechgate amivoice"},
		"a cache in its usual order":               {site: "cache\n speechgate amivoice", want: []string{cacheInFront}},
		"a cache that is put in its place":         {options: "order cache after speechgate", site: "cache\n speechgate amivoice"},
		"a cache within a route":                   {site: "route {\n cache\n speechgate amivoice\n }", want: []string{cacheInFront}},
		"a cache behind it in a route":             {site: "route {\n speechgate amivoice\n cache\n }"},
		"a cache for other paths":                  {site: "handle /a* {\n cache\n }\n handle {\n speechgate amivoice\n }"},
		"a cache in front of all paths":            {site: "cache\n handle /a* {\n respond 404\n }\n handle {\n speechgate amivoice\n }", want: []string{cacheInFront}},
		"a cache in a named route":                 {site: "route {\n invoke cached\n speechgate amivoice\n }", want: []string{cacheInFront}},
		"a cache of another site":                  {site: "cache\n respond 404\n }\n {second} {\n speechgate amivoice"},
		"a rate limit for each key":                {options: "order rate_limit before speechgate", site: "rate_limit {speechgate.key_id}\n speechgate amivoice", want: []string{limitInFront}},
		"a rate limit for each user":               {options: "order rate_limit before speechgate", site: "rate_limit {http.auth.user.id}\n speechgate amivoice", want: []string{limitInFront}},
		"a rate limit for each address":            {options: "order rate_limit before speechgate", site: "rate_limit {client_ip}\n speechgate amivoice"},
		"a rate limit behind it":                   {options: "order rate_limit after speechgate", site: "rate_limit {speechgate.key_id}\n speechgate amivoice"},
		"forward_auth behind a gate without a key": {site: forwardAuth + "speechgate amivoice"},
		"forward_auth in its usual order":          {site: forwardAuth + swaps, want: []string{authBehind}},
		"forward_auth in front of it":              {options: "order forward_auth before speechgate", site: forwardAuth + "speechgate amivoice"},
		"a WAF behind it":                          {options: "order coraza_waf after speechgate", site: "coraza_waf\n " + swaps, want: []string{wafBehind}},
		"a WAF in front of it":                     {site: "coraza_waf\n speechgate amivoice"},
		"two at once":                              {site: "cache\n" + forwardAuth + swaps, want: []string{authBehind, cacheInFront}},
		"lax proxies":                              {options: "servers {\n trusted_proxies static 10.0.0.0/8\n }", site: "speechgate amivoice", want: []string{proxiesLax}},
		"strict proxies":                           {options: "servers {\n trusted_proxies static 10.0.0.0/8\n trusted_proxies_strict\n }", site: "speechgate amivoice"},
		"everyone is a proxy":                      {options: "servers {\n trusted_proxies static 10.0.0.0/8 0.0.0.0/0\n trusted_proxies_strict\n }", site: "speechgate amivoice", want: []string{proxiesAll}},
		"everyone is a proxy, over IPv6":           {options: "servers {\n trusted_proxies static ::/0\n }", site: "speechgate amivoice", want: []string{proxiesAll}},
		"PROXY headers of a proxy":                 {options: "servers {\n listener_wrappers {\n proxy_protocol {\n allow 10.0.0.1/32\n }\n }\n }", site: "speechgate amivoice"},
		"PROXY headers of everyone":                {options: "servers {\n listener_wrappers {\n proxy_protocol {\n allow 10.0.0.1/32 0.0.0.0/0\n }\n }\n }", site: "speechgate amivoice", want: []string{headersAll}},
		"PROXY headers by a policy":                {options: "servers {\n listener_wrappers {\n proxy_protocol {\n allow 10.0.0.1/32\n fallback_policy require\n }\n }\n }", site: "speechgate amivoice", want: []string{headersAll}},
		"PROXY headers that do not count":          {options: "servers {\n listener_wrappers {\n proxy_protocol\n }\n }", site: "speechgate amivoice"},
		"lax proxies, and no gate":                 {options: "servers {\n trusted_proxies static 10.0.0.0/8\n }", site: "respond 404"},
		"lax proxies, and speechgate_issue":        {options: "servers {\n trusted_proxies static 10.0.0.0/8\n }", site: "speechgate_issue", want: []string{proxiesLax}},
		"lax proxies, and speechgate_verify":       {options: "servers {\n trusted_proxies static 10.0.0.0/8\n }", site: "speechgate_verify amivoice {\n callers 10.0.0.1\n }", want: []string{proxiesLax}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("XDG_DATA_HOME", dir)
			t.Setenv("XDG_CONFIG_HOME", dir)
			logPath := filepath.Join(dir, "caddy.log")
			config := strings.NewReplacer("{storage}", dir, "{log}", logPath, "{store}", storetest.New(t).Option(), "{first}", "http://"+freeAddr(t), "{second}", "http://"+freeAddr(t)).Replace(`{
	admin off
	persist_config off
	storage file_system {storage}
	log default {
		output file {log}
	}
	` + test.options + `
	speechgate {
		keystore {store}
	}
}
&(cached) {
	route {
		cache
	}
}
{first} {
	` + test.site + `
}
`)
			if err := loadCaddyfile(config); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = caddy.Stop() })
			log, err := os.ReadFile(logPath)
			if err != nil {
				t.Fatal(err)
			}
			for _, warning := range []string{cacheInFront, limitInFront, authBehind, wafBehind, proxiesLax, proxiesAll, headersAll} {
				want := 0
				if slices.Contains(test.want, warning) {
					want = 1
				}
				if got := strings.Count(string(log), warning); got != want {
					t.Errorf("%q is logged %d times, want %d; the log:\n%s", warning, got, want, log)
				}
			}
		})
	}
}
