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
	usageEvery  = 4 * time.Second // between two writes of counts; a crash loses no more than 5 seconds
	usageShards = 64              // locks
	maxCells    = 1 << 17         // counters in memory, of all shards; further keys are not counted
	idleFlushes = 8               // a counter is dropped if nothing was counted in so many writes
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
	store  *Store
	shards [usageShards]usageShard
	lost   atomic.Int64 // counts for which there was no space

	streaming sync.Mutex
	streams   map[*StreamMeter]struct{} // that have not stopped

	flushing sync.Mutex
}

// usageShard has the counters of some of the keys.
type usageShard struct {
	mu    sync.Mutex
	cells map[usageCell]*usageCounter
	_     [48]byte // another shard is in another cache line
}

// usageCell identifies a counter. The owner is the ID of the key or, without a key, of the account.
type usageCell struct {
	owner, backend string
	hour           int64 // since 1970
	operation      policy.Operation
	reason         policy.Reason
}

type usageCounter struct {
	UsageCounts

	of   UsageOf
	idle int // writes since something was counted
}

func newUsageRecorder(s *Store) *usageRecorder {
	return &usageRecorder{store: s, streams: make(map[*StreamMeter]struct{})}
}

const hour = policy.Time(time.Hour / time.Millisecond)

// CountUsage adds counts at the instant now. It never waits for the database, and it never
// fails. The counts are in the database at most 5 seconds later, and when the store is closed.
func (s *Store) CountUsage(now policy.Time, of *UsageOf, counts UsageCounts) {
	u := s.usage
	cell := usageCell{of.KeyID, of.Backend, int64(now / hour), of.Operation, of.Reason}
	if cell.owner == "" {
		cell.owner = of.AccountID
	}
	shard := u.shardOf(cell.owner)
	shard.mu.Lock()
	counter := shard.cells[cell]
	if counter == nil {
		counter = shard.newCounter(cell, of)
	}
	if counter != nil {
		counter.add(counts)
	}
	shard.mu.Unlock()
	if counter == nil {
		u.lost.Add(1)
	}
}

// shardOf returns the shard of an owner. IDs end in random letters.
func (u *usageRecorder) shardOf(owner string) *usageShard {
	i := 0
	if n := len(owner); n > 1 {
		i = int(owner[n-1])*31 + int(owner[n-2])
	}
	return &u.shards[i%usageShards]
}

// newCounter returns a new counter; nil if there is no space. The IDs can point into the
// record cache, so the counter gets copies.
func (s *usageShard) newCounter(cell usageCell, of *UsageOf) *usageCounter {
	if len(s.cells) >= maxCells/usageShards {
		return nil
	}
	if s.cells == nil {
		s.cells = make(map[usageCell]*usageCounter)
	}
	c := &usageCounter{of: *of}
	c.of.KeyID, c.of.AccountID = strings.Clone(of.KeyID), strings.Clone(of.AccountID)
	if cell.owner = c.of.KeyID; cell.owner == "" {
		cell.owner = c.of.AccountID
	}
	s.cells[cell] = c
	return c
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
	u.measureStreams(u.store.cfg.Clock())
	if n := u.lost.Swap(0); n > 0 {
		u.store.log.Warn("usage was not counted: more keys are in use than the gateway counts at a time", zap.Int64("requests", n), zap.Int("counters", maxCells))
	}
	taken := u.take()
	if len(taken) == 0 {
		return
	}
	if left, err := u.store.writeUsage(ctx, taken); err != nil {
		u.giveBack(left)
	}
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

// takenUsage is what a counter had when it was taken.
type takenUsage struct {
	UsageCounts

	cell usageCell
	of   UsageOf
}

// take takes the counts out of all counters, and drops counters that were not used for some
// time.
func (u *usageRecorder) take() (taken []takenUsage) {
	for i := range u.shards {
		shard := &u.shards[i]
		shard.mu.Lock()
		crowded := len(shard.cells) > maxCells/usageShards/2
		for cell, c := range shard.cells {
			whole, rest := c.toMillisecond()
			if whole != (UsageCounts{}) {
				taken = append(taken, takenUsage{whole, cell, c.of})
				c.UsageCounts, c.idle = rest, 0
				continue
			}
			if c.idle++; crowded || c.idle > idleFlushes {
				delete(shard.cells, cell)
			}
		}
		shard.mu.Unlock()
	}
	return taken
}

// giveBack adds counts to their counters again, because they could not be written.
func (u *usageRecorder) giveBack(taken []takenUsage) {
	for i := range taken {
		t := &taken[i]
		u.store.CountUsage(policy.Time(t.cell.hour)*hour, &t.of, t.UsageCounts)
	}
}

// pendingAudio returns the audio of a key that was counted and is not written yet: from the
// hour since on, and in all.
func (u *usageRecorder) pendingAudio(keyID string, since int64) (recent, all time.Duration) {
	shard := u.shardOf(keyID)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for cell, c := range shard.cells {
		if cell.owner != keyID {
			continue
		}
		all += c.AudioTime
		if cell.hour >= since {
			recent += c.AudioTime
		}
	}
	return recent, all
}
