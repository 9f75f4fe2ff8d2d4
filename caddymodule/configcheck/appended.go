package configcheck

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// appended is a field of a log_append, or an attribute of tracing, and where it is.
type appended struct {
	hosts       []string // the hosts that the routes around it match; empty: all hosts
	name, value string
}

// AppendedField is a field that a log_append adds to the entries of access logs.
type AppendedField struct {
	Name, Value string
	Loggers     []string // of the entries
}

// AppendedKeys returns the fields that log_append adds to the log entries of requests to handlers of
// the gateway, if their values show a key of the request. The values have canaries in place of the keys.
func AppendedKeys(servers map[string]*caddyhttp.Server) (fields []AppendedField) {
	c := newChecker()
	for name, server := range servers {
		if server == nil {
			continue
		}
		f := c.find(server, place{server: name}, nil)
		for _, a := range f.appended {
			value := a.shown(server, f.vars)
			if loggers := a.loggers(server, f.readers); len(loggers) > 0 && HasCanary(value) {
				fields = append(fields, AppendedField{a.name, value, loggers})
			}
		}
	}
	slices.SortFunc(fields, func(a, b AppendedField) int { return strings.Compare(a.Name+a.Value, b.Name+b.Value) })
	return fields
}

// spanWarnings returns a warning for each server whose spans show keys in attributes of tracing.
func spanWarnings(servers map[string]*caddyhttp.Server) (warnings []Warning) {
	c := newChecker()
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		if servers[name] == nil {
			continue
		}
		f := c.find(servers[name], place{server: name}, nil)
		var shown []string
		for _, a := range f.attributes {
			if len(a.sharedWith(f.readers)) > 0 && HasCanary(a.shown(servers[name], f.vars)) {
				shown = append(shown, a.name)
			}
		}
		if len(shown) > 0 {
			slices.Sort(shown)
			warnings = append(warnings, Warning{Text: spanUnmasked, Topic: TopicLogs, Opens: true, Fields: []zap.Field{zap.String("server", name), zap.Strings("attributes", shown)}})
		}
	}
	return warnings
}

// shown returns what the field shows of a request with canaries. vars are the values that the handlers vars of
// the server set.
func (a *appended) shown(server *caddyhttp.Server, vars map[string]any) string {
	repl, _ := CanaryRequest(server).Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	text := a.value
	if name := strings.TrimSuffix(strings.TrimPrefix(text, "{http.vars."), "}"); vars[name] != nil {
		text = fmt.Sprint(vars[name])
	}
	switch text {
	case "{http.request.body}", "{http.request.body_base64}":
		return "u=" + CanaryInBody
	}
	return repl.ReplaceAll(text, "")
}

// loggers returns the loggers of access logs that get the field with requests to one of the readers.
func (a *appended) loggers(server *caddyhttp.Server, readers []reader) []string {
	loggers := make(map[string]bool)
	for _, host := range a.sharedWith(readers) {
		addLoggers(loggers, server.Logs, host)
	}
	var access []string
	for name := range loggers {
		if name == accessLogger || strings.HasPrefix(name, accessLogger+".") {
			access = append(access, name)
		}
	}
	slices.Sort(access)
	return access
}

// sharedWith returns the hosts whose requests reach the handler and one of the readers.
func (a *appended) sharedWith(readers []reader) (hosts []string) {
	for _, r := range readers {
		hosts = append(hosts, sharedHosts(a.hosts, r.hosts)...)
	}
	return hosts
}

// sharedHosts returns the hosts that are in both lists. An empty list has all hosts, and so has the
// host "".
func sharedHosts(a, b []string) []string {
	switch {
	case len(a) == 0 && len(b) == 0:
		return []string{""}
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	return slices.DeleteFunc(slices.Clone(a), func(host string) bool { return !slices.Contains(b, host) })
}
