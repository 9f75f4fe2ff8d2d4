// Package stream stands in the middle of a WebSocket, between the client's
// connection and a proxy that copies bytes both ways and knows nothing of
// frames. Live recognition bears its key in its text commands: each one is
// held until it is whole and its key has been judged, and goes on with the
// backend's key in place of the client's. Audio passes as it comes.
//
// No frame of a client reaches the backend unchecked, and none at all before
// the first start command has been authorized. What goes on is complete
// messages, each in one frame, so that a backend that takes every frame for a
// message reads nothing else than one that puts messages together.
//
// What the frames look like is said in RFC 6455, and what is in them in a
// [dialect.StreamRules].
package stream

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/credential"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// Verdict is what becomes of a start command. The zero value refuses it.
type Verdict struct {
	OK bool
	// Message is the whole text that tells the client of a refusal. Default:
	// the one of the rules for a key that is denied.
	Message string
}

// Config of a Guard.
type Config struct {
	// Rules of the API. There is no default.
	Rules *dialect.StreamRules

	// Upstream is what goes on in place of the clients' keys.
	Upstream credential.Upstream

	// Authorize judges one start command. It is called once for each, from the
	// goroutine that reads from the client, and nothing more is read meanwhile.
	// Where the command has a fault there is no secret, and the verdict is a
	// refusal whatever it says. Default: refuses all.
	Authorize func(secret policy.Secret, fault *credential.Fault) Verdict

	// Refused is told why a client is sent away, where Authorize does not know
	// of it: CredentialMissing if no start command came in time, Undecided if
	// it was the backend that broke the protocol, CredentialMalformed for the
	// rest. The detail quotes nothing. It is called at most once, from any
	// goroutine. Default: none.
	Refused func(reason policy.Reason, detail string)

	// OnEnd is called once for each start command that Authorize has allowed,
	// when the session that it started is over, before the client knows; no
	// start command is judged before the OnEnd of the one before. It is called
	// from any goroutine, and must not block. Default: none.
	OnEnd func()

	// OnClose is called once, when the connection is closed. It should cancel
	// the proxied request: a proxy that is blocked in writing to the backend
	// does not see that the client's side is gone. It must not block.
	// Default: none.
	OnClose func()

	// CommandTime is how long after Wrap the first start command must have come
	// whole, and how long after its first byte any later command, or control
	// frame. Default: 10 seconds.
	CommandTime time.Duration

	// MaxCommand is how many bytes a text command may have. Default: 65,536.
	MaxCommand int

	// MaxEarlyFrames is how many control frames may come before the first start
	// command. None has more than 125 bytes of payload, so that together with
	// MaxCommand this bounds what a client can send unauthorized. Default: 16.
	MaxEarlyFrames int

	// MaxAudio is how many bytes a frame of audio may have, none of which is
	// held. Default: 16,777,216.
	MaxAudio int64

	// FrameTime is how long the end of a client's stream waits for the end of
	// a message of the backend's that has begun. Without it there is no place
	// for a message of the guard's own. Default: 500 milliseconds.
	FrameTime time.Duration

	// PartingTime is how long it is from a refusal or a cut until both sides are
	// torn down, if the client has not gone before. Default: 900 milliseconds.
	PartingTime time.Duration
}

const (
	defaultCommandTime    = 10 * time.Second
	defaultMaxCommand     = 64 << 10
	defaultMaxEarlyFrames = 16
	defaultMaxAudio       = 16 << 20
	defaultFrameTime      = 500 * time.Millisecond
	defaultPartingTime    = 900 * time.Millisecond
)

var (
	// errEnded is what reads and writes yield once the guard has ended a stream.
	errEnded = errors.New("the stream has been ended")
	// errBroken is what the proxy gets to know of a backend that breaks the protocol.
	errBroken = errors.New("the backend does not speak the WebSocket protocol")
)

// Guard stands in the middle of one connection.
type Guard struct {
	cfg     Config
	conn    net.Conn // the client's
	session atomic.Uint32

	ending  atomic.Bool // it has been decided that the stream ends
	shut    sync.Once
	done    chan struct{} // closed when conn has been
	settled chan struct{} // told by writes at the end of a backend's message, once ending

	clock commandClock

	reading sync.Mutex // held while the client's bytes are read
	in      inbound

	writing sync.Mutex // held while bytes are written to the client
	out     outbound

	wrapping sync.Mutex // held while it is settled whether Wrap or Cut came first
	cut      string     // the text of a cut that came before Wrap
}

