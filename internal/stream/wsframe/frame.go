package wsframe

import "encoding/binary"

// PolicyViolation is the status code of a Close frame that ends a connection for a
// reason of the server's own: RFC 6455, section 7.4.1.
const PolicyViolation = 1008

// Final renders an unmasked frame that is a whole message.
func Final(opcode Opcode, payload []byte) []byte {
	h := Header{Fin: true, Opcode: opcode, Length: int64(len(payload))}
	return append(Append(make([]byte, 0, MaxHeaderSize+len(payload)), h), payload...)
}

// CloseFrame renders an unmasked Close frame. The reason has at most 123 bytes.
func CloseFrame(code uint16, reason string) []byte {
	return Final(Close, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}

// CloseReply renders the Close frame that answers one with this payload: with the
// same code and no reason, or with neither.
func CloseReply(payload []byte) []byte {
	return Final(Close, payload[:min(2, len(payload))&^1])
}

// CloseScanner looks for a Close frame in a stream of frames. It reads headers
// only.
type CloseScanner struct {
	payloadLeft int64
	header      []byte
	state       scanState
}

type scanState uint8

const (
	scanning scanState = iota
	scanFound
	scanLost // the bytes are not frames
)

// NewCloseScanner returns a scanner for bytes that begin with payloadLeft bytes of
// a payload.
func NewCloseScanner(payloadLeft int64) *CloseScanner {
	return &CloseScanner{payloadLeft: payloadLeft}
}

// Scan takes the next bytes, and reports whether there has been a Close frame. When
// the bytes are not frames, Scan finds nothing more.
func (s *CloseScanner) Scan(b []byte) bool {
	for len(b) > 0 && s.state == scanning {
		if s.payloadLeft > 0 {
			k := min(s.payloadLeft, int64(len(b)))
			s.payloadLeft -= k
			b = b[k:]
			continue
		}
		s.header = append(s.header, b[0])
		b = b[1:]
		if len(s.header) < HeaderSize(s.header) {
			continue
		}
		h, err := Parse(s.header)
		s.payloadLeft, s.header = h.Length, s.header[:0]
		switch {
		case err != nil:
			s.state = scanLost
		case h.Opcode == Close:
			s.state = scanFound
		}
	}
	return s.state == scanFound
}
