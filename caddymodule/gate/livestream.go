package gate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/headbudget"
	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// liveStream is a client's connection, from its handshake to its end. It is held
// to the key of the start command that was accepted last.
type liveStream struct {
	x     *gatedRequest // of the handshake
	id    string
	begun policy.Time

	guard *stream.Guard
	ctx   context.Context // of the proxied request
	stop  context.CancelCauseFunc

	proxied bool // the next handlers have it; the goroutine that reads from the client asks

	rechecking atomic.Bool // a look waits for its turn, and will see what changes until then
	checking   sync.Mutex  // held while it is decided whether the stream may go on

	mu      sync.Mutex
	store   *keystore.Store
	record  keystore.Record // of the key; none before there is one
	since   policy.Time     // when its command was accepted
	unwatch func()
	timer   *time.Timer // strikes when time alone ends it
	ended   bool
	memory  *headbudget.Reservation // for its first start command; nil where that is short
}

// recheckFault is how long after a fault of the keystore a stream is looked at
// again.
const recheckFault = 200 * time.Millisecond

// partingTime is how long a client that is sent away has to go: with the time
// until a change is heard of, it is less than a second.
const partingTime = 600 * time.Millisecond

// longestWait bounds the clock of a stream; after it the stream is looked at, and
// the clock set again.
const longestWait = policy.Time(24 * time.Hour / time.Millisecond)

func newLiveStream(x *gatedRequest) *liveStream {
	s := &liveStream{x: x, id: "str_" + handler.NewSessionID(), begun: x.now} // the ID is for people
	s.ctx, s.stop = context.WithCancelCause(x.r.Context())
	s.guard = stream.New(stream.Config{
		Protocol: stream.NewCommands(stream.CommandsConfig{
			Rules:     x.gate.api.Stream,
			Upstream:  x.gate.upstream,
			Authorize: s.authorize,
		}),
		Refused:         s.refused,
		UpstreamRefused: s.upstreamRefused,
		Reserve:         s.reserve,
		Release:         s.unreserve,
		OnClose:         func() { s.stop(nil) },
		StartTime:       time.Duration(x.gate.StartTimeout),
		MaxCommand:      x.gate.MaxCommand,
		MaxEarlyFrames:  x.gate.MaxEarlyFrames,
		PartingTime:     partingTime,
	})
	return s
}

// register adds the stream to the registry, unless too many of its network wait for
// their first command.
func (s *liveStream) register() bool {
	return s.x.gate.app.Streams().Begin(livestream.Snapshot{ID: s.id, Backend: s.x.gate.Backend, Client: s.x.request.Client, Begun: s.begun},
		s.x.gate.MaxPendingStreams, func() bool { return s.cut(policy.CutByOperator, "the operator's word") })
}

// reserve asks for memory for a first start command.
func (s *liveStream) reserve(n int) bool {
	s.mu.Lock()
	if s.memory == nil {
		s.memory = s.x.gate.app.HeadBudget().NewReservation(time.Now(), func() {
			// It is called under the lock of the memory, and an end gives memory back.
			go s.outOfMemory()
		})
	}
	memory := s.memory
	s.mu.Unlock()
	return memory.Reserve(n)
}

// outOfMemory ends a stream whose reservation the budget has ended.
func (s *liveStream) outOfMemory() {
	s.mu.Lock()
	memory := s.memory
	s.mu.Unlock()
	s.guard.Refuse(policy.LimitReached, memory.Lost())
}

// unreserve gives memory back that reserve has got.
func (s *liveStream) unreserve(n int) {
	s.mu.Lock()
	memory := s.memory
	s.mu.Unlock()
	memory.Release(n)
}

// authorize judges a start command.
func (s *liveStream) authorize(secret policy.Secret, fault *credential.Fault) stream.Verdict {
	if !s.proxied && s.x.gate.gone.Load() {
		// A proxy that the reload has cleaned up would carry the stream: no later reload
		// would end the stream, and the upstream key could be one that was replaced.
		s.x.gate.logger.Info("a stream waited through a reload: its client has to connect again", zap.String("stream_id", s.id))
		return stream.Verdict{Message: s.x.gate.api.Stream.Unreachable()}
	}
	s.x.now = s.x.gate.app.Now()
	s.x.setRecord(keystore.Record{})
	reason, detail := s.judge(secret, fault)
	if !reason.OK() {
		s.report(s.x.ruling(reason), detail)
		return stream.Verdict{Message: s.x.gate.api.Stream.Refusal(reason)}
	}
	s.x.admit(s.x.ruling(reason))
	return stream.Verdict{OK: true}
}

func (s *liveStream) judge(secret policy.Secret, fault *credential.Fault) (policy.Reason, string) {
	if fault != nil {
		return fault.Reason, fault.Detail
	}
	switch fault, err := s.x.lookUp(secret); {
	case fault != nil:
		return fault.Reason, fault.Detail
	case err != nil:
		return policy.StoreUnavailable, err.Error()
	}
	if verdict := s.x.decide(); !verdict.ok {
		return verdict.reason, verdict.detail
	}
	gate := s.x.gate
	if !s.x.gate.app.Streams().Accept(s.id, s.x.holder, s.x.now, gate.MaxStreamsPerKey, gate.MaxStreamsPerAccount) {
		return policy.StreamLimit, "the key or its account has as many streams as max_streams allows"
	}
	// What has changed since the lookup is not told of, so it is looked at again.
	s.checking.Lock()
	defer s.checking.Unlock()
	s.hold(s.x.record)
	return s.again(true)
}

