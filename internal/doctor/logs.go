package doctor

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/speechgate/speechgate/caddymodule/configcheck"
	"github.com/speechgate/speechgate/dialect"
)

// A canary is a made-up key in one field of a log entry. Each field has another one, so that a log
// that shows it also tells the field.
const (
	canaryURI    = "canary-in-the-uri-0123456789"
	canaryHeader = "canary-in-a-header-0123456789"
	canaryError  = "canary-in-an-error-0123456789"
)

// canaryFields says in which field of an entry each canary is.
var canaryFields = []struct{ canary, field string }{
	{canaryURI, "request>uri"}, {canaryHeader, "request>headers"}, {canaryError, "error"},
}

// checkLogs writes entries with canaries through every logger that logs requests of gates, as Caddy
// does, and looks for the canaries in what the logs write. It returns the logs that show one.
func (e *examination) checkLogs(ctx caddy.Context, servers map[string]*caddyhttp.Server, captures map[string]*capture) map[string]bool {
	for _, c := range captures {
		c.take() // what the modules have logged
	}
	request := caddyhttp.LoggableHTTPRequest{Request: canaryRequest()}
	failed := zap.String("error", `Get "https://engine.example/v1/recognize?u=`+canaryError+`": connection refused`)
	loggers := configcheck.Loggers(servers)
	if len(loggers) == 0 {
		e.add(CheckHandlers, Warn, "", "The configuration has no gate and no other handler that reads keys: nothing checks them.",
			"Examine the configuration of the gateway, or write speechgate in front of its reverse_proxy.")
		return nil
	}
	for _, name := range loggers {
		logger := ctx.Logger(namedModule("http")).Named(strings.TrimPrefix(name, "http."))
		for _, level := range []zapcore.Level{zap.DebugLevel, zap.InfoLevel, zap.ErrorLevel} {
			logger.Log(level, "handled request", zap.Object("request", request))
		}
	}
	proxy := ctx.Logger(namedModule("http.handlers.reverse_proxy"))
	proxy.Error("upstream", zap.Object("request", request), failed)
	leaks := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(captures)) {
		text := captures[name].take()
		var fields []string
		for _, c := range canaryFields {
			if strings.Contains(text, c.canary) {
				fields = append(fields, c.field)
			}
		}
		if len(fields) == 0 {
			continue
		}
		leaks[name] = true
		e.add(CheckLogFilter, Fail, "log "+name, "The log shows keys that clients send, in "+strings.Join(fields, ", ")+".",
			"Write format filter { request speechgate … } into the log, as docs/directives/log-filter.md shows.")
	}
	return leaks
}

// canaryRequest is a request with a key in each place where a client of some API puts it, except
// fields that Caddy itself masks.
func canaryRequest() *http.Request {
	r := &http.Request{
		Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "doctor.invalid", RemoteAddr: "192.0.2.1:1",
		URL: &url.URL{Path: "/v1/recognize"}, Header: make(http.Header),
	}
	query := make(url.Values)
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		for _, place := range api.Places {
			switch {
			case place.Location == dialect.Query && place.SubKey == "":
				query.Set(place.Name, canaryURI)
			case place.Location == dialect.Header:
				r.Header.Set(place.Name, strings.TrimSpace(place.Scheme+" "+canaryHeader))
			case place.Location == dialect.Subprotocol:
				r.Header.Set(place.HeaderName(), place.Prefix+canaryHeader)
			}
		}
	}
	r.URL.RawQuery = query.Encode()
	r.RequestURI = r.URL.RequestURI()
	return r
}

// namedModule is a module with this ID. Caddy gives the logger of a module its ID as the name.
type namedModule string

// CaddyModule returns the Caddy module information.
func (m namedModule) CaddyModule() caddy.ModuleInfo { return caddy.ModuleInfo{ID: caddy.ModuleID(m)} }
