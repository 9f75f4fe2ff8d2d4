// Package wsframe reads and writes the headers of WebSocket frames, and masks payloads: RFC
// 6455, section 5. Only a [CloseScanner] keeps state. Only the functions that render a
// whole frame, and a CloseScanner, allocate memory.
//
// The package supports no extensions, so a reserved bit is an error.
package wsframe

import (
	"encoding/binary"
	"errors"
)

// Opcode says what a frame is: RFC 6455, section 5.2.
type Opcode byte

// The opcodes that are not reserved.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// IsControl reports whether the frame is a Close, a Ping or a Pong. Control frames
// may come between the fragments of a message.
func (o Opcode) IsControl() bool { return o&0x8 != 0 }

func (o Opcode) isReserved() bool { return o > Binary && o < Close || o > Pong }

const (
	// Fin is the bit in a header's first byte that marks the last frame of a message.
	Fin = 0x80
	// MinHeaderSize is how many bytes a header has at least: 2.
	MinHeaderSize = 2
	// MaxHeaderSize is how many bytes a header has at most, with a length of 64 bits
	// and a masking key: 14.
	MaxHeaderSize = 14
	// MaxControlPayload is how many bytes of payload a control frame may have.
	MaxControlPayload = 125

	reservedBits = 0x70
	maskBit      = 0x80
)

// Header is the header of a frame.
type Header struct {
	Fin    bool
	Opcode Opcode
	Masked bool
	Mask   [4]byte // the masking key, if Masked
	Length int64   // of the payload, in bytes
}

// The errors of Parse.
var (
	ErrReserved = errors.New("a frame with a reserved bit or opcode: no extension has been agreed on")
	ErrControl  = errors.New("a control frame in fragments, or of more than 125 bytes")
	ErrLength   = errors.New("a frame with a length of more than 63 bits")
)

// HeaderSize returns the size of the header with which b begins. If b has less than
// MinHeaderSize bytes, the size is not known yet, and HeaderSize returns MinHeaderSize.
func HeaderSize(b []byte) int {
	n := MinHeaderSize
	if len(b) < n {
		return n
	}
	switch b[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if b[1]&maskBit != 0 {
		n += 4
	}
	return n
}

// Parse reads the header with which b begins. b must have at least HeaderSize(b) bytes. The
// length may be in a longer form than necessary. Parse returns ErrReserved, ErrControl or
// ErrLength for a header that no peer may send.
func Parse(b []byte) (Header, error) {
	h := Header{
		Fin:    b[0]&Fin != 0,
		Opcode: Opcode(b[0] & 0x0f),
		Masked: b[1]&maskBit != 0,
		Length: int64(b[1] & 0x7f),
	}
	at := MinHeaderSize
	switch h.Length {
	case 126:
		h.Length = int64(binary.BigEndian.Uint16(b[at:]))
		at += 2
	case 127:
		length := binary.BigEndian.Uint64(b[at:])
		if length>>63 != 0 {
			return Header{}, ErrLength
		}
		h.Length = int64(length)
		at += 8
	}
	if h.Masked {
		h.Mask = [4]byte(b[at:])
	}
	switch {
	case b[0]&reservedBits != 0, h.Opcode.isReserved():
		return h, ErrReserved
	case h.Opcode.IsControl() && (!h.Fin || h.Length > MaxControlPayload):
		return h, ErrControl
	}
	return h, nil
}

// Append appends a header to dst, with the length in the shortest form.
func Append(dst []byte, h Header) []byte {
	first, second := byte(h.Opcode), byte(0)
	if h.Fin {
		first |= Fin
	}
	if h.Masked {
		second = maskBit
	}
	switch {
	case h.Length < 126:
		dst = append(dst, first, second|byte(h.Length))
	case h.Length < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, first, second|126), uint16(h.Length))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, second|127), uint64(h.Length))
	}
	if h.Masked {
		dst = append(dst, h.Mask[:]...)
	}
	return dst
}

// Mask masks or unmasks p in place. p begins offset bytes after the start of the payload.
func Mask(p []byte, key [4]byte, offset int) {
	var turned [4]byte
	for i := range turned {
		turned[i] = key[(offset+i)%4]
	}
	word := uint64(binary.LittleEndian.Uint32(turned[:]))
	word |= word << 32
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^word)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= turned[i%4]
	}
}
