package caddymodule

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// TestR11_AForeignJobIsAnsweredNoFasterThanAnUnknownOne polls both in turns, within
// the process. The bounds are loose: a foreign job that is answered from the cache
// takes a fifth of the time. Package keystore counts the queries.
func TestR11_AForeignJobIsAnsweredNoFasterThanAnUnknownOne(t *testing.T) {
	g := newRig(t)
	polls := g.cases()["poll"]
	g.serve(t, polls, true) // opens the store
	g.gate.logger = zap.NewNop()
	store, err := keystore.Open(t.Context(), keystore.Config{Path: g.gate.app.store.cfg.Path, Clock: now, CommandLine: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	other, _, err := store.CreateAccount(t.Context(), now(), operator, "Other")
	if err != nil {
		t.Fatal(err)
	}
	key, secret, err := store.IssueKey(t.Context(), now(), operator, keystore.NewKey{AccountID: other.ID, Origin: policy.OriginConsole, Expires: policy.Never()})
	if err != nil {
		t.Fatal(err)
	}
	err = store.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: "j2", Dialect: "amivoice", AccountID: other.ID, KeyID: key.ID, CreatedAt: now()})
	if err != nil {
		t.Fatal(err)
	}
	poll := func(id, secret string) time.Duration {
		c := &gateCase{method: http.MethodGet, target: "/v2/recognitions/" + id, authorization: "Bearer " + secret, answer: polls.answer}
		want := http.StatusOK
		if secret == g.secret {
			want, c.answer = http.StatusNotFound, `{"message":"not found"}`
		}
		w := &quiet{header: make(http.Header)}
		r := c.request(w)
		begun := time.Now()
		g.send(t, c, w, r, true)
		took := time.Since(begun)
		if w.status != want {
			t.Fatalf("%s: status %d, want %d", id, w.status, want)
		}
		return took
	}
	poll("j2", secret.Reveal()) // its owner, which puts it into the cache
	times := map[string][]time.Duration{}
	for range 1000 {
		for _, id := range []string{"j2", "j3"} {
			times[id] = append(times[id], poll(id, g.secret))
		}
	}
	median := func(id string) time.Duration { slices.Sort(times[id]); return times[id][len(times[id])/2] }
	foreign, unknown := median("j2"), median("j3")
	t.Logf("a foreign job: %s, an unknown one: %s", foreign, unknown)
	if ratio := float64(foreign) / float64(unknown); ratio < 0.6 || ratio > 1.6 {
		t.Errorf("a foreign job takes %s, and an unknown one %s", foreign, unknown)
	}
}
