package handler

import (
	"net/http"
	"strings"
)

// NoStore is the value of Cache-Control that forbids caches to keep an answer.
const NoStore = "no-store"

// ForbidCaching has no cache keep an answer: RFC 9111, section 5.2.2.5. It removes
// what the backend or a handler in front of the gate has set for a cache that heeds
// other fields.
func ForbidCaching(header http.Header) {
	for name := range header {
		if IsCachingField(name) {
			delete(header, name)
		}
	}
	header["Cache-Control"] = []string{NoStore}
}

// IsCachingField reports whether a field can have a cache keep an answer in spite of
// Cache-Control: the fields of RFC 9213 (CDN-Cache-Control and others that end so),
// of the Edge Architecture Specification, of nginx and of Akamai, and the older ones
// of RFC 9111. Age makes sense only in an answer that a cache has kept.
func IsCachingField(name string) bool {
	switch name {
	case "Age", "Expires", "Pragma", "Surrogate-Control", "X-Accel-Expires", "Edge-Control":
		return true
	}
	const targeted = "-Cache-Control"
	return len(name) > len(targeted) && strings.EqualFold(name[len(name)-len(targeted):], targeted)
}
