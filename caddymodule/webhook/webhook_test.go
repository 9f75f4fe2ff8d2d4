package webhook

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// The example of Standard Webhooks' own libraries.
func TestSignatures_AreThoseOfStandardWebhooks(t *testing.T) {
	t.Parallel()
	keys, err := resolveSecrets([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
	if err != nil {
		t.Fatal(err)
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := signatures(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(`{"test": 2432232314}`)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := signatures([][]byte{keys[0], keys[0]}, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(`{"test": 2432232314}`)); got != want+" "+want {
		t.Errorf("two keys: %s", got)
	}
}

func TestSecrets_OfAnotherFormAreRefused(t *testing.T) {
	t.Parallel()
	encode := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, secret := range []string{"", "whsec_", encode(32), "whsec_" + encode(23), "whsec_" + encode(65), "whsec_%" + encode(32), "WHSEC_" + encode(32)} {
		_, err := resolveSecrets([]string{secret})
		if err == nil || len(secret) > 10 && strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", secret, err)
		}
	}
	for _, n := range []int{24, 64} {
		if _, err := resolveSecrets([]string{"whsec_" + encode(n)}); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

const hangs = -1 // the status of an answer that never comes

// receiver answers requests, and notes when they came.
type receiver struct {
	begun  time.Time
	answer func(id string, try int) (status int, err error)
	tries  map[string][]time.Duration // by webhook-id
}

func (r *receiver) RoundTrip(request *http.Request) (*http.Response, error) {
	id := request.Header.Get("Webhook-Id")
	r.tries[id] = append(r.tries[id], time.Since(r.begun))
	status, err := r.answer(id, len(r.tries[id]))
	if status == hangs {
		<-request.Context().Done()
		err = request.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(""))}, nil
}

// inBubble runs a sender, in the time of a bubble, against a receiver.
func inBubble(t *testing.T, answer func(id string, try int) (int, error), do func(s *sender, r *receiver)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		r := &receiver{begun: time.Now(), answer: answer, tries: make(map[string][]time.Duration)}
		s := newSender("http://receiver.test/", nil, defaultTimeout, zap.NewNop())
		s.client.Transport = r
		go s.run()
		do(s, r)
		s.close(false)
		<-s.ended
	})
}

func (r *receiver) want(t *testing.T, id string, tries ...time.Duration) {
	t.Helper()
	if len(r.tries[id]) != len(tries) {
		t.Fatalf("%s: tries at %v, want %v", id, r.tries[id], tries)
	}
	for i, try := range tries {
		if r.tries[id][i] != try {
			t.Errorf("%s: tries at %v, want %v", id, r.tries[id], tries)
		}
	}
}

// A delivery is tried six times, and a redirect or an error counts as a failure.
func TestSender_TriesAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(id string, try int) (int, error) {
		switch {
		case id == "arrives" || id == "late" && try == 3:
			return http.StatusNoContent, nil
		case try%2 == 0:
			return 0, errors.New("connection refused")
		}
		return http.StatusFound, nil
	}, func(s *sender, r *receiver) {
		for _, id := range []string{"never", "late", "arrives"} {
			if err := s.add(id, nil, mostWaiting); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		r.want(t, "arrives", 0)
		r.want(t, "late", 0, 5*time.Second, 35*time.Second)
		r.want(t, "never", 0, 5*time.Second, 35*time.Second, 155*time.Second, 755*time.Second, 2555*time.Second)
		if n := len(s.waiting); n != 0 {
			t.Errorf("%d deliveries wait still", n)
		}
	})
}

// A receiver that is gone is not asked again.
func TestSender_StopsAtGone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(string, int) (int, error) { return http.StatusGone, nil }, func(s *sender, r *receiver) {
		if err := s.add("a", nil, mostWaiting); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		r.want(t, "a", 0)
	})
}

// A reload does not lose deliveries that wait, and no more than 1000 wait.
func TestSender_KeepsWhatWaits(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ string, try int) (int, error) {
		if try == 1 {
			return http.StatusServiceUnavailable, nil
		}
		return http.StatusOK, nil
	}, func(s *sender, r *receiver) {
		for range mostWaiting - 1 {
			if err := s.add("many", nil, mostWaiting); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.add("a", nil, mostWaiting); err != nil {
			t.Fatal(err)
		}
		if err := s.add("b", nil, mostWaiting); !errors.Is(err, tooManyError(mostWaiting)) {
			t.Errorf("one more delivery: %v", err)
		}
		synctest.Wait()
		s.close(false)
		if err := s.add("c", nil, mostWaiting); err != nil {
			t.Errorf("a delivery of a handler that has begun before the reload: %v", err)
		}
		<-s.ended
		r.want(t, "a", 0, 5*time.Second)
		r.want(t, "c", 0, 5*time.Second)
		if err := s.add("b", nil, mostWaiting); !errors.Is(err, errClosed) {
			t.Errorf("a delivery after the end: %v", err)
		}
	})
}

