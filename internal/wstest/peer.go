package wstest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// deadline is the time after which reads and writes on a connection fail.
const deadline = 60 * time.Second

// Peer is one end of a WebSocket connection in a test.
type Peer struct {
	net.Conn
	// Reader reads from Conn. Do not read from Conn itself, because Reader may already have
	// bytes in its buffer.
	Reader *bufio.Reader
	// If Masked is true, SendText and SendBinary mask their frames, as RFC 6455 requires of
	// a client. The libraries of AmiVoice do not mask.
	Masked bool
	// If Strict is true, the test fails when the peer reads a frame that is a fragment, is
	// masked, or has its length in a longer form than necessary.
	Strict bool

	t testing.TB
}

// NewPeer returns a peer on a connection, with a deadline of one minute for the
// whole test.
func NewPeer(t testing.TB, conn net.Conn) *Peer {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	return &Peer{Conn: conn, Reader: bufio.NewReader(conn), t: t}
}

// Pair returns the two ends of a TCP connection on the loopback interface. They
// are closed when the test ends.
func Pair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// Send writes frames.
func (p *Peer) Send(frames ...[]byte) {
	p.t.Helper()
	for _, f := range frames {
		if _, err := p.Write(f); err != nil {
			p.t.Fatal(err)
		}
	}
}

// SendText writes a text message in one frame.
func (p *Peer) SendText(s string) { p.t.Helper(); p.Send(p.raw(OpText, []byte(s))) }

// SendBinary writes a binary message in one frame. It returns the error of the write,
// because a stream can end while a test still sends audio.
func (p *Peer) SendBinary(payload []byte) error {
	_, err := p.Write(p.raw(OpBinary, payload))
	return err
}

func (p *Peer) raw(opcode byte, payload []byte) []byte {
	var mask []byte
	if p.Masked {
		mask = Mask()
	}
	return Raw(Fin|opcode, mask, 0, payload)
}

// ReadFrame reads the next frame.
func (p *Peer) ReadFrame() (Frame, error) {
	p.t.Helper()
	f, shortest, err := readFrame(p.Reader)
	if err == nil && p.Strict && (!f.Fin || f.Masked || !shortest) {
		p.t.Fatalf("got %v, length in the shortest form: %t; want it final, unmasked and no longer than it needs", f, shortest)
	}
	return f, err
}

// Next reads the next frame. The test fails if no frame comes.
func (p *Peer) Next() Frame {
	p.t.Helper()
	f, err := p.ReadFrame()
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

// Want reads as many frames as it is given. The test fails if a frame differs.
func (p *Peer) Want(frames ...Frame) {
	p.t.Helper()
	for _, want := range frames {
		if f, err := p.ReadFrame(); err != nil || f != want {
			p.t.Fatalf("got %v, %v; want %v", f, err, want)
		}
	}
}

// WantText reads as many text messages as it is given. The test fails if a message differs.
func (p *Peer) WantText(messages ...string) {
	p.t.Helper()
	for _, message := range messages {
		p.Want(Text(message))
	}
}

// WantOpcode reads a frame. The test fails if the frame has another opcode.
func (p *Peer) WantOpcode(opcode byte) {
	p.t.Helper()
	if f, err := p.ReadFrame(); err != nil || f.Opcode != opcode {
		p.t.Fatalf("got %v, %v; want opcode %d", f, err, opcode)
	}
}

// WantClose reads a Close frame with this code and any reason, and then the end
// of the connection.
func (p *Peer) WantClose(code uint16) {
	p.t.Helper()
	f := p.Next()
	if f.Opcode != OpClose || len(f.Payload) < 2 || binary.BigEndian.Uint16([]byte(f.Payload)) != code {
		p.t.Fatalf("got %v; want a Close of %d", f, code)
	}
	if rest, err := io.ReadAll(p.Reader); err != nil || len(rest) > 0 {
		p.t.Fatalf("%q and error %v after the Close", rest, err)
	}
}

// WantEnd reads the end of the connection, which may come after a Close frame.
func (p *Peer) WantEnd() {
	p.t.Helper()
	if f, err := p.readEnd(); !errors.Is(err, io.EOF) {
		p.t.Errorf("the connection goes on with %v, %v", f, err)
	}
}

// WantEndOrReset does what WantEnd does, and also accepts a reset of the connection: a peer
// that is still sending can get one.
func (p *Peer) WantEndOrReset() {
	p.t.Helper()
	if f, err := p.readEnd(); !Ended(err) {
		p.t.Errorf("the connection goes on with %v, %v", f, err)
	}
}

func (p *Peer) readEnd() (Frame, error) {
	f, err := p.ReadFrame()
	if err == nil && f.Opcode == OpClose {
		f, err = p.ReadFrame()
	}
	return f, err
}

// Until reads text messages until it has read message. It returns the messages before it.
func (p *Peer) Until(message string) (before []string) {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("%v, after %q; want %q", err, before, message)
		}
		if f == Text(message) {
			return before
		}
		if f.Opcode != OpText {
			p.t.Fatalf("got %v, after %q; want the text %q", f, before, message)
		}
		before = append(before, f.Payload)
	}
}

// Ended reports whether err says that the other side has closed or reset the
// connection.
func Ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }
