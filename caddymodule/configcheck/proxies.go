package configcheck

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func (w *walker) passProxy(h *reverseproxy.Handler) {
	if isForwardAuth(h) {
		w.trusted = true
		return
	}
	if w.ended {
		return
	}
	upstreams := upstreamsOf(h)
	switch {
	case w.gate != nil:
		w.behindGate(h, upstreams)
	case w.perhaps == 0:
		w.missed = upstreams
	}
	w.answer()
}

// behindGate notes the upstreams of a proxy behind a gate. It warns if the proxy would send the
// gate's key to a public address without TLS. It also warns if the method or the path is not the
// one that the gate has checked. A prefix that was added to the path is no mistake: the backend's
// API can be at a path such as /asr.
func (w *walker) behindGate(h *reverseproxy.Handler, upstreams []string) {
	sent := w.r.Clone(w.r.Context()) // the proxy rewrites what it sends, and nothing else
	if h.Rewrite != nil {
		rewriteRequest(h.Rewrite, sent)
	}
	tls, hasTLS := h.Transport.(reverseproxy.TLSTransport)
	for _, upstream := range upstreams {
		w.guarded[upstream] = w.guarded[upstream] || w.at.local
		if w.gate.SendsKey() && isPublicWithoutTLS(upstream) && (!hasTLS || !tls.TLSEnabled()) {
			w.warn(plainHTTP, w.at, upstream, "")
		}
	}
	gated := w.asGated
	if w.perhaps == 0 && gated != nil && (sent.Method != gated.Method || !strings.HasSuffix(sent.URL.EscapedPath(), gated.URL.EscapedPath())) {
		w.warn(rewriteBehind, w.at, strings.Join(upstreams, " "), w.probe.String())
	}
}

// isForwardAuth reports whether h is the handler of the forward_auth directive: a proxy that
// changes the method to GET and handles the response itself.
func isForwardAuth(h *reverseproxy.Handler) bool {
	return h.Rewrite != nil && h.Rewrite.Method == http.MethodGet && len(h.HandleResponse) > 0
}

// upstreamsOf returns the names of a proxy's upstreams. Upstreams that are looked up at run
// time have a hash of the lookup's configuration as their name, because it can have secrets.
func upstreamsOf(h *reverseproxy.Handler) []string {
	var names []string
	for _, upstream := range h.Upstreams {
		if upstream == nil {
			continue
		}
		names = append(names, upstreamName(upstream.Dial))
	}
	if h.DynamicUpstreams != nil {
		if config, err := json.Marshal(h.DynamicUpstreams); err == nil {
			sum := sha256.Sum256(config)
			names = append(names, fmt.Sprintf("dynamic upstreams %x", sum[:4]))
		}
	}
	return names
}

// upstreamName returns the name of an upstream for the address that a proxy dials. The name is in
// lower case, and 127.0.0.1 and [::1] become localhost, so that one upstream has one name.
func upstreamName(dial string) string {
	dial = strings.ToLower(dial)
	for _, local := range []string{"127.0.0.1:", "[::1]:"} {
		if port, ok := strings.CutPrefix(dial, local); ok {
			return "localhost:" + port
		}
	}
	return dial
}

// isPublicWithoutTLS reports whether a request to an upstream probably crosses the Internet
// without TLS: the port is 80, and the host is a public address, or a name with a dot that does
// not end like the names of private networks.
func isPublicWithoutTLS(dial string) bool {
	host, port, err := net.SplitHostPort(dial)
	if err != nil || port != "80" {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate()
	}
	for _, private := range []string{".internal", ".local", ".lan", ".localhost", ".home.arpa", ".svc"} {
		if strings.HasSuffix(strings.ToLower(host), private) {
			return false
		}
	}
	return strings.Contains(host, ".") && !strings.ContainsAny(host, "{}")
}
