package stream

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// Config of a Guard.
type Config struct {
	// Protocol says what the stream's messages mean. It must be new, and of this
	// stream only. There is no default.
	Protocol Protocol

	// Refused is called when a stream is refused, unless the Protocol has reported the
	// refusal itself. The reason is that of a Step or of Guard.Refuse, RequestMalformed
	// (the client's bytes cannot be read, come at the wrong time or come too late),
	// LimitReached (Reserve returned false), or Undecided (the backend broke the
	// protocol). detail contains nothing that was sent. Refused is called at most once,
	// from any goroutine. Default: none.
	Refused func(reason policy.Reason, detail string)

	// UpstreamRefused is called when the backend says that it does not accept the
	// upstream key. The client gets the Protocol's text for policy.UpstreamRefused in
	// place of the backend's answer. UpstreamRefused is called from any goroutine.
	// Default: none.
	UpstreamRefused func()

	// Reserve asks for leave to buffer n more bytes of a client's first message, and
	// Release gives bytes back. They are called for what goes beyond FreeCommand
	// bytes, until the stream has been authorized or has ended. Where Reserve returns
	// false, the client is sent away, as LimitReached. Both are called from any
	// goroutine. Default: there is no limit except MaxCommand.
	Reserve func(n int) bool
	Release func(n int)

	// OnClose is called once, when the connection is closed. It should cancel the
	// proxied request: a proxy that is blocked in writing to the backend does not see
	// that the client's side is gone. It must not block. Default: none.
	OnClose func()

	// StartTime is how long after Wrap the first text message must have come whole.
	// Default: 60 seconds.
	StartTime time.Duration

	// CommandTime is how long after its first byte any later message that is buffered,
	// or control frame, must have come whole. Default: 30 seconds.
	CommandTime time.Duration

	// MaxCommand is how many bytes a text message that is buffered may have, in all
	// its fragments. Default: 1,048,576.
	MaxCommand int

	// MaxEarlyFrames is how many control frames may come before the stream has been
	// authorized. A control frame has at most 125 bytes of payload, so that
	// MaxEarlyFrames and MaxCommand bound what a client can send unauthorized.
	// Default: 16.
	MaxEarlyFrames int

	// MaxAudio is the largest frame that is forwarded without buffering, in bytes.
	// Default: 16,777,216.
	MaxAudio int64

	// FrameTime is how long the end of a stream waits for the end of a message of the
	// backend that has begun. Without the end of the message there is no place for a
	// message of the guard. Default: 500 milliseconds.
	FrameTime time.Duration

	// PartingTime is how long the client has to close the connection after a refusal or a
	// cut. Then the guard closes both sides. Default: 900 milliseconds.
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
	// errEnded is what reads and writes return once the guard ends the stream.
	errEnded = errors.New("the stream has been ended")
	// errBroken is what the proxy gets to know of a backend that breaks the protocol.
	errBroken = errors.New("the backend does not speak the WebSocket protocol")
)

// Guard is between the proxy and the client's connection, for one stream.
type Guard struct {
	cfg      Config
	protocol Protocol
	shape    Shape
	conn     net.Conn // the client's

	closing           closing
	done              chan struct{} // closed when conn has been closed
	atMessageBoundary chan struct{} // gets a value when the backend's message ends, while the stream ends

	clock       commandClock
	backendDone atomic.Bool  // the backend has closed its side: no answer comes any more
	reserved    atomic.Int64 // bytes that Reserve has granted
	wake        waker

	reading sync.Mutex // held by the goroutine that owns in
	in      clientReader

	writing sync.Mutex // held by the goroutine that owns out
	out     clientWriter

	wrapping sync.Mutex // held while it is decided whether Wrap or Cut came first
	early    Farewell   // of a cut that came before Wrap
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
	g := &Guard{
		cfg: cfg, protocol: cfg.Protocol, shape: cfg.Protocol.Shape(),
		done: make(chan struct{}), atMessageBoundary: make(chan struct{}, 1),
	}
	g.in.g, g.out.g = g, g
	g.in.authorized.Store(g.shape.KeyInHandshake)
	return g
}

