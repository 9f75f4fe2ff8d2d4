package configcheck

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
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
	sent := w.r.Clone(w.r.Context()) // the proxy rewrites what it sends, and nothing else
	if h.Rewrite != nil {
		rewriteRequest(h.Rewrite, sent)
	}
	switch {
	case w.gate != nil:
		w.behindGate(h, sent)
	case w.perhaps > 0:
		w.perhapsMiss(upstreamsOf(h), idOf(sent))
	default:
		w.missed, w.sent = upstreamsOf(h), idOf(sent)
	}
	w.passResponses(h.HandleResponse)
	w.answer()
}

// behindGate notes the upstreams of a proxy behind a gate. It warns if the proxy would send the
// gate's key to a public address without TLS. It also warns if the method or the path is not the
// one that the gate has checked. A prefix that was added to the path is no mistake: the backend's
// API can be at a path such as /asr.
func (w *walker) behindGate(h *reverseproxy.Handler, sent *http.Request) {
	w.noteBehind(h)
	if w.doubtful {
		w.perhapsMiss(upstreamsOf(h), idOf(sent))
	}
	var dials []string
	tls, hasTLS := h.Transport.(reverseproxy.TLSTransport)
	for _, upstream := range upstreamsOf(h) {
		dials = append(dials, upstream.dial)
		w.guard(upstream, idOf(sent))
		if w.gate.SendsKey() && isPublicWithoutTLS(upstream.dial) && (!hasTLS || !tls.TLSEnabled()) {
			w.warn(plainHTTP, w.at, upstream.dial, "")
		}
	}
	gated := w.asGated
	if w.perhaps == 0 && gated != nil && (sent.Method != gated.Method || !strings.HasSuffix(sent.URL.EscapedPath(), gated.URL.EscapedPath())) {
		w.warn(rewriteBehind, w.at, strings.Join(dials, " "), w.probe.String())
	}
}

// isForwardAuth reports whether h is the handler of the forward_auth directive: a proxy that
// changes the method to GET and handles the response itself.
func isForwardAuth(h *reverseproxy.Handler) bool {
	return h.Rewrite != nil && h.Rewrite.Method == http.MethodGet && len(h.HandleResponse) > 0
}

// upstream is a backend of a proxy. Two proxies that send different values of Host to one address
// can have different backends there.
type upstream struct {
	dial      string // see DialName
	host      string // the Host that the configuration of the proxy has; empty if there is no such Host
	atRunTime bool   // the address depends on the request, or on a lookup that the configuration does not show
}

// upstreamsOf returns the upstreams of a proxy.
func upstreamsOf(h *reverseproxy.Handler) []upstream {
	var all []upstream
	host := hostOf(h)
	for _, u := range h.Upstreams {
		if u != nil {
			all = append(all, upstreamAt(u.Dial, host))
		}
	}
	switch source := h.DynamicUpstreams.(type) {
	case nil:
	case *reverseproxy.AUpstreams: // a name and a port, as in a static address
		all = append(all, upstreamAt(net.JoinHostPort(source.Name, source.Port), host))
	default:
		if config, err := json.Marshal(source); err == nil {
			sum := sha256.Sum256(config) // the configuration can have secrets
			all = append(all, upstream{fmt.Sprintf("dynamic upstreams %x", sum[:4]), host, true})
		}
	}
	return all
}

func upstreamAt(dial, host string) upstream {
	dial = DialName(dial)
	if name, _, err := net.SplitHostPort(dial); host == dial || err == nil && host == name {
		host = ""
	}
	return upstream{dial, host, hasPlaceholder(dial)}
}

// hostOf returns the Host that a proxy sends, in lower case, if the proxy's configuration has it.
func hostOf(h *reverseproxy.Handler) string {
	if h.Headers == nil || h.Headers.Request == nil {
		return ""
	}
	for name, values := range h.Headers.Request.Set {
		if strings.EqualFold(name, "Host") && len(values) == 1 && !hasPlaceholder(values[0]) {
			return strings.ToLower(values[0])
		}
	}
	return ""
}

// DialName returns the address that a proxy dials in one form: in lower case, and with localhost
// in place of 127.0.0.1 and [::1]. The placeholders that are left depend on the request.
func DialName(dial string) string {
	dial = strings.ToLower(caddy.NewReplacer().ReplaceKnown(dial, ""))
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
