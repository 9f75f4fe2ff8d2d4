package gate

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// logs returns the log of the gate from now on.
func (g *rig) logs() *observer.ObservedLogs {
	core, logs := observer.New(zapcore.DebugLevel)
	g.gate.logger = zap.New(core)
	return logs
}

// open opens the keystore like another process.
func (g *rig) open(t *testing.T) *keystore.Store {
	t.Helper()
	cfg := g.place.CommandLine()
	cfg.Clock = now
	store, err := keystore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// job returns the record of a job.
func job(t *testing.T, store *keystore.Store, id string) (policy.Job, bool) {
	t.Helper()
	found, err := store.Job(t.Context(), "amivoice", id)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		t.Fatal(err)
	}
	return found, err == nil
}

// recorded returns the IDs of all recorded jobs.
func recorded(t *testing.T, store *keystore.Store) (ids []string) {
	t.Helper()
	all, _, err := store.Jobs(t.Context(), keystore.JobList{})
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range all {
		ids = append(ids, job.ID)
	}
	return ids
}

// A job is recorded, and its client gets its ID, if the backend has created it. The answers are the
// same with and without an upstream key, if none is named.
func TestR10_WhatAnAnswerToACreationRecords(t *testing.T) {
	rigs := map[string]*rig{backendKey: newRig(t), "pass": newRigWith(t, &Gate{UpstreamKey: "pass"})}
	stores := make(map[string]*keystore.Store)
	for key, g := range rigs {
		stores[key] = g.open(t)
	}
	known := map[string]bool{"j1": true} // the jobs of the rows before
	for _, test := range []struct {
		name, key string // the key is upstream_key; "" means both kinds
		status    int
		body      string
		code      int    // that the client gets
		id        string // of the job that is recorded; "" if none is
	}{
		{"an ID", "", 200, `{"sessionid":"a1"}`, 200, "a1"},
		{"an ID after spaces", "", 201, "\r\n\t " + `{"sessionid":"a2","text":"..."}`, 201, "a2"},
		{"an ID with status 299", "", 299, `{"sessionid":"a3"}`, 299, "a3"},
		{"an ID with status 300", "", 300, `{"sessionid":"a4"}`, 502, ""},
		{"an ID with an error", "", 400, `{"sessionid":"a5"}`, 400, ""},
		{"no ID", "", 200, `{"text":""}`, 200, ""},
		{"an empty ID", "", 200, `{"sessionid":""}`, 200, ""},
		{"no object", "", 200, `["sessionid"]`, 502, ""},
		{"half an object", "", 200, `{"sessionid":"a6"`, 502, ""},
		{"an ID for another path", "", 200, `{"sessionid":"a7/x"}`, 502, ""},
		{"an ID that is recorded", "", 200, `{"sessionid":"j1"}`, 502, "j1"},
		{"the upstream key as an ID", backendKey, 200, `{"sessionid":"x-` + backendKey + `"}`, 502, ""},
		{"a refusal of the key", backendKey, 200, `{"code":"-","message":"denied"}`, 502, ""},
		{"a refusal of the client's key", "pass", 200, `{"code":"-","message":"denied"}`, 200, ""},
		{"a refusal with an ID", backendKey, 200, `{"code":"-","sessionid":"a8"}`, 200, "a8"},
		{"another error", backendKey, 200, `{"code":"+","message":"denied"}`, 200, ""},
	} {
		for key, g := range rigs {
			if test.key != "" && test.key != key {
				continue
			}
			logs := g.logs()
			got := g.ask(t, g.creation(), func(w http.ResponseWriter) {
				w.Header().Set("X-Backend", "x")
				answering(test.status, test.body)(w)
			})
			passed := test.code == test.status
			if got.Code != test.code || (got.Body.String() == test.body) != passed || (got.Header().Get("X-Backend") == "x") != passed {
				t.Errorf("%s, upstream_key %s: status %d, header %v, body %q", test.name, key, got.Code, got.Header(), got.Body)
			}
			if got.Header().Get("Cache-Control") != "no-store" || !passed && got.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s, upstream_key %s: header %v", test.name, key, got.Header())
			}
			if strings.Contains(got.Body.String(), backendKey) {
				t.Errorf("%s: the client sees the upstream key", test.name)
			}
			if withheld := logs.FilterMessage("answer withheld").Len() + logs.FilterMessage("upstream key refused").Len(); (withheld == 1) == passed {
				t.Errorf("%s, upstream_key %s: the log is %v", test.name, key, logs.All())
			}
			for _, id := range recorded(t, stores[key]) {
				if id != test.id && !known[id] {
					t.Errorf("%s, upstream_key %s: job %s is recorded", test.name, key, id)
				}
			}
			if _, ok := job(t, stores[key], test.id); !ok && test.id != "" {
				t.Errorf("%s, upstream_key %s: job %s is not recorded", test.name, key, test.id)
			}
			known[test.id] = true
		}
	}
}

// A reservation of a write that is not used would delay the writes of all others.
func TestR10_ACreationWithoutAJobReservesNoWrite(t *testing.T) {
	g := newRig(t)
	for range 3 {
		g.ask(t, g.creation(), answering(200, `{"text":""}`))
		g.ask(t, g.creation(), answering(302, ""))
	}
	store := g.open(t)
	g.ask(t, g.creation(), answering(200, `{"sessionid":"late"}`))
	if found, ok := job(t, store, "late"); !ok || found.State != policy.JobUnseen || found.Client.String() != "192.0.2.7" {
		t.Errorf("the job is %+v", found)
	}
}

