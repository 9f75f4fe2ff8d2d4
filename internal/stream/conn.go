package stream

import (
	"errors"
	"net"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// guarded is the client's connection as the proxy sees it. It has no method by
// which bytes could get around the guard, such as ReadFrom.
type guarded struct{ g *Guard }

// Read returns what may go on to the backend.
func (c *guarded) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	g := c.g
	if !g.lockReading() {
		<-g.done
		return 0, errEnded
	}
	n, err := g.read(p)
	g.reading.Unlock()
	if g.ending.Load() || errors.Is(err, errEnded) {
		<-g.done
		return 0, errEnded
	}
	return n, err
}

// lockReading reports false if the stream ends and another goroutine drains it.
func (g *Guard) lockReading() bool {
	if g.reading.TryLock() {
		return true
	}
	if g.ending.Load() {
		return false
	}
	g.reading.Lock()
	return true
}

// Write takes what the backend sends. It fails only when the connection is gone:
// what the backend sends while the stream ends is thrown away.
func (c *guarded) Write(p []byte) (int, error) {
	g := c.g
	select {
	case <-g.done:
		return 0, errEnded
	default:
	}
	g.writing.Lock()
	n, err := g.write(p)
	g.writing.Unlock()
	switch {
	case errors.Is(err, errBroken):
		g.refuse(policy.Undecided, err.Error(), parting{text: g.cfg.Rules.CutText})
	case g.ending.Load():
		// The deadline that the parting sets may have hit a write of ours.
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
func (c *guarded) Close() error {
	g := c.g
	if !g.begin() {
		<-g.done
		return nil
	}
	return g.close(false)
}

// CloseWrite tells the client that the backend has nothing more to say.
func (c *guarded) CloseWrite() error {
	g := c.g
	if g.ending.Load() {
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

func (c *guarded) LocalAddr() net.Addr  { return c.g.conn.LocalAddr() }
func (c *guarded) RemoteAddr() net.Addr { return c.g.conn.RemoteAddr() }

func (c *guarded) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *guarded) SetReadDeadline(t time.Time) error {
	if c.g.ending.Load() { // the deadlines are the parting's
		return nil
	}
	return c.g.setReadDeadline(t)
}

func (c *guarded) SetWriteDeadline(t time.Time) error {
	if c.g.ending.Load() {
		return nil
	}
	return c.g.conn.SetWriteDeadline(t)
}
