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

	"go.uber.org/zap"
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
			if err := s.add(id, nil); err != nil {
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
		if err := s.add("a", nil); err != nil {
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
			if err := s.add("many", nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.add("a", nil); err != nil {
			t.Fatal(err)
		}
		if err := s.add("b", nil); !errors.Is(err, errTooMany) {
			t.Errorf("one more delivery: %v", err)
		}
		synctest.Wait()
		s.close(false)
		if err := s.add("b", nil); !errors.Is(err, errClosed) {
			t.Errorf("a delivery after the end: %v", err)
		}
		<-s.ended
		r.want(t, "a", 0, 5*time.Second)
	})
}

// A server that stops tries each delivery once more, and does not wait longer than five seconds.
func TestSender_TriesOnceMoreBeforeTheServerStops(t *testing.T) {
	t.Parallel()
	inBubble(t, func(string, int) (int, error) { return http.StatusServiceUnavailable, nil }, func(s *sender, r *receiver) {
		if err := s.add("a", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.close(true)
		r.want(t, "a", 0, time.Second)
	})
	inBubble(t, func(_ string, try int) (int, error) {
		if try > 1 {
			time.Sleep(defaultTimeout) // the receiver hangs
		}
		return http.StatusServiceUnavailable, nil
	}, func(s *sender, r *receiver) {
		_, _ = s.add("a", nil), s.add("b", nil)
		time.Sleep(time.Second)
		begun := time.Now()
		s.close(true)
		if took := time.Since(begun); took != closeWithin {
			t.Errorf("the stop took %s, want %s", took, closeWithin)
		}
		<-s.ended
		r.want(t, "b", 0) // or a: one of them hangs
	})
}
