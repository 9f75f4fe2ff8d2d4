// Package share lets the gateways of one keystore count together: what keys and accounts with
// limits use, live streams, and failed tries. Each gateway tells the others what it has counted,
// and adds what they tell to its own counts. A request never waits for this: it is decided by the
// sums that its gateway has in memory.
//
// # Turns
//
// An [Exchange] does its work in turns, one every 250 ms, and one a second if nobody has said
// anything for ten seconds. The first change after such a time begins a turn at once. A turn sends
// one report, with what has changed since the last turn, and reads the new reports of the others.
// If there are more than 25 other gateways, a turn takes 10 ms for each of them. So the statements
// that all gateways send together are at most 200 a second from there on, and the reports that
// they read together grow with the number of the gateways, and not with its square.
//
// # The bound
//
// A count of another gateway is known after two turns at most: 500 ms, or 1.25 s if nobody has
// said anything for ten seconds. A limit can be exceeded by what the other gateways admit in this
// time, and by no more.
//
// # What goes wrong
//
//   - A report that is lost, late or read twice: reports of a gateway have numbers, and a number
//     counts once. Numbers at a time, such as those of live streams, are said again every 2 s.
//   - A gateway that was killed: a number at a time that was not said again for 5 s counts no more.
//     Requests and failures of the past count until they are too old, because they have happened.
//   - Clocks that disagree: reports have ages, and no instants. The age of a report itself is
//     measured by the clock of the database.
//   - A database that is away: the last known numbers count for 5 s, and then each gateway counts
//     by itself. What it counts meanwhile is sent when the database is back.
package share

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

const (
	shortTurn    = 250 * time.Millisecond // from the begin of a turn to the next
	turnPerPeer  = 10 * time.Millisecond  // the turns of many gateways are longer
	quietTurn    = time.Second            // if nobody has said anything for quietAfter, or after an error
	quietAfter   = 10 * time.Second
	turnLimit    = 2 * time.Second // how long the statements of a turn may take
	restateEvery = 2 * time.Second // numbers at a time are said again
	silenceLimit = 5 * time.Second // a number at a time that is not said again counts no more; longer if turns are
	maxEntries   = 4096            // of a report, so that it has less than 200 KB, and about 1 MB after a minute without the database

	// Kept is how long a report can be read. It is longer than the minute in which requests
	// count, so that a gateway that starts learns of the whole minute.
	Kept = 65 * time.Second
	// readAgain is how much longer than the time since the last turn is read: a report can be
	// committed later than it was stamped.
	readAgain = 5 * time.Second
	// forgetPeer is after how long without a report a gateway is forgotten. Its reports cannot
	// be read any more.
	forgetPeer = Kept + 10*time.Second
)

// Kind says what is counted. The numbers are in the reports, so they stay the same.
type Kind uint8

// The kinds.
const (
	Requests         Kind = 1 // of keys and accounts with limits: in the last minute, and at a time
	Streams          Kind = 2 // of keys and accounts
	SignInAddress    Kind = 3 // failed tries to sign in, by network
	SignInName       Kind = 4 // failed tries to sign in, by name
	SignInCode       Kind = 5 // codes of second factors, by user
	SignInChallenge  Kind = 6 // challenges for passkeys, by network
	IssuanceFailures Kind = 7 // calls of the issuance API without valid credentials, by network
)

// Change is what a gateway has counted for one subject.
type Change struct {
	ID   string
	Now  int    // at a time, such as live streams
	Past []Past // since the last report
}

// Past are N events at one time. N is negative if events are taken back.
type Past struct {
	At policy.Time
	N  int
}

// Source counts for one gateway, and adds what the others have counted.
type Source interface {
	// Share calls changed, which does not wait, when there is something for Changes. If changed
	// is nil, the source keeps nothing for Changes any more.
	Share(changed func())
	// Changes returns the subjects whose counts have changed since the last call. If all is
	// true, it also returns those whose Now is not zero.
	Changes(all bool) []Change
	// Add adds to what the other gateways have counted for a subject.
	Add(now policy.Time, c Change)
}

// Report is what one gateway tells the others.
type Report struct {
	Gateway string
	Number  int64
	Age     time.Duration // by the clock of the database
	Body    []byte
}

