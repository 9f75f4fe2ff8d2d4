package gate

import (
	"net/http"
	"testing"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// BenchmarkForeignJob polls a job of another account and an unknown job, within the process. Both must
// take the same time; if the cache answered for the job of another account, it would take a fifth. A
// test of package keystore checks that both cost one query.
func BenchmarkForeignJob(b *testing.B) {
	g := newRig(b)
	polls := g.cases()["poll"]
	g.serve(b, polls, true) // opens the store
	g.gate.logger = zap.NewNop()
	cfg := g.place.CommandLine()
	cfg.Clock = now
	store, err := keystore.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	other, _, err := store.CreateAccount(b.Context(), now(), operator, "Other")
	if err != nil {
		b.Fatal(err)
	}
	key, secret, err := store.IssueKey(b.Context(), now(), operator, keystore.NewKey{AccountID: other.ID, Origin: policy.OriginConsole, Expires: policy.Never()})
	if err != nil {
		b.Fatal(err)
	}
	err = store.CreateJob(b.Context(), policy.Job{Backend: "amivoice", ID: "j2", Dialect: "amivoice", AccountID: other.ID, KeyID: key.ID, CreatedAt: now()})
	if err != nil {
		b.Fatal(err)
	}
	poll := func(id, secret string) {
		c := &gateCase{method: http.MethodGet, target: "/v2/recognitions/" + id, authorization: "Bearer " + secret, answer: polls.answer}
		want := http.StatusOK
		if secret == g.secret {
			want, c.answer = http.StatusNotFound, `{"message":"not found"}`
		}
		w := &quiet{header: make(http.Header)}
		r := c.request(w)
		g.send(b, c, w, r, true)
		if w.status != want {
			b.Fatalf("%s: status %d, want %d", id, w.status, want)
		}
	}
	poll("j2", secret.Reveal()) // its owner, which puts it into the cache
	for name, id := range map[string]string{"foreign": "j2", "unknown": "j3"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				poll(id, g.secret)
			}
		})
	}
}
