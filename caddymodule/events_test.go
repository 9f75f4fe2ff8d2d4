package caddymodule_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func init() { caddy.RegisterModule(new(noted)) }

// noted is a handler of events that notes them in the list with its name.
type noted struct {
	List string `json:"list"`
}

func (*noted) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.noted", New: func() caddy.Module { return new(noted) }}
}

func (n *noted) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	n.List = d.RemainingArgs()[0]
	return nil
}

func (n *noted) Handle(_ context.Context, e caddy.Event) error { return notesOf(n.List).handle(e) }

// notes are the events of one list.
type notes struct {
	mu     sync.Mutex
	events []noteOf
	answer func(caddy.Event) error // called for each event, also of Caddy; nil: nothing
}

// noteOf is an event as a handler has seen it.
type noteOf struct {
	name, origin string
	data         map[string]any
}

var allNotes sync.Map // *notes by list

func notesOf(list string) *notes {
	n, _ := allNotes.LoadOrStore(list, new(notes))
	return n.(*notes)
}

// newNotes returns the list with this name, for the time of the test.
func newNotes(t *testing.T, list string) *notes {
	t.Helper()
	t.Cleanup(func() { allNotes.Delete(list) })
	return notesOf(list)
}

func (n *notes) handle(e caddy.Event) error {
	n.mu.Lock()
	if strings.HasPrefix(e.Name(), "speechgate.") { // and no event of Caddy
		n.events = append(n.events, noteOf{e.Name(), string(e.Origin().CaddyModule().ID), maps.Clone(e.Data)})
	}
	answer := n.answer
	n.mu.Unlock()
	if answer != nil {
		return answer(e)
	}
	return nil
}

// of returns the events of this name that have been noted.
func (n *notes) of(name string) (events []noteOf) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if e.name == "speechgate."+name {
			events = append(events, e)
		}
	}
	return events
}

// ofKey returns the data of the events of this name about a key.
func (n *notes) ofKey(name string, key policy.Key) (data []map[string]any) {
	for _, e := range n.of(name) {
		if e.data["key_id"] == key.ID {
			data = append(data, e.data)
		}
	}
	return data
}

// one waits for the only event of this name, and returns its data.
func (n *notes) one(t *testing.T, name string) map[string]any {
	t.Helper()
	return n.wait(t, name, 1)[0].data
}

// wait waits for this number of events.
func (n *notes) wait(t *testing.T, name string, number int) []noteOf {
	t.Helper()
	holdsSoon(t, fmt.Sprintf("%d events %s", number, name), func() bool { return len(n.of(name)) >= number })
	events := n.of(name)
	if len(events) != number {
		t.Fatalf("%d events %s, want %d: %v", len(events), name, number, events)
	}
	return events
}

// watched returns a gateway whose events are noted in the list of the test.
func watched(t *testing.T, g *gateway) (*gateway, *notes) {
	t.Helper()
	g.order += subscribeTo("*", t.Name())
	n := newNotes(t, t.Name())
	return newGatewayWith(t, g), n
}

func subscribeTo(event, list string) string {
	return fmt.Sprintf("events {\n on %s noted %s\n}\n", event, list)
}

// wantData compares the data of an event, without its times, which must be there.
func wantData(t *testing.T, data map[string]any, want map[string]any, times ...string) {
	t.Helper()
	data = maps.Clone(data)
	for _, name := range times {
		if at, err := time.Parse("2006-01-02T15:04:05.000Z", fmt.Sprint(data[name])); err != nil || time.Since(at).Abs() > 400*24*time.Hour {
			t.Errorf("%s is %v", name, data[name])
		}
		delete(data, name)
	}
	if !maps.Equal(data, want) {
		t.Errorf("the data are %v, want %v", data, want)
	}
}

func TestEvents_OfRefusals(t *testing.T) {
	g, seen := watched(t, &gateway{options: "upstream_key " + backendKey})
	key, secret := g.limitedKey("requests=1/m")
	if got := g.recognize(secret); got.status != http.StatusOK {
		t.Fatalf("status %d", got.status)
	}
	if len(seen.of("refused")) > 0 {
		t.Error("an admitted request is an event")
	}
	g.recognize(secret)
	want := map[string]any{
		"key_id": key.ID, "account_id": key.AccountID, "reason": "limit_reached", "operation": "recognize", "backend": "amivoice",
		"client_ip": "127.0.0.1", "left_out": uint64(0),
	}
	wantData(t, seen.one(t, "refused"), want, "at")
	want["limit"] = "requests"
	wantData(t, seen.one(t, "limit_met"), want, "at")
	g.recognize("sgk_unknown")
	e := seen.wait(t, "refused", 2)[1]
	wantData(t, e.data, map[string]any{
		"key_id": "", "account_id": "", "reason": "credential_malformed", "operation": "recognize", "backend": "amivoice",
		"client_ip": "127.0.0.1", "left_out": uint64(0),
	}, "at")
	if e.origin != "speechgate" {
		t.Errorf("the origin is %s", e.origin)
	}
}

