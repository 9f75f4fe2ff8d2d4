package stream

import "github.com/speechgate/speechgate/policy"

// FreeCommand is how many bytes of a client's first start command are held
// without asking Config.Reserve. Most commands are shorter, and a connection
// costs more than that in any case.
const FreeCommand = 1 << 10

// awaitBuffer is how many bytes are read at once before the first start command.
// It is small, since the buffer waits for as long as the client does.
const awaitBuffer = 512

// Await reads what the client sends until its first start command has been
// authorized, and reports whether that has happened. The proxy may then read
// from the connection that Wrap returned, beginning with that command. If Await
// returns false, the stream has ended and the connection is closed.
//
// Await is called at most once, before the first read of the proxy's. A proxy
// may also read without it: then the proxy waits.
func (g *Guard) Await() bool {
	switch err := g.await(); {
	case err == nil:
		return true
	case g.begin(): // the client has gone, and nobody else ends the stream
		_ = g.close(false)
	}
	<-g.done
	return false
}

func (g *Guard) await() error {
	if !g.lockReading() {
		return errEnded
	}
	defer g.reading.Unlock()
	in := &g.in
	var buf []byte
	for !in.authorized.Load() {
		switch {
		case g.ending.Load():
			return errEnded
		case in.taken < len(in.stash):
			if err := g.collect(in.stash[in.taken:]); err != nil {
				return err
			}
			continue
		case in.err != nil:
			return in.end()
		}
		in.drop()
		if buf == nil {
			buf = make([]byte, awaitBuffer)
		}
		n, err := g.conn.Read(buf)
		in.err = err
		in.stash = buf[:n]
	}
	if in.pooled == nil {
		in.stash = append([]byte(nil), in.stash[in.taken:]...)
		in.taken = 0
	}
	return nil
}

// Fail ends the stream with this text for the client, as Cut does, and returns
// when the connection is closed.
func (g *Guard) Fail(text string) {
	g.Cut(text)
	<-g.done
}

// Ended reports whether the stream ends or has ended.
func (g *Guard) Ended() bool { return g.ending.Load() }

// Close ends the stream at once, and closes the connection. If the stream is just
// being ended, Close waits for that. It is called after Wrap.
func (g *Guard) Close() {
	if g.begin() {
		_ = g.close(false)
	}
	<-g.done
}

// reserve asks for what the buffers of a command hold by now. Once a key has been
// shown, nobody has to be asked.
func (g *Guard) reserve() error {
	in := &g.in
	if g.cfg.Reserve == nil || in.authorized.Load() {
		return nil
	}
	more := int64(cap(in.unit)+cap(in.text)) - FreeCommand - g.reserved.Load()
	if more <= 0 {
		return nil
	}
	if !g.cfg.Reserve(int(more)) {
		g.refuse(policy.LimitReached, "too many bytes of commands are held for streams that have shown no key",
			parting{text: g.cfg.Rules.Refusal(policy.LimitReached), inRead: true})
		return errEnded
	}
	g.reserved.Add(more)
	select {
	case <-g.done: // close has given back what had been reserved before
		g.release()
	default:
	}
	return nil
}

// release gives back what has been reserved.
func (g *Guard) release() {
	if n := g.reserved.Swap(0); n > 0 && g.cfg.Release != nil {
		g.cfg.Release(int(n))
	}
}
