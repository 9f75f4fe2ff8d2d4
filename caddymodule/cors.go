package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// corsOff leaves cross-origin matters to the backend.
const corsOff = "off"

// allowedOrigin is what Access-Control-Allow-Origin says to an origin, empty
// for nothing.
func (g *Gate) allowedOrigin(origin string) string {
	switch {
	case origin == "" || g.CORS[0] == corsOff:
		return ""
	case g.CORS[0] == "*":
		return "*"
	case slices.Contains(g.CORS, origin):
		return origin
	}
	return ""
}

// setCORS lets the request's origin read the answer, where it may. The gate's
// word replaces the backend's.
func (g *Gate) setCORS(header http.Header, r *http.Request) {
	if g.CORS[0] == corsOff {
		return
	}
	for _, name := range []string{
		"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials",
		"Access-Control-Expose-Headers",
	} {
		header.Del(name)
	}
	if g.CORS[0] != "*" {
		header.Add("Vary", "Origin")
	}
	if allowed := g.allowedOrigin(r.Header.Get("Origin")); allowed != "" {
		header.Set("Access-Control-Allow-Origin", allowed)
		header.Set("Access-Control-Expose-Headers", g.api.SessionHeader)
	}
}

// answersPreflight reports whether r asks leave for a request that the dialect
// lists. Such a request is answered here and goes nowhere.
func (g *Gate) answersPreflight(r *http.Request) bool {
	asked := r.Header.Get("Access-Control-Request-Method")
	if r.Method != http.MethodOptions || asked == "" || g.allowedOrigin(r.Header.Get("Origin")) == "" {
		return false
	}
	op := g.api.Classify(asked, r.URL.EscapedPath()).Operation
	return op != policy.Unlisted && op != policy.Stream
}

func (g *Gate) servePreflight(w http.ResponseWriter, r *http.Request) error {
	header := w.Header()
	g.setCORS(header, r)
	header.Del("Access-Control-Expose-Headers")
	header.Set("Access-Control-Allow-Methods", strings.Join(g.api.Methods(r.URL.EscapedPath()), ", "))
	header.Set("Access-Control-Allow-Headers", strings.Join(g.api.RequestHeaders, ", "))
	header.Set("Access-Control-Max-Age", "600")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.Scheme+"://"+u.Host == text
}
