package gate

import (
	"net/http"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/internal/credential"
)

// sendHeader sends the header of the backend's answer on to the client.
func (w *responseInterceptor) sendHeader() {
	w.upstream.restore() // handlers in front of the gate look at the request when an answer begins
	header := w.header
	hasSession := w.cleanHeader()
	w.noStore[0] = handler.NoStore
	header["Cache-Control"] = w.noStore[:]
	w.gate.CORS.Grant(header, w.r, w.gate.api.SessionHeader)
	if hasSession {
		handler.SetLiteral(header, w.gate.api.SessionHeader, header[w.gate.session]...)
	}
	if w.status < 400 && len(w.gate.upstream.Key.Reveal()) < options.MinKeyLenToMaskEverywhere {
		w.redactor = credential.Redactor{}
	}
	w.ResponseWriter.WriteHeader(w.status)
	w.fields = len(header)
}

// cleanHeader removes from the header of the backend's answer what the gate's own
// fields replace, and what would have caches keep the answer. It reports whether the
// header has the API's session header. On a gate that swaps keys, it masks the upstream
// key, and removes cookies, which belong to the gate's account.
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
		case strings.HasPrefix(name, "Trailer"): // the field, or one with http.TrailerPrefix
			w.trailers = true
		}
		if redactor != nil {
			mask(header, name, values, redactor)
		}
	}
	return hasSession
}

// maskHeader masks the upstream key in what is not the header of an answer: what comes
// before it or behind it.
func (w *responseInterceptor) maskHeader() {
	redactor := w.gate.redactor
	if redactor == nil {
		return
	}
	for name, values := range w.header {
		if name == "Set-Cookie" {
			delete(w.header, name)
			continue
		}
		mask(w.header, name, values, redactor)
	}
}

// mask masks a secret in a field. Caddy may share the values between requests.
func mask(header http.Header, name string, values []string, redactor *credential.Redactor) {
	for i, value := range values {
		if masked := redactor.Text(value); masked != value {
			values = slices.Clone(values)
			values[i] = masked
			header[name] = values
		}
	}
}
