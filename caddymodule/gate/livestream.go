package gate

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/audiometer"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/headbudget"
	"github.com/speechgate/speechgate/internal/limits"
	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// liveStream is the WebSocket of a client, from its handshake to its end. Its key is the key of
// the start command that was accepted last. If the key is in the handshake, the handshake takes the
// place of the only start command.
//
// Start commands, changes of the key, and the timer come on different goroutines. Each adds a
// function to the queue events, which runs one function at a time. The fields below events are
// used only by these functions. Two things do not go through the queue. The lookup of a start
// command (decide) can wait for the keystore, and must not delay the functions in the queue. A
// cut must not wait for these functions: it only sets ended and tells guard, and then its report
// is a function in the queue.
type liveStream struct {
	gate      *Gate
	commands  *dialect.CommandRules   // if the key is in the commands
	handshake *dialect.HandshakeRules // if the key is in the handshake
	upstream  credential.Upstream     // what the backend gets in place of the key
	key       int                     // the index of the upstream key that the stream belongs to
	r         *http.Request           // the handshake
	asked     policy.Request
	id        string
	begun     policy.Time

	format  func() string // of the audio, in the start command that is decided on; nil if the key is in the handshake
	guard   *stream.Guard
	ctx     context.Context                        // of the proxied request
	stop    context.CancelCauseFunc                // cancels ctx
	memory  atomic.Pointer[headbudget.Reservation] // of the first start command; nil if the command is short
	opened  atomic.Bool                            // the backend has opened a stream whose key is in its handshake
	proxied bool                                   // the next handlers have been called; set before they read

	recheckWaits atomic.Bool // a recheck is in the queue, and needs no second one: it sees all changes until it runs
	ended        atomic.Bool // the stream has been cut or is over; a cut sets it without waiting for the queue
	events       eventQueue

	store    *keystore.Store
	record   keystore.Record       // of the key; empty before the first accepted start command
	owner    policy.Identity       // of the key
	limit    policy.LimitName      // that refuses or cuts the stream; NoLimit if no limit does
	accepted policy.Time           // when the last start command was accepted
	failing  policy.Time           // the first read of the record that has failed, since the last one that has not; zero if none has
	counted  bool                  // among the streams of the upstream key
	meter    *keystore.StreamMeter // measures the stream; nil before it is open
	unwatch  func()                // stops watching the key; nil if no key is watched
	timer    *time.Timer           // rechecks the stream at the next instant at which it may have to end
}

const (
	// recheckAfterFault is the time between two rechecks while the keystore returns errors.
	recheckAfterFault = 200 * time.Millisecond

	// partingTime is how long a client has to close the connection after a cut or a refusal.
	// A change of a key is known after at most 250 ms, so the connection is closed within a
	// second of the change.
	partingTime = 600 * time.Millisecond

	// audioCheckEvery is how often a stream is checked whose key or account has a limit of audio.
	// The usage measures a stream every 4 s, and the used audio is remembered for 1 s. So a stream
	// is cut 10 seconds after the audio is used up, or earlier.
	audioCheckEvery = 5 * time.Second

	// longestTimer is the longest time for which the timer is set. When this time has passed,
	// the stream is rechecked, and the recheck sets the timer again.
	longestTimer = policy.Time(24 * time.Hour / time.Millisecond)
)

func newLiveStream(req *gatedRequest, up credential.Upstream, key int) *liveStream {
	rules := req.call.Route.Stream
	s := &liveStream{gate: req.gate, upstream: up, key: key, commands: rules.Commands, handshake: rules.Handshake, r: req.r, asked: req.asked, id: "str_" + handler.NewSessionID(), begun: req.at} // people read the ID
	s.ctx, s.stop = context.WithCancelCause(req.r.Context())
	s.guard = stream.New(stream.Config{
		Protocol:        s.protocol(),
		Refused:         s.refused,
		UpstreamRefused: s.upstreamRefused,
		Reserve:         func(n int) bool { return s.reservation().Reserve(n) },
		Release:         func(n int) { s.reservation().Release(n) },
		OnClose:         func() { s.stop(nil) },
		StartTime:       time.Duration(req.gate.StartTimeout),
		MaxCommand:      req.gate.MaxCommand,
		MaxEarlyFrames:  req.gate.MaxEarlyFrames,
		PartingTime:     partingTime,
	})
	return s
}

