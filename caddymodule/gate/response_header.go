package gate

import (
	"net/http"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/internal/credential"
)

// sendHeader sends the header of the backend's answer to the client.
func (w *responseInterceptor) sendHeader() {
	w.upstream.restore() // handlers in front of the gate look at the request when the answer begins
	header := w.header
	hasSession := w.cleanHeader()
	w.noStore[0] = handler.NoStore
	header["Cache-Control"] = w.noStore[:]
	w.gate.CORS.Grant(header, w.r, w.gate.api.SessionHeader)
	if hasSession {
		handler.SetLiteral(header, w.gate.api.SessionHeader, header[w.gate.session]...)
	}
	if w.status < 400 && w.gate.results != w.gate.redactor {
		w.redactor = credential.Redactor{}
		if w.gate.results != nil {
			w.redactor = w.gate.results.Clone(redactBytes)
		}
	}
	w.ResponseWriter.WriteHeader(w.status)
	w.fields = len(header)
}

// cleanHeader removes from the header of the backend's answer the fields that the gate sets
// itself, and the fields that let caches keep the answer. If the gate has an upstream key,
// cleanHeader masks it, and removes Set-Cookie, because cookies belong to the account of the
// upstream key. It reports whether the header has the session header of the API.
func (w *responseInterceptor) cleanHeader() (hasSession bool) {
	header, redactor := w.header, w.gate.redactor
	cors := !w.gate.CORS.Off()
	for name, values := range header {
		switch {
		case handler.IsCachingField(name), cors && handler.IsCORSField(name), redactor != nil && name == "Set-Cookie":
			delete(header, name)
			continue
		case name == w.gate.session:
			hasSession = true
		case strings.HasPrefix(name, "Trailer"): // Trailer, or a field with http.TrailerPrefix
			w.trailers = true
		}
		if redactor != nil {
			mask(header, name, values, redactor)
		}
	}
	return hasSession
}

// maskHeader masks the upstream key, and removes cookies, in the header of an informational
// answer (1xx) and in the trailers.
func (w *responseInterceptor) maskHeader() {
	redactor := w.gate.redactor
	if redactor == nil {
		return
	}
	for name, values := range w.header {
		if strings.TrimPrefix(name, http.TrailerPrefix) == "Set-Cookie" {
			delete(w.header, name)
			continue
		}
		mask(w.header, name, values, redactor)
	}
}

// mask masks the secret of redactor in the values of a field. It copies the values before it
// changes them, because Caddy may share them between requests.
func mask(header http.Header, name string, values []string, redactor *credential.Redactor) {
	for i, value := range values {
		if masked := redactor.Text(value); masked != value {
			values = slices.Clone(values)
			values[i] = masked
			header[name] = values
		}
	}
}
