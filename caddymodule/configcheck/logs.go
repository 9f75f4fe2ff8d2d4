package configcheck

import (
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// KeyMasker is a filter for fields of log entries that masks keys.
type KeyMasker interface{ MasksKeys() }

// The texts of the warnings about logs.
const (
	defaultUnmasked = "the default log shows keys of clients in clear: its format has no filter speechgate on these fields; " +
		"write log { format filter { request speechgate … } } into the global options, as docs/directives/log-filter.md shows"
	otherUnmasked = "this log shows keys of clients in clear: its format has no filter speechgate on these fields; " +
		"write format filter { request speechgate … } into its log block too, as docs/directives/log-filter.md shows, or write log alone into the site, without output and format"
)

const spanUnmasked = "tracing writes keys of clients into attributes of spans; " +
	"remove these attributes from span_attributes"

const (
	accessLogger = "http.log.access"
	errorLogger  = "http.log.error"
)

// logWarnings returns a warning for each log that shows requests to the handlers in readers and
// does not mask their keys.
func logWarnings(ctx caddy.Context, servers map[string]*caddyhttp.Server, readers []reader) []Warning {
	loggers, added := loggersOf(servers, readers), AppendedKeys(servers)
	var warnings []Warning
	for _, log := range logsOf(ctx) {
		if missing := log.unmasked(loggers, added); len(missing) > 0 {
			text := otherUnmasked
			if log.name == caddy.DefaultLoggerName {
				text = defaultUnmasked
			}
			fields := []zap.Field{zap.String("log", log.name), zap.Strings("fields", missing)}
			warnings = append(warnings, Warning{Text: text, Topic: TopicLogs, Opens: true, Fields: fields})
		}
	}
	return warnings
}

// Loggers returns the names of the loggers that log requests to handlers of the gateway.
func Loggers(servers map[string]*caddyhttp.Server) []string {
	return slices.Sorted(maps.Keys(loggersOf(servers, readersIn(servers))))
}

// loggersOf returns the names of the loggers that log requests to the handlers in readers.
func loggersOf(servers map[string]*caddyhttp.Server, readers []reader) map[string]bool {
	loggers := make(map[string]bool)
	for _, r := range readers {
		hosts := r.hosts
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for _, host := range hosts {
			addLoggers(loggers, servers[r.at.server].Logs, host)
		}
	}
	return loggers
}

// addLoggers adds the names of the loggers that log requests for a host. An empty host means all
// hosts that the configuration does not name.
func addLoggers(loggers map[string]bool, logs *caddyhttp.ServerLogConfig, host string) {
	if logs == nil {
		loggers[errorLogger] = true
		return
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	for _, name := range loggerNames(logs, host) {
		suffix := ""
		if name != "" {
			suffix = "." + name
		}
		loggers[errorLogger+suffix] = true
		if isLogged(logs, host) {
			loggers[accessLogger+suffix] = true
		}
	}
}

// loggerNames returns the names that Caddy gives to the loggers of a host.
func loggerNames(logs *caddyhttp.ServerLogConfig, host string) []string {
	labels := strings.Split(strings.ToLower(host), ".")
	for i := -1; i < len(labels); i++ {
		if i >= 0 {
			labels[i] = "*"
		}
		if names, ok := logs.LoggerNames[strings.Join(labels, ".")]; ok {
			return names
		}
	}
	return []string{logs.DefaultLoggerName}
}

// isLogged reports whether a server has an access log for a host.
func isLogged(logs *caddyhttp.ServerLogConfig, host string) bool {
	for name := range logs.LoggerNames {
		if certmagic.MatchWildcard(host, name) {
			return true
		}
	}
	return !logs.SkipUnmappedHosts && !slices.ContainsFunc(logs.SkipHosts, func(skipped string) bool { return certmagic.MatchWildcard(host, skipped) })
}

// log has the settings of one log of the configuration: those that decide whether the log gets a
// warning.
type log struct {
	name             string
	include, exclude []string
	level            string // in lower case; empty: info
	masked           map[string]bool
}

// unmasked returns the fields in which the log shows keys in clear: a field that can contain a key
// in entries of these loggers, or of reverse_proxy, and that the log does not mask. It returns no
// fields if the log takes no entries of these loggers. At the level debug, more fields can contain
// a key. The fields in added contain one at every level.
func (l *log) unmasked(loggers map[string]bool, added []AppendedField) []string {
	if l.level == "panic" || l.level == "fatal" {
		return nil
	}
	var fields []string
	need := func(logger string, names ...string) {
		if l.accepts(logger) {
			fields = append(fields, names...)
		}
	}
	access := false
	for logger := range loggers {
		access = access || l.accepts(logger)
	}
	if !access {
		return nil
	}
	fields = append(fields, "request", "resp_headers")
	for _, f := range added {
		if slices.ContainsFunc(f.Loggers, l.accepts) && !slices.Contains(fields, f.Name) {
			fields = append(fields, f.Name)
		}
	}
	need("http.handlers.reverse_proxy", "error")
	if l.level == "debug" {
		need("http.handlers.reverse_proxy", "headers", "uri")
		need("http", "http")
	}
	return slices.DeleteFunc(fields, func(field string) bool {
		return l.masked[field] || l.masked[field+">uri"] && l.masked[field+">headers"]
	})
}

// accepts reports whether the log takes entries of a logger. If both lists, include and exclude,
// have an entry for the logger, the entry with the longer name decides.
func (l *log) accepts(logger string) bool {
	longest := func(list []string) int {
		length := 0
		for _, name := range list {
			if name == "*" || strings.HasPrefix(logger+".", name+".") {
				length = max(length, len(name))
			}
		}
		return length
	}
	accepted, rejected := longest(l.include), longest(l.exclude)
	if len(l.include) == 0 {
		return rejected == 0
	}
	return accepted > rejected
}

// logsOf returns the logs of a configuration, except logs with the output discard. Caddy has the
// configuration of the logs, and their encoders, in unexported fields, and drops the JSON
// after loading. If a version of Caddy does not have these fields, logsOf returns no logs.
func logsOf(ctx caddy.Context) []log {
	config := reflect.ValueOf(ctx).FieldByName("cfg")
	if !config.IsValid() || config.Kind() != reflect.Pointer || config.IsNil() {
		return nil
	}
	logs := config.Elem().FieldByName("Logging")
	if !logs.IsValid() || logs.Type() != reflect.TypeFor[*caddy.Logging]() || logs.IsNil() {
		return nil
	}
	var all []log
	for entries := logs.Elem().FieldByName("Logs").MapRange(); entries.Next(); {
		custom := entries.Value().Elem()
		encoder, writer := custom.FieldByName("encoder"), custom.FieldByName("writerOpener")
		if encoder.Kind() != reflect.Interface || writer.Kind() != reflect.Interface ||
			!writer.IsNil() && isType[caddy.DiscardWriter](writer.Elem().Type()) {
			continue
		}
		l := log{
			name: entries.Key().String(), level: strings.ToLower(custom.FieldByName("Level").String()),
			include: texts(custom.FieldByName("Include")), exclude: texts(custom.FieldByName("Exclude")),
			masked: make(map[string]bool),
		}
		l.addMasked(encoder)
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b log) int { return strings.Compare(a.name, b.name) })
	return all
}

// addMasked notes the fields that an encoder masks or drops. The encoder can wrap another one, so
// addMasked also notes the fields of the encoders inside.
func (l *log) addMasked(encoder reflect.Value) {
	for {
		if encoder.Kind() != reflect.Interface || encoder.IsNil() {
			return
		}
		value := encoder.Elem()
		if value.Kind() == reflect.Pointer {
			value = value.Elem()
		}
		if value.Kind() != reflect.Struct {
			return
		}
		if value.Type() == reflect.TypeFor[logging.FilterEncoder]() {
			for filters := value.FieldByName("Fields").MapRange(); filters.Next(); {
				filter := filters.Value().Elem().Type()
				if filter.Implements(reflect.TypeFor[KeyMasker]()) || isType[logging.DeleteFilter](filter) {
					l.masked[filters.Key().String()] = true
				}
			}
		}
		if encoder = value.FieldByName("wrapped"); !encoder.IsValid() {
			return
		}
	}
}

// isType reports whether t is T or a pointer to T.
func isType[T any](t reflect.Type) bool {
	return t == reflect.TypeFor[T]() || t == reflect.TypeFor[*T]()
}

func texts(list reflect.Value) []string {
	var all []string
	for i := range list.Len() {
		all = append(all, list.Index(i).String())
	}
	return all
}
