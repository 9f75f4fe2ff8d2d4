package stream

import (
	"github.com/gobwas/ws"
)

// writer writes a slice that the proxy has handed over, in as few pieces as can be.
type writer struct {
	g     *Guard
	p     []byte
	from  int // from here on it has not been written
	frame int // where the frame begins that is looked at
	at    int // up to here it has been looked at
}

// flush writes what passes, up to the given place.
func (w *writer) flush(to int) error {
	from := w.from
	w.from = max(to, from)
	if to <= from {
		return nil
	}
	return w.g.emit(w.p[from:to])
}

// emit writes to the client.
func (g *Guard) emit(p []byte) error {
	if g.out.err != nil {
		return g.out.err
	}
	if len(p) == 0 {
		return nil
	}
	_, g.out.err = g.conn.Write(p)
	return g.out.err
}

// write passes on what the backend sends.
func (g *Guard) write(p []byte) (int, error) {
	o := &g.out
	w := &writer{g: g, p: p}
	for w.at < len(p) {
		if !o.inMessage() && g.ending.Load() {
			break
		}
		var err error
		if o.left > 0 {
			err = w.payload()
		} else {
			err = w.nextFrame()
		}
		if err != nil {
			return w.from, err
		}
	}
	if err := w.flush(w.at); err != nil {
		return w.from, err
	}
	if !o.inFrame() && len(o.pong) > 0 {
		frame := o.pong
		o.pong = nil
		if err := g.emit(frame); err != nil {
			return len(p), err
		}
	}
	if !o.inMessage() && g.ending.Load() {
		select {
		case g.settled <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// nextFrame reads a header, or a part of one.
func (w *writer) nextFrame() error {
	o := &w.g.out
	split := len(o.head) > 0
	w.frame = w.at
	whole := false
	for w.at < len(w.p) && !whole {
		o.head = append(o.head, w.p[w.at])
		w.at++
		whole = len(o.head) >= ws.MinHeaderSize && len(o.head) == headerLen(o.head[1])
	}
	if !whole {
		// It goes out with the rest of it, lest the client have half a header.
		return w.skip()
	}
	h, err := o.codec.parse(o.head)
	if err != nil || h.Masked || !o.take(h, w.g.watches()) {
		o.left = 0 // none of it goes out
		if err := w.skip(); err != nil {
			return err
		}
		return errBroken
	}
	switch {
	case o.fate == held && (o.left == 0 || w.at == len(w.p)):
		err = w.skip()
	case split && o.fate != held:
		w.from = w.at
		err = w.g.emit(o.head)
	case split:
		err = w.skip()
	}
	o.head = o.head[:0]
	if err != nil {
		return err
	}
	if o.left == 0 {
		return w.frameEnd()
	}
	return nil
}

// skip writes what passes before the frame, and leaves out what has been looked
// at of the frame itself.
func (w *writer) skip() error {
	err := w.flush(w.frame)
	w.from, w.frame = w.at, w.at
	return err
}

// payload takes what there is of a frame's payload.
func (w *writer) payload() error {
	o := &w.g.out
	chunk := w.p[w.at:]
	if int64(len(chunk)) > o.left {
		chunk = chunk[:o.left]
	}
	if o.learning && !o.header.OpCode.IsControl() {
		w.g.learn(chunk)
	}
	whole := o.header.Fin && o.header.OpCode != ws.OpContinuation && int64(len(chunk)) == o.header.Length && w.from < w.at
	o.left -= int64(len(chunk))
	var err error
	switch o.fate {
	case passes:
		w.at += len(chunk)
	case masked:
		err = w.flush(w.at)
		w.at += len(chunk)
		w.from = w.at
		if err == nil {
			err = w.g.emit(o.flow.Next(chunk))
		}
		if err == nil && o.left == 0 {
			err = w.g.emit(o.flow.Rest())
		}
	case held:
		h := o.holder()
		if whole && h.size() == 0 && &o.masked(chunk)[0] == &chunk[0] && (!o.watched || !w.g.keyRefused(chunk)) {
			o.fate = passes // there is no key in it
			w.at += len(chunk)
			break
		}
		w.at += len(chunk)
		err = w.skip()
		h.add(chunk)
	}
	if err != nil {
		return err
	}
	if o.left == 0 {
		return w.frameEnd()
	}
	return nil
}

// holder is where the frame is held.
func (o *outbound) holder() *holder {
	if o.header.OpCode.IsControl() {
		return &o.ctl
	}
	return &o.text
}

// frameEnd writes what was held, if that is whole now.
func (w *writer) frameEnd() error {
	o := &w.g.out
	control := o.header.OpCode.IsControl()
	if !control && o.learning && o.header.Fin {
		o.learning = false
		w.g.answered(o.start)
	}
	if o.fate != held || !o.header.Fin {
		return nil
	}
	h, opcode := o.holder(), o.kind
	if control {
		opcode = o.header.OpCode
	}
	frame := h.frame(o, opcode)
	if o.watched && !control && w.g.keyRefused(h.payload()) {
		frame = w.g.upstreamRefused()
	}
	err := w.g.emit(frame)
	*h = reuse(*h)
	return err
}

// learn takes in the beginning of a text: before the client sees it, since what
// the client does next depends on it.
func (g *Guard) learn(chunk []byte) {
	o := &g.out
	o.start = append(o.start, chunk[:min(len(chunk), o.enough-len(o.start))]...)
	if len(o.start) == o.enough {
		o.learning = false
		g.answered(o.start)
	}
}

// take decides what becomes of a frame, and reports whether it may be. If it is
// watched, a text is the backend's answer to a start command.
func (o *outbound) take(h ws.Header, watched bool) bool {
	o.header, o.left, o.fate = h, h.Length, passes
	if h.OpCode.IsControl() {
		if o.redactor != nil && h.Length > 0 { // the reason of a Close frame is a text
			o.fate = held
		}
		return true
	}
	if (h.OpCode == ws.OpContinuation) != (o.open || o.pieces) {
		return false
	}
	if h.OpCode != ws.OpContinuation {
		o.learning, o.start = h.OpCode == ws.OpText, o.start[:0]
		o.kind = h.OpCode
		o.watched = watched && h.OpCode == ws.OpText
	}
	switch {
	case o.redactor == nil && !o.watched, o.open && o.kind != ws.OpBinary:
		o.open = !h.Fin
	case o.kind == ws.OpBinary:
		// It is masked while it passes, each piece by itself.
		if o.open = !h.Fin; h.Length > 0 {
			o.fate = masked
			o.flow = o.redactor.Clone(int(h.Length))
		}
	case o.pieces, !h.Fin:
		// A key could be in two pieces: they are put together.
		if int64(o.text.size())+h.Length > maxHeld {
			return false
		}
		o.fate, o.pieces = held, !h.Fin
	case h.Length == 0:
	case h.Length <= maxHeld:
		o.fate = held
	case o.redactor == nil:
	default:
		o.fate = masked
		o.flow = o.redactor.Clone(int(h.Length))
	}
	return true
}

// pong answers a Ping, when the backend's frame has come to its end.
func (g *Guard) pong(payload []byte) {
	frame := finalFrame(ws.OpPong, payload)
	g.writing.Lock()
	defer g.writing.Unlock()
	switch {
	case g.out.inFrame():
		g.out.pong = frame
	case !g.ending.Load():
		_ = g.emit(frame) // an error is one of the next write, too
	}
}
