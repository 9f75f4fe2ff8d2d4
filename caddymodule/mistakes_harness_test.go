package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/speechgate/speechgate/internal/testutil"
)

// memoryLog is an output of logs that a test can read after Caddy has closed it.
type memoryLog struct {
	Name string `json:"name"`
}

var memoryLogs sync.Map // of *memoryWriter, by name

func init() { caddy.RegisterModule(new(memoryLog)) }

func (*memoryLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.memory", New: func() caddy.Module { return new(memoryLog) }}
}

func (m *memoryLog) String() string    { return m.Name }
func (m *memoryLog) WriterKey() string { return m.Name }

func (m *memoryLog) OpenWriter() (io.WriteCloser, error) {
	writer, _ := memoryLogs.LoadOrStore(m.Name, new(memoryWriter))
	return writer.(*memoryWriter), nil
}

type memoryWriter struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (m *memoryWriter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(p)
}

func (*memoryWriter) Close() error { return nil }

func (m *memoryWriter) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

// warningsOf validates a Caddyfile as caddy validate does, and returns the lines of the log with
// which the gateway warns.
func warningsOf(t *testing.T, caddyfile string) []string {
	t.Helper()
	t.Setenv("AMIVOICE_KEY", backendKey)
	t.Setenv("ASSEMBLYAI_API_KEY", backendKey)
	t.Setenv("DEEPGRAM_API_KEY", backendKey)
	t.Setenv("OPENAI_API_KEY", backendKey)
	t.Setenv("SPEECHMATICS_API_KEY", backendKey)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		t.Fatalf("%v, in\n%s", err, caddyfile)
	}
	return warningsOfJSON(t, string(adapted))
}

// warningsOfJSON does the same with a configuration in JSON.
func warningsOfJSON(t *testing.T, text string) []string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	var config map[string]any
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatalf("%v, in\n%s", err, text)
	}
	member := func(object map[string]any, name string) map[string]any {
		if object[name] == nil {
			object[name] = map[string]any{}
		}
		return object[name].(map[string]any)
	}
	log := member(member(member(config, "logging"), "logs"), "default")
	if log["writer"] == nil {
		log["writer"] = map[string]any{"output": "memory", "name": dir}
	}
	changed, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	var loaded caddy.Config
	if err := json.Unmarshal(changed, &loaded); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&loaded); err != nil {
		t.Fatalf("%v, in\n%s", err, text)
	}
	logged, ok := memoryLogs.LoadAndDelete(dir)
	if !ok {
		return nil
	}
	var warnings []string
	for line := range strings.Lines(logged.(*memoryWriter).String()) {
		if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, `"logger":"speechgate"`) {
			warnings = append(warnings, line)
		}
	}
	return warnings
}

// logged is the filter of every example on the default logger.
const logged = "log {\n" + testutil.LogFilter + "}\n"

// swaps is a gate with an upstream key.
const swaps = "speechgate amivoice {\n upstream_key " + backendKey + "\n }\n"
