package gate

import (
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// A probe of the upstream key only reads: it creates nothing, deletes nothing and recognizes nothing.
func TestKeyProbe_CostsNothing(t *testing.T) {
	t.Parallel()
	const key = "backend-key-0123456789abcdef"
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		swaps := &Gate{api: api, upstream: credential.ReplaceWith(policy.NewSecret(key))}
		probes := 0
		for i, path := range api.Paths() {
			route := &api.Routes[i]
			found := swaps.KeyProbes(route.Method, path)
			ok := len(found) > 0
			free := route.Method == http.MethodGet && (route.Operation == policy.Info || route.Operation == policy.ReadJob && route.IsJob())
			if ok && !free {
				t.Errorf("%s: %s %s is a probe", name, route.Method, path)
			}
			if !ok {
				continue
			}
			probes++
			sent, probe := 0, found[0]
			for _, values := range probe.Header {
				if strings.Contains(strings.Join(values, " "), "speechgate-doctor") {
					t.Errorf("%s: %s %s has the made-up key: %v", name, route.Method, path, probe.Header)
				}
				if strings.HasSuffix(strings.Join(values, " "), key) {
					sent++
				}
			}
			if sent != 1 || probe.Refused(http.StatusNotFound, nil) || !probe.Refused(http.StatusUnauthorized, nil) {
				t.Errorf("%s: %s %s has the upstream key in %d fields, or a wrong refusal", name, route.Method, path, sent)
			}
			for _, mode := range []credential.Mode{credential.Drop, credential.Pass} {
				other := &Gate{api: api, upstream: credential.Upstream{Mode: mode}}
				if len(other.KeyProbes(route.Method, path)) > 0 {
					t.Errorf("%s: a gate without an upstream key has a probe", name)
				}
			}
		}
		if probes == 0 {
			t.Errorf("%s has no probe", name)
		}
	}
}
