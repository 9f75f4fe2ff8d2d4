package caddymodule

import (
	"net/http"
	"strings"
)

const noStore = "no-store"

// forbidCaching has no cache keep an answer: RFC 9111, section 5.2.2.5. It removes
// what the backend or a handler in front of the gate has set for a cache that heeds
// other fields.
func forbidCaching(header http.Header) {
	for name := range header {
		if isCaching(name) {
			delete(header, name)
		}
	}
	header["Cache-Control"] = []string{noStore}
}

// isCaching reports whether a field can have a cache keep an answer in spite of
// Cache-Control: the fields of RFC 9213 (CDN-Cache-Control and others that end so),
// of the Edge Architecture Specification, of nginx and of Akamai, and the older ones
// of RFC 9111. Age makes sense only in an answer that a cache has kept.
func isCaching(name string) bool {
	switch name {
	case "Age", "Expires", "Pragma", "Surrogate-Control", "X-Accel-Expires", "Edge-Control":
		return true
	}
	const targeted = "-Cache-Control"
	return len(name) > len(targeted) && strings.EqualFold(name[len(name)-len(targeted):], targeted)
}
