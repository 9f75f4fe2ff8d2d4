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
	// Protocol knows what the stream's messages mean. It must be new, because it serves
	// only this stream. There is no default.
	Protocol Protocol

	// Refused is called when a stream is refused, unless the Protocol has reported the
	// refusal itself. The reason comes from a Step or from Guard.Refuse, or it is
	// RequestMalformed (the client's bytes cannot be read, come at the wrong time or come
	// too late), LimitReached (Reserve returned false), or Undecided (the backend broke the
	// protocol). detail contains nothing that was sent. Refused is called at most once,
	// from any goroutine. Default: none.
	Refused func(reason policy.Reason, detail string)

	// UpstreamRefused is called when the backend says that it does not accept the
	// upstream key. The client gets the Protocol's text for policy.UpstreamRefused in
	// place of the backend's answer. UpstreamRefused is called from any goroutine.
	// Default: none.
	UpstreamRefused func()

	// Reserve reports whether n more bytes of a client's first message may be buffered. If
	// they may not, the stream is refused with the reason LimitReached. Release gives n
	// reserved bytes back, when the stream has been authorized or has ended. The first
	// FreeCommand bytes are not reserved. Both functions are called from any goroutine.
	// Default: MaxCommand is the only limit.
	Reserve func(n int) bool
	Release func(n int)

	// OnClose is called once, when the connection is closed. It should cancel the proxied
	// request, because a proxy that is blocked in a write to the backend does not notice
	// that the client's connection is closed. It must not block. Default: none.
	OnClose func()

	// StartTime is the time after Wrap in which the first text message must arrive whole.
	// Default: 60 seconds.
	StartTime time.Duration

	// CommandTime is the time in which a control frame, or a buffered message that is not
	// the first, must arrive whole after its first byte. It is also how long a client that
	// has closed its half of the connection may wait for the backend's answer to an end
	// command. Default: 30 seconds.
	CommandTime time.Duration

	// MaxCommand is the largest size of a buffered text message, in bytes, all its
	// fragments together. Default: 1,048,576.
	MaxCommand int

	// MaxEarlyFrames is how many control frames may come before the stream has been
	// authorized. A control frame has at most 125 bytes of payload. So MaxEarlyFrames and
	// MaxCommand together limit what a client can send before its key is checked. Default:
	// 16.
	MaxEarlyFrames int

	// MaxAudio is the largest payload of a frame that is forwarded without buffering, in
	// bytes. Default: 16,777,216.
	MaxAudio int64

	// FrameTime is how long a stream that is being ended waits until the backend has
	// completed a message that it has begun. The Guard cannot send its own message in the
	// middle of it. Default: 500 milliseconds.
	FrameTime time.Duration

	// PartingTime is how long the client has to close the connection after a refusal or a
	// cut. Then the Guard closes the connection. Default: 900 milliseconds.
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
	// errEnded is the error of the proxy's reads and writes after the Guard has ended the
	// stream.
	errEnded = errors.New("the stream has been ended")
	// errBroken is the error of the proxy's write after the backend has broken the
	// WebSocket protocol.
	errBroken = errors.New("the backend does not speak the WebSocket protocol")
)

// Guard is the part of one live stream between the proxy and the client's connection. It
// checks what the client sends, and ends the stream.
type Guard struct {
	cfg      Config
	protocol Protocol
	shape    Shape
	marks    int64    // bytes of a binary message that mark it as audio, and are none: 1 with Shape.CheckAudio
	conn     net.Conn // the client's

	closing           closing
	done              chan struct{} // closed when conn has been closed
	atMessageBoundary chan struct{} // gets a value when a message of the backend ends while the stream is being ended

	clock       commandClock
	backendDone atomic.Bool  // the backend has closed its side, and sends no answer any more
	reserved    atomic.Int64 // bytes that Reserve has granted
	audio       atomic.Int64 // bytes of audio that were forwarded, see AudioBytes
	wake        waker

	reading sync.Mutex // locked by the goroutine that uses the field in
	in      clientReader

	writing sync.Mutex // locked by the goroutine that uses the field out
	out     clientWriter

	wrapping sync.Mutex // locked in Wrap and Cut, so that one of them comes first
	early    Farewell   // the Farewell of a Cut before Wrap
}

