package doctor

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/configcheck"
)

// checkBuild checks that the program has SQLite in it, which needs cgo.
func (e *examination) checkBuild() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		e.add(CheckCgo, Skip, "", "The program does not say how it was built.", "")
		return
	}
	e.checkBuildSettings(info.Settings)
}

func (e *examination) checkBuildSettings(settings []debug.BuildSetting) {
	for _, s := range settings {
		if s.Key == "CGO_ENABLED" && s.Value == "0" {
			e.add(CheckCgo, Fail, "", "The program was built without cgo, so it has no SQLite and cannot open a keystore.",
				"Build it with CGO_ENABLED=1 and a C compiler, as docs/build.md says.")
			return
		}
	}
	e.add(CheckCgo, Pass, "", "The program was built with cgo, which SQLite needs.", "")
}

// checkConfiguration provisions the configuration, and makes the checks that need its modules.
func (e *examination) checkConfiguration() {
	if err := e.provision(); err != nil {
		e.add(CheckConfiguration, Fail, e.Source, "The configuration cannot be loaded: "+err.Error()+".",
			"Correct it. If the server has environment variables that this command does not have, name their file with --envfile.")
		return
	}
	e.add(CheckConfiguration, Pass, e.Source, "The configuration can be loaded.", "")
}

// provision loads the configuration as caddy validate does: it provisions the modules, calls
// examineModules, and cleans the modules up. It opens no port and no file of a log: the logs write
// into memory.
func (e *examination) provision() error {
	var config map[string]any
	dec := json.NewDecoder(bytes.NewReader(e.Config))
	dec.UseNumber()
	if err := dec.Decode(&config); err != nil {
		return err
	}
	run := make([]byte, 8)
	_, _ = rand.Read(run) // never fails
	name := app.Name + "_doctor_" + hex.EncodeToString(run)

	captures := captureLogs(config, name)
	// Caddy makes the modules of a configuration itself. The closures connect them with this run.
	caddy.RegisterModule(&writerModule{name: name, captures: captures})
	caddy.RegisterModule(&appModule{name: name, examine: func(ctx caddy.Context) error { return e.examineModules(ctx, captures) }})
	member(config, "apps")[name] = map[string]any{}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	var loaded caddy.Config
	if err := caddy.StrictUnmarshalJSON(text, &loaded); err != nil {
		return err
	}
	return caddy.Validate(&loaded)
}

// member returns a member of an object that is an object. It makes the member if necessary.
func member(object map[string]any, name string) map[string]any {
	child, ok := object[name].(map[string]any)
	if !ok {
		child = make(map[string]any)
		object[name] = child
	}
	return child
}

// captureLogs makes every log of the configuration write into memory, except logs that are
// discarded. The default log is one of them.
func captureLogs(config map[string]any, module string) map[string]*capture {
	captures := make(map[string]*capture)
	logging := member(config, "logging")
	delete(logging, "sink")
	logs := member(logging, "logs")
	member(logs, caddy.DefaultLoggerName)
	for name := range logs {
		log := member(logs, name)
		if writer, ok := log["writer"].(map[string]any); ok && writer["output"] == "discard" {
			continue
		}
		captures[name] = new(capture)
		log["writer"] = map[string]any{"output": module, "log": name}
		delete(log, "sampling")
	}
	return captures
}

// capture is what a log has written.
type capture struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (*capture) Close() error { return nil }

// take returns what the log has written since the last call.
func (c *capture) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.text.Reset()
	return c.text.String()
}

// writerModule is the output of the logs.
type writerModule struct {
	Log string `json:"log,omitempty"`

	name     string
	captures map[string]*capture
}

// CaddyModule returns the Caddy module information.
func (m *writerModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  caddy.ModuleID("caddy.logging.writers." + m.name),
		New: func() caddy.Module { return &writerModule{name: m.name, captures: m.captures} },
	}
}

// String returns the name of the log.
func (m *writerModule) String() string { return m.Log }

// WriterKey returns a key that no other run of the examination has.
func (m *writerModule) WriterKey() string { return m.name + "/" + m.Log }

// OpenWriter returns the memory of the log.
func (m *writerModule) OpenWriter() (io.WriteCloser, error) {
	if c := m.captures[m.Log]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("there is no log %q", m.Log)
}

