package stream

import (
	"encoding/binary"

	"github.com/speechgate/speechgate/internal/stream/wsframe"
)

// passage is one Write of the proxy: bytes of the backend for the client. The passage sends
// them to the client in as few writes as possible.
type passage struct {
	w     *clientWriter
	p     []byte
	from  int // the bytes of p before this position have been written or dropped
	frame int // where in p the current frame begins
	at    int // the bytes of p before this position have been handled
}

// write passes on bytes of the backend. While the stream is being ended, write passes on
// only the rest of a message that has begun, and drops all other bytes.
func (w *clientWriter) write(p []byte) (int, error) {
	g := w.g
	s := &passage{w: w, p: p}
	for s.at < len(p) {
		if !w.inMessage() && g.closing.started() {
			break
		}
		var err error
		switch {
		case w.payloadLeft > 0:
			err = s.payload()
		case s.plainMessages():
		default:
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
		_ = w.emit(w.pong) // the next write returns the error, too
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

// flush writes s.p[s.from:to] to the client.
func (s *passage) flush(to int) error {
	if to <= s.from {
		return nil
	}
	return s.w.emit(s.p[s.from:to])
}

// plainMessages passes the binary messages that come next, as long as each is one frame and whole in p.
// It returns false if there is no such message, or if something in them must be masked. It is much
// faster than to handle frame by frame.
func (s *passage) plainMessages() bool {
	w := s.w
	if len(w.head) > 0 || w.open || w.fragmented {
		return false
	}
	b := s.p[s.at:]
	end := 0
	for len(b)-end >= 4 && b[end] == wsframe.Fin|byte(wsframe.Binary) {
		next := end + 2 + int(b[end+1])
		switch length := b[end+1]; {
		case length == 126:
			next = end + 4 + int(binary.BigEndian.Uint16(b[end+2:]))
		case length > 126: // a longer frame, or a masked one
			next = len(b) + 1
		}
		if next > len(b) {
			break
		}
		end = next
	}
	if end == 0 || &w.redacted(b[:end])[0] != &b[0] {
		return false
	}
	s.at += end
	return true
}

// nextFrame reads the header of the next frame, or as much of the header as has arrived.
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
		// The client must not get a part of a header. The part is written with the rest,
		// when the rest has arrived.
		return s.skip()
	}
	h, err := wsframe.Parse(w.head)
	if err != nil || h.Masked || !w.admit(h) {
		w.payloadLeft = 0 // nothing of this frame is written
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

// payload handles the bytes of the current frame's payload that are in p.
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
		masked, rest := w.mask(chunk)
		if len(rest) == 0 && len(masked) == len(chunk) && &masked[0] == &chunk[0] {
			s.at += len(chunk) // it needs no change, so it is written together with what is around it
			break
		}
		err = s.flush(s.at)
		s.at += len(chunk)
		s.from = s.at
		if err == nil {
			err = w.emit(masked)
		}
		if err == nil {
			err = w.emit(rest)
		}
	default:
		b := w.buffer()
		if whole && &w.redacted(chunk)[0] == &chunk[0] && (!w.watched || !w.g.protocol.RefusesKey(chunk)) {
			w.action = Forward // the message is whole and needs no change, so it is written without a copy
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

// buffer returns the buffer for the current frame.
func (w *clientWriter) buffer() *messageBuffer {
	if w.header.Opcode.IsControl() {
		return &w.control
	}
	return &w.text
}

// frameEnd is called when a frame of the backend has ended. If a buffered message is whole
// now, frameEnd writes it to the client.
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
