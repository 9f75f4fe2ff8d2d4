package gate

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

// newTestStream returns a stream whose gate has no app: only its end can be tested.
func newTestStream(t *testing.T) *liveStream {
	t.Helper()
	g := &Gate{api: dialect.AmiVoice}
	g.counters, g.logger = handler.NewMetrics(nil).CountersOf("amivoice"), zap.NewNop()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/", nil)
	return newLiveStream(&gatedRequest{gate: g, r: r, call: g.api.Classify(r.Method, r.URL.Path)}, g.upstream, 0)
}

// holdEvents has an event run until the test ends, as one that waits for a keystore that
// does not answer.
func holdEvents(t *testing.T, s *liveStream) {
	t.Helper()
	began, release := make(chan struct{}), make(chan struct{})
	s.events.post(func() {
		close(began)
		<-release
	})
	<-began
	t.Cleanup(func() {
		close(release)
		s.events.do(func() {})
	})
}

func wantSoon(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatalf("still not: %s", what)
	}
}

func TestR22_ACutDoesNotWaitForTheKeystore(t *testing.T) {
	t.Parallel()
	s := newTestStream(t)
	holdEvents(t, s)
	wantSoon(t, "the cut returns", func() {
		if !s.cut(policy.CutByOperator, "") {
			t.Error("the stream had ended before")
		}
	})
	if !s.guard.Ended() {
		t.Error("the stream has not ended")
	}
	if s.cut(policy.CutByOperator, "") {
		t.Error("a second cut counts too")
	}
}

func TestR21_ARefusalDoesNotWaitForTheKeystore(t *testing.T) {
	t.Parallel()
	s := newTestStream(t)
	client, server := net.Pipe()
	s.guard.Wrap(server, nil)
	go func() { _, _ = io.Copy(io.Discard, client) }()
	holdEvents(t, s)
	wantSoon(t, "the refusal closes the connection", func() { s.guard.Refuse(policy.LimitReached, "no memory") })
}

// The timer of a stream rechecks the stream at the next instant at which it may have to end, and not
// before. An expiry in the far future is more nanoseconds away than a time.Duration can have.
func TestR14_TheTimerWaitsForTheNextEnd(t *testing.T) {
	t.Parallel()
	const farthest = 253_402_300_799_999 // the last millisecond of the year 9999
	for name, test := range map[string]struct {
		expires func(now policy.Time) policy.Time
		wait    time.Duration
	}{
		"a quarter of a second": {func(now policy.Time) policy.Time { return now.Add(250 * time.Millisecond) }, 250 * time.Millisecond},
		"a day":                 {func(now policy.Time) policy.Time { return now.Add(24 * time.Hour) }, 24 * time.Hour},
		"a week":                {func(now policy.Time) policy.Time { return now.Add(7 * 24 * time.Hour) }, 24 * time.Hour},
		"the year 9999":         {func(policy.Time) policy.Time { return farthest }, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newTestStream(t)
				s.gate.OnExpiry = expiryCut
				holdEvents(t, s) // so that a recheck stays in the queue, where the test sees it
				now := policy.At(time.Now())
				s.setTimer(now, s.nextEnd(now, &policy.Key{Expires: policy.ExpiresAt(test.expires(now))}, 0))
				time.Sleep(test.wait - time.Nanosecond)
				synctest.Wait()
				if s.recheckWaits.Load() {
					t.Fatalf("rechecked before %s", test.wait)
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if !s.recheckWaits.Load() {
					t.Errorf("not rechecked after %s", test.wait)
				}
			})
		})
	}
}

// An operator can cut a stream while its handshake is prepared. The race detector looks.
func TestR22_ACutDuringTheHandshake(t *testing.T) {
	t.Parallel()
	s := newTestStream(t)
	streams := livestream.NewRegistry()
	streams.Begin(livestream.Snapshot{ID: s.id}, 1, func() bool { return s.cut(policy.CutByOperator, "") })
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n := streams.CutIf(func(*livestream.Snapshot) bool { return true }); n != 1 {
			t.Errorf("%d streams were cut", n)
		}
	}()
	s.prepareHandshake()
	<-done
	s.events.do(func() {}) // after the report
}

// A backend has 10 seconds to accept a connection and to change protocols. Then its client gets an
// answer to the start command.
func TestR21_ABackendThatIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTestStream(t)
		core, logs := observer.New(zap.InfoLevel)
		s.gate.logger = zap.New(core)
		clientEnd, inner := wstest.Pipe()
		client := wstest.NewPeer(t, clientEnd)
		w := &streamWriter{s: s}
		w.conn, w.brw = s.guard.Wrap(inner, nil)
		begun := time.Now()
		s.proxy(w, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			if took := time.Since(begun); took != 10*time.Second {
				t.Errorf("it took %s", took)
			}
			return r.Context().Err()
		}))
		client.WantText(dialect.AmiVoice.Commands().Unreachable())
		client.WantClose(1008)
		client.WantEndOrReset()
		if all := logs.All(); len(all) != 1 || all[0].Message != "the backend does not open a stream" || all[0].ContextMap()["error"] != "the backend does not change protocols in time" {
			t.Errorf("the log has %v", all)
		}
	})
}

// A stream lasts for hours. It must not keep the large buffer of the cache in memory, which has the
// records of many keys.
func TestStream_HasItsKeyInMemoryOfItsOwn(t *testing.T) {
	g := newRig(t)
	_ = g.open(t)
	s := g.stream(t)
	for range 2 { // the second time, the record is in the cache
		if verdict := s.authorize(policy.NewSecret(g.secret), nil); !verdict.OK {
			t.Fatalf("the verdict is %+v", verdict)
		}
	}
	record, _, _ := s.running()
	key, account := record.IDs()
	owner, _ := s.listed()
	if unsafe.StringData(owner.KeyID) != unsafe.StringData(key) || unsafe.StringData(owner.AccountID) != unsafe.StringData(account) {
		t.Error("the owner's IDs are not those of the stream's own record")
	}
}
