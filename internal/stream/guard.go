// Package stream guards a WebSocket between a client and a proxy that copies
// bytes both ways and knows nothing of frames. In live recognition a client's
// text commands carry its key. The guard holds each command until the command
// is whole and its key has been judged, and sends the command on with the
// backend's key in place of the client's. Audio passes as it comes.
//
// A stream begins before the backend knows of it: [Guard.Wrap] takes the
// client's connection, whose handshake the caller has answered, and
// [Guard.Await] returns when the first start command has been authorized. Only
// then the caller connects to the backend, and hands the proxy the connection
// that Wrap returned.
//
// No frame of a client reaches the backend unchecked, and no frame at all
// before the first start command has been authorized. Clients may send a
// message in fragments; the backend gets each message in one frame, so that a
// backend that takes every frame for a message reads the same messages as one
// that puts fragments together.
//
// A client may send the start command of its next session before the backend
// has answered the end command of the session before. The guard holds such a
// command until that answer, and judges it then.
//
// The frames are those of RFC 6455. A [dialect.StreamRules] says what is in
// them.
package stream

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
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
	// the reason: RequestMalformed if what the client sent cannot be read, is out
	// of turn, or did not come in time, LimitReached if Reserve refused, and
	// Undecided if the backend broke the protocol. The detail quotes nothing of
	// what was sent. Refused is called at most once, from any goroutine.
	// Default: none.
	Refused func(reason policy.Reason, detail string)

	// UpstreamRefused is called when the backend says that it does not accept
	// the key that Upstream has put in. The client gets the rules' text for
	// policy.UpstreamRefused in place of the backend's answer. Where clients'
	// own keys pass, the backend's answer is the client's, and UpstreamRefused is
	// never called. It is called from any goroutine. Default: none.
	UpstreamRefused func()

	// Reserve asks for leave to hold n more bytes of a client's first start
	// command, and Release gives bytes back. They are called for what goes beyond
	// FreeCommand bytes, until the command has been authorized or the stream has
	// ended. Where Reserve returns false the client is sent away, as LimitReached.
	// Both are called from any goroutine. Default: there is no limit but
	// MaxCommand.
	Reserve func(n int) bool
	Release func(n int)

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

	// StartTime is how long after Wrap the first start command must have come
	// whole. Default: 60 seconds.
	StartTime time.Duration

	// CommandTime is how long after its first byte any later command, or control
	// frame, must have come whole. Default: 30 seconds.
	CommandTime time.Duration

	// MaxCommand is how many bytes a text command may have, in all its fragments.
	// Default: 1,048,576.
	MaxCommand int

	// MaxEarlyFrames is how many control frames may come before the first start
	// command. A control frame has at most 125 bytes of payload, so that
	// MaxEarlyFrames and MaxCommand bound what a client can send unauthorized.
	// Default: 16.
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
	defaultStartTime      = 60 * time.Second
	defaultCommandTime    = 30 * time.Second
	defaultMaxCommand     = 1 << 20
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
	asked   atomic.Bool // the backend has not answered a start command yet

	ending  atomic.Bool // it has been decided that the stream ends
	shut    sync.Once
	done    chan struct{} // closed when conn has been
	settled chan struct{} // told by writes at the end of a backend's message, once ending

	clock       commandClock
	backendDone atomic.Bool  // the backend has closed its side: no answer comes any more
	reserved    atomic.Int64 // bytes that Reserve has granted
	wake        waker

	reading sync.Mutex // held while the client's bytes are read
	in      inbound

	writing sync.Mutex // held while bytes are written to the client
	out     outbound

	wrapping sync.Mutex // held while it is settled whether Wrap or Cut came first
	cut      string     // the text of a cut that came before Wrap
}

// New returns a guard for one connection. It starts nothing.
func New(cfg Config) *Guard {
	orDefault(&cfg.StartTime, defaultStartTime)
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
// What brw has yet to write, such as the head of the 101, is written at once.
// What the client sent along with its handshake is read like all that follows.
// The buffers of brw are released, and brw must not be used any more: a stream
// may wait long for its first command. The reader that is returned is empty,
// since a proxy sends on unchecked what it finds in that reader.
func (g *Guard) Wrap(conn net.Conn, brw *bufio.ReadWriter) (net.Conn, *bufio.ReadWriter) {
	g.wrapping.Lock()
	defer g.wrapping.Unlock()
	g.conn = conn
	g.out.init(&g.cfg)
	if brw != nil {
		g.drain(brw)
	}
	if g.ending.Load() {
		go g.part(parting{text: g.cut})
	} else {
		g.clock.set(g.cfg.StartTime, g.late)
	}
	wrapped := &guarded{g}
	return wrapped, bufio.NewReadWriter(bufio.NewReaderSize(wrapped, 1), bufio.NewWriterSize(wrapped, 1))
}

// drain takes what is in the buffers that come with a hijacked connection, and
// lets go of the buffers.
func (g *Guard) drain(brw *bufio.ReadWriter) {
	if n := brw.Reader.Buffered(); n > 0 {
		early, _ := brw.Peek(n)
		g.in.keep(early)
	}
	if err := brw.Flush(); err != nil {
		g.in.err, g.out.err = err, err
	}
	// net/http's server points at both for as long as the handler runs.
	*brw.Reader, *brw.Writer = bufio.Reader{}, bufio.Writer{}
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

// Refuse ends the stream as Cut does, with the text of the rules for this reason, and
// tells Config.Refused. If the stream ends already, Refuse does nothing. It is called
// after Wrap, from any goroutine.
func (g *Guard) Refuse(reason policy.Reason, detail string) {
	g.refuse(reason, detail, parting{text: g.cfg.Rules.Refusal(reason)})
}

// late ends a stream whose command has not come in time.
func (g *Guard) late() {
	if !g.clock.strike() {
		return
	}
	if g.in.authorized.Load() {
		g.refuse(policy.RequestMalformed, "a command did not come whole in time", parting{text: g.unreadable()})
		return
	}
	g.refuse(policy.RequestMalformed, "no start command came within start_timeout", parting{text: g.cfg.Rules.TimedOut})
}

// unreadable is the text for what cannot be read, whatever its key.
func (g *Guard) unreadable() string { return g.cfg.Rules.Refusal(policy.RequestMalformed) }

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
