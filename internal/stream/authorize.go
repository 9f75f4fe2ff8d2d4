package stream

import "github.com/speechgate/speechgate/policy"

// FreeCommand is how many bytes of a client's first message are buffered without a call of
// Config.Reserve. Most first messages are shorter, and each connection costs more memory
// than this anyway.
const FreeCommand = 1 << 10

// firstReadSize is how many bytes are read at once before the stream has been authorized.
// It is small, because the buffer is kept for as long as the client sends nothing.
const firstReadSize = 512

// WaitAuthorized reads what the client sends until the stream has been authorized, and
// returns true. The proxy may then read from the connection that Wrap returned. The first
// message that it reads is the message that authorized the stream. If WaitAuthorized
// returns false, the stream has ended and the connection is closed.
//
// WaitAuthorized is called at most once, before the proxy reads. A proxy may also read
// without a call of WaitAuthorized: its first read then waits until the stream has been
// authorized.
func (g *Guard) WaitAuthorized() bool {
	err := g.waitAuthorized()
	if err == nil {
		return true
	}
	if g.startClose(eventClose) { // the client has gone, and nobody else ends the stream
		_ = g.closeConn(actionClose)
	}
	<-g.done
	return false
}

func (g *Guard) waitAuthorized() error {
	if !g.lockReading() {
		return errEnded
	}
	defer g.reading.Unlock()
	r := &g.in
	var buf []byte
	for !r.authorized.Load() {
		switch {
		case g.closing.started():
			return errEnded
		case r.consumed < len(r.buffered):
			if err := r.readFrame(r.buffered[r.consumed:]); err != nil {
				return err
			}
			continue
		case r.err != nil:
			return r.end()
		}
		r.dropBuffer()
		if buf == nil {
			buf = make([]byte, firstReadSize)
		}
		n, err := g.conn.Read(buf)
		r.err = err
		r.buffered = buf[:n]
	}
	if r.pooled == nil {
		r.buffered = append([]byte(nil), r.buffered[r.consumed:]...)
		r.consumed = 0
	}
	return nil
}

// reserve calls Config.Reserve for the bytes that the buffers of the first message use and
// that have not been reserved yet. If Reserve returns false, the stream is refused. After
// the stream has been authorized, reserve does nothing.
func (r *clientReader) reserve() error {
	g := r.g
	if g.cfg.Reserve == nil || r.authorized.Load() {
		return nil
	}
	more := int64(cap(r.frame)+cap(r.text)) - FreeCommand - g.reserved.Load()
	if more <= 0 {
		return nil
	}
	if !g.cfg.Reserve(int(more)) {
		g.refuse(policy.LimitReached, "too many bytes of commands are held for streams that have shown no key",
			g.protocol.Refusal(policy.LimitReached), true)
		return errEnded
	}
	g.reserved.Add(more)
	select {
	case <-g.done: // closeConn has released only what was reserved before
		g.release()
	default:
	}
	return nil
}

// release releases all bytes that have been reserved.
func (g *Guard) release() {
	if n := g.reserved.Swap(0); n > 0 && g.cfg.Release != nil {
		g.cfg.Release(int(n))
	}
}