// hold has the stream hear of changes to its key, and of no other's.
func (s *liveStream) hold(record keystore.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwatch != nil {
		s.unwatch()
		s.unwatch = nil
	}
	s.store, s.record, s.since = s.x.store, record, s.x.now
	if !s.ended {
		s.unwatch = s.store.Watch(&record, s.changed)
	}
}

// changed has the stream looked at again, soon.
func (s *liveStream) changed() {
	if s.rechecking.CompareAndSwap(false, true) {
		go s.recheck()
	}
}

// recheck cuts the stream if it may not go on.
func (s *liveStream) recheck() {
	s.checking.Lock()
	defer s.checking.Unlock()
	s.rechecking.Store(false) // a change from here on is looked at once more
	if reason, detail := s.again(false); !reason.OK() {
		s.cut(reason, detail)
	}
}

// again decides on the record as it is by now, and sets the clock for when that
// may change by itself. One at a time does, or an older look would undo what a
// newer one has seen.
func (s *liveStream) again(admitting bool) (policy.Reason, string) {
	s.mu.Lock()
	store, record, since, ended := s.store, s.record, s.since, s.ended
	s.mu.Unlock()
	if ended || !record.Found() {
		return policy.Allowed, "" // there is nothing to end
	}
	at := s.x.gate.app.Now()
	fresh, err := store.Reread(context.Background(), &record)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return policy.KeyUnknown, "the key's record is gone"
	case err != nil && admitting:
		return policy.StoreUnavailable, err.Error()
	case err != nil:
		// A stream that has been admitted goes on until it is known that it must not.
		s.strikeAt(at, at.Add(recheckFault))
		return policy.Allowed, ""
	}
	request, key, then := s.x.request, fresh.Key(), record.Key()
	outcome := policy.Decide(at, &key, &request, s.x.gate.rules)
	if outcome.Reason == policy.KeyExpired && !s.x.gate.cutsOnExpiry() && !then.Expires.Passed(since) {
		outcome.Reason = policy.Allowed
	}
	if !outcome.Reason.OK() {
		return outcome.Reason, policy.NotYet(at, &key)
	}
	longest := time.Duration(s.x.gate.MaxStreamTime)
	if longest > 0 && at >= s.begun.Add(longest) {
		return policy.StreamTooLong, "the stream has lasted as long as it may"
	}
	s.strikeAt(at, s.nextEnd(at, &key, longest))
	return outcome.Reason, ""
}

// nextEnd is when time alone ends the stream; zero where it does not.
func (s *liveStream) nextEnd(at policy.Time, key *policy.Key, longest time.Duration) (end policy.Time) {
	earlier := func(t policy.Time) {
		if t > at && (end.IsZero() || t < end) {
			end = t
		}
	}
	earlier(key.RevokeFrom)
	if expires, ok := key.Expires.Time(); ok && s.x.gate.cutsOnExpiry() {
		earlier(expires)
	}
	if longest > 0 {
		earlier(s.begun.Add(longest))
	}
	return end
}

// strikeAt sets the clock.
func (s *liveStream) strikeAt(at, end policy.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if !s.ended && !end.IsZero() {
		s.timer = time.AfterFunc(time.Duration(min(end-at, longestWait))*time.Millisecond, s.recheck)
	}
}

// cut ends the stream in the middle, and reports whether it had not ended before.
func (s *liveStream) cut(reason policy.Reason, detail string) bool {
	s.mu.Lock()
	ended := s.ended
	s.ended = true
	s.mu.Unlock()
	if ended {
		return false
	}
	s.guard.Cut("")
	d := s.ruling(reason)
	d.Report(s.x.r)
	if c := s.x.gate.logger.Check(zap.InfoLevel, "stream cut"); c != nil {
		c.Write(append(d.LogFields(), zap.String("stream_id", s.id), zap.String("detail", detail))...)
	}
	return true
}

// refused notes that the guard has sent the client away.
func (s *liveStream) refused(reason policy.Reason, detail string) {
	if reason == policy.Undecided {
		s.x.gate.logger.Error("a stream was ended", zap.String("stream_id", s.id), zap.String("detail", detail))
		return
	}
	s.report(s.ruling(reason), detail)
}

// upstreamRefused notes that the backend has refused the gate's own key.
func (s *liveStream) upstreamRefused() {
	d := s.ruling(policy.UpstreamRefused)
	d.Report(s.x.r)
	s.x.gate.logUpstreamRefused(d, zap.String("stream_id", s.id))
}

// report counts and logs a refusal.
func (s *liveStream) report(d *handler.DecisionRecord, detail string) {
	d.Report(s.x.r)
	level := zap.InfoLevel
	if d.Reason == policy.StoreUnavailable {
		level = zap.ErrorLevel
	}
	if c := s.x.gate.logger.Check(level, "refused"); c != nil {
		c.Write(append(d.LogFields(), zap.String("stream_id", s.id), zap.String("detail", detail))...)
	}
}

// ruling is one on this stream, of the key that it has.
func (s *liveStream) ruling(reason policy.Reason) *handler.DecisionRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &handler.DecisionRecord{Counters: s.x.gate.counters, Operation: policy.Stream, Reason: reason, Client: s.x.request.Client}
	d.Owner.KeyID, d.Owner.AccountID = s.record.IDs()
	return d
}

// end lets go of all that the stream holds.
func (s *liveStream) end() {
	s.mu.Lock()
	s.ended = true
	if s.unwatch != nil {
		s.unwatch()
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.stop(nil)
	s.x.gate.app.Streams().End(s.id)
}
