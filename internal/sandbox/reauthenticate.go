package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	askTimeout = 10 * time.Second
	askTries   = 5
	askBackoff = 100 * time.Millisecond // after the first try; then twice as long each time
)

// reauthenticator asks, of a job that has paused, whether it may go on.
type reauthenticator struct {
	url    string
	client *http.Client
	ctx    context.Context // ends all asking
	stop   context.CancelFunc
}

func newReauthenticator(cfg Config) reauthenticator {
	a := reauthenticator{url: cfg.Reauthenticate, client: cfg.Client}
	if a.client == nil {
		a.client = &http.Client{
			Timeout: askTimeout,
			// Whoever redirects has not said that the job may go on.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ask returns nil if the job may go on, and otherwise why not. What may pass is
// asked again.
func (a *reauthenticator) ask(id string) error {
	backoff := askBackoff
	for try := 1; ; try++ {
		again, err := a.askOnce(id)
		if !again || try == askTries {
			return err
		}
		if err := sleep(a.ctx, backoff); err != nil {
			return err
		}
		backoff *= 2
	}
}

func (a *reauthenticator) askOnce(id string) (again bool, err error) {
	req, err := http.NewRequestWithContext(a.ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Speechgate-Job", id)
	req.Close = true // questions are rare, and no connection outlives the sandbox
	resp, err := a.client.Do(req)
	if err != nil {
		return true, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusNoContent:
		return false, nil
	case http.StatusServiceUnavailable:
		return true, errors.New(describe(resp))
	}
	return false, errors.New(describe(resp))
}

// describe says what was answered: the status, and the reason if there is one.
func describe(resp *http.Response) string {
	text := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if reason := resp.Header.Get("Speechgate-Reason"); reason != "" {
		text += ", " + reason
	}
	return text
}

// reauthenticate waits until the job pauses, and lets it go on or end.
func (s *AmiVoice) reauthenticate(id string) {
	a := &s.reauth
	if sleep(a.ctx, s.jobs.queue+s.jobs.pauseAt) != nil {
		return
	}
	err := a.ask(id)
	if a.ctx.Err() == nil {
		s.jobs.resume(id, s.now(), err)
	}
}
