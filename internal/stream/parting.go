package stream

import (
	"encoding/binary"
	"net"
	"time"

	"github.com/gobwas/ws"
)

const (
	closeFrameTime = 50 * time.Millisecond // for a last frame that the client may not read
	lingerBuffer   = 2 << 10
)

// closePolicy is the Close frame after a text that the guard has sent.
var closePolicy = []byte{0x80 | byte(ws.OpClose), 2, byte(ws.StatusPolicyViolation >> 8), byte(ws.StatusPolicyViolation & 0xff)}

// parting is how a stream ends.
type parting struct {
	text   string // for the client; none if empty
	answer []byte // to the client's own Close frame, in place of a text
	inRead bool   // the goroutine is the one that reads from the client
}

// begin decides that the stream ends. Only whoever gets true may end it.
func (g *Guard) begin() bool {
	if !g.ending.CompareAndSwap(false, true) {
		return false
	}
	_ = g.clock.stop()
	g.endSessions()
	g.wakeReader()
	return true
}

// part tells the client, gives it a moment to go, and closes the connection.
// Whatever blocks on the way, the connection is closed in the end.
func (g *Guard) part(p parting) {
	limit := time.Now().Add(g.cfg.PartingTime)
	// Later than all that is timed by itself, which may be late on a busy machine.
	backstop := time.AfterFunc(g.cfg.PartingTime+4*closeFrameTime, func() { _ = g.close(true) })
	defer backstop.Stop()

	told := g.say(p, limit)
	left := true
	if told {
		left = g.linger(p, limit)
	}
	hard := !told
	if told && !left && len(p.answer) == 0 {
		// A lone Close would hang some of the vendor's libraries, which take every
		// frame for a message. After the text it is harmless.
		hard = g.lastFrame(closePolicy) != nil
	}
	_ = g.close(hard)
}

// say sends the client its text, or the answer to its Close frame, in between
// the backend's messages. It reports whether the client has been told.
func (g *Guard) say(p parting, limit time.Time) bool {
	frameLimit := time.Now().Add(g.cfg.FrameTime)
	if frameLimit.After(limit) {
		frameLimit = limit
	}
	// A write that is blocked comes to an end.
	_ = g.conn.SetWriteDeadline(frameLimit)
	timer := time.NewTimer(time.Until(frameLimit))
	defer timer.Stop()

	g.writing.Lock()
	defer g.writing.Unlock()
	for late := false; g.out.inMessage() && g.out.err == nil; {
		if late {
			return false
		}
		g.writing.Unlock()
		select {
		case <-g.settled:
		case <-g.done:
			late = true
		case <-timer.C:
			late = true
		}
		g.writing.Lock()
	}
	if g.out.err != nil {
		return false
	}
	_ = g.conn.SetWriteDeadline(limit)
	frame := p.answer
	if p.text != "" {
		frame = finalFrame(ws.OpText, []byte(p.text))
	}
	_, err := g.conn.Write(frame)
	return err == nil
}

// lastFrame sends a frame, unless something is in the way.
func (g *Guard) lastFrame(frame []byte) error {
	_ = g.conn.SetWriteDeadline(time.Now().Add(closeFrameTime))
	g.writing.Lock()
	defer g.writing.Unlock()
	_, err := g.conn.Write(frame)
	return err
}

// linger reads what the client still sends, and throws it away, until the client
// closes: a connection that is closed with bytes unread is reset, and the client
// may lose what was said last. It reports whether the client has gone.
func (g *Guard) linger(p parting, limit time.Time) (left bool) {
	if !p.inRead {
		// The reader comes back, and sees that the stream ends.
		_ = g.conn.SetReadDeadline(time.Unix(1, 0))
		g.reading.Lock()
		defer g.reading.Unlock()
	}
	_ = g.conn.SetReadDeadline(limit)
	rest := g.in.rest()
	buf := make([]byte, lingerBuffer)
	for !rest.closed {
		n, err := g.conn.Read(buf)
		rest.skim(buf[:n])
		if err != nil {
			return !isTimeout(err)
		}
	}
	if len(p.answer) == 0 {
		// The client's Close is answered with one, and then it is its turn.
		if g.lastFrame(closePolicy) != nil {
			return true
		}
	}
	for {
		if _, err := g.conn.Read(buf); err != nil {
			return true
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error) //nolint:errorlint // connections return it bare
	return ok && timeout.Timeout()
}

// close closes the connection, hard if the client does not read: TLS would wait
// for it to take the last alert.
func (g *Guard) close(hard bool) (err error) {
	g.shut.Do(func() {
		if layer, ok := g.conn.(interface{ NetConn() net.Conn }); ok && hard {
			_ = layer.NetConn().Close()
		}
		err = g.conn.Close()
		if g.cfg.OnClose != nil {
			g.cfg.OnClose()
		}
		close(g.done)
		g.release()
	})
	return err
}

// closeAnswer is the Close frame that answers one with this payload.
func closeAnswer(payload []byte) []byte {
	if len(payload) < 2 {
		return finalFrame(ws.OpClose, nil)
	}
	code := binary.BigEndian.Uint16(payload)
	return finalFrame(ws.OpClose, binary.BigEndian.AppendUint16(nil, code))
}