// Transport carries reports between the gateways of one keystore.
type Transport interface {
	// Send sends a report. The transport keeps it for [Kept]. If it has a report of the gateway
	// with this number already, Send does nothing.
	Send(ctx context.Context, gateway string, number int64, body []byte) error
	// Receive returns the reports of other gateways that are not older than span, and whose
	// numbers are higher than those in seen: those of each gateway in the order of their numbers.
	Receive(ctx context.Context, gateway string, span time.Duration, seen map[string]int64) ([]Report, error)
	// Name returns a name for a text that must not be in a report, such as the name of a user.
	// All gateways have the same name for a text.
	Name(text string) string
}

// Exchange makes the sources of this process count together with those of the other gateways. It
// is safe for concurrent use.
type Exchange struct {
	gateway string
	clock   func() policy.Time
	mono    func() time.Duration // a clock that no one can set; tests drive it
	wake    chan struct{}

	starting sync.Mutex // held by Share and by what it returns; for the next two fields
	stop     context.CancelFunc
	done     chan struct{}

	mu      sync.Mutex // held for a moment
	sources map[Kind][]Source
	over    []*sharing // the last one is used

	// using is the last one of over; nil if over is empty. A source asks for it by Name, and holds its
	// own lock meanwhile. So Name may not wait for mu: a goroutine that holds mu can wait for a source.
	using atomic.Pointer[sharing]

	turning  sync.Mutex // held for a turn; for the fields below
	number   int64      // of the report that is sent next
	queue    []entry    // is sent before other changes are asked for
	restated time.Duration
	began    bool          // a turn has read
	read     time.Duration // when the last turn that has read began
	peers    map[string]*peer
}

// sharing is a use of a transport.
type sharing struct {
	Transport

	log    *zap.Logger
	failed bool // the log says so
}

// NewExchange returns an exchange without sources, which does nothing yet. The function clock
// returns the time by which the sources count.
func NewExchange(clock func() policy.Time) *Exchange {
	begun := time.Now()
	return newExchange(clock, func() time.Duration { return time.Since(begun) })
}

func newExchange(clock func() policy.Time, mono func() time.Duration) *Exchange {
	return &Exchange{
		gateway: rand.Text(), clock: clock, mono: mono, wake: make(chan struct{}, 1),
		sources: make(map[Kind][]Source), number: 1, peers: make(map[string]*peer),
	}
}

// Add adds a source. Several sources of one kind each learn what the other gateways have counted,
// and not what the others of this process have. The function remove removes the source.
func (x *Exchange) Add(kind Kind, s Source) (remove func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sources[kind] = append(x.sources[kind], s)
	if len(x.over) > 0 {
		s.Share(x.changed)
	}
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.sources[kind] = slices.DeleteFunc(slices.Clone(x.sources[kind]), func(other Source) bool { return other == s })
		s.Share(nil)
	}
}

// changed begins a turn soon. It never waits.
func (x *Exchange) changed() {
	select {
	case x.wake <- struct{}{}:
	default: // it begins already
	}
}

// Share counts together with the gateways that the transport reaches, until stop is called. If it
// is called again before, the newer transport takes the place of the older one.
func (x *Exchange) Share(over Transport, log *zap.Logger) (stop func()) {
	this := &sharing{Transport: over, log: log}
	x.starting.Lock()
	defer x.starting.Unlock()
	if first := x.use(this); first {
		ctx, cancel := context.WithCancel(context.Background())
		x.stop, x.done = cancel, make(chan struct{})
		go x.run(ctx, x.done)
	}
	return sync.OnceFunc(func() { x.end(this) })
}

// use makes a transport the one that is used. It reports whether it is the only one.
func (x *Exchange) use(this *sharing) (first bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = append(slices.Clone(x.over), this)
	x.using.Store(this)
	if len(x.over) > 1 {
		return false
	}
	for _, sources := range x.sources {
		for _, s := range sources {
			s.Share(x.changed)
		}
	}
	return true
}