// protocol returns what the Guard has to know about the API.
func (s *liveStream) protocol() stream.Protocol {
	if s.handshake != nil {
		path := s.gate.maskedPath(s.r) // not later: a cut can come while a handler behind the gate rewrites the path
		return stream.NewHandshake(stream.HandshakeConfig{
			Rules: s.handshake, Upstream: s.upstream, Secrets: s.gate.keys,
			Facts: func() dialect.Facts { return factsAt(path) },
		})
	}
	protocol := stream.NewCommands(stream.CommandsConfig{Rules: s.commands, Upstream: s.upstream, Secrets: s.gate.keys, Authorize: s.authorize})
	s.format = protocol.Format
	return protocol
}

// register adds the stream to the registry. It returns false if too many streams of the
// client's network wait for their first command.
func (s *liveStream) register() bool {
	snapshot := livestream.Snapshot{ID: s.id, Backend: s.gate.Backend, Client: s.asked.Client, Begun: s.begun}
	return s.gate.app.Streams().Begin(snapshot, s.gate.MaxPendingStreams, func() bool { return s.cut(policy.CutByOperator, "the operator's word") })
}

// reservation returns the reservation of memory for the first start command. The first call
// makes the reservation.
func (s *liveStream) reservation() *headbudget.Reservation {
	if r := s.memory.Load(); r != nil {
		return r
	}
	s.memory.CompareAndSwap(nil, s.gate.app.HeadBudget().NewReservation(time.Now(), func() {
		// Refuse runs on another goroutine, because it releases memory: for this it needs the
		// lock of the head budget, which is held here.
		go func() { s.guard.Refuse(policy.LimitReached, s.memory.Load().Lost()) }()
	}))
	return s.memory.Load()
}

// authorize decides on a start command, and reports the decision. The goroutine that reads from
// the client calls it.
func (s *liveStream) authorize(secret policy.Secret, fault *credential.Fault) (verdict stream.Verdict) {
	if !s.proxied && s.gate.unloaded.Load() {
		// The reload has cleaned up the proxy of this configuration, so that a later reload
		// would not end the stream. The upstream key may have changed, too.
		s.gate.logger.Info("a stream waited through a reload: its client has to connect again", zap.String("stream_id", s.id))
		return stream.Verdict{Message: s.commands.Unreachable()}
	}
	begun := time.Now()
	f, d := s.decide(secret, fault)
	s.events.do(func() {
		if d.Reason.OK() {
			s.accept(&f, &d)
		}
		record := s.decisionRecord(f.owner, d.Reason)
		record.Begun, record.Limit = begun, d.Limit
		if !d.Reason.OK() {
			if store := f.usageStore(s.gate.app); store != nil {
				record.Store, record.At = store, s.gate.app.Now()
			}
			s.gate.reportRefused(s.r, record, d.detail, zap.String("stream_id", s.id))
			verdict.Message = s.commands.Refusal(d.Reason)
			return
		}
		f.store.NoteUse(&f.record, d.at)
		s.gate.reportAdmitted(s.r, record)
		s.startMeter(audiometer.NamedRate(s.format()))
		verdict.OK = true
	})
	return verdict
}

// decide decides on a start command. It does not run in the queue, and uses no field below
// events, so that the queue goes on while decide waits for the keystore.
func (s *liveStream) decide(secret policy.Secret, fault *credential.Fault) (f facts, d decision) {
	if fault != nil {
		return f, badKey(fault)
	}
	at := s.gate.app.Now()
	switch fault, err := s.gate.lookUp(s.ctx, shown{secret: secret, keys: true}, "", &f); {
	case fault != nil:
		return f, badKey(fault)
	case err != nil:
		return f, unavailable(err)
	}
	f.setRecord(f.record.Clone()) // because the stream keeps it for a long time
	d = s.gate.decide(at, &f, &s.asked)
	return f, d
}

