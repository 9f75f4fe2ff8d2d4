package handler

import (
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ClientIP returns the address of the client, as Caddy has found it. It is invalid if Caddy has
// found none.
func ClientIP(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := netip.ParseAddr(text) // addr is invalid if text is not an address
	return addr.Unmap()
}

// IsEarlyData reports whether r came as TLS early data, which anybody can repeat.
func IsEarlyData(r *http.Request) bool { return r.TLS != nil && !r.TLS.HandshakeComplete }
