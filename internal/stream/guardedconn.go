package stream

import (
	"errors"
	"net"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// guardedConn is the client's connection as the proxy sees it. It has no method by
// which bytes could get around the guard, such as ReadFrom.
type guardedConn struct{ g *Guard }

// Read returns bytes of the client that may be sent to the backend.
func (c *guardedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	g := c.g
	if !g.reading.TryLock() && !g.lockReading() {
		<-g.done
		return 0, errEnded
	}
	n, err := g.in.read(p)
	g.reading.Unlock()
	if g.closing.started() || errors.Is(err, errEnded) {
		<-g.done
		return 0, errEnded
	}
	return n, err
}

// lockReading locks Guard.reading, so that the caller may use the clientReader. It returns
// false if the stream has begun to end, because the closing goroutine uses the clientReader
// then.
func (g *Guard) lockReading() bool {
	if g.closing.started() {
		return false
	}
	g.reading.Lock()
	return true
}

// Write passes on what the backend sends. While the stream is being ended, Write drops
// every message that has not begun, and returns no error for it. Write fails if the
// connection is closed, or if the backend has broken the WebSocket protocol, which ends the
// stream.
func (c *guardedConn) Write(p []byte) (int, error) {
	g := c.g
	select {
	case <-g.done:
		return 0, errEnded
	default:
	}
	g.writing.Lock()
	n, err := g.out.write(p)
	g.writing.Unlock()
	switch {
	case errors.Is(err, errBroken):
		g.refuse(policy.Undecided, err.Error(), g.protocol.Cut(), false)
	case g.closing.started():
		// The write may have failed because of the deadline that closing sets.
		select {
		case <-g.done:
			return n, errEnded
		default:
			return len(p), nil
		}
	}
	return n, err
}

// Close closes the connection. If the stream has already begun to end, Close waits until
// the connection is closed.
func (c *guardedConn) Close() error {
	g := c.g
	if !g.startClose(eventClose) {
		<-g.done
		return nil
	}
	return g.closeConn(actionClose)
}

// CloseWrite closes the half of the connection that sends to the client. The proxy calls it
// when the backend sends nothing more.
func (c *guardedConn) CloseWrite() error {
	g := c.g
	if g.closing.started() {
		<-g.done
		return errEnded
	}
	g.backendDone.Store(true)
	g.wakeReader() // the reader may wait for an answer of the backend
	half, ok := g.conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

func (c *guardedConn) LocalAddr() net.Addr  { return c.g.conn.LocalAddr() }
func (c *guardedConn) RemoteAddr() net.Addr { return c.g.conn.RemoteAddr() }

func (c *guardedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline does nothing while the stream is being ended, because closing sets the
// deadlines then.
func (c *guardedConn) SetReadDeadline(t time.Time) error {
	if c.g.closing.started() {
		return nil
	}
	return c.g.setReadDeadline(t)
}

// SetWriteDeadline does nothing while the stream is being ended.
func (c *guardedConn) SetWriteDeadline(t time.Time) error {
	if c.g.closing.started() {
		return nil
	}
	return c.g.conn.SetWriteDeadline(t)
}
