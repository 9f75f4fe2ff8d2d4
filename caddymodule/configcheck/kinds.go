package configcheck

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
)

// kind says what a handler does with a request. It is about handlers that have no method of their
// own in the walker.
type kind int

const (
	unknown       kind = iota // nobody knows: it could answer, authenticate or rewrite
	answers                   // it answers every request
	authenticates             // it refuses clients without a credential
	passes                    // it calls the next handler for every request
)

func kindOf(h caddyhttp.MiddlewareHandler) kind {
	switch h := h.(type) {
	case Pages:
		if h.StartPath() == "/" {
			return answers
		}
		return passes // the path of an API is never a path of pages
	case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
		return answers
	case *fileserver.FileServer:
		if h.PassThru {
			return unknown
		}
		return answers
	}
	switch name := strings.TrimPrefix(moduleID(h), "http.handlers."); {
	case name == "speechgate_sandbox" || name == "metrics":
		return answers
	case name == "authentication":
		return authenticates
	case slices.Contains(passing, name):
		return passes
	}
	return unknown
}

// passing are the handlers that answer no request for a path of an API.
var passing = []string{
	"copy_response_headers", "encode", "headers", "intercept", "log_append", "map", "push", "request_body",
	"templates", "timeouts", "tracing", "vars",
	"speechgate_health",
}

func moduleID(h caddyhttp.MiddlewareHandler) string {
	module, ok := h.(caddy.Module)
	if !ok {
		return ""
	}
	return string(module.CaddyModule().ID)
}