// A server that stops tries each delivery once more, and does not wait longer than five seconds.
func TestSender_TriesOnceMoreBeforeTheServerStops(t *testing.T) {
	t.Parallel()
	inBubble(t, func(string, int) (int, error) { return http.StatusServiceUnavailable, nil }, func(s *sender, r *receiver) {
		if err := s.add("a", nil, mostWaiting); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.close(true)
		r.want(t, "a", 0, time.Second)
	})
	inBubble(t, func(_ string, try int) (int, error) {
		if try > 1 {
			return hangs, nil
		}
		return http.StatusServiceUnavailable, nil
	}, func(s *sender, r *receiver) {
		core, logs := observer.New(zap.ErrorLevel)
		s.logger = zap.New(core)
		_, _ = s.add("a", nil, mostWaiting), s.add("b", nil, mostWaiting)
		time.Sleep(time.Second)
		begun := time.Now()
		s.close(true)
		if took := time.Since(begun); took != closeWithin {
			t.Errorf("the stop took %s, want %s", took, closeWithin)
		}
		<-s.ended
		r.want(t, "b", 0) // a hangs
		if n := logs.FilterField(zap.String("webhook_id", "a")).Len(); n != 1 {
			t.Errorf("%d log entries say that a has not arrived", n)
		}
		if n := logs.FilterField(zap.String("webhook_id", "b")).Len(); n != 1 {
			t.Errorf("%d log entries say that b has not arrived", n)
		}
	})
}

// told gives an event to the handler, and returns the handler's error.
func told(t *testing.T, s *sender, event string) error {
	t.Helper()
	e, err := caddy.NewEvent(caddy.Context{Context: t.Context()}, event, nil)
	if err != nil {
		t.Fatal(err)
	}
	return (&Webhook{sender: s}).Handle(t.Context(), e)
}

// An account with many keys is closed: every key arrives, although no more than 1000 wait.
func TestWebhook_ManyKeysEndTogether(t *testing.T) {
	t.Parallel()
	inBubble(t, func(string, int) (int, error) {
		time.Sleep(50 * time.Millisecond)
		return http.StatusOK, nil
	}, func(s *sender, r *receiver) {
		const keys = 3 * mostWaiting
		for range keys {
			if err := told(t, s, "speechgate.key_ended"); err != nil {
				t.Fatal(err)
			}
		}
		s.stop(false)
		<-s.ended
		if len(r.tries) != keys {
			t.Errorf("%d of %d keys have arrived", len(r.tries), keys)
		}
	})
}

// A receiver that takes nothing does not hold up the events for other handlers for long.
func TestWebhook_DoesNotWaitForAReceiverThatFails(t *testing.T) {
	t.Parallel()
	inBubble(t, func(string, int) (int, error) { return hangs, nil }, func(s *sender, _ *receiver) {
		for range mostWaiting {
			if err := told(t, s, "speechgate.key_expiring"); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		for range 100 {
			if err := told(t, s, "speechgate.key_ended"); !errors.Is(err, tooManyError(mostWaiting)) {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took > s.timeout {
			t.Errorf("100 events took %s", took)
		}
		s.stop(true)
	})
}

// Refusals that wait leave room for the events of keys and of the upstream key.
func TestWebhook_RefusalsLeaveRoom(t *testing.T) {
	t.Parallel()
	inBubble(t, func(string, int) (int, error) { return http.StatusServiceUnavailable, nil }, func(s *sender, _ *receiver) {
		refused := 0
		for range 10_000 {
			for _, event := range []string{"speechgate.refused", "speechgate.limit_met", "speechgate.job_on_grace"} {
				if told(t, s, event) == nil {
					refused++
				}
			}
		}
		if refused != mostOfMany {
			t.Errorf("%d events of requests wait, want %d", refused, mostOfMany)
		}
		for _, event := range []string{"speechgate.key_ended", "speechgate.key_expiring", "speechgate.upstream_refused"} {
			if err := told(t, s, event); err != nil {
				t.Errorf("%s: %v", event, err)
			}
		}
		s.stop(true)
	})
}

// endless is the body of an answer that breaks off when it is closed.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return errors.New("broken off") }

// The status says whether a delivery has arrived, whatever comes after it.
func TestSender_ReadsTheStatusOnly(t *testing.T) {
	t.Parallel()
	s := newSender("http://receiver.test/", nil, defaultTimeout, zap.NewNop())
	s.client.Transport = bodyOf{endless{}}
	if status, err := s.post(&delivery{id: "a"}); status != http.StatusOK || err != nil {
		t.Errorf("%d, %v", status, err)
	}
}

type bodyOf struct{ body io.ReadCloser }

func (b bodyOf) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: b.body}, nil
}