// end stops the use of a transport, after a turn that is running. The use of the last transport ends
// with a turn.
func (x *Exchange) end(this *sharing) {
	x.starting.Lock()
	defer x.starting.Unlock()
	x.mu.Lock()
	last := len(x.over) == 1
	x.mu.Unlock()
	if last {
		x.stop()
		<-x.done
	}
	x.mu.Lock()
	x.over = slices.DeleteFunc(slices.Clone(x.over), func(other *sharing) bool { return other == this })
	x.using.Store(nil)
	if n := len(x.over); n > 0 {
		x.using.Store(x.over[n-1])
	}
	x.mu.Unlock()
	x.turning.Lock()
	defer x.turning.Unlock()
	if last {
		x.forgetAll()
		x.eachSource(func(_ Kind, s Source) { s.Share(nil) })
	}
}

// Name returns the name of a text of a kind in the reports; an empty one if the process shares
// nothing.
func (x *Exchange) Name(kind Kind, text string) string {
	over := x.using.Load()
	if over == nil {
		return ""
	}
	return over.Name(string(rune(kind)) + text)
}

// eachSource calls f for each source.
func (x *Exchange) eachSource(f func(Kind, Source)) {
	x.mu.Lock()
	all := maps.Clone(x.sources)
	x.mu.Unlock()
	for kind, sources := range all {
		for _, s := range sources {
			f(kind, s)
		}
	}
}

// run takes turns until ctx ends, and then a last one, so that the others learn what has ended.
func (x *Exchange) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	var said time.Duration
	for {
		begun := x.mono()
		talk, err := x.turn(context.WithoutCancel(ctx))
		if talk {
			said = begun
		}
		if ctx.Err() != nil {
			return
		}
		next := x.turnLength()
		wait := next
		if err != nil || begun-said > quietAfter {
			wait = max(next, quietTurn)
		}
		timer := time.NewTimer(wait - (x.mono() - begun))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-x.wake:
			select {
			case <-ctx.Done():
			case <-time.After(next - (x.mono() - begun)):
			}
		}
		timer.Stop()
	}
}

// turnLength is the shortest time from the begin of a turn to the next.
func (x *Exchange) turnLength() time.Duration {
	x.turning.Lock()
	defer x.turning.Unlock()
	return x.lockedTurnLength()
}

func (x *Exchange) lockedTurnLength() time.Duration {
	return max(shortTurn, time.Duration(len(x.peers))*turnPerPeer)
}

// turn sends what has changed, and reads what the others have sent. It reports whether anybody
// has said anything.
func (x *Exchange) turn(ctx context.Context) (talk bool, err error) {
	x.turning.Lock()
	defer x.turning.Unlock()
	over := x.using.Load()
	if over == nil {
		return false, nil
	}
	x.expire()
	x.collect()
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	sent, err := x.send(ctx, over)
	received := false
	if err == nil {
		received, err = x.receive(ctx, over)
	}
	over.tell(err)
	return sent || received, err
}

// tell logs when the counts cannot be shared any more, and when they can again.
func (s *sharing) tell(err error) {
	switch {
	case err != nil && !s.failed:
		s.log.Warn("the counts for limits are not shared with the other gateways: this gateway goes on by itself", zap.Error(err))
	case err == nil && s.failed:
		s.log.Info("the counts for limits are shared with the other gateways again")
	}
	s.failed = err != nil
}

// collect asks the sources what has changed, if all before was sent.
func (x *Exchange) collect() {
	if len(x.queue) > 0 {
		return
	}
	now := x.mono()
	all := now-x.restated >= restateEvery
	if all {
		x.restated = now
	}
	x.eachSource(func(kind Kind, s Source) {
		for _, c := range s.Changes(all) {
			x.queue = append(x.queue, entry{kind, c})
		}
	})
}

// send sends the first entries of the queue. If it fails, the next turn sends the same entries with
// the same number: so they count once, also if the report has arrived.
func (x *Exchange) send(ctx context.Context, over Transport) (sent bool, err error) {
	part := x.queue[:min(len(x.queue), maxEntries)]
	if len(part) == 0 {
		return false, nil
	}
	if err := over.Send(ctx, x.gateway, x.number, encode(part, x.clock())); err != nil {
		return false, err
	}
	x.number++
	x.queue = x.queue[len(part):]
	return true, nil
}