// Ten refusals for one reason are events at once. The next event says how many were left out.
func TestEvents_OfRefusalsAreBounded(t *testing.T) {
	g, seen := watched(t, &gateway{options: "upstream_key " + backendKey})
	const flood = 60
	begun := time.Now()
	for range flood {
		g.recognize("sgk_unknown")
	}
	_, expired := g.expired()
	g.recognize(expired)
	holdsSoon(t, "the event for another reason", func() bool {
		return slices.ContainsFunc(seen.of("refused"), func(e noteOf) bool { return e.data["reason"] == "key_expired" })
	})
	unknown, leftOut := 0, uint64(0)
	for _, e := range seen.of("refused") {
		if e.data["reason"] == "credential_malformed" {
			unknown++
			leftOut += e.data["left_out"].(uint64)
		}
	}
	if unknown < 10 || unknown > 10+int(time.Since(begun)/(6*time.Second)) || unknown+int(leftOut) > flood {
		t.Errorf("%d events, and %d left out, for %d refusals", unknown, leftOut, flood)
	}
}

func TestEvents_OfARefusedUpstreamKey(t *testing.T) {
	g, seen := watched(t, &gateway{options: "upstream_key " + backendKey})
	key, secret := g.issue(keystore.NewKey{})
	g.backend.respondPieces(http.StatusOK, len(deniedBody), deniedBody)
	g.recognize(secret)
	wantData(t, seen.one(t, "upstream_refused"), map[string]any{
		"key_id": key.ID, "account_id": key.AccountID, "operation": "recognize", "backend": "amivoice", "client_ip": "127.0.0.1", "left_out": uint64(0),
	}, "at")
}

// A job is told of at its first poll with an expired key, and not again.
func TestEvents_OfAJobOnGrace(t *testing.T) {
	g, seen := watched(t, &gateway{options: "upstream_key " + backendKey})
	key, secret := g.expired()
	g.recordJob("j1", key, now().Add(-90*time.Minute))
	g.recordJob("j2", key, now().Add(-90*time.Minute))
	for range 3 {
		g.poll("j1", secret)
	}
	g.poll("j2", secret)
	jobs := seen.wait(t, "job_on_grace", 2)
	wantData(t, jobs[0].data, map[string]any{
		"key_id": key.ID, "account_id": key.AccountID, "job_id": "j1", "operation": "read_job", "backend": "amivoice", "client_ip": "127.0.0.1",
	}, "at", "grace_until")
	if jobs[1].data["job_id"] != "j2" {
		t.Errorf("the second job is %v", jobs[1].data)
	}
}

// Keys that end and keys that end soon are told of, also after a change of another process, and once across reloads.
func TestEvents_OfKeys(t *testing.T) {
	g, seen := watched(t, &gateway{options: "upstream_key " + backendKey})
	hasBegun(t, g)
	key, _ := g.issue(keystore.NewKey{})
	ends := now().Add(24*time.Hour + 500*time.Millisecond)
	soonEnds, _ := g.issueAt(now().Add(-8*24*time.Hour), keystore.NewKey{Expires: policy.ExpiresAt(ends)})
	g.revoke(key)
	holdsSoon(t, "the key has ended", func() bool { return len(seen.ofKey("key_ended", key)) == 1 })
	wantData(t, seen.ofKey("key_ended", key)[0], map[string]any{"key_id": key.ID, "account_id": key.AccountID, "reason": "key_revoked", "left_out": uint64(0)}, "ended_at")
	expiring := seen.one(t, "key_expiring")
	wantData(t, expiring, map[string]any{
		"key_id": soonEnds.ID, "account_id": key.AccountID, "reason": "key_expired", "within": "1d", "left_out": uint64(0),
	}, "ends_at")
	if expiring["ends_at"] != ends.String() {
		t.Errorf("the key ends at %v, want %s", expiring["ends_at"], ends)
	}
	g.load()
	_, secret := g.expired()
	g.recognize(secret) // an event after the reload
	seen.wait(t, "refused", 1)
	other, _ := g.issue(keystore.NewKey{})
	g.revoke(other)
	holdsSoon(t, "the other key has ended", func() bool { return len(seen.ofKey("key_ended", other)) == 1 })
	if n := len(seen.ofKey("key_ended", key)); n != 1 {
		t.Errorf("the first key has ended %d times", n)
	}
	seen.wait(t, "key_expiring", 1)
}