// accept makes the key of an allowed start command the key of the stream. It changes d to a
// refusal if the key or its account is at one of its limits, or if the key has changed since
// the decision.
func (s *liveStream) accept(f *facts, d *decision) {
	var ticket limits.Ticket // of the command; the registry counts the stream itself
	if s.gate.count(&ticket, f, policy.Stream, limits.Command, d); !d.Reason.OK() {
		return
	}
	if !s.gate.acceptStream(s.id, f, d) {
		ticket.Cancel()
		return
	}
	s.watchKey(f, d.at)
	// The watch does not report a change between the lookup and the start of the watch, so
	// check again.
	if d.Reason, d.detail = s.check(admitting); !d.Reason.OK() {
		d.Limit = s.limit
		ticket.Cancel()
		return
	}
	if use := s.gate.useOf(s.key); !s.counted {
		s.counted = true
		use.BeginStream()
		use.Note(d.at)
	}
}

// watchKey sets the key of the stream. It watches the record of this key, and stops watching the
// record of the previous key.
func (s *liveStream) watchKey(f *facts, at policy.Time) {
	if s.unwatch != nil {
		s.unwatch()
		s.unwatch = nil
	}
	s.store, s.record, s.owner, s.accepted = f.store, f.record, f.owner, at
	if !s.ended.Load() {
		s.unwatch = s.store.Watch(&s.record, s.recheckSoon)
	}
}

// cut ends the stream. It returns false if the stream had ended before. It waits for no function
// in the queue, because such a function can wait for the keystore.
func (s *liveStream) cut(reason policy.Reason, detail string) bool {
	if s.ended.Swap(true) {
		return false
	}
	s.events.post(func() { // before the cut, so that the report comes before the stream's end
		record := s.decisionRecord(s.owner, reason)
		record.Again = true
		if s.limit.Reason() == reason {
			record.Limit = s.limit
		}
		record.Report(s.r)
		if c := s.gate.logger.Check(zap.InfoLevel, "stream cut"); c != nil {
			c.Write(append(record.LogFields(), zap.String("stream_id", s.id), zap.String("detail", detail))...)
		}
	})
	s.guard.Cut("")
	if s.handshake != nil && !s.opened.Load() {
		s.stop(&earlyCutError{reason})
	}
	return true
}

// refused reports that guard has refused the stream. If the reason is policy.Undecided, guard has
// ended the stream because the backend broke the protocol, and refused only logs this. The
// connection is closed after refused has returned.
func (s *liveStream) refused(reason policy.Reason, detail string) {
	if reason == policy.Undecided {
		s.gate.logger.Error("a stream was ended", zap.String("stream_id", s.id), zap.String("detail", detail))
		return
	}
	s.events.post(func() {
		record := s.decisionRecord(s.owner, reason)
		record.Again = s.record.Found() // a start command was accepted before
		if store := s.gate.app.OpenStore(); !record.Again && store != nil {
			record.Store, record.At = store, s.gate.app.Now()
		}
		record.Limit = s.limit
		s.gate.reportRefused(s.r, record, detail, zap.String("stream_id", s.id))
	})
}

// upstreamRefused reports that the backend has refused the upstream key.
func (s *liveStream) upstreamRefused() {
	s.events.post(func() {
		record := s.decisionRecord(s.owner, policy.UpstreamRefused)
		record.Again = true
		record.Report(s.r)
		s.gate.logUpstreamRefused(record, s.key, zap.String("stream_id", s.id))
	})
}

func (s *liveStream) decisionRecord(owner policy.Identity, reason policy.Reason) *handler.DecisionRecord {
	record := &handler.DecisionRecord{Counters: s.gate.counters, Operation: policy.Stream, Reason: reason, Owner: owner, Client: s.asked.Client}
	if s.store != nil {
		record.Store, record.At = s.store, s.gate.app.Now()
	}
	return record
}

// end releases everything that the stream holds.
func (s *liveStream) end() {
	s.ended.Store(true)
	s.events.do(func() {
		if s.unwatch != nil {
			s.unwatch()
		}
		if s.timer != nil {
			s.timer.Stop()
		}
		if s.meter != nil {
			s.meter.Stop(s.gate.app.Now())
		}
		if s.counted {
			s.gate.useOf(s.key).EndStream(s.gate.app.Now())
		}
	})
	s.stop(nil)
	s.gate.app.Streams().End(s.id)
}
