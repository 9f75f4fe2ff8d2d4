package stream

import (
	"sync"
	"time"

	"github.com/speechgate/speechgate/internal/stream/wsframe"
)

// maxQueued is how many bytes after a waiting message are kept: two seconds of audio at 16
// kHz and 16 bits. When it is reached, nothing more is read from the client until the
// message has been decided on.
const maxQueued = 64 << 10

// pipelinedMessage is a text message that waits for an answer of the backend, and
// what the client has sent after it.
type pipelinedMessage struct {
	text        string
	first       wsframe.Header // header of the message's first frame
	queue       []byte         // text and binary frames after the message, as they arrived
	payloadLeft int64          // bytes still to come of the last frame in queue
}

func (m *pipelinedMessage) full() bool { return len(m.queue) >= maxQueued }

// queue handles the bytes that come after a waiting message. Text and binary frames are
// queued. Control frames are handled at once, which RFC 6455 allows: a Ping, a Pong or a
// Close must not wait for an answer of the backend.
func (r *clientReader) queue(rest []byte) error {
	m := r.pipelined
	fill := func(n int) bool {
		k := min(n-len(r.frame), len(rest))
		r.frame = append(r.frame, rest[:k]...)
		r.consumed, rest = r.consumed+k, rest[k:]
		return len(r.frame) == n
	}
	for !m.full() {
		if m.payloadLeft > 0 {
			k := int(min(m.payloadLeft, int64(len(rest)), int64(maxQueued-len(m.queue))))
			m.queue = append(m.queue, rest[:k]...)
			m.payloadLeft -= int64(k)
			r.consumed, rest = r.consumed+k, rest[k:]
			if k == 0 {
				return nil
			}
			continue
		}
		if len(r.frame) < wsframe.MinHeaderSize && !fill(wsframe.MinHeaderSize) {
			return nil
		}
		size := wsframe.HeaderSize(r.frame)
		if len(r.frame) < size && !fill(size) {
			return nil
		}
		header, err := wsframe.Parse(r.frame[:size])
		if err != nil {
			return r.malformed(err.Error())
		}
		if header.Opcode.IsControl() {
			r.header, r.headerSize = header, size
			if !fill(size + int(header.Length)) {
				return nil
			}
			return r.handleFrame()
		}
		m.queue = append(m.queue, r.frame...)
		m.payloadLeft = header.Length
		r.frame = r.frame[:0]
	}
	return nil
}

// resume gives the waiting message to the Protocol. The bytes after the message are then
// read as if they arrived now.
func (r *clientReader) resume() error {
	m := r.pipelined
	if r.timed {
		if r.timed = false; !r.g.clock.stop() {
			return errEnded
		}
	}
	queue := append(m.queue, r.frame...)
	queue = append(queue, r.buffered[r.consumed:]...)
	r.dropBuffer()
	r.pipelined, r.buffered = nil, queue
	r.frame, r.headerSize, r.first = r.frame[:0], 0, m.first
	return r.take(m.text)
}

// stalled reports whether nothing more can be read while a message waits: the queue is
// full, or the client has closed its half of the connection. A client that has closed its
// half may still wait for the results of its session, but not for an unlimited time:
// stalled starts the clock.
func (r *clientReader) stalled() bool {
	if !r.pipelined.full() && !r.halfClosed() {
		return false
	}
	if !r.timed && r.err != nil {
		r.timed = true
		r.g.clock.set(r.g.cfg.CommandTime, r.g.late)
	}
	return true
}

// waker lets the goroutine that writes to the client interrupt the goroutine that reads
// from it. After the backend's answer, a waiting message can be decided on.
type waker struct {
	mu       sync.Mutex
	reading  bool          // readWhileWaiting is running, and its read may be interrupted
	struck   bool          // the read deadline has been moved to the past
	deadline time.Time     // the read deadline that the proxy has set
	changed  chan struct{} // gets a value from wakeReader; nil until waitForAnswer needs it
}

func (w *waker) channel() chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{}, 1)
	}
	return w.changed
}

// wakeReader makes the reader check again whether its message must wait.
func (g *Guard) wakeReader() {
	w := &g.wake
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reading && !w.struck {
		w.struck = true
		_ = g.conn.SetReadDeadline(time.Unix(1, 0))
	}
	if w.changed != nil {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// setReadDeadline sets the read deadline for the proxy.
func (g *Guard) setReadDeadline(t time.Time) error {
	w := &g.wake
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	if w.struck {
		return nil // readWhileWaiting sets it when its read has been interrupted
	}
	return g.conn.SetReadDeadline(t)
}

// waitForAnswer returns when no message has to wait for the backend any more, when the
// backend has closed its side, or when the stream ends.
func (g *Guard) waitForAnswer() {
	changed := g.wake.channel()
	for g.protocol.Waiting() && !g.closing.started() && !g.backendDone.Load() {
		select {
		case <-changed:
		case <-g.done:
		}
	}
}

// readWhileWaiting reads from the client while a message waits. If wakeReader interrupts
// the read, readWhileWaiting returns no bytes and no error.
func (r *clientReader) readWhileWaiting(p []byte) (n int, err error) {
	g, w := r.g, &r.g.wake
	w.mu.Lock()
	w.reading = true
	w.mu.Unlock()
	if g.protocol.Waiting() && !g.closing.started() {
		n, err = g.conn.Read(p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reading = false
	if w.struck {
		w.struck = false
		_ = g.conn.SetReadDeadline(w.deadline)
		if isTimeout(err) {
			err = nil
		}
	}
	return n, err
}