// New returns a guard for one connection. It starts nothing.
func New(cfg Config) *Guard {
	orDefault(&cfg.CommandTime, defaultCommandTime)
	orDefault(&cfg.MaxCommand, defaultMaxCommand)
	orDefault(&cfg.MaxEarlyFrames, defaultMaxEarlyFrames)
	orDefault(&cfg.MaxAudio, defaultMaxAudio)
	orDefault(&cfg.FrameTime, defaultFrameTime)
	orDefault(&cfg.PartingTime, defaultPartingTime)
	return &Guard{cfg: cfg, done: make(chan struct{}), settled: make(chan struct{}, 1)}
}

func orDefault[T int | int64 | time.Duration](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}

// Wrap takes what Hijack returned, and returns what the proxy may have of it.
// It is called once. The time for the first command begins.
//
// What brw has yet to write, the head of the 101, is written at once. What
// the client sent along with its handshake is read as everything that follows
// is: the reader that is returned has nothing in it, since a proxy sends on
// what it finds there unread.
func (g *Guard) Wrap(conn net.Conn, brw *bufio.ReadWriter) (net.Conn, *bufio.ReadWriter) {
	g.wrapping.Lock()
	defer g.wrapping.Unlock()
	g.conn = conn
	g.out.init(&g.cfg)
	if brw != nil {
		if n := brw.Reader.Buffered(); n > 0 {
			early, _ := brw.Peek(n)
			g.in.keep(early)
			_, _ = brw.Discard(n)
		}
		if err := brw.Flush(); err != nil {
			g.in.err, g.out.err = err, err
		}
	}
	if g.ending.Load() {
		go g.part(parting{text: g.cut})
	} else {
		g.clock.set(g.cfg.CommandTime, g.late)
	}
	wrapped := &guarded{g}
	return wrapped, bufio.NewReadWriter(bufio.NewReaderSize(wrapped, 1), bufio.NewWriterSize(wrapped, 1))
}

// Cut ends the stream with this text for the client, or that of the rules if
// it is empty. It returns at once, may be called from any goroutine, before
// Wrap, and again, which does nothing.
//
// No byte of the client's goes on any more. A message of the backend's that has
// begun is completed within FrameTime, or else there is no place for the text;
// later ones are thrown away. The client may then close, within PartingTime in
// all; after that it gets a Close frame, and the connection is closed, whether
// it reads or not. Only then do reads and writes of the proxy's fail, so that it
// tears the backend's side down.
func (g *Guard) Cut(text string) {
	if text == "" {
		text = g.cfg.Rules.CutText
	}
	g.wrapping.Lock()
	defer g.wrapping.Unlock()
	switch {
	case !g.begin():
	case g.conn == nil:
		g.cut = text
	default:
		go g.part(parting{text: text})
	}
}

// late ends a stream whose command has not come in time.
func (g *Guard) late() {
	if !g.clock.strike() {
		return
	}
	reason, detail := policy.CredentialMissing, "no start command in time"
	if g.in.authorized.Load() {
		reason, detail = policy.CredentialMalformed, "a command that has not come whole in time"
	}
	g.refuse(reason, detail, parting{text: g.refusal()})
}

// refusal is the text for a refusal that nobody has worded.
func (g *Guard) refusal() string { return g.cfg.Rules.Refusal(policy.CredentialMalformed) }

// refuse ends the stream for a reason that Authorize has not seen.
func (g *Guard) refuse(reason policy.Reason, detail string, p parting) {
	if !g.begin() {
		return
	}
	if g.cfg.Refused != nil {
		g.cfg.Refused(reason, detail)
	}
	g.part(p)
}

// commandClock strikes once for each time that it is set, unless it is stopped.
type commandClock struct {
	mu    sync.Mutex
	timer *time.Timer
	on    bool
}

func (c *commandClock) set(d time.Duration, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = true
	if c.timer == nil {
		c.timer = time.AfterFunc(d, f)
	} else {
		c.timer.Reset(d)
	}
}

// stop reports whether it was in time.
func (c *commandClock) stop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.on
	c.on = false
	if c.timer != nil {
		c.timer.Stop()
	}
	return was
}

// strike reports whether the clock still runs, and stops it.
func (c *commandClock) strike() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.on
	c.on = false
	return was
}
