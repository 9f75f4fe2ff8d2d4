package limits

import (
	"math"
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
	shared  *shared // nil if no counts were shared

	changes *changes    // of the counters
	noted   atomic.Bool // it is among the changes
	next    *subject    // among the changes
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
	if l.Concurrent != 0 && kind == Request && s.atATime() >= l.Concurrent {
		return Refusal{Limit: policy.LimitConcurrent}
	}
	if l.Requests != 0 && s.inMinute(secondOf(now)) >= l.Requests {
		return Refusal{Limit: policy.LimitRequests, RetryAfter: s.wait(l.Requests, now)}
	}
	return Refusal{}
}

// atATime returns how many requests run at all gateways. The caller has locked s.
func (s *subject) atATime() uint32 {
	n := s.running.Load()
	if s.shared != nil {
		n += s.shared.running
	}
	return n
}

// inMinute returns how many requests all gateways had in the minute before the end of a second. The
// caller has locked s.
func (s *subject) inMinute(second int64) uint32 {
	s.minute.advance(second)
	n := s.minute.sum
	if s.shared != nil {
		s.shared.minute.advance(second)
		n += s.shared.minute.sum
	}
	return n
}

// wait returns after how many seconds there are fewer requests in a minute than most, at all
// gateways. The caller has locked s, and called inMinute.
func (s *subject) wait(most uint32, now policy.Time) int {
	var others window
	if s.shared != nil {
		others = s.shared.minute
	}
	last := max(s.minute.last, others.last)
	rest := s.minute.sum + others.sum
	for at := last - seconds + 1; at <= last; at++ {
		rest -= s.minute.at(at) + others.at(at)
		if rest < most {
			free := policy.Time((at + seconds) * 1000) // when the second at is too old
			return int(min(max((free-now+999)/1000, 1), 60))
		}
	}
	return 1 // does not happen: without any requests, there are fewer than most
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
		p.subject.changes.note(p.subject)
	}
	p.subject = nil
}

// cancel takes the request back.
func (p *place) cancel() {
	if p.subject != nil {
		p.subject.mu.Lock()
		p.subject.minute.remove(p.second)
		p.subject.mu.Unlock()
		p.subject.changes.note(p.subject)
	}
	p.release()
}

// dropIfIdle marks the subject as gone if all its counts are zero, and reports whether they
// are.
func (s *subject) dropIfIdle(now policy.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = s.inMinute(secondOf(now)) == 0 && s.atATime() == 0
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
	if w.has(second) {
		w.count[second%seconds]--
		w.sum--
	}
}

// addAt counts n requests of other gateways in a second that can have passed. n is negative if they
// are taken back.
func (w *window) addAt(second int64, n int) {
	if second = min(second, w.last); !w.has(second) {
		return // too old
	}
	slot := &w.count[second%seconds]
	to := uint32(min(max(int64(*slot)+int64(n), 0), math.MaxUint32/(2*seconds)))
	w.sum += to - *slot
	*slot = to
}

// at returns how many requests a second had.
func (w *window) at(second int64) uint32 {
	if !w.has(second) {
		return 0
	}
	return w.count[second%seconds]
}

// has reports whether the window counts a second. The window of a subject that has had no request ends
// in 1970.
func (w *window) has(second int64) bool {
	return second >= 0 && second > w.last-seconds && second <= w.last
}
