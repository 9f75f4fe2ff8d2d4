package handler

import (
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ClientIP is the address that Caddy has found the client to have; invalid
// where it has not.
func ClientIP(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := netip.ParseAddr(text) // what does not parse is no address
	return addr.Unmap()
}

// IsEarlyData reports whether TLS has not yet proved who sent r.
func IsEarlyData(r *http.Request) bool { return r.TLS != nil && !r.TLS.HandshakeComplete }
