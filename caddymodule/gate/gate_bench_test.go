package gate

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const backendKey = "backend-key-0123456789abcdef"

var (
	now      = keystore.SystemClock().Now
	operator = keystore.Actor{Kind: keystore.ActorOperator, ID: "test"}
)

// rig is a gate without a server. Its requests are like those of Caddy's server, and a handler
// answers in place of the backend.
type rig struct {
	gate   *Gate
	place  storetest.Place // of the keystore
	secret string
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	return newRigWith(tb, &Gate{UpstreamKey: backendKey})
}

// newRigWith is newRig with other settings of the gate.
func newRigWith(tb testing.TB, gate *Gate) *rig {
	tb.Helper()
	place := storetest.New(tb)
	cfg := place.CommandLine()
	cfg.Clock = now
	store, err := keystore.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	account, _, err := store.CreateAccount(tb.Context(), now(), operator, "Bench")
	if err != nil {
		tb.Fatal(err)
	}
	allow, _ := policy.ParseAddrSet("192.0.2.0/24")
	key, secret, err := store.IssueKey(tb.Context(), now(), operator, keystore.NewKey{
		AccountID: account.ID, Origin: policy.OriginConsole, Expires: policy.Never(), Allow: allow,
	})
	if err != nil {
		tb.Fatal(err)
	}
	err = store.CreateJob(tb.Context(), policy.Job{Backend: "amivoice", ID: "j1", Dialect: "amivoice", AccountID: account.ID, KeyID: key.ID, CreatedAt: now(), State: policy.JobProcessing})
	if err != nil {
		tb.Fatal(err)
	}
	if err := store.Close(); err != nil {
		tb.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{
		app.Name: []byte(`{"keystore":` + place.JSON() + `}`),
	}})
	if err != nil {
		tb.Fatal(err)
	}
	if gate.Dialect == "" {
		gate.Dialect = "amivoice"
	}
	if err := gate.Provision(ctx); err != nil {
		tb.Fatal(err)
	}
	if err := gate.Validate(); err != nil {
		tb.Fatal(err)
	}
	gate.recordStateWithin = time.Minute // a busy machine can take longer than clients may wait
	tb.Cleanup(func() {
		// The app closes its store a second later, and until then the store can write to the
		// directory that the test removes.
		if store, err := gate.app.Store(); err == nil {
			if err := store.Close(); err != nil {
				tb.Error(err)
			}
		}
		if err := gate.app.Cleanup(); err != nil {
			tb.Error(err)
		}
	})
	return &rig{gate, place, secret.Reveal()}
}

// quiet is a client that drops its answer.
type quiet struct {
	header http.Header
	status int
	n      int
}

func (q *quiet) Header() http.Header         { return q.header }
func (q *quiet) WriteHeader(status int)      { q.status = status }
func (q *quiet) Write(p []byte) (int, error) { q.n += len(p); return len(p), nil }

// gateCase is one kind of request.
type gateCase struct {
	method, target, contentType, authorization string
	body                                       []byte
	answer                                     string
}

