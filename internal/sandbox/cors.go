package sandbox

import (
	"net/http"
	"strings"
)

// allowOrigins lets pages of every origin read an answer and its session header. The
// vendor's JavaScript library calls the API across origins.
func allowOrigins(header http.Header) {
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Expose-Headers", "X-Session-ID")
}

// isPreflight reports whether r is a CORS preflight request for a path of the API.
func isPreflight(r *http.Request) bool {
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	path := r.URL.Path
	switch path {
	case "/v1/recognize", "/v1/nolog/recognize", "/v1/recognitions", "/v2/recognitions":
		return true
	}
	return strings.HasPrefix(path, "/v1/recognitions/") || strings.HasPrefix(path, "/v2/recognitions/")
}

// servePreflight allows the methods of all APIs, and these header fields.
func servePreflight(w http.ResponseWriter, fields string) {
	header := w.Header()
	header.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
	header.Set("Access-Control-Allow-Headers", fields)
	header.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
