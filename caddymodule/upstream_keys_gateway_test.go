package caddymodule_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/speechgate/speechgate/internal/doctor"
	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	oldKey = "old-backend-key-0123456789"
	newKey = "new-backend-key-9876543210"
)

// vendor is a backend that knows the jobs of a key by this key only.
type vendor struct {
	mu    sync.Mutex
	jobs  map[string]string // the key of each job
	ended map[string]bool   // the jobs that have ended
	dead  map[string]bool   // the keys that have ended
	live  atomic.Pointer[sandbox.AmiVoice]
}

func newVendor() *vendor {
	return &vendor{jobs: make(map[string]string), ended: make(map[string]bool), dead: make(map[string]bool)}
}

func (v *vendor) end(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended[id] = true
}

func (v *vendor) endKey(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dead[key] = true
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		v.live.Load().ServeHTTP(w, r)
		return
	}
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if key == "" {
		key = r.FormValue("u")
	}
	_, _ = io.Copy(io.Discard, r.Body)
	v.mu.Lock()
	defer v.mu.Unlock()
	_, id, _ := strings.Cut(r.URL.Path, "/recognitions/")
	switch {
	case v.dead[key] || key != oldKey && key != newKey:
		http.Error(w, jobDenied, http.StatusUnauthorized)
	case r.Method == http.MethodPost:
		id = fmt.Sprintf("job-%d", len(v.jobs)+1)
		v.jobs[id] = key
		_, _ = fmt.Fprintf(w, `{"sessionid":%q,"text":"..."}`, id)
	case v.jobs[id] != key:
		http.Error(w, jobNotFound, http.StatusNotFound)
	case v.ended[id]:
		_, _ = io.WriteString(w, `{"status":"completed","text":"`+oldKey+` `+newKey+`"}`)
	default:
		_, _ = io.WriteString(w, `{"status":"processing"}`)
	}
}

// runningServer is the server of this process, for the doctor.
type runningServer struct {
	doctor.Server

	config []byte
	c      *adminClient
}

func (s runningServer) Config(context.Context) ([]byte, error) { return s.config, nil }

func (s runningServer) UpstreamKeys(context.Context) (uses []doctor.KeyUse, err error) {
	err = json.Unmarshal(s.c.ask(http.MethodGet, "upstream-keys", "").Body.Bytes(), &uses) //nolint:contextcheck // the client has the context of the test
	return uses, err
}

// turnGateway is a gateway whose upstream key changes.
type turnGateway struct {
	*gateway

	vendor *vendor
	key    policy.Key
	secret string
}

func newTurnGateway(t *testing.T, keys string) *turnGateway {
	t.Helper()
	g := &turnGateway{vendor: newVendor()}
	g.gateway = newGatewayWith(t, &gateway{options: "upstream_key " + keys, site: "reverse_proxy {backend} {\n stream_close_delay 10m\n}"})
	g.backend.respond(g.vendor.ServeHTTP)
	g.key, g.secret = g.issue(keystore.NewKey{})
	return g
}

// reload loads the configuration with other upstream keys.
func (g *turnGateway) reload(keys string) {
	g.t.Helper()
	g.options = "upstream_key " + keys
	g.load()
}

// newJob creates a job, and returns its ID.
func (g *turnGateway) newJob() string {
	g.t.Helper()
	got := g.create(g.secret)
	_, id, _ := strings.Cut(got.body, `"sessionid":"`)
	id, _, ok := strings.Cut(id, `"`)
	if !ok {
		g.t.Fatalf("no job is created: %d %s", got.status, got.body)
	}
	return id
}

// wantKey polls a job, and wants that the backend gets this key, once, and no other.
func (g *turnGateway) wantKey(id, key string) {
	g.t.Helper()
	g.backend.received()
	got := g.poll(id, g.secret)
	received := g.backend.received()
	other := map[string]string{oldKey: newKey, newKey: oldKey}[key]
	if got.status != http.StatusOK || strings.Count(received, key) != 1 || strings.Contains(received, other) {
		g.t.Errorf("poll of %s: status %d, %s; the backend got %q, want %s", id, got.status, got.body, received, key)
	}
	if strings.Contains(got.raw, oldKey) || strings.Contains(got.raw, newKey) {
		g.t.Errorf("poll of %s: the client sees an upstream key: %s", id, got.body)
	}
}

// needs returns what the admin API says of the upstream keys: position, what needs it, and whether it is idle.
func (g *turnGateway) needs() string {
	g.t.Helper()
	var keys []struct {
		Position         *int
		Jobs, Tokens     int
		Streams          int
		Requests         int
		Idle             bool
		Fingerprint, Key string
	}
	w := newAdminClient(g.t).ask(http.MethodGet, "upstream-keys", "")
	if err := json.Unmarshal(w.Body.Bytes(), &keys); err != nil || strings.Contains(w.Body.String(), "backend-key") {
		g.t.Fatalf("%v: %s", err, w.Body)
	}
	var lines []string
	for _, k := range keys {
		position := "removed"
		if k.Position != nil {
			position = fmt.Sprint(*k.Position)
		}
		lines = append(lines, fmt.Sprintf("%s: %d jobs %d tokens %d streams %d requests %v", position, k.Jobs, k.Tokens, k.Streams, k.Requests, k.Idle))
	}
	return strings.Join(lines, "; ")
}

func (g *turnGateway) wantNeeds(want string) {
	g.t.Helper()
	var got string
	defer func() {
		if got != want {
			g.t.Logf("the keys are needed by %s", got)
		}
	}()
	holdsSoon(g.t, "the keys are needed by "+want, func() bool { got = g.needs(); return got == want })
}

// doctor returns what the doctor says about old upstream keys, with its level.
func (g *turnGateway) doctor() string {
	g.t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(g.config()), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	report, err := doctor.Examine(g.t.Context(), doctor.Subject{
		Config: config, Source: "--config Caddyfile", Now: time.Now, Store: g.place.CommandLine(),
		Server: runningServer{config: config, c: newAdminClient(g.t)},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	var lines []string
	for _, f := range report.Checks {
		if f.Check != doctor.CheckOldKeys && f.Check != doctor.CheckUpstreamKey {
			continue
		}
		line := fmt.Sprintf("%s %s: %s", f.Level, f.Subject, f.Message)
		if f.Fix != nil {
			line += " " + *f.Fix
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// upstream is the backend's address, as the doctor writes it.
func (g *turnGateway) upstream() string {
	return strings.Replace(g.backend.addr(), "127.0.0.1", "localhost", 1)
}

func (g *turnGateway) wantDoctor(parts ...string) {
	g.t.Helper()
	got := g.doctor()
	for _, part := range parts {
		if !strings.Contains(got, part) {
			g.t.Errorf("the doctor does not say %q:\n%s", part, got)
		}
	}
	if strings.Contains(got, oldKey) || strings.Contains(got, newKey) {
		g.t.Errorf("the doctor shows a key:\n%s", got)
	}
}