func (g *rig) cases() map[string]*gateCase {
	const answer = `{"status":"processing","session_id":"0123456789abcdef01234567","service_id":"bench","audio_size":112044,"audio_md5":"8aae37249a4ef3277820aaa94e0a5497"}`
	part := func(name, value string) string {
		return "--BOUNDARY\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	end := part("c", "16K") + part("a", strings.Repeat("\x01", 4096)) + "--BOUNDARY--\r\n"
	return map[string]*gateCase{
		"poll":  {method: "GET", target: "/v2/recognitions/j1", authorization: "Bearer " + g.secret, answer: answer},
		"query": {method: "POST", target: "/v1/recognize?d=-a-general&c=16K&u=" + g.secret, contentType: "application/octet-stream", body: make([]byte, 320), answer: answer},
		"form-u": {
			method: "POST", target: "/v1/recognize", contentType: "multipart/form-data; boundary=BOUNDARY",
			body: []byte(part("u", g.secret) + part("d", "-a-general") + end), answer: answer,
		},
		"form-d": {
			method: "POST", target: "/v1/recognize", contentType: "multipart/form-data; boundary=BOUNDARY",
			body: []byte(part("d", "grammarFileNames=-a-general authorization="+g.secret) + end), answer: answer,
		},
	}
}

// request makes a request as Caddy's server does.
func (c *gateCase) request(w http.ResponseWriter) *http.Request {
	r := httptest.NewRequest(c.method, c.target, bytes.NewReader(c.body))
	r.RemoteAddr = "192.0.2.7:1234"
	if c.body == nil {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	if c.contentType != "" {
		r.Header.Set("Content-Type", c.contentType)
	}
	if c.authorization != "" {
		r.Header.Set("Authorization", c.authorization)
	}
	r.Header.Set("User-Agent", "bench")
	r.Header.Set("Accept", "*/*")
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
}

// serve makes a request and sends it through the gate or, for comparison, to the backend only.
func (g *rig) serve(tb testing.TB, c *gateCase, gated bool) {
	w := &quiet{header: make(http.Header)}
	g.send(tb, c, w, c.request(w), gated)
}

// send sends a request that was made before.
func (g *rig) send(tb testing.TB, c *gateCase, w *quiet, r *http.Request, gated bool) {
	answer := []byte(c.answer)
	var backend caddyhttp.HandlerFunc = func(w http.ResponseWriter, r *http.Request) error {
		_, _ = io.Copy(io.Discard, r.Body)
		h := w.Header()
		h["Content-Type"] = []string{"application/json"}
		h["Content-Length"] = []string{"151"}
		h["Date"] = []string{"Tue, 24 Nov 2026 00:00:00 GMT"}
		w.WriteHeader(http.StatusOK)
		_, err := w.Write(answer)
		return err
	}
	var err error
	if gated {
		err = g.gate.ServeHTTP(w, r, backend)
	} else {
		err = backend(w, r)
	}
	if err != nil || w.n != len(c.answer) {
		tb.Fatalf("%d bytes of %d, %v", w.n, len(c.answer), err)
	}
}

// BenchmarkGate measures a request through the gate. Compare it with "bare", which makes and answers
// the same request without the gate.
func BenchmarkGate(b *testing.B) {
	g := newRig(b)
	for name, c := range g.cases() {
		for kind, gated := range map[string]bool{"bare": false, "gate": true} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					g.serve(b, c, gated)
				}
			})
		}
	}
}

// BenchmarkGateCold measures the gate with cold caches of the core, as in a proxy that has done
// other work since the last request. In a loop, the caches would be warm. The result is cold-ns/op.
// It does not include making the request, nor the slowest fifth of the requests, which other
// processes and the garbage collector have delayed.
func BenchmarkGateCold(b *testing.B) {
	g := newRig(b)
	others := make([]byte, 1<<20) // what a core keeps near, of many
	for name, c := range g.cases() {
		for kind, gated := range map[string]bool{"bare": false, "gate": true} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				var took []time.Duration
				for b.Loop() {
					w := &quiet{header: make(http.Header)}
					r := c.request(w)
					for i := 0; i < len(others); i += 64 {
						others[i]++
					}
					begun := time.Now()
					g.send(b, c, w, r, gated)
					took = append(took, time.Since(begun))
				}
				slices.Sort(took)
				took = took[:len(took)-len(took)/5]
				var sum time.Duration
				for _, t := range took {
					sum += t
				}
				b.ReportMetric(float64(sum)/float64(len(took)), "cold-ns/op")
			})
		}
	}
}

// TestGate_MakesLittleGarbage limits the allocations of the gate for a request. They do not depend on
// the size of the audio or of the store.
func TestGate_MakesLittleGarbage(t *testing.T) {
	g := newRig(t)
	most := map[string]float64{"poll": 5, "query": 5, "form-u": 15, "form-d": 17}
	for name, c := range g.cases() {
		bare := testing.AllocsPerRun(100, func() { g.serve(t, c, false) })
		if added := testing.AllocsPerRun(100, func() { g.serve(t, c, true) }) - bare; added > most[name]+raceAllocations {
			t.Errorf("%s: %v allocations, want at most %v", name, added, most[name]+raceAllocations)
		}
	}
}