// hasBegun waits for the gateway's first look at the keys: it tells of keys that end after it.
func hasBegun(t *testing.T, g *gateway) {
	t.Helper()
	db := g.place.Database(t)
	holdsSoon(t, "the gateway has looked at the keys", func() bool {
		var looks int
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM meta WHERE name IN ('news_key_ended', 'news_key_expiring_7d', 'news_key_expiring_1d')").Scan(&looks); err != nil {
			t.Fatal(err)
		}
		return looks == 3
	})
}

// Requests do not wait for a handler that hangs. A reload has the events told by the new handlers,
// and the events that do not fit into the queue are counted.
func TestEvents_AHandlerThatHangsHoldsUpNothing(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	seen := newNotes(t, t.Name())
	seen.answer = func(e caddy.Event) error {
		if e.Name() == "speechgate.refused" {
			<-release
		}
		return nil
	}
	g, _ := watched(t, &gateway{options: "upstream_key " + backendKey})
	for range 3 {
		g.recognize("sgk_unknown")
	}
	seen.wait(t, "refused", 1)
	seenByNew := newNotes(t, t.Name()+"/new")
	g.order = subscribeTo("speechgate.refused", t.Name()+"/new")
	g.load()
	seenByNew.wait(t, "refused", 2) // those that waited
	g.recognize("sgk_unknown")
	seenByNew.wait(t, "refused", 3)
	seen.wait(t, "refused", 1)
}

// A handler that fails or panics ends nothing.
func TestEvents_AHandlerThatFailsEndsNothing(t *testing.T) {
	seen := newNotes(t, t.Name())
	seen.answer = func(e caddy.Event) error {
		switch e.Data["reason"] {
		case "key_expired":
			panic("a bug of the handler")
		case "key_revoked":
			return caddy.ErrEventAborted
		}
		return nil
	}
	g, _ := watched(t, &gateway{options: "upstream_key " + backendKey})
	_, expired := g.expired()
	g.recognize(expired)
	revoked, secret := g.issue(keystore.NewKey{})
	g.revoke(revoked)
	eventually(t, func() bool { return strings.Contains(g.recognize(secret).body, `"code":"-"`) })
	g.recognize("sgk_unknown")
	holdsSoon(t, "the event after the failures", func() bool {
		return slices.ContainsFunc(seen.of("refused"), func(e noteOf) bool { return e.data["reason"] == "credential_malformed" })
	})
	if !strings.Contains(g.log(), "the handler of an event has panicked") {
		t.Error("the log does not say that the handler has panicked")
	}
}

// The last events are told before the server stops.
func TestEvents_AreToldBeforeTheServerStops(t *testing.T) {
	stopping := make(chan struct{})
	seen := newNotes(t, t.Name())
	seen.answer = func(e caddy.Event) error { // a slow handler
		if e.Name() == "stopping" {
			close(stopping)
		}
		if e.Name() == "speechgate.refused" {
			<-stopping
		}
		return nil
	}
	g, _ := watched(t, &gateway{options: "upstream_key " + backendKey})
	for range 5 {
		g.recognize("sgk_unknown")
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(seen.of("refused")); n != 5 {
		t.Errorf("%d events are told, want 5", n)
	}
}

// A subscription to an event that does not exist would never be told of anything.
func TestEvents_AMisspeltSubscriptionIsAnError(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for name, want := range map[string]string{
		"speechgate.key_end":  `there is no event "speechgate.key_end": did you mean speechgate.key_ended?`,
		"Speechgate.refused":  `there is no event "Speechgate.refused": did you mean speechgate.refused?`,
		"speechgate.whatever": `there is no event "speechgate.whatever": want speechgate.key_ended, speechgate.key_expiring, speechgate.refused, speechgate.limit_met, speechgate.upstream_refused or speechgate.job_on_grace`,
	} {
		err := loadCaddyfile("{\nadmin off\npersist_config off\n" + subscribeTo(name, "x") + "}\n:0 {\nspeechgate amivoice\n}\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// No event has a secret.
func TestR18_EventsHaveNoSecret(t *testing.T) {
	g, seen := watched(t, &gateway{options: "upstream_key " + backendKey})
	hasBegun(t, g)
	key, secret := g.issue(keystore.NewKey{Label: "a label"})
	g.recognize(secret[:len(secret)-1] + "x")
	g.revoke(key)
	eventually(t, func() bool { return strings.Contains(g.recognize(secret).body, `"code":"-"`) })
	holdsSoon(t, "the key has ended", func() bool { return len(seen.ofKey("key_ended", key)) == 1 })
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, e := range seen.events {
		text, err := json.Marshal(e.data)
		if err != nil || strings.Contains(string(text), secret[:20]) || strings.Contains(string(text), backendKey) {
			t.Errorf("%s: %s, %v", e.name, text, err)
		}
	}
}
