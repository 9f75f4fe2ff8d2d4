package wstest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeBuffer is how many bytes a Pipe holds for each direction. If the buffer is full, a
// write waits.
const pipeBuffer = 256 << 10

// PipeConn is one end of a [Pipe]. It has the methods of a [net.TCPConn] that
// proxies use.
type PipeConn struct {
	in, out *direction
}

// Pipe returns the two ends of a connection in memory. It behaves as TCP does: it has
// buffers, deadlines and half-closes. If an end is closed while it has unread bytes, the
// connection is reset. Reads and writes wait on condition variables only, so the clock of a
// [testing/synctest] bubble can advance while they wait.
func Pipe() (client, server *PipeConn) {
	a, b := newDirection(), newDirection()
	return &PipeConn{in: a, out: b}, &PipeConn{in: b, out: a}
}

// direction has the bytes that are on their way from one end to the other.
type direction struct {
	mu      sync.Mutex
	changed *sync.Cond
	buf     []byte
	ended   bool // the writer has closed its half
	closed  bool // the end that reads has been closed
	reset   bool
	read    pipeDeadline
	write   pipeDeadline
}

// pipeDeadline is a read or write deadline. When it has passed, it wakes the goroutines
// that wait.
type pipeDeadline struct {
	timer  *time.Timer
	passed bool
}

func newDirection() *direction {
	d := &direction{}
	d.changed = sync.NewCond(&d.mu)
	return d
}

func (d *direction) set(which *pipeDeadline, t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if which.timer != nil {
		which.timer.Stop()
		which.timer = nil
	}
	which.passed = !t.IsZero() && !time.Now().Before(t)
	if !t.IsZero() && !which.passed {
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(t), func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if which.timer == timer {
				which.passed = true
				d.changed.Broadcast()
			}
		})
		which.timer = timer
	}
	d.changed.Broadcast()
}

// Read implements [net.Conn].
func (c *PipeConn) Read(p []byte) (int, error) {
	d := c.in
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.closed:
			return 0, net.ErrClosed
		case d.read.passed:
			return 0, os.ErrDeadlineExceeded
		case d.reset:
			return 0, syscall.ECONNRESET
		case len(p) == 0:
			return 0, nil
		case len(d.buf) > 0:
			n := copy(p, d.buf)
			d.buf = d.buf[n:]
			d.changed.Broadcast()
			return n, nil
		case d.ended:
			return 0, io.EOF
		}
		d.changed.Wait()
	}
}

// Write implements [net.Conn].
func (c *PipeConn) Write(p []byte) (n int, err error) {
	d := c.out
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.ended:
			return n, net.ErrClosed
		case d.write.passed:
			return n, os.ErrDeadlineExceeded
		case d.closed, d.reset:
			return n, syscall.EPIPE
		case len(p) == 0:
			return n, nil
		}
		if k := min(len(p), pipeBuffer-len(d.buf)); k > 0 {
			d.buf = append(d.buf, p[:k]...)
			p, n = p[k:], n+k
			d.changed.Broadcast()
			continue
		}
		d.changed.Wait()
	}
}

// CloseWrite ends the direction to the other end, which reads io.EOF after all bytes that
// were written before.
func (c *PipeConn) CloseWrite() error {
	d := c.out
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	d.changed.Broadcast()
	return nil
}

// Close implements [net.Conn]. If this end has unread bytes, the connection is reset, as
// TCP does it: the other end loses the bytes that it has not read.
func (c *PipeConn) Close() error {
	c.in.mu.Lock()
	unread := len(c.in.buf) > 0
	c.in.closed = true
	c.in.changed.Broadcast()
	c.in.mu.Unlock()
	_ = c.SetDeadline(time.Time{})
	if unread {
		return c.Reset()
	}
	return c.CloseWrite()
}

// Reset closes this end as a TCP connection with a linger time of 0 is closed.
func (c *PipeConn) Reset() error {
	for _, d := range []*direction{c.in, c.out} {
		d.mu.Lock()
		d.reset, d.buf = true, nil
		d.changed.Broadcast()
		d.mu.Unlock()
	}
	c.in.mu.Lock()
	c.in.closed = true
	c.in.mu.Unlock()
	return c.CloseWrite()
}

// LocalAddr implements [net.Conn].
func (*PipeConn) LocalAddr() net.Addr { return pipeAddr{} }

// RemoteAddr implements [net.Conn].
func (*PipeConn) RemoteAddr() net.Addr { return pipeAddr{} }

// SetDeadline implements [net.Conn].
func (c *PipeConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements [net.Conn].
func (c *PipeConn) SetReadDeadline(t time.Time) error { c.in.set(&c.in.read, t); return nil }

// SetWriteDeadline implements [net.Conn].
func (c *PipeConn) SetWriteDeadline(t time.Time) error { c.out.set(&c.out.write, t); return nil }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