func orDefault[T int | int64 | time.Duration](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}

// Wrap takes what Hijack returned, and returns what the proxy may have of it. It is
// called once. The time for the first message begins.
//
// What brw has yet to write, such as the head of the 101, is written at once. What
// the client sent along with its handshake is read like all that follows. The
// buffers of brw are released, and brw must not be used any more: a stream may wait
// long for its first message. The reader that is returned is empty, since a proxy
// sends on unchecked what it finds in that reader.
func (g *Guard) Wrap(conn net.Conn, brw *bufio.ReadWriter) (net.Conn, *bufio.ReadWriter) {
	g.wrapping.Lock()
	defer g.wrapping.Unlock()
	g.conn = conn
	g.out.init(g.shape.Secret)
	if brw != nil {
		g.takeBuffers(brw)
	}
	switch {
	case g.closing.started():
		go g.closeGracefully(g.early, false)
	case !g.shape.KeyInHandshake:
		g.clock.set(g.cfg.StartTime, g.late)
	}
	wrapped := &guardedConn{g}
	return wrapped, bufio.NewReadWriter(bufio.NewReaderSize(wrapped, 1), bufio.NewWriterSize(wrapped, 1))
}

// takeBuffers takes what is in the buffers that come with a hijacked connection, and
// releases the buffers.
func (g *Guard) takeBuffers(brw *bufio.ReadWriter) {
	if n := brw.Reader.Buffered(); n > 0 {
		sent, _ := brw.Peek(n)
		g.in.keep(sent)
	}
	if err := brw.Flush(); err != nil {
		g.in.err, g.out.err = err, err
	}
	// net/http's server points at both for as long as the handler runs.
	*brw.Reader, *brw.Writer = bufio.Reader{}, bufio.Writer{}
}

// Cut ends the stream as the package comment says, with this text for the client, or
// that of the Protocol if it is empty. It returns at once, may be called from any
// goroutine, before Wrap, and again, which does nothing.
//
// Reads and writes of the proxy fail when the connection has been closed, so that
// the proxy tears the backend's side down.
func (g *Guard) Cut(text string) {
	f := g.protocol.Cut()
	if text != "" {
		f.Text = text
	}
	g.wrapping.Lock()
	defer g.wrapping.Unlock()
	switch {
	case !g.startClose(eventStartClose):
	case g.conn == nil:
		g.early = f
	default:
		go g.closeGracefully(f, false)
	}
}

// Fail ends the stream with this text for the client, as Cut does, and returns when
// the connection is closed.
func (g *Guard) Fail(text string) {
	g.Cut(text)
	<-g.done
}

// Refuse ends the stream as Cut does, with the Protocol's text for this reason, and
// tells Config.Refused. If the stream ends already, Refuse does nothing. It is called
// after Wrap, from any goroutine. It returns when the connection is closed.
func (g *Guard) Refuse(reason policy.Reason, detail string) {
	g.refuse(reason, detail, g.protocol.Refusal(reason), false)
}

// refuse ends the stream for a reason that the Protocol has not reported. ownsReader
// says that the caller is the goroutine that reads from the client.
func (g *Guard) refuse(reason policy.Reason, detail string, f Farewell, ownsReader bool) {
	if !g.startClose(eventStartClose) {
		return
	}
	if g.cfg.Refused != nil {
		g.cfg.Refused(reason, detail)
	}
	g.closeGracefully(f, ownsReader)
}

// Ended reports whether the stream ends or has ended.
func (g *Guard) Ended() bool { return g.closing.started() }

// Close ends the stream at once, and closes the connection. If the stream is just
// being ended, Close waits for that. It is called after Wrap.
func (g *Guard) Close() {
	if g.startClose(eventClose) {
		_ = g.closeConn(actionClose)
	}
	<-g.done
}

// late ends a stream whose message has not come in time.
func (g *Guard) late() {
	if !g.clock.strike() {
		return
	}
	if g.in.authorized.Load() {
		g.Refuse(policy.RequestMalformed, "a command did not come whole in time")
		return
	}
	g.refuse(policy.RequestMalformed, "no start command came within start_timeout", g.shape.TimedOut, false)
}
