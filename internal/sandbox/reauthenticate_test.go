package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// asked is a verify endpoint for the tests.
type asked func(*http.Request) (*http.Response, error)

func (a asked) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func answering(code int, reason string) *http.Response {
	header := http.Header{}
	if reason != "" {
		header.Set("Speechgate-Reason", reason)
	}
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(strings.NewReader("{}"))}
}

// pausing returns a sandbox whose jobs pause after 1 of 3 seconds. The answers are the
// answers of its verify endpoint.
func pausing(answers asked) *AmiVoice {
	return NewAmiVoice(Config{
		QueueTime: 2 * time.Second, WorkTime: 3 * time.Second, PauseAt: time.Second,
		Reauthenticate: "http://gateway.example/verify", Client: &http.Client{Transport: answers},
	})
}

// wantStatus polls a job and returns its error.
func wantStatus(t *testing.T, h http.Handler, id string, want status) (problem string) {
	t.Helper()
	synctest.Wait()
	var got struct {
		Status  status `json:"status"`
		Problem string `json:"error_message"`
	}
	if err := json.Unmarshal(poll(h, "/v2/recognitions/"+id, "").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Status != want || (got.Problem != "") != (want == statusError) {
		t.Errorf("the job is %q (%q), want %q", got.Status, got.Problem, want)
	}
	return got.Problem
}

func TestAJobPausesUntilItIsAuthenticatedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan int)
		var begun time.Time
		h := pausing(func(r *http.Request) (*http.Response, error) {
			if at := time.Since(begun); at != 3*time.Second {
				t.Errorf("asked %s after the job was made", at)
			}
			if r.Method != http.MethodGet || r.URL.String() != "http://gateway.example/verify" || r.Header.Get("Authorization") != "" {
				t.Errorf("asked %s %s with %v", r.Method, r.URL, r.Header)
			}
			return answering(<-answer, ""), nil
		})
		defer h.Close()
		begun = time.Now()
		id := createJob(t, h, "/v2/recognitions", SpeechWAV())
		wantStatus(t, h, id, statusQueued)
		time.Sleep(2900 * time.Millisecond)
		wantStatus(t, h, id, statusProcessing)
		time.Sleep(time.Hour)
		wantStatus(t, h, id, statusProcessing)
		answer <- http.StatusNoContent
		time.Sleep(1999 * time.Millisecond)
		wantStatus(t, h, id, statusProcessing)
		time.Sleep(time.Millisecond)
		wantStatus(t, h, id, statusCompleted)
	})
}

func TestARequestToTheVerifyEndpointNamesTheJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var named []string
		h := pausing(func(r *http.Request) (*http.Response, error) {
			named = append(named, r.Header.Values("Speechgate-Job")...)
			return answering(http.StatusNoContent, ""), nil
		})
		defer h.Close()
		id := createJob(t, h, "/v2/recognitions", SpeechWAV())
		time.Sleep(time.Minute)
		wantStatus(t, h, id, statusCompleted)
		if len(named) != 1 || named[0] != id {
			t.Errorf("asked about %q, want %q once", named, id)
		}
	})
}

func TestAJobThatIsRefusedEndsInAnErrorThatSaysWhy(t *testing.T) {
	t.Parallel()
	const begins = "the job paused and could not be authenticated again: "
	for name, test := range map[string]struct {
		code         int
		reason, want string
	}{
		"with a reason":    {http.StatusUnauthorized, "key_revoked", begins + "401 Unauthorized, key_revoked"},
		"without one":      {http.StatusNotFound, "", begins + "404 Not Found"},
		"by another 2xx":   {http.StatusOK, "", begins + "200 OK"},
		"by a redirection": {http.StatusFound, "", begins + "302 Found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				h := pausing(func(*http.Request) (*http.Response, error) {
					calls++
					return answering(test.code, test.reason), nil
				})
				defer h.Close()
				id := createJob(t, h, "/v2/recognitions", SpeechWAV())
				time.Sleep(2999 * time.Millisecond)
				wantStatus(t, h, id, statusProcessing)
				time.Sleep(time.Millisecond)
				if got := wantStatus(t, h, id, statusError); got != test.want || calls != 1 {
					t.Errorf("after %d questions the error is %q, want %q", calls, got, test.want)
				}
			})
		})
	}
}

func TestTemporaryErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	tests := map[string]asked{
		"503":        func(*http.Request) (*http.Response, error) { return answering(503, "store_unavailable"), nil },
		"no answer":  func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"no network": func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
	}
	for name, fault := range tests {
		for _, last := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					calls := 0
					h := pausing(func(r *http.Request) (*http.Response, error) {
						if calls++; calls == askTries && !last {
							return answering(http.StatusNoContent, ""), nil
						}
						return fault(r)
					})
					defer h.Close()
					id := createJob(t, h, "/v2/recognitions", SpeechWAV())
					time.Sleep(3 * time.Second)
					wantStatus(t, h, id, statusProcessing)
					time.Sleep(1499 * time.Millisecond) // the waits between the tries are 100 + 200 + 400 + 800 ms
					wantStatus(t, h, id, statusProcessing)
					time.Sleep(2 * time.Minute)
					want := statusCompleted
					if last {
						want = statusError
					}
					if wantStatus(t, h, id, want); calls != askTries {
						t.Errorf("asked %d times, want %d", calls, askTries)
					}
				})
			})
		}
	}
}

// At its end a synctest bubble checks that no goroutine is left.
func TestCloseEndsAllRequestsToTheVerifyEndpoint(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{
		"before the pause": time.Second, "during the question": 3 * time.Second, "between two questions": 4250 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := pausing(func(r *http.Request) (*http.Response, error) {
					select {
					case <-r.Context().Done():
						return nil, r.Context().Err()
					case <-time.After(time.Second):
						return nil, errors.New("no answer")
					}
				})
				id := createJob(t, h, "/v2/recognitions", SpeechWAV())
				time.Sleep(after)
				h.Close()
				later := createJob(t, h, "/v2/recognitions", SpeechWAV())
				time.Sleep(time.Hour)
				wantStatus(t, h, id, statusProcessing)
				wantStatus(t, h, later, statusProcessing)
			})
		})
	}
}

func TestPausedJobsAreNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stuck atomic.Value // the job that is never confirmed
		h := pausing(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Speechgate-Job") == stuck.Load() {
				<-r.Context().Done()
			}
			return answering(http.StatusNoContent, ""), r.Context().Err()
		})
		defer h.Close()
		h.jobs.max = 2
		first := createJob(t, h, "/v2/recognitions", SpeechWAV())
		stuck.Store(first)
		second := createJob(t, h, "/v2/recognitions", SpeechWAV())
		time.Sleep(time.Hour)
		third := createJob(t, h, "/v2/recognitions", SpeechWAV())
		wantStatus(t, h, first, statusProcessing)
		wantStatus(t, h, third, statusQueued)
		if w := poll(h, "/v2/recognitions/"+second, ""); w.Code != http.StatusNotFound {
			t.Errorf("the job that had ended: status %d", w.Code)
		}
	})
}

func TestAPauseWithinTheFirstTenthIsProcessing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewAmiVoice(Config{
			QueueTime: -1, WorkTime: 10 * time.Second, PauseAt: 100 * time.Millisecond, Reauthenticate: "http://gateway.example/",
			Client: &http.Client{Transport: asked(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			})},
		})
		defer h.Close()
		id := createJob(t, h, "/v2/recognitions", SpeechWAV())
		wantStatus(t, h, id, statusStarted)
		time.Sleep(100 * time.Millisecond)
		wantStatus(t, h, id, statusProcessing)
	})
}

func TestJobsPauseOnlyIfThereIsAVerifyEndpoint(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no URL":             {PauseAt: time.Second},
		"no pause":           {Reauthenticate: "http://gateway.example/"},
		"a pause at the end": {PauseAt: 3 * time.Second, Reauthenticate: "http://gateway.example/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := NewAmiVoice(cfg)
				id := createJob(t, h, "/v2/recognitions", SpeechWAV())
				time.Sleep(5 * time.Second)
				wantStatus(t, h, id, statusCompleted)
			})
		})
	}
}

func TestRedirectionsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var paths []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if paths = append(paths, r.URL.Path); r.URL.Path == "/verify" {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	to, err := url.JoinPath(server.URL, "verify")
	if err != nil {
		t.Fatal(err)
	}
	a := newReauthenticator(Config{Reauthenticate: to})
	defer a.stop()
	if err := a.ask("job"); err == nil || err.Error() != "302 Found" || len(paths) != 1 {
		t.Errorf("got %v after asking %q", err, paths)
	}
}
