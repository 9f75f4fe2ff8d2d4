package share

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// line is a transport over a board, in virtual time.
type line struct {
	mu    sync.Mutex
	begun time.Time
	board board
	slow  time.Duration // how long a call takes
	away  bool          // each call fails
	hangs bool          // each call waits until its context ends

	turns []time.Duration // when a turn began to read, or failed to send
	sent  []time.Duration
	asked []asked
}

// asked is what a turn asks for.
type asked struct {
	at   time.Duration
	span time.Duration
	seen map[string]int64
}

func newLine() *line { return &line{begun: time.Now()} }

// call begins a call. The caller unlocks l if there is no error.
func (l *line) call(ctx context.Context) error {
	l.mu.Lock()
	slow, away, hangs := l.slow, l.away, l.hangs
	l.mu.Unlock()
	switch {
	case hangs:
		<-ctx.Done()
		return ctx.Err()
	case away:
		return errAway
	}
	time.Sleep(slow)
	l.mu.Lock()
	l.board.now = time.Since(l.begun)
	return nil
}

func (l *line) turn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turns = append(l.turns, time.Since(l.begun))
}

func (l *line) Send(ctx context.Context, gateway string, number int64, body []byte) error {
	if err := l.call(ctx); err != nil {
		l.turn()
		return err
	}
	defer l.mu.Unlock()
	l.sent = append(l.sent, l.board.now)
	return l.board.Send(ctx, gateway, number, body)
}

func (l *line) Receive(ctx context.Context, gateway string, span time.Duration, seen map[string]int64) ([]Report, error) {
	l.turn()
	if err := l.call(ctx); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	l.asked = append(l.asked, asked{l.board.now, span, maps.Clone(seen)})
	list, err := l.board.Receive(ctx, gateway, span, seen)
	return slices.DeleteFunc(list, func(r Report) bool { return r.Number <= seen[r.Gateway] }), err
}

func (*line) Name(text string) string { return text }

// set changes how the line is from now on.
func (l *line) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// take returns when turns have begun since the last call.
func (l *line) take() []time.Duration {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	turns := l.turns
	l.turns = nil
	return turns
}

// post puts a report of another gateway on the board.
func (l *line) post(gateway string, number int64, entries ...entry) {
	l.set(func() {
		l.board.reports = append(l.board.reports, posted{Report{Gateway: gateway, Number: number, Body: encode(entries, start)}, time.Since(l.begun)})
	})
}

// source is a tally for an exchange that runs.
type source struct {
	mu      sync.Mutex
	tally   *tally
	changed func()
}

// newSource returns an exchange with one source.
func newSource(kind Kind) (*Exchange, *source) {
	clock := func() policy.Time { return policy.At(time.Now()) }
	x, s := NewExchange(clock), &source{tally: newTally(clock)}
	x.Add(kind, s)
	return x, s
}

func (s *source) Share(changed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = changed
}

func (s *source) Changes(all bool) []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.Changes(all)
}

func (s *source) Add(now policy.Time, c Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.Add(now, c)
}

// count changes the tally, and tells the exchange.
func (s *source) count(change func(*tally)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.tally)
	if s.changed != nil {
		s.changed()
	}
}

func (s *source) shares() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed != nil
}

// knows returns what the source knows of the other gateways: a number at a time, and events.
func (s *source) knows(id string) (now, events int) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.others[id], s.tally.othersPast[id]
}
