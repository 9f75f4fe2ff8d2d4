package keystore

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

const (
	usageEvery = 4 * time.Second // between two writes of counts; a crash loses no more than 5 seconds
	maxRests   = 8               // writes after which less than a millisecond is forgotten
)

// UsageOf says what a count belongs to. The zero values of KeyID and AccountID stand for a
// request whose key is unknown.
type UsageOf struct {
	KeyID, AccountID string
	Backend          string
	Operation        policy.Operation
	Reason           policy.Reason
}

// UsageCounts are the numbers that are counted.
type UsageCounts struct {
	// Requests is the number of decisions on requests and on start commands of streams.
	Requests int64
	// Refused is how many requests were refused. A stream that was cut, and a request whose
	// upstream key the backend has refused, count too, although they were admitted.
	Refused int64
	// AudioBytes is the size of the audio that went to the backend.
	AudioBytes int64
	// AudioTime is the length of the audio, as far as its format tells it.
	AudioTime time.Duration
	// StreamTime is how long live streams have lasted.
	StreamTime time.Duration
}

func (c *UsageCounts) add(other UsageCounts) {
	c.Requests += other.Requests
	c.Refused += other.Refused
	c.AudioBytes += other.AudioBytes
	c.AudioTime += other.AudioTime
	c.StreamTime += other.StreamTime
}

// toMillisecond returns the counts with whole milliseconds, and the rest.
func (c UsageCounts) toMillisecond() (whole, rest UsageCounts) {
	whole = c
	whole.AudioTime = c.AudioTime.Truncate(time.Millisecond)
	whole.StreamTime = c.StreamTime.Truncate(time.Millisecond)
	return whole, UsageCounts{AudioTime: c.AudioTime - whole.AudioTime, StreamTime: c.StreamTime - whole.StreamTime}
}

// usageRecorder adds usage up in memory. Requests add to a counter and never wait for the
// database. The goroutine that calls flush writes the counters.
type usageRecorder struct {
	store *Store
	usageCounters
	lost atomic.Int64 // counts for which there was no space

	streaming sync.Mutex
	streams   map[*StreamMeter]struct{} // that have not stopped

	watching sync.Mutex
	watched  map[string]policy.Time // keys and accounts with limits of audio: when their audio was last asked for

	flushing sync.Mutex
	unsure   unsureUsage // used by flush

	folding sync.Mutex
	hurry   atomic.Int32 // how many callers wait for a fold
}

func newUsageRecorder(s *Store) *usageRecorder {
	return &usageRecorder{store: s, streams: make(map[*StreamMeter]struct{}), watched: make(map[string]policy.Time)}
}

const hour = policy.Time(time.Hour / time.Millisecond)

// CountUsage adds counts at the instant now. It never waits for the database, and it never
// fails. The counts are in the database at most 5 seconds later, and when the store is closed.
func (s *Store) CountUsage(now policy.Time, of *UsageOf, counts UsageCounts) {
	if !s.usage.add(int64(now/hour), of, counts, 0) {
		s.usage.lost.Add(1)
	}
}

// StreamMeter measures the time and the audio of a live stream while it lasts, so that a
// crash does not lose them.
type StreamMeter struct {
	usage *usageRecorder
	of    UsageOf
	bytes func() int64
	rate  int64 // bytes of audio in a second; 0 if it is not known

	mu      sync.Mutex
	stopped bool
	at      policy.Time // of the last measurement
	read    int64       // what bytes returned then
}

// MeterStream starts to measure a stream at the instant now. The function bytes returns how
// many bytes of audio the stream has sent since its beginning. A second of the audio has rate
// bytes; 0 if this is not known. Call [StreamMeter.Stop] at the stream's end.
func (s *Store) MeterStream(now policy.Time, of UsageOf, rate int, bytes func() int64) *StreamMeter {
	m := &StreamMeter{usage: s.usage, of: of, bytes: bytes, rate: int64(rate), at: now, read: bytes()}
	s.usage.streaming.Lock()
	defer s.usage.streaming.Unlock()
	s.usage.streams[m] = struct{}{}
	return m
}

