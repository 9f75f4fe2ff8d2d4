package gate

import (
	"net/http"
	"net/url"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// KeyProbe is a request that costs nothing, and that shows whether the backend accepts an upstream
// key.
type KeyProbe struct {
	Header   http.Header // with the upstream key, where the gate would put it
	Backend  string      // backend name of the gate
	Position int         // of the key in upstream_key; 1 is for new work

	api  *dialect.API
	call dialect.Call
}

// KeyProbes makes a KeyProbe for each of the gate's upstream keys, in the order of the
// configuration, of a request with this method and path. It returns none if the gate has no
// upstream key of its own, and if such a request can cost something or does not show whether the
// key is accepted. The gate must be provisioned.
func (g *Gate) KeyProbes(method, path string) (probes []*KeyProbe) {
	call := g.api.Classify(method, path)
	free := call.Operation == policy.ReadJob && call.Route.IsJob() || call.Operation == policy.Info
	if g.upstream.Mode != credential.Replace || method != http.MethodGet || !free {
		return nil
	}
	for i, up := range append([]credential.Upstream{g.upstream}, g.old...) {
		probe, ok := g.keyProbe(call, path, up)
		if !ok {
			return nil
		}
		probe.Position = i + 1
		probes = append(probes, probe)
	}
	return probes
}

func (g *Gate) keyProbe(call dialect.Call, path string, up credential.Upstream) (*KeyProbe, bool) {
	// The gate replaces the key of a client, so the probe has one.
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Header: make(http.Header), Body: http.NoBody}
	for _, place := range call.Route.Keys {
		if place.Location == dialect.Header && place.User == "" {
			value := "speechgate-doctor"
			if place.Scheme != "" {
				value = place.Scheme + " " + value
			}
			r.Header[place.Name] = []string{value}
			break
		}
	}
	found := credential.Scan(r, g.api, call.Route)
	if _, fault := found.UncheckedKey(); fault != nil {
		return nil, false
	}
	found.Rewrite(r, up)
	return &KeyProbe{Header: r.Header, Backend: g.BackendName(), api: g.api, call: call}, true
}

// Refused reports whether the backend's answer says that the backend refuses the key.
func (p *KeyProbe) Refused(status int, body []byte) bool {
	refusal := p.api.KeyRefused(p.call)
	return refusal.Status == status && refusal.Describes(body)
}
