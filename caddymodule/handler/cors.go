package handler

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/speechgate/speechgate/caddymodule/options"
)

// corsOff is the option that leaves CORS to the backend.
const corsOff = "off"

// Origins are the origins whose pages may read answers. An empty list means every origin. The
// list can also consist of the single entry "*", which means every origin, or of the single entry
// "off", which leaves CORS to the backend.
type Origins []string

func (o Origins) every() bool { return len(o) == 0 || o[0] == "*" }

// Off reports whether CORS is left to the backend.
func (o Origins) Off() bool { return len(o) > 0 && o[0] == corsOff }

// allowed returns the value of Access-Control-Allow-Origin for an origin; "" for an origin
// that is not allowed.
func (o Origins) allowed(origin string) string {
	switch {
	case origin == "" || o.Off():
		return ""
	case o.every():
		return "*"
	case slices.Contains(o, origin):
		return origin
	}
	return ""
}

// Set replaces the CORS fields in the header of an answer to r. If the origin of r is allowed, its
// page may read the answer, and in it the header field with the name expose. If CORS is left to
// the backend, Set does nothing.
func (o Origins) Set(header http.Header, r *http.Request, expose string) {
	if o.Off() {
		return
	}
	for name := range header {
		if IsCORSField(name) {
			delete(header, name)
		}
	}
	o.Grant(header, r, expose)
}

// IsCORSField reports whether a field is one of the fields that Grant sets.
func IsCORSField(name string) bool {
	switch name {
	case "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers":
		return true
	}
	return false
}

// Grant does what Set does, for a header that has no CORS fields yet.
func (o Origins) Grant(header http.Header, r *http.Request, expose string) {
	if o.Off() {
		return
	}
	if !o.every() {
		header.Add("Vary", "Origin")
	}
	if len(r.Header["Origin"]) == 0 {
		return
	}
	if allowed := o.allowed(r.Header.Get("Origin")); allowed != "" {
		header.Set("Access-Control-Allow-Origin", allowed)
		if expose != "" {
			header.Set("Access-Control-Expose-Headers", expose)
		}
	}
}

// PreflightMethod returns the method that a preflight request asks for. It returns "" if r is
// not a preflight request, or if its origin is not allowed.
func (o Origins) PreflightMethod(r *http.Request) (method string) {
	if r.Method != http.MethodOptions || o.allowed(r.Header.Get("Origin")) == "" {
		return ""
	}
	return r.Header.Get("Access-Control-Request-Method")
}

// ServePreflight answers a preflight request. It allows the methods, and the header fields in
// the two lists fields and more. If more is empty, it allows every header field that the
// preflight request asks for.
func (o Origins) ServePreflight(w http.ResponseWriter, r *http.Request, methods, fields, more []string) {
	if len(more) == 0 {
		more = askedFields(r.Header)
	}
	for _, name := range more {
		if !containsField(fields, name) {
			fields = append(slices.Clone(fields), name)
		}
	}
	header := w.Header()
	o.Set(header, r, "")
	header.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	header.Set("Access-Control-Allow-Headers", strings.Join(fields, ", "))
	header.Set("Access-Control-Max-Age", "600")
	ForbidCaching(header)
	w.WriteHeader(http.StatusNoContent)
}

// askedFields returns the names of the header fields that a preflight request asks for.
func askedFields(header http.Header) (names []string) {
	for _, list := range header["Access-Control-Request-Headers"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.Trim(name, " \t"); isFieldName(name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// isFieldName reports whether name is a token (RFC 9110, section 5.6.2), except "*", which
// means every field in Access-Control-Allow-Headers.
func isFieldName(name string) bool { return name != "*" && httpguts.ValidHeaderFieldName(name) }

func containsField(names []string, name string) bool {
	return slices.ContainsFunc(names, func(known string) bool { return strings.EqualFold(known, name) })
}

// CORSHeaders reads the option cors_headers, which has one name or more.
func CORSHeaders(into *[]string) options.Option {
	return func(d *caddyfile.Dispenser) error {
		if *into = d.RemainingArgs(); len(*into) == 0 {
			return d.Errf("cors_headers: want the names of header fields, such as cors_headers traceparent baggage; without the option a page may send every field")
		}
		return nil
	}
}

// UnmarshalCaddyfile reads the option cors, which has one value or more. Without this rule, an
// environment variable that is not set would open the answers to every origin.
func (o *Origins) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if *o = d.RemainingArgs(); len(*o) == 0 {
		return d.Errf("cors: want origins such as https://app.example.com, or *, or off")
	}
	return nil
}
