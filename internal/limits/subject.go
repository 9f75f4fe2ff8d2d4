package limits

import (
	"sync"
	"sync/atomic"

	"github.com/speechgate/speechgate/policy"
)

// subject has the counts of one key or account.
type subject struct {
	id   string
	hash uint64

	running atomic.Uint32 // requests at a time; it grows under the lock only
	mu      sync.Mutex
	gone    bool   // the table has dropped it; look the ID up again
	minute  window // requests in the last minute
	audio   audio
}

// lock locks the subject. It returns false, and locks nothing, if the table has dropped the
// subject meanwhile. A nil subject counts nothing, and is always locked.
func (s *subject) lock() bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return false
	}
	return true
}

func (s *subject) unlock() {
	if s != nil {
		s.mu.Unlock()
	}
}

// check returns the limit that one more request would exceed. The caller has locked s.
func (s *subject) check(l *policy.Limits, kind Kind, now policy.Time) Refusal {
	if s == nil {
		return Refusal{}
	}
	if l.Concurrent != 0 && kind == Request && s.running.Load() >= l.Concurrent {
		return Refusal{Limit: policy.LimitConcurrent}
	}
	if l.Requests != 0 {
		s.minute.advance(secondOf(now))
		if s.minute.sum >= l.Requests {
			return Refusal{Limit: policy.LimitRequests, RetryAfter: s.minute.wait(l.Requests, now)}
		}
	}
	return Refusal{}
}

// count counts a request. The caller has locked s.
func (s *subject) count(kind Kind, now policy.Time) place {
	if s == nil {
		return place{}
	}
	if kind == Request {
		s.running.Add(1)
	}
	return place{s, kind, s.minute.add(secondOf(now))}
}

// release ends the request.
func (p *place) release() {
	if p.subject != nil && p.kind == Request {
		p.subject.running.Add(^uint32(0))
	}
	p.subject = nil
}

// cancel takes the request back.
func (p *place) cancel() {
	if p.subject != nil {
		p.subject.mu.Lock()
		p.subject.minute.remove(p.second)
		p.subject.mu.Unlock()
	}
	p.release()
}

// dropIfIdle marks the subject as gone if all its counts are zero, and reports whether they
// are.
func (s *subject) dropIfIdle(now policy.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.minute.advance(secondOf(now))
	s.gone = s.running.Load() == 0 && s.minute.sum == 0
	return s.gone
}

func secondOf(now policy.Time) int64 { return int64(now) / 1000 }

// seconds is how many seconds a window counts: a minute, and the second that has begun.
const seconds = 61

// window counts requests by the second. All seconds are since 1970.
type window struct {
	last  int64 // the latest second
	sum   uint32
	count [seconds]uint32 // by the second modulo seconds
}

// advance drops the seconds that are too old. A second before the latest one changes nothing:
// of two requests at one time, the later can come first.
func (w *window) advance(second int64) {
	passed := second - w.last
	if passed <= 0 {
		return
	}
	w.last = second
	if w.sum == 0 {
		return
	}
	if passed >= seconds {
		w.sum, w.count = 0, [seconds]uint32{}
		return
	}
	for at := second - passed + 1; at <= second; at++ {
		slot := &w.count[at%seconds]
		w.sum -= *slot
		*slot = 0
	}
}

// add counts a request, and returns its second.
func (w *window) add(second int64) int64 {
	w.advance(second)
	w.count[w.last%seconds]++
	w.sum++
	return w.last
}

// remove takes back a request that add has counted in this second.
func (w *window) remove(second int64) {
	if slot := &w.count[second%seconds]; w.last-second < seconds && *slot > 0 {
		*slot--
		w.sum--
	}
}

// wait returns after how many seconds the window has fewer requests than most.
func (w *window) wait(most uint32, now policy.Time) int {
	rest := w.sum
	for at := w.last - seconds + 1; at <= w.last; at++ {
		rest -= w.count[at%seconds]
		if rest < most {
			free := policy.Time((at + seconds) * 1000) // when the second at is too old
			return int(min(max((free-now+999)/1000, 1), 60))
		}
	}
	return 1 // does not happen: without any requests, there are fewer than most
}