// appModule is an app that examines the other modules of its configuration.
type appModule struct {
	name    string
	examine func(caddy.Context) error
}

// CaddyModule returns the Caddy module information.
func (m *appModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  caddy.ModuleID(m.name),
		New: func() caddy.Module { return &appModule{m.name, m.examine} },
	}
}

// Provision examines the other modules. Caddy provisions each of them before, if it is asked for.
func (m *appModule) Provision(ctx caddy.Context) error { return m.examine(ctx) }

// Start does nothing: the configuration is not started.
func (*appModule) Start() error { return nil }

// Stop does nothing.
func (*appModule) Stop() error { return nil }

// examineModules makes the checks that need the modules of the configuration.
func (e *examination) examineModules(ctx caddy.Context, captures map[string]*capture) error {
	var servers map[string]*caddyhttp.Server
	loaded, err := ctx.AppIfConfigured("http")
	switch {
	case err == nil:
		servers = loaded.(*caddyhttp.App).Servers //nolint:forcetypeassert // the ID of the app
	case !errors.Is(err, caddy.ErrNotConfigured):
		return err
	}
	shared, err := app.Of(ctx)
	if err != nil {
		return err
	}
	e.loaded, e.upstreams = true, shared.Upstreams()
	if shared.Keystore.ShowsPassword() {
		e.add(CheckPermissions, Warn, e.Source, "The connection string of the keystore has its password in the configuration, which Caddy's admin API and saved configuration show.",
			"Write a placeholder such as {env.SPEECHGATE_DSN}, or name a file with password_file.")
	}
	e.before = app.History{Storage: ctx.Storage(), Logger: zap.NewNop()}.Previous(ctx, e.place)
	for _, server := range servers {
		e.listen = append(e.listen, server.Listen...)
		e.fields = append(e.fields, server.ClientIPHeaders...)
	}
	leaks := e.checkLogs(ctx, servers, captures)
	e.checkMistakes(shared.Mistakes(), leaks)
	behind := configcheck.Proxies(servers)
	e.checkServers(configcheck.ReadingServers(servers), behind)
	e.checkBackends(ctx, behind)
	e.checkProviders(ctx, shared.Providers())
	return nil
}

// checkMistakes takes over what the gateway warns of when it loads the configuration. leaks has the
// logs in which a canary was found: the warnings about them would say the same again.
func (e *examination) checkMistakes(mistakes []configcheck.Warning, leaks map[string]bool) {
	checks := map[configcheck.Topic]Check{
		configcheck.TopicHandlers: CheckHandlers, configcheck.TopicAddresses: CheckClientAddress, configcheck.TopicLogs: CheckLogFilter,
	}
	for _, m := range mistakes {
		fields := zapcore.NewMapObjectEncoder()
		for _, f := range m.Fields {
			f.AddTo(fields)
		}
		if name, ok := fields.Fields["log"].(string); ok && leaks[name] {
			continue
		}
		level := Warn
		if m.Opens {
			level = Fail
		}
		wrong, fix, _ := strings.Cut(m.Text, "; ")
		e.add(checks[m.Topic], level, subjectOf(m.Fields, fields.Fields), sentence(wrong), sentence(fix))
	}
	e.passUnlessFound(CheckHandlers, "No request of the API reaches a backend without a gate, and no handler undoes what a gate does.")
	e.passUnlessFound(CheckLogFilter, "No log shows a key that a client sends.")
}

// subjectOf returns the fields of a warning as one text, in their order.
func subjectOf(fields []zap.Field, values map[string]any) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		text := fmt.Sprint(values[f.Key])
		if list, ok := values[f.Key].([]any); ok {
			text = strings.Trim(fmt.Sprintf("%q", list), "[]")
		}
		parts[i] = f.Key + " " + text
	}
	return strings.Join(parts, ", ")
}

// sentence makes a sentence of a text without a capital letter and a period. The name of an option,
// such as trusted_proxies, keeps its letters.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	if first, _, _ := strings.Cut(text, " "); strings.Contains(first, "_") {
		return strings.TrimSuffix(text, ".") + "."
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// oneLine joins the lines of a text, as the command does for an error.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' })
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "; ")
}
