package share

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

// naming is a source that asks for names while it is locked, as a throttle does.
type naming struct {
	mu sync.Mutex
	x  *Exchange
}

func (s *naming) name() {
	s.mu.Lock()
	defer s.mu.Unlock()
	runtime.Gosched() // another goroutine waits for the lock now
	_ = s.x.Name(SignInName, "someone")
}

func (s *naming) Share(func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
}

func (s *naming) Changes(bool) []Change {
	s.name()
	return []Change{{ID: "a", Now: 1}}
}

func (s *naming) Add(policy.Time, Change) { s.name() }

// Sources come and go with each reload, and transports with each keystore, while a source is asked for
// its changes. Nothing waits without end, and the last stop ends the turns.
func TestExchange_SourcesAndTransportsComeAndGo(t *testing.T) {
	t.Parallel()
	clock := func() policy.Time { return policy.At(time.Now()) }
	x := NewExchange(clock)
	over := &board{now: time.Hour}
	stop := x.Share(over, zap.NewNop())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all sync.WaitGroup
		shared := &naming{x: x}
		defer x.Add(SignInName, shared)()
		for range 4 {
			all.Go(func() {
				for range 500 {
					mine := &naming{x: x}
					remove := x.Add(SignInAddress, mine)
					mine.name()
					shared.name()
					remove()
				}
			})
		}
		all.Go(func() {
			for range 500 {
				_, _ = x.turn(context.Background())
			}
		})
		for range 50 {
			newer := x.Share(over, zap.NewNop())
			older := stop
			stop = newer
			older()
		}
		all.Wait()
		stop()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the exchange waits for ever")
	}
	if x.Name(SignInName, "someone") != "" {
		t.Error("names are given although nothing is shared")
	}
}
