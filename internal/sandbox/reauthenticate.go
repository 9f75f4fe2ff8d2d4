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
	askBackoff = 100 * time.Millisecond // the wait after the first try; it doubles after each try
)

// reauthenticator asks a verify endpoint whether a paused job may go on.
type reauthenticator struct {
	url    string
	client *http.Client
	ctx    context.Context // ends all requests
	stop   context.CancelFunc
}

func newReauthenticator(cfg Config) reauthenticator {
	a := reauthenticator{url: cfg.Reauthenticate, client: cfg.Client}
	if a.client == nil {
		a.client = &http.Client{
			Timeout: askTimeout,
			// A redirect is not a permission for the job to go on.
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

// ask returns nil if the job may go on, and otherwise the reason why it may not. After
// an error that can be temporary, ask tries again.
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
	req.Close = true // these requests are rare, and no connection may outlive the sandbox
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

// describe returns the status of an answer, and its reason if there is one.
func describe(resp *http.Response) string {
	text := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if reason := resp.Header.Get("Speechgate-Reason"); reason != "" {
		text += ", " + reason
	}
	return text
}

// reauthenticate waits until the job pauses, asks the verify endpoint, and lets the job
// go on or end.
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
