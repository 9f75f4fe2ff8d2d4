package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	mostWaiting = 1000            // deliveries that wait
	mostOfMany  = 500             // that wait, and are of events that many requests cause
	closeWithin = 5 * time.Second // how long a server that stops waits for deliveries
	warnEvery   = time.Minute     // between two warnings that every event can cause
	readAnswer  = 64 << 10        // bytes of an answer that are read, so that its connection is used again
)

// retryAfter are the times between a try of a delivery and the next one.
var retryAfter = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute}

var errClosed = errors.New("the server stops: the event is not posted")

// tooManyError says that so many deliveries wait that an event is not taken.
type tooManyError int

func (most tooManyError) Error() string {
	return fmt.Sprintf("%d deliveries wait already: the event is not posted", int(most))
}

// delivery is an event on its way to the receiver.
type delivery struct {
	id    string
	body  []byte
	due   time.Time // of the next try
	tries int
}

// sender makes the deliveries of one webhook, one after the other. A delivery that has failed does
// not hold up the others.
type sender struct {
	url     string
	keys    [][]byte
	client  *http.Client
	timeout time.Duration
	logger  *zap.Logger
	ended   chan struct{} // closed when run has returned
	wake    chan struct{} // receives when run has something to do
	freed   chan struct{} // receives when addPatiently has to look again

	trying context.Context // of all tries: it ends when a server that stops waits no longer
	endAll context.CancelFunc

	mu      sync.Mutex
	waiting []*delivery
	failing bool // the last try has failed
	closed  bool
	last    time.Time // no try begins after it; zero: no such limit
	warned  time.Time
}

func newSender(target string, keys [][]byte, timeout time.Duration, logger *zap.Logger) *sender {
	trying, endAll := context.WithCancel(context.Background())
	return &sender{
		url: target, keys: keys, timeout: timeout, logger: logger, trying: trying, endAll: endAll,
		ended: make(chan struct{}), wake: make(chan struct{}, 1), freed: make(chan struct{}, 1),
		client: &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
			// A redirect is not followed: the receiver at the new place may be another one.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// add takes a delivery, if fewer than most wait. It never waits. After a reload, a handler that has
// begun before can add the delivery of its event as long as others wait.
func (s *sender) add(id string, body []byte, most int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed && (!s.last.IsZero() || len(s.waiting) == 0):
		return errClosed
	case !s.closed && len(s.waiting) >= most:
		return tooManyError(most)
	}
	s.waiting = append(s.waiting, &delivery{id: id, body: body, due: time.Now()})
	signal(s.wake)
	return nil
}

// addPatiently takes a delivery. If too many wait, and the receiver takes them, addPatiently waits
// until there is room, as long as one try may take. Many keys can end together.
func (s *sender) addPatiently(id string, body []byte) error {
	timer := time.NewTimer(s.timeout)
	defer timer.Stop()
	for {
		err := s.add(id, body, mostWaiting)
		if full := tooManyError(0); !errors.As(err, &full) || s.isFailing() {
			return err
		}
		select {
		case <-s.freed:
		case <-timer.C:
			return err
		}
	}
}

func (s *sender) isFailing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}

// signal makes the goroutine that receives from c look again. It never waits.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// warnOfOther logs that an event of another module is not posted.
func (s *sender) warnOfOther(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.warned) >= warnEvery {
		s.warned = now
		s.logger.Warn("speechgate_webhook posts the events of speechgate only: subscribe another handler to this one", zap.String("event", event))
	}
}

// run makes deliveries until the sender is closed and none waits.
func (s *sender) run() {
	defer close(s.ended)
	defer s.endAll()
	defer s.client.CloseIdleConnections()
	for {
		d, wait := s.next()
		switch {
		case d != nil:
			s.try(d)
		case wait < 0:
			return
		default:
			timer := time.NewTimer(wait)
			select {
			case <-s.wake:
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// next returns the delivery that is due first. If none is due, it returns how long to wait for it; the
// wait is below zero if the sender has nothing to do any more.
func (s *sender) next() (*delivery, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.last.IsZero() && !now.Before(s.last) {
		for _, d := range s.waiting {
			s.logger.Error("an event was not posted before the server stopped", zap.String("webhook_id", d.id), zap.Int("tries", d.tries))
		}
		s.waiting = nil
	}
	var first *delivery
	for _, d := range s.waiting {
		if first == nil || d.due.Before(first.due) {
			first = d
		}
	}
	switch {
	case first == nil && s.closed:
		return nil, -1
	case first == nil:
		return nil, time.Hour
	}
	if wait := first.due.Sub(now); wait > 0 {
		return nil, wait
	}
	return first, 0
}

// try posts a delivery, and decides what becomes of it.
func (s *sender) try(d *delivery) {
	status, err := s.post(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	d.tries++
	arrived := err == nil && status >= 200 && status <= 299
	s.failing = !arrived
	signal(s.freed)
	fields := []zap.Field{zap.String("webhook_id", d.id), zap.Int("tries", d.tries), zap.Int("status", status), zap.Error(err)}
	switch exiting := !s.last.IsZero(); {
	case arrived:
	case status == http.StatusGone || d.tries > len(retryAfter) || exiting:
		s.logger.Error("an event was not posted, and is not tried again", fields...)
	default:
		again := retryAfter[d.tries-1]
		d.due = time.Now().Add(again)
		s.logger.Warn("an event was not posted, and is tried again", append(fields, zap.Duration("after", again))...)
		return
	}
	for i := range s.waiting {
		if s.waiting[i] == d {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return
		}
	}
}

// post makes one try. An error shows no URL.
func (s *sender) post(d *delivery) (status int, err error) {
	ctx, cancel := context.WithTimeout(s.trying, s.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(d.body))
	if err != nil {
		return 0, withoutURL(err)
	}
	seconds := time.Now().Unix()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "speechgate")
	r.Header.Set("Webhook-Id", d.id)
	r.Header.Set("Webhook-Timestamp", strconv.FormatInt(seconds, 10))
	if len(s.keys) > 0 {
		r.Header.Set("Webhook-Signature", signatures(s.keys, d.id, seconds, d.body))
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, withoutURL(err)
	}
	// The status says all: a body that breaks off, or has no end, makes no difference.
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, readAnswer))
	_ = answer.Body.Close()
	return answer.StatusCode, nil
}

// withoutURL returns the cause of an error of a client, without the URL.
func withoutURL(err error) error {
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// stop makes run return when no delivery waits. If the server exits, each delivery is tried once
// more, for a while. Later calls do nothing.
func (s *sender) stop(exiting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if exiting {
		now := time.Now()
		s.last = now.Add(closeWithin)
		for _, d := range s.waiting {
			d.due = now
		}
		time.AfterFunc(closeWithin, s.endAll)
	}
	signal(s.wake)
	signal(s.freed)
}

// close stops the sender. If the server exits, close waits for the last tries.
func (s *sender) close(exiting bool) {
	s.stop(exiting)
	if exiting {
		<-s.ended
	}
}
