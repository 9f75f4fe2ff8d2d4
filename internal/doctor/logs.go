package doctor

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/configcheck"
)

const canaryInError = "canary-in-an-error-0123456789"

// canaryFields says in which field of an entry each canary is.
var canaryFields = []struct{ canary, field string }{
	{configcheck.CanaryInURI, "request>uri"}, {configcheck.CanaryInHeader, "request>headers"}, {canaryInError, "error"},
}

// checkLogs writes entries with canaries through every logger that logs requests of gates, as Caddy
// does, and looks for the canaries in what the logs write. It returns the logs that show one.
func (e *examination) checkLogs(ctx caddy.Context, servers map[string]*caddyhttp.Server, captures map[string]*capture) map[string]bool {
	for _, c := range captures {
		c.take() // what the modules have logged
	}
	loggers := configcheck.Loggers(servers)
	if len(loggers) == 0 {
		e.add(CheckHandlers, Warn, "", "The configuration has no gate and no other handler that reads keys: nothing checks them.",
			"Examine the configuration of the gateway, or write speechgate in front of its reverse_proxy.")
		return nil
	}
	shown := make(map[string][]string) // the fields with a canary, by log
	request := zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: configcheck.CanaryRequest(new(caddyhttp.Server))})
	for _, name := range loggers {
		logThrough(ctx, name, request)
	}
	failed := zap.String("error", `Get "https://engine.example/v1/recognize?u=`+canaryInError+`": connection refused`)
	ctx.Logger(namedModule("http.handlers.reverse_proxy")).Error("upstream", request, failed)
	for name, c := range captures {
		text := c.take()
		for _, known := range canaryFields {
			if strings.Contains(text, known.canary) {
				shown[name] = append(shown[name], known.field)
			}
		}
		if app.MaskedUpstreamKeys().Mask(text) != text {
			e.add(CheckLogFilter, Fail, "log "+name, "The log shows the upstream key, in a field of its own format.", "Remove the field with the key from format append in the log.")
		}
	}
	for _, f := range configcheck.AppendedKeys(servers) {
		for _, logger := range f.Loggers {
			logThrough(ctx, logger, zap.String(f.Name, f.Value))
		}
		for name, c := range captures {
			if configcheck.HasCanary(c.take()) {
				shown[name] = append(shown[name], f.Name)
			}
		}
	}
	leaks := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(shown)) {
		leaks[name] = true
		e.add(CheckLogFilter, Fail, "log "+name, "The log shows keys that clients send, in "+strings.Join(shown[name], ", ")+".", remedyOf(shown[name]))
	}
	return leaks
}

// logThrough writes an entry at each level through a logger, as Caddy does with a request.
func logThrough(ctx caddy.Context, name string, field zap.Field) {
	logger := ctx.Logger(namedModule("http")).Named(strings.TrimPrefix(name, "http."))
	for _, level := range []zapcore.Level{zap.DebugLevel, zap.InfoLevel, zap.ErrorLevel} {
		logger.Log(level, "handled request", field)
	}
}

// remedyOf says what to do about a log that shows these fields.
func remedyOf(fields []string) string {
	own := slices.DeleteFunc(slices.Clone(fields), func(field string) bool {
		return slices.ContainsFunc(canaryFields, func(known struct{ canary, field string }) bool { return known.field == field })
	})
	filter := "Write format filter { request speechgate … } into the log, as docs/directives/log-filter.md shows."
	switch {
	case len(own) == 0:
		return filter
	case len(own) < len(fields):
		return filter + " Remove log_append " + strings.Join(own, ", ") + "."
	}
	return "Remove log_append " + strings.Join(own, ", ") + ", or write format filter { " + own[0] + " delete } into the log."
}

// namedModule is a module with this ID. Caddy gives the logger of a module its ID as the name.
type namedModule string

// CaddyModule returns the Caddy module information.
func (m namedModule) CaddyModule() caddy.ModuleInfo { return caddy.ModuleInfo{ID: caddy.ModuleID(m)} }