// Without a record, the client could not read its job.
func TestR10_ARecordThatCannotBeWrittenIsAnErrorOfTheServer(t *testing.T) {
	g := newRig(t)
	if g.gate.recordJobWithin != 10*time.Second {
		t.Errorf("the record of a job may take %s, want 10s", g.gate.recordJobWithin)
	}
	if got := g.ask(t, g.creation(), answering(http.StatusOK, `{"sessionid":"written"}`)); got.Code != http.StatusOK {
		t.Fatalf("status %d, body %q", got.Code, got.Body)
	}

	g.gate.recordJobWithin = 50 * time.Millisecond
	logs := g.logs()
	unlock := g.place.Lock(t)
	defer unlock()
	got := g.ask(t, g.creation(), answering(http.StatusOK, `{"sessionid":"unwritten"}`))
	if got.Code != http.StatusServiceUnavailable || strings.Contains(got.Body.String(), "unwritten") || got.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, header %v, body %q", got.Code, got.Header(), got.Body)
	}
	withheld := logs.FilterMessage("answer withheld").All()
	if len(withheld) != 1 || withheld[0].ContextMap()["job_id"] != "unwritten" || withheld[0].ContextMap()["backend_status"] != int64(http.StatusOK) {
		t.Errorf("the log has %v", logs.All())
	}
}

// The state of a job is recorded before the client sees it, and only if it is new.
func TestR12_WhatAPollRecords(t *testing.T) {
	g := newRig(t)
	for i, test := range []struct {
		name   string
		status int
		pieces []string
		state  policy.JobState
	}{
		{"the same state", 200, []string{`{"status":"processing"}`}, policy.JobProcessing},
		{"the end", 200, []string{`{"status":"completed"}`}, policy.JobCompleted},
		{"the end in pieces", 200, []string{`{"sta`, `tus":"comp`, `leted","x":[`, `1`, `]}`}, policy.JobCompleted},
		{"the end, and then nonsense", 200, []string{`{"status":"completed"`, `}}} "status":"queued"`}, policy.JobCompleted},
		{"status 299", 299, []string{`{"status":"completed"}`}, policy.JobCompleted},
		{"an error", 404, []string{`{"status":"completed"}`}, policy.JobProcessing},
		{"a state that is no text", 200, []string{`{"status":17}`}, policy.JobProcessing},
		{"no state", 200, []string{`{"text":"completed"}`}, policy.JobProcessing},
		{"no object", 200, []string{`"completed"`}, policy.JobProcessing},
	} {
		store := g.open(t)
		before, _ := job(t, store, "j1")
		before.ID = fmt.Sprintf("polled%d", i)
		if err := store.CreateJob(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		poll := *g.cases()["poll"]
		poll.target = "/v1/recognitions/" + before.ID
		sent := 0
		got := g.ask(t, &poll, func(w http.ResponseWriter) {
			w.WriteHeader(test.status)
			for _, piece := range test.pieces {
				if _, err := io.WriteString(w, piece); err != nil {
					t.Error(err)
				}
				sent += len(piece)
			}
		})
		if body := strings.Join(test.pieces, ""); got.Code != test.status || got.Body.String() != body || sent != len(body) {
			t.Errorf("%s: status %d, body %q", test.name, got.Code, got.Body)
		}
		found, _ := job(t, store, before.ID)
		if found.State != test.state || found.EndedAt.IsZero() == test.state.Ended() {
			t.Errorf("%s: the job is %+v", test.name, found)
		}
	}
}

// While another process holds the lock of the keystore, a write takes long and fails.
func TestR12_AStateThatIsKnownIsNotWritten(t *testing.T) {
	g := newRig(t)
	poll := g.cases()["poll"]
	g.ask(t, poll, answering(200, `{"status":"processing"}`)) // opens the store
	logs := g.logs()
	g.gate.recordStateWithin = 50 * time.Millisecond
	unlock := g.place.Lock(t)
	failed := func() int { return logs.FilterMessage("recording a job's state").Len() }
	for status, news := range map[string]bool{"processing": false, "queued": true} {
		before := failed()
		body := `{"status":"` + status + `"}`
		if got := g.ask(t, poll, answering(200, body)); got.Code != 200 || got.Body.String() != body {
			t.Errorf("status %d, body %q", got.Code, got.Body)
		}
		if written := failed() > before; written != news {
			t.Errorf("%s: the gate tries to write: %v", status, written)
		}
	}
	before := failed()
	g.ask(t, poll, func(w http.ResponseWriter) { // the state is written once, however long the answer is
		for _, piece := range []string{`{"status":"completed"`, `,"text":"a`, `b"}`} {
			_, _ = io.WriteString(w, piece)
		}
	})
	if n := failed() - before; n != 1 {
		t.Errorf("the gate tries to write %d times", n)
	}
	unlock()
	g.gate.recordStateWithin = time.Minute
	g.ask(t, poll, answering(200, `{"status":"completed"}`))
	if found, _ := job(t, g.open(t), "j1"); found.State != policy.JobCompleted {
		t.Errorf("the job is %+v", found)
	}
	g.gate.recordStateWithin = 50 * time.Millisecond
	unlock = g.place.Lock(t)
	defer unlock()
	before = failed()
	g.ask(t, poll, answering(200, `{"status":"error"}`))
	if failed() > before {
		t.Error("the gate tries to write after the end of the job")
	}
}
