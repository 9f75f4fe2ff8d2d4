package stream

import (
	"bytes"
	"errors"

	"github.com/gobwas/ws"
)

const maxControl = 125 // bytes of payload in a control frame: RFC 6455, section 5.5

// What is wrong with a header, whoever sent it.
var (
	errReserved = errors.New("a frame with a reserved bit or opcode: no extension has been agreed on")
	errControl  = errors.New("a control frame in pieces, or of more than 125 bytes")
	errNesting  = errors.New("a message within another, or a continuation of nothing")
)

// codec reads and writes headers, and allocates nothing for it.
type codec struct {
	r     bytes.Reader
	buf   [ws.MaxHeaderSize]byte
	spare [ws.MaxHeaderSize]byte // for who has no place for a header yet
	out   []byte
}

// parse reads a whole header, and refuses what no peer may send.
func (c *codec) parse(header []byte) (ws.Header, error) {
	c.r.Reset(header)
	h, err := ws.ReadHeaderBuffer(&c.r, c.buf[:])
	switch {
	case err != nil: // a length of more than 63 bits
		return ws.Header{}, err
	case h.Rsv != 0, h.OpCode.IsReserved():
		return h, errReserved
	case h.OpCode.IsControl() && (!h.Fin || h.Length > maxControl):
		return h, errControl
	}
	return h, nil
}

// append appends a header in the shortest form.
func (c *codec) append(out []byte, h ws.Header) []byte {
	c.out = out
	_ = ws.WriteHeaderBuffer(c, h, c.buf[:]) // lengths are never negative
	out, c.out = c.out, nil
	return out
}

// Write implements io.Writer for append.
func (c *codec) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	return len(p), nil
}

// headerLen is the length of a header, from its second byte.
func headerLen(second byte) int {
	n := ws.MinHeaderSize
	switch second & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if second&0x80 != 0 {
		n += 4
	}
	return n
}

// finalFrame renders an unmasked frame.
func finalFrame(opcode ws.OpCode, payload []byte) []byte {
	out := new(codec).append(nil, ws.Header{Fin: true, OpCode: opcode, Length: int64(len(payload))})
	return append(out, payload...)
}

// skimmer looks through what a client sends for a Close frame, and for nothing else.
type skimmer struct {
	codec  codec
	left   int64 // of a payload
	head   []byte
	lost   bool // what comes is no frames any more
	closed bool
}

func (s *skimmer) skim(b []byte) {
	for len(b) > 0 && !s.lost && !s.closed {
		if s.left > 0 {
			k := min(s.left, int64(len(b)))
			s.left -= k
			b = b[k:]
			continue
		}
		s.head = append(s.head, b[0])
		b = b[1:]
		if len(s.head) < ws.MinHeaderSize || len(s.head) < headerLen(s.head[1]) {
			continue
		}
		h, err := s.codec.parse(s.head)
		s.left, s.head = h.Length, s.head[:0]
		s.lost = err != nil
		s.closed = !s.lost && h.OpCode == ws.OpClose
	}
}