// New returns a Guard for one connection. It starts no goroutine.
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
	if g.shape.CheckAudio {
		g.marks = 1
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

// Wrap takes the connection and the buffers that Hijack returned. It returns the connection
// and the buffers for the proxy. It is called once. Config.StartTime begins, unless the
// handshake has authorized the stream.
//
// Bytes that brw has still to write, such as the header of the 101, are written at once.
// Bytes that the client has sent together with its handshake are checked like all later
// bytes. Wrap releases the buffers of brw, because a stream can wait long for its first
// message: brw must not be used any more. The returned reader is empty, because a proxy
// forwards what it finds in that reader unchecked.
func (g *Guard) Wrap(conn net.Conn, brw *bufio.ReadWriter) (net.Conn, *bufio.ReadWriter) {
	g.wrapping.Lock()
	defer g.wrapping.Unlock()
	g.conn = conn
	g.out.init(g.shape.Secrets)
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

// takeBuffers writes what the writer of brw has buffered, keeps what its reader has
// buffered, and releases both buffers.
func (g *Guard) takeBuffers(brw *bufio.ReadWriter) {
	if n := brw.Reader.Buffered(); n > 0 {
		sent, _ := brw.Peek(n)
		g.in.keep(sent)
	}
	if err := brw.Flush(); err != nil {
		g.in.err, g.out.err = err, err
	}
	// The server of net/http points at the reader and the writer until the handler returns.
	*brw.Reader, *brw.Writer = bufio.Reader{}, bufio.Writer{}
}

// Cut ends the stream as the package comment says. The client gets this text or, if it is
// empty, the text of Protocol.Cut. Cut returns at once. Any goroutine may call it, also
// before Wrap. If the stream has already begun to end, Cut does nothing.
//
// When the connection has been closed, reads and writes of the proxy fail, so that the
// proxy closes its connection to the backend.
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

// Fail does what Cut does, and returns when the connection is closed.
func (g *Guard) Fail(text string) {
	g.Cut(text)
	<-g.done
}

// Refuse ends the stream as Cut does, with the Protocol's text for this reason, and calls
// Config.Refused. If the stream has already begun to end, Refuse does nothing. It is called
// after Wrap, from any goroutine. It returns when the connection is closed.
func (g *Guard) Refuse(reason policy.Reason, detail string) {
	g.refuse(reason, detail, g.protocol.Refusal(reason), false)
}

// refuse ends the stream for a reason that the Protocol has not reported. ownsReader says
// that the caller has locked Guard.reading.
func (g *Guard) refuse(reason policy.Reason, detail string, f Farewell, ownsReader bool) {
	if !g.startClose(eventStartClose) {
		return
	}
	if g.cfg.Refused != nil {
		g.cfg.Refused(reason, detail)
	}
	g.closeGracefully(f, ownsReader)
}

// AudioBytes returns how many bytes of audio the client has sent to the backend: the payload of its
// binary messages, without the byte Shape.Audio that marks them. A frame counts when it begins. Any
// goroutine may call AudioBytes.
func (g *Guard) AudioBytes() int64 { return g.audio.Load() }

// Ended reports whether the stream has begun to end, or has ended.
func (g *Guard) Ended() bool { return g.closing.started() }

// Close closes the connection at once, without a message to the client. If the stream has
// already begun to end, Close waits until the connection is closed. It is called after
// Wrap.
func (g *Guard) Close() {
	if g.startClose(eventClose) {
		_ = g.closeConn(actionClose)
	}
	<-g.done
}

// late is the function of the clock. It ends a stream whose message has not arrived whole
// in time.
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
