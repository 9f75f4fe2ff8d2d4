package stream

import (
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// maxQueued is how many bytes of what follows a start command that is held are
// held with it: two seconds of audio at 16 kHz and 16 bits. Then nothing more is
// read from the client until the command has been judged.
const maxQueued = 64 << 10

// heldStart is a start command that came before the backend has answered the end
// command of the session before, and what the client has sent after it.
type heldStart struct {
	text  string
	first ws.Header // of the command's first frame
	queue []byte    // frames of data, as they came
	left  int64     // payload bytes of the last of them that are still to come
}

func (h *heldStart) full() bool { return len(h.queue) >= maxQueued }

// waiting reports whether the backend has still to answer an end command.
func (g *Guard) waiting() bool {
	state := g.session.Load()
	return state == ended || state == settling
}

// enqueue takes bytes that come while a start command is held. Frames of data
// wait for the command. Control frames go on at once, as RFC 6455 lets them: a
// Ping, a Pong or a Close must not wait for an answer of the backend.
func (g *Guard) enqueue(rest []byte) error {
	in, h := &g.in, g.in.held
	unit := func(n int) bool {
		k := min(n-len(in.unit), len(rest))
		in.unit = append(in.unit, rest[:k]...)
		in.taken, rest = in.taken+k, rest[k:]
		return len(in.unit) == n
	}
	for !h.full() {
		if h.left > 0 {
			k := int(min(h.left, int64(len(rest)), int64(maxQueued-len(h.queue))))
			h.queue = append(h.queue, rest[:k]...)
			h.left -= int64(k)
			in.taken, rest = in.taken+k, rest[k:]
			if k == 0 {
				return nil
			}
			continue
		}
		if len(in.unit) < ws.MinHeaderSize && !unit(ws.MinHeaderSize) {
			return nil
		}
		size := headerLen(in.unit[1])
		if len(in.unit) < size && !unit(size) {
			return nil
		}
		header, err := in.codec.parse(in.unit[:size])
		if err != nil {
			return g.malformed(err.Error())
		}
		if header.OpCode.IsControl() {
			in.header, in.size = header, size
			if !unit(size + int(header.Length)) {
				return nil
			}
			return g.frame()
		}
		h.queue = append(h.queue, in.unit...)
		h.left = header.Length
		in.unit = in.unit[:0]
	}
	return nil
}

// resume has a start command judged that was held, and what came after it read as
// if it came now.
func (g *Guard) resume() error {
	in, h := &g.in, g.in.held
	if in.timed {
		if in.timed = false; !g.clock.stop() {
			return errEnded
		}
	}
	queue := append(h.queue, in.unit...)
	queue = append(queue, in.stash[in.taken:]...)
	in.drop()
	in.held, in.stash = nil, queue
	in.unit, in.size, in.first = in.unit[:0], 0, h.first
	return g.start(h.text)
}

// stalled reports whether nothing more can be read while a start command is held.
// The client may have closed its half of the connection: the results
// of the session before are still to come, but not for ever.
func (g *Guard) stalled() bool {
	in := &g.in
	if !in.held.full() && !in.leftInOrder() {
		return false
	}
	if !in.timed && in.err != nil {
		in.timed = true
		g.clock.set(g.cfg.CommandTime, g.late)
	}
	return true
}

// waker lets the goroutine that writes to the client interrupt the one that reads
// from it: the backend's answer to an end command has a held command judged.
type waker struct {
	mu       sync.Mutex
	reading  bool          // a read may be interrupted
	struck   bool          // the read deadline has been moved to the past
	deadline time.Time     // that the proxy has set
	changed  chan struct{} // told when no end command waits for its answer any more
}

func (w *waker) channel() chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{}, 1)
	}
	return w.changed
}

// wakeReader has the reader look again at the state of the session.
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

// setReadDeadline is the proxy's.
func (g *Guard) setReadDeadline(t time.Time) error {
	w := &g.wake
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	if w.struck {
		return nil // it is set when the reader comes back
	}
	return g.conn.SetReadDeadline(t)
}

// waitForAnswer returns when the end command has been answered, or the stream ends.
func (g *Guard) waitForAnswer() {
	changed := g.wake.channel()
	for g.waiting() && !g.ending.Load() && !g.backendDone.Load() {
		select {
		case <-changed:
		case <-g.done:
		}
	}
}

// readWhileHeld reads from the client until something comes or the end command
// has been answered.
func (g *Guard) readWhileHeld(p []byte) (n int, err error) {
	w := &g.wake
	w.mu.Lock()
	w.reading = true
	w.mu.Unlock()
	if g.waiting() && !g.ending.Load() {
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
