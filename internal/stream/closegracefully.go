package stream

import (
	"net"
	"time"

	"github.com/speechgate/speechgate/internal/stream/wsframe"
)

const (
	closeFrameTime = 50 * time.Millisecond // for writing a Close frame, which the client may not read
	drainBuffer    = 2 << 10
)

// startClose takes the stream out of the state open. It returns true to only one caller.
// That caller must end the stream: by closeGracefully after eventStartClose, by closeConn
// after eventClose.
func (g *Guard) startClose(event closeEvent) bool {
	if g.closing.on(event) == actionNone {
		return false
	}
	_ = g.clock.stop()
	g.protocol.End()
	g.wakeReader()
	return true
}

// closer does the actions of the closing state machine for one stream.
type closer struct {
	g          *Guard
	farewell   Farewell
	limit      time.Time             // when PartingTime is over
	ownsReader bool                  // this goroutine has locked Guard.reading
	found      *wsframe.CloseScanner // looks for a Close frame in what the client sends; nil before draining
}

// closeGracefully runs the state machine from stateFinishing to stateClosed. ownsReader
// says that the caller has locked Guard.reading. The connection is closed at the end, even
// if a step blocks.
func (g *Guard) closeGracefully(f Farewell, ownsReader bool) {
	c := &closer{g: g, farewell: f, ownsReader: ownsReader, limit: time.Now().Add(g.cfg.PartingTime)}
	// This timer closes the connection if a step blocks. It leaves more time than the
	// steps have, because on a busy machine a step can notice its own deadline late.
	overdue := time.AfterFunc(g.cfg.PartingTime+4*closeFrameTime, func() {
		if action := g.closing.on(eventOverdue); action != actionNone {
			_ = g.closeConn(action)
		}
	})
	defer overdue.Stop()
	if !ownsReader {
		defer func() {
			if c.ownsReader {
				g.reading.Unlock()
			}
		}()
	}
	for action := actionFinishMessage; action != actionNone; {
		if action == actionClose || action == actionAbort {
			_ = g.closeConn(action)
			return
		}
		action = g.closing.on(c.do(action))
	}
}

func (c *closer) do(action closeAction) closeEvent {
	switch action {
	case actionFinishMessage:
		return c.finishMessage()
	case actionSendFinal:
		return c.sendFinalMessage()
	case actionDrain:
		return c.drainUntilPeerCloses()
	case actionSendClose:
		return c.sendClose()
	default:
		return c.awaitEnd()
	}
}

// finishMessage waits until the message that the backend has begun is complete, at most for
// Config.FrameTime.
func (c *closer) finishMessage() closeEvent {
	g := c.g
	limit := time.Now().Add(g.cfg.FrameTime)
	if limit.After(c.limit) {
		limit = c.limit
	}
	_ = g.conn.SetWriteDeadline(limit) // makes a blocked write of the proxy return
	timer := time.NewTimer(time.Until(limit))
	defer timer.Stop()
	for {
		g.writing.Lock()
		within, err := g.out.inMessage(), g.out.err
		g.writing.Unlock()
		switch {
		case err != nil:
			return eventFailed
		case !within:
			return eventBoundary
		}
		select {
		case <-g.atMessageBoundary:
		case <-g.done:
			return eventFailed
		case <-timer.C:
			return eventTimeout
		}
	}
}

// sendFinalMessage writes the text of the farewell and, if CloseAtOnce is true, its Close
// frame. The proxy can begin no message after it, because the state machine has left
// stateOpen.
func (c *closer) sendFinalMessage() closeEvent {
	var frames []byte
	if c.farewell.Text != "" {
		frames = wsframe.Final(wsframe.Text, []byte(c.farewell.Text))
	}
	sent := eventSent
	if c.farewell.CloseAtOnce {
		frames, sent = append(frames, c.farewell.Close...), eventSentClose
	}
	if c.write(frames, c.limit) != nil {
		return eventFailed
	}
	return sent
}

// sendClose writes the farewell's Close frame.
func (c *closer) sendClose() closeEvent {
	if c.write(c.farewell.Close, time.Now().Add(closeFrameTime)) != nil {
		return eventFailed
	}
	return eventSent
}

func (c *closer) write(frames []byte, limit time.Time) error {
	g := c.g
	_ = g.conn.SetWriteDeadline(limit)
	g.writing.Lock()
	defer g.writing.Unlock()
	if g.out.err != nil {
		return g.out.err
	}
	_, err := g.conn.Write(frames)
	return err
}

// takeReader locks Guard.reading, so that this goroutine may use the clientReader. It looks
// for a Close frame in the buffered bytes, and drops them.
func (c *closer) takeReader() {
	if c.found != nil {
		return
	}
	g := c.g
	if !c.ownsReader {
		_ = g.conn.SetReadDeadline(time.Unix(1, 0)) // makes a blocked read of the proxy return
		g.reading.Lock()
		c.ownsReader = true
	}
	_ = g.conn.SetReadDeadline(c.limit)
	c.found = g.in.scanRest()
}

// drainUntilPeerCloses reads and drops what the client sends, until the client sends a
// Close frame or closes the connection, or PartingTime is over.
func (c *closer) drainUntilPeerCloses() closeEvent {
	c.takeReader()
	buf := make([]byte, drainBuffer)
	for !c.found.Scan(nil) {
		n, err := c.g.conn.Read(buf)
		c.found.Scan(buf[:n])
		switch {
		case err == nil:
		case isTimeout(err):
			return eventTimeout
		default:
			return eventPeerGone
		}
	}
	return eventPeerClosed
}

// awaitEnd reads and drops what the client sends, until the client closes the connection or
// PartingTime is over.
func (c *closer) awaitEnd() closeEvent {
	c.takeReader()
	buf := make([]byte, drainBuffer)
	for {
		_, err := c.g.conn.Read(buf)
		switch {
		case err == nil:
		case isTimeout(err):
			return eventTimeout
		default:
			return eventPeerGone
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error) //nolint:errorlint // connections return it bare
	return ok && timeout.Timeout()
}

// closeConn closes the connection. For actionAbort, it first closes the socket below TLS.
// The caller has moved the state machine to stateClosed, so closeConn is called once.
func (g *Guard) closeConn(action closeAction) error {
	if layer, ok := g.conn.(interface{ NetConn() net.Conn }); ok && action == actionAbort {
		_ = layer.NetConn().Close()
	}
	err := g.conn.Close()
	if g.cfg.OnClose != nil {
		g.cfg.OnClose()
	}
	close(g.done)
	g.release()
	return err
}
