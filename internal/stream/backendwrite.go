package stream

import "github.com/speechgate/speechgate/internal/stream/wsframe"

// passage is one Write of the proxy: bytes of the backend for the client. It goes to the
// client in as few writes as possible.
type passage struct {
	w     *clientWriter
	p     []byte
	from  int // from here on, p has not been written
	frame int // where the frame begins that is looked at
	at    int // up to here, p has been looked at
}

// write passes on what the backend sends.
func (w *clientWriter) write(p []byte) (int, error) {
	g := w.g
	s := &passage{w: w, p: p}
	for s.at < len(p) {
		if !w.inMessage() && g.closing.started() {
			break
		}
		var err error
		if w.payloadLeft > 0 {
			err = s.payload()
		} else {
			err = s.nextFrame()
		}
		if err != nil {
			return s.from, err
		}
	}
	if err := s.flush(s.at); err != nil {
		return s.from, err
	}
	if !w.inFrame() {
		_ = w.emit(w.pong) // an error is one of the next write, too
		w.pong = nil
	}
	if !w.inMessage() && g.closing.started() {
		select {
		case g.atMessageBoundary <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// flush writes the bytes before the position to that have not been written.
func (s *passage) flush(to int) error {
	from := s.from
	s.from = max(to, from)
	if to <= from {
		return nil
	}
	return s.w.emit(s.p[from:to])
}

// nextFrame reads a header, or a part of one.
func (s *passage) nextFrame() error {
	w := s.w
	split := len(w.head) > 0
	s.frame = s.at
	whole := false
	for s.at < len(s.p) && !whole {
		w.head = append(w.head, s.p[s.at])
		s.at++
		whole = len(w.head) == wsframe.HeaderSize(w.head)
	}
	if !whole {
		// The part goes out with the rest: the client must not have half a header.
		return s.skip()
	}
	h, err := wsframe.Parse(w.head)
	if err != nil || h.Masked || !w.admit(h, w.g.protocol.Watching()) {
		w.payloadLeft = 0 // none of it goes out
		if err := s.skip(); err != nil {
			return err
		}
		return errBroken
	}
	switch {
	case w.action == Buffer && (w.payloadLeft == 0 || s.at == len(s.p)):
		err = s.skip()
	case split && w.action != Buffer:
		s.from = s.at
		err = w.emit(w.head)
	case split:
		err = s.skip()
	}
	w.head = w.head[:0]
	if err != nil {
		return err
	}
	if w.payloadLeft == 0 {
		return s.frameEnd()
	}
	return nil
}

// skip writes the bytes before the current frame, and drops the bytes of the frame that
// have been read.
func (s *passage) skip() error {
	err := s.flush(s.frame)
	s.from, s.frame = s.at, s.at
	return err
}

// payload takes what there is of a frame's payload.
func (s *passage) payload() error {
	w := s.w
	chunk := s.p[s.at:]
	if int64(len(chunk)) > w.payloadLeft {
		chunk = chunk[:w.payloadLeft]
	}
	if w.learning && !w.header.Opcode.IsControl() {
		w.learn(chunk)
	}
	whole := w.header.Fin && w.header.Opcode != wsframe.Continuation && int64(len(chunk)) == w.header.Length && s.from < s.at
	w.payloadLeft -= int64(len(chunk))
	var err error
	switch w.action {
	case Forward:
		s.at += len(chunk)
	case redact:
		err = s.flush(s.at)
		s.at += len(chunk)
		s.from = s.at
		if err == nil {
			err = w.emit(w.flow.Next(chunk))
		}
		if err == nil && w.payloadLeft == 0 {
			err = w.emit(w.flow.Rest())
		}
	default:
		b := w.buffer()
		if whole && b.size() == 0 && &w.redacted(chunk)[0] == &chunk[0] && (!w.watched || !w.g.protocol.RefusesKey(chunk)) {
			w.action = Forward // there is no secret in it
			s.at += len(chunk)
			break
		}
		s.at += len(chunk)
		err = s.skip()
		b.add(chunk)
	}
	if err != nil {
		return err
	}
	if w.payloadLeft == 0 {
		return s.frameEnd()
	}
	return nil
}

// buffer is where the frame is buffered.
func (w *clientWriter) buffer() *messageBuffer {
	if w.header.Opcode.IsControl() {
		return &w.control
	}
	return &w.text
}

// frameEnd writes the message that was buffered, if it is whole now.
func (s *passage) frameEnd() error {
	w := s.w
	control := w.header.Opcode.IsControl()
	if !control && w.learning && w.header.Fin {
		w.learned()
	}
	if w.action != Buffer || !w.header.Fin {
		return nil
	}
	b, opcode := w.buffer(), w.kind
	if control {
		opcode = w.header.Opcode
	}
	frame := b.frame(w, opcode)
	if w.watched && !control && w.g.protocol.RefusesKey(b.payload()) {
		frame = w.upstreamRefused()
	}
	err := w.emit(frame)
	*b = reuse(*b)
	return err
}
