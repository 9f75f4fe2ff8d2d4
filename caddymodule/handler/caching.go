package handler

import (
	"net/http"
	"strings"
)

// NoStore is the value of Cache-Control that forbids caches to store an answer.
const NoStore = "no-store"

// ForbidCaching forbids caches to store an answer (RFC 9111, section 5.2.2.5). It removes the
// other fields with which the backend, or a handler in front of the gate, controls caches.
func ForbidCaching(header http.Header) {
	for name := range header {
		if IsCachingField(name) {
			delete(header, name)
		}
	}
	header["Cache-Control"] = []string{NoStore}
}

// IsCachingField reports whether a field can make a cache store an answer although
// Cache-Control forbids it. Such fields are in RFC 9213 (CDN-Cache-Control, and other names
// that end in -Cache-Control), in the Edge Architecture Specification, in nginx and Akamai,
// and in RFC 9111. Age is one of them, because it says that a cache has stored the answer.
func IsCachingField(name string) bool {
	switch name {
	case "Age", "Expires", "Pragma", "Surrogate-Control", "X-Accel-Expires", "Edge-Control":
		return true
	}
	const targeted = "-Cache-Control"
	return len(name) > len(targeted) && strings.EqualFold(name[len(name)-len(targeted):], targeted)
}