// Stop measures the rest of the stream, at the instant now. Later calls do nothing. A nil
// meter measures nothing.
func (m *StreamMeter) Stop(now policy.Time) {
	if m == nil {
		return
	}
	m.measure(now, true)
	m.usage.streaming.Lock()
	defer m.usage.streaming.Unlock()
	delete(m.usage.streams, m)
}

// measure counts the time and the audio since the last measurement.
func (m *StreamMeter) measure(now policy.Time, last bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	m.stopped = last
	now = max(now, m.at)
	read := m.bytes()
	counts := UsageCounts{AudioBytes: read - m.read, StreamTime: time.Duration(now-m.at) * time.Millisecond}
	if m.rate > 0 {
		counts.AudioTime = time.Duration(counts.AudioBytes/m.rate)*time.Second + time.Duration(counts.AudioBytes%m.rate)*time.Second/time.Duration(m.rate)
	}
	m.at, m.read = now, read
	if counts != (UsageCounts{}) {
		m.usage.store.CountUsage(now, &m.of, counts)
	}
}

// flush writes what was counted until now.
func (u *usageRecorder) flush(ctx context.Context) {
	u.flushing.Lock()
	defer u.flushing.Unlock()
	if !u.settle(ctx) {
		return // the counters wait
	}
	u.measureStreams(u.store.cfg.Clock())
	if n := u.lost.Swap(0); n > 0 {
		u.store.log.Warn("usage was not counted: more keys are in use than the gateway counts at a time", zap.Int64("requests", n), zap.Int("counters", maxCells))
	}
	taken := u.take()
	direct := len(taken)
	if direct > u.mostDirect() {
		direct = u.splitWatched(taken, u.store.cfg.Clock())
	}
	left, err := u.store.writeUsage(ctx, taken[:direct])
	if err == nil {
		left, err = u.store.journalUsage(ctx, taken[direct:])
	} else {
		left = taken[direct-len(left):]
	}
	if err != nil {
		u.giveBack(left)
	}
}

// mostDirect returns how many counters are written without the journal. The gateways of a PostgreSQL
// database write one after another. A row of the journal holds the lock for two exchanges with the server,
// and counters that go to the tables for about ten.
func (u *usageRecorder) mostDirect() int {
	if u.store.cfg.Postgres != nil {
		return usageFew
	}
	return usageBatch
}

func (u *usageRecorder) measureStreams(now policy.Time) {
	u.streaming.Lock()
	running := make([]*StreamMeter, 0, len(u.streams))
	for m := range u.streams {
		running = append(running, m)
	}
	u.streaming.Unlock()
	for _, m := range running {
		m.measure(now, false)
	}
}

// giveBack counts again what could not be written.
func (u *usageRecorder) giveBack(taken []takenUsage) {
	for i := range taken {
		t := &taken[i]
		u.store.CountUsage(policy.Time(t.hour)*hour, &t.of, t.UsageCounts)
	}
}

// watchedFor is how long the audio of a key or an account is written at once after it was last
// asked for.
const watchedFor = 24 * time.Hour

// watch notes that the audio of the key or account with this ID is asked for.
func (u *usageRecorder) watch(id string, now policy.Time) {
	u.watching.Lock()
	defer u.watching.Unlock()
	if _, known := u.watched[id]; !known {
		id = strings.Clone(id) // it can point into the record cache
	}
	u.watched[id] = now
}

// splitWatched moves the audio of watched keys and accounts to the front, and returns how many
// counters have it.
func (u *usageRecorder) splitWatched(taken []takenUsage, now policy.Time) (watched int) {
	u.watching.Lock()
	defer u.watching.Unlock()
	for id, at := range u.watched {
		if now > at.Add(watchedFor) {
			delete(u.watched, id)
		}
	}
	if len(u.watched) == 0 {
		return 0
	}
	for i := range taken {
		if taken[i].AudioTime != 0 && u.watches(&taken[i].of) {
			taken[i], taken[watched] = taken[watched], taken[i]
			watched++
		}
	}
	return watched
}

// watches reports whether the audio of a key or of its account is asked for. The caller has
// locked watching.
func (u *usageRecorder) watches(of *UsageOf) bool {
	_, key := u.watched[of.KeyID]
	_, account := u.watched[of.AccountID]
	return key || account
}
