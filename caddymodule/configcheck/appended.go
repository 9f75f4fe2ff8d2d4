package configcheck

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/logging"
)

// appended is a log_append, and where it is.
type appended struct {
	at    place
	hosts []string // the hosts that the routes around it match; empty: all hosts
	from  *logging.LogAppend
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
			value := a.value(server, f.vars)
			if loggers := a.loggers(server, f.readers); len(loggers) > 0 && HasCanary(value) {
				fields = append(fields, AppendedField{a.from.Key, value, loggers})
			}
		}
	}
	slices.SortFunc(fields, func(a, b AppendedField) int { return strings.Compare(a.Name+a.Value, b.Name+b.Value) })
	return fields
}

// value returns what the field shows of a request with canaries. vars are the values that the handlers vars of
// the server set.
func (a *appended) value(server *caddyhttp.Server, vars map[string]any) string {
	repl, _ := CanaryRequest(server).Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	text := a.from.Value
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
	for _, r := range readers {
		for _, host := range sharedHosts(a.hosts, r.hosts) {
			addLoggers(loggers, server.Logs, host)
		}
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
