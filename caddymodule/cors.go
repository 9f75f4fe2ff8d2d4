package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/speechgate/speechgate/policy"
)

// corsOff leaves cross-origin matters to the backend.
const corsOff = "off"

// Origins are those whose pages may read answers: a list, or "*" for every one,
// or "off". None is every one.
type Origins []string

func (o Origins) every() bool { return len(o) == 0 || o[0] == "*" }

func (o Origins) off() bool { return len(o) > 0 && o[0] == corsOff }

// allowed is what Access-Control-Allow-Origin says to an origin, empty for
// nothing.
func (o Origins) allowed(origin string) string {
	switch {
	case origin == "" || o.off():
		return ""
	case o.every():
		return "*"
	case slices.Contains(o, origin):
		return origin
	}
	return ""
}

// set lets the request's origin read the answer, where it may, and of its header
// the field that expose names. This word replaces the backend's.
func (o Origins) set(header http.Header, r *http.Request, expose string) {
	if o.off() {
		return
	}
	for _, name := range [...]string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers"} {
		if header[name] != nil { // as hardly any answer has it, and a look is cheaper
			delete(header, name)
		}
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

// preflight is the method that r asks leave for; empty if it is no preflight
// request of an origin that may have an answer.
func (o Origins) preflight(r *http.Request) (method string) {
	if r.Method != http.MethodOptions || o.allowed(r.Header.Get("Origin")) == "" {
		return ""
	}
	return r.Header.Get("Access-Control-Request-Method")
}

// servePreflight gives leave for these methods, with these header fields.
func (o Origins) servePreflight(w http.ResponseWriter, r *http.Request, methods, headers []string) {
	header := w.Header()
	o.set(header, r, "")
	header.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	header.Set("Access-Control-Allow-Headers", strings.Join(headers, ", "))
	header.Set("Access-Control-Max-Age", "600")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

func (o Origins) validate() error {
	for _, origin := range o {
		if (origin == "*" || origin == corsOff) && len(o) > 1 {
			return fmt.Errorf("cors: %q stands alone or not at all", origin)
		}
		if origin != "*" && origin != corsOff && !isOrigin(origin) {
			return fmt.Errorf("cors %q: want an origin such as https://app.example.com, or *, or off", origin)
		}
	}
	return nil
}

// unmarshalCaddyfile takes the option without origins for one with every origin.
func (o *Origins) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if *o = d.RemainingArgs(); len(*o) == 0 {
		*o = Origins{"*"}
	}
	return nil
}

func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.Scheme+"://"+u.Host == text
}

// answersPreflight reports whether r asks leave for a request that the dialect
// lists. Such a request is answered here and goes nowhere.
func (g *Gate) answersPreflight(r *http.Request) bool {
	method := g.CORS.preflight(r)
	if method == "" {
		return false
	}
	op := g.api.Classify(method, r.URL.EscapedPath()).Operation
	return op != policy.Unlisted && op != policy.Stream
}
