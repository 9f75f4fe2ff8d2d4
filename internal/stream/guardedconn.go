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

// Read returns what may go on to the backend.
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
	if g.closing.started() || err != nil && errors.Is(err, errEnded) {
		<-g.done
		return 0, errEnded
	}
	return n, err
}

// lockReading makes the caller the owner of the clientReader. It returns false if the
// stream ends: the closing goroutine has then taken the reader over, or soon does.
func (g *Guard) lockReading() bool {
	if g.closing.started() {
		return false
	}
	g.reading.Lock()
	return true
}

// Write takes what the backend sends. It fails only when the connection is gone:
// what the backend sends while the stream ends is dropped.
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
		// The deadline that closing sets may have hit a write of the proxy.
		select {
		case <-g.done:
			return n, errEnded
		default:
			return len(p), nil
		}
	}
	return n, err
}

// Close closes the connection. If the stream is just being ended, it waits for that.
func (c *guardedConn) Close() error {
	g := c.g
	if !g.startClose(eventClose) {
		<-g.done
		return nil
	}
	return g.closeConn(actionClose)
}

// CloseWrite tells the client that the backend has nothing more to say.
func (c *guardedConn) CloseWrite() error {
	g := c.g
	if g.closing.started() {
		<-g.done
		return errEnded
	}
	g.backendDone.Store(true)
	g.wakeReader() // which may wait for an answer
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

// SetReadDeadline does nothing while the stream ends: the deadlines are then those of
// closing.
func (c *guardedConn) SetReadDeadline(t time.Time) error {
	if c.g.closing.started() {
		return nil
	}
	return c.g.setReadDeadline(t)
}

// SetWriteDeadline does nothing while the stream ends.
func (c *guardedConn) SetWriteDeadline(t time.Time) error {
	if c.g.closing.started() {
		return nil
	}
	return c.g.conn.SetWriteDeadline(t)
}
