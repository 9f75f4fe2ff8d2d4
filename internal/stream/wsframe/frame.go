package wsframe

import "encoding/binary"

// PolicyViolation is the status code of a Close frame to a peer that has broken a rule of
// this server, not of the protocol: RFC 6455, section 7.4.1.
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

// CloseReply renders the answer to a Close frame with this payload. The answer has the same
// status code and no reason. If the payload has no status code, the answer has no payload.
func CloseReply(payload []byte) []byte {
	return Final(Close, payload[:min(2, len(payload))&^1])
}

// CloseScanner looks for a Close frame in a stream of frames. It reads only the headers.
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

// NewCloseScanner returns a scanner. The first payloadLeft bytes that it scans are the rest
// of a frame's payload.
func NewCloseScanner(payloadLeft int64) *CloseScanner {
	return &CloseScanner{payloadLeft: payloadLeft}
}

// Scan scans the next bytes, and reports whether there has been a Close frame. After bytes
// that are not frames, Scan finds no Close frame any more.
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
