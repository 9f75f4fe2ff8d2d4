// Package wstest is a WebSocket peer for tests: a client of the gateway, or the
// backend behind it.
//
// A test writes raw frames, correct or broken, and reads frames with a decoder
// that shares no code with the gateway. [Raw] and [Fragments] render frames,
// [ReadFrame] reads one, [Peer] is one end of a connection, and [Dial] opens a
// client.
package wstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The opcodes of RFC 6455, section 5.2.
const (
	OpContinuation = 0x0
	OpText         = 0x1
	OpBinary       = 0x2
	OpClose        = 0x8
	OpPing         = 0x9
	OpPong         = 0xA
)

// Fin is the bit in a frame's first byte that marks the last frame of a message.
const Fin = 0x80

// Mask returns the masking key that tests use.
func Mask() []byte { return []byte{0x12, 0xF0, 0x00, 0x9A} }

// Raw renders a frame. The argument head is the first byte: Fin, the reserved bits and the
// opcode. With a nil mask, the frame is not masked. The argument bits is the size of the
// length: 7, 16 or 64 bits, or 0 for the shortest form.
func Raw(head byte, mask []byte, bits int, payload []byte) []byte {
	n := len(payload)
	if bits == 0 {
		bits = 64
		if n < 126 {
			bits = 7
		} else if n < 1<<16 {
			bits = 16
		}
	}
	masked := byte(0)
	if mask != nil {
		masked = 0x80
	}
	var out []byte
	switch bits {
	case 7:
		out = []byte{head, masked | byte(n)}
	case 16:
		out = binary.BigEndian.AppendUint16([]byte{head, masked | 126}, uint16(n))
	default:
		out = binary.BigEndian.AppendUint64([]byte{head, masked | 127}, uint64(n))
	}
	out = append(out, mask...)
	for i, b := range payload {
		if mask != nil {
			b ^= mask[i%4]
		}
		out = append(out, b)
	}
	return out
}

// RawText renders a text message in one unmasked frame.
func RawText(s string) []byte { return Raw(Fin|OpText, nil, 0, []byte(s)) }

// RawBinary renders a binary message in one unmasked frame.
func RawBinary(s string) []byte { return Raw(Fin|OpBinary, nil, 0, []byte(s)) }

// Fragments cuts a message into frames with payloads of these sizes. The last
// frame has the rest of the message, and may be empty.
func Fragments(opcode byte, mask []byte, message string, sizes ...int) (frames [][]byte) {
	for _, n := range append(slices.Clone(sizes), len(message)) {
		n = min(n, len(message))
		frames = append(frames, Raw(opcode, mask, 0, []byte(message[:n])))
		opcode, message = OpContinuation, message[n:]
	}
	frames[len(frames)-1][0] |= Fin
	return frames
}

// Frame is a frame as a peer reads it, with its payload unmasked.
type Frame struct {
	Fin     bool
	Opcode  byte
	Masked  bool
	Payload string
}

// String shows at most 300 bytes of the payload.
func (f Frame) String() string {
	return fmt.Sprintf("{fin %t, opcode %d, masked %t, %d bytes %.300q}", f.Fin, f.Opcode, f.Masked, len(f.Payload), f.Payload)
}

// Of returns a Frame with these fields.
func Of(fin bool, opcode byte, masked bool, payload string) Frame {
	return Frame{Fin: fin, Opcode: opcode, Masked: masked, Payload: payload}
}

// Text returns a text message in one unmasked frame.
func Text(payload string) Frame { return Of(true, OpText, false, payload) }

// Binary returns a binary message in one unmasked frame.
func Binary(payload string) Frame { return Of(true, OpBinary, false, payload) }

// Close returns an unmasked Close frame with a status code and no reason.
func Close(code uint16) Frame {
	return Of(true, OpClose, false, string(binary.BigEndian.AppendUint16(nil, code)))
}

// ErrBroken is the error of a frame that has a reserved bit, has a payload of more than 64
// MiB, or is not whole.
var ErrBroken = errors.New("broken frame")

const maxPayload = 1 << 26

// ReadFrame reads one frame. At the end of r, between two frames, it returns io.EOF.
func ReadFrame(r io.Reader) (Frame, error) {
	f, _, err := readFrame(r)
	return f, err
}

// readFrame does what ReadFrame does. It also reports whether the frame has its length in
// the shortest form (RFC 6455, section 5.2).
func readFrame(r io.Reader) (f Frame, shortest bool, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, false, err
	}
	f.Fin, f.Opcode, f.Masked = head[0] >= Fin, head[0]&15, head[1] >= 0x80
	n := uint64(head[1] & 0x7f)
	shortest = true
	if wide := map[uint64]int{126: 2, 127: 8}[n]; wide > 0 {
		var b [8]byte
		if _, err := io.ReadFull(r, b[8-wide:]); err != nil {
			return f, false, ErrBroken
		}
		n = binary.BigEndian.Uint64(b[:])
		shortest = n >= map[int]uint64{2: 126, 8: 1 << 16}[wide]
	}
	key := make([]byte, 4)
	if f.Masked {
		if _, err := io.ReadFull(r, key); err != nil {
			return f, false, ErrBroken
		}
	}
	if head[0]&0x70 != 0 || n > maxPayload {
		return f, false, ErrBroken
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return f, false, ErrBroken
	}
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	f.Payload = string(payload)
	return f, shortest, nil
}
