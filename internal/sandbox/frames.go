package sandbox

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"time"
)

const (
	maxMessage = 16 << 20 // bytes; more than a gateway lets through in a command or a frame of audio
	maxGrowth  = 64 << 10 // the bytes of a message that are allocated before they arrive; divisible by 4, the length of a mask
	maxControl = 125      // bytes in a control frame; a larger frame has an extended length

	writeTimeout = 10 * time.Second // for one message; a client that reads nothing for so long is gone
	lingerTime   = 2 * time.Second
)

// The opcodes of RFC 6455.
const (
	opContinuation byte = 0x0
	opText         byte = 0x1
	opBinary       byte = 0x2
	opClose        byte = 0x8
	opPing         byte = 0x9
	opPong         byte = 0xA
)

// The status codes of RFC 6455 that the sandbox sends in a Close frame.
const (
	closeNormal   uint16 = 1000
	closeProtocol uint16 = 1002
	closeNotUTF8  uint16 = 1007
	closeTooBig   uint16 = 1009
)

// errClosed says that a Close frame has been sent. No message may follow it.
var errClosed = errors.New("the connection is closed")

// violation is a violation of the protocol by the client. It ends the connection.
type violation struct {
	code   uint16
	reason string
}

func (v *violation) Error() string { return v.reason }

// frame is the head of a frame.
type frame struct {
	final  bool
	opcode byte
	mask   [4]byte // zeros if the frame is not masked
	size   uint64
}

func (f frame) isControl() bool { return f.opcode >= opClose }

// readFrame reads the head of a frame. It accepts frames without a mask, and lengths in
// a longer form than needed.
func readFrame(r io.Reader) (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{final: head[0]&0x80 != 0, opcode: head[0] & 0x0F, size: uint64(head[1] & 0x7F)}
	switch {
	case head[0]&0x70 != 0:
		return frame{}, &violation{closeProtocol, "a reserved bit is set: want no extensions"}
	case f.opcode > opPong || f.opcode > opBinary && f.opcode < opClose:
		return frame{}, &violation{closeProtocol, "unknown opcode"}
	case f.isControl() && (!f.final || f.size > maxControl):
		return frame{}, &violation{closeProtocol, "a control frame in pieces or of more than 125 bytes"}
	}
	extended := 0
	switch f.size {
	case 126:
		extended = 2
	case 127:
		extended = 8
	}
	if extended > 0 {
		var length [8]byte
		if _, err := io.ReadFull(r, length[8-extended:]); err != nil {
			return frame{}, err
		}
		if f.size = binary.BigEndian.Uint64(length[:]); f.size > math.MaxInt64 {
			return frame{}, &violation{closeProtocol, "a length of more than 63 bits"}
		}
	}
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, f.mask[:]); err != nil {
			return frame{}, err
		}
	}
	return f, nil
}

// payload fills p with the next bytes of the frame's payload. The number of bytes that
// were read before must be a multiple of 4.
func (f frame) payload(r io.Reader, p []byte) error {
	if _, err := io.ReadFull(r, p); err != nil {
		return err
	}
	if f.mask != [4]byte{} {
		for i := range p {
			p[i] ^= f.mask[i%4]
		}
	}
	return nil
}

// messages reads messages from the frames in r.
type messages struct {
	r       io.Reader
	max     int                                     // bytes in a message
	control func(opcode byte, payload []byte) error // receives the control frames; an error ends the messages
	buf     []byte
}

// next returns a text or binary message. The message is valid until the next call. The
// error is never io.EOF.
func (m *messages) next() (opcode byte, message []byte, err error) {
	opcode, err = m.collect()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return opcode, m.buf, err
}

// collect collects the frames of the next message in buf.
func (m *messages) collect() (opcode byte, err error) {
	m.buf = m.buf[:0]
	for {
		f, err := readFrame(m.r)
		if err != nil {
			return 0, err
		}
		if f.isControl() {
			var room [maxControl]byte
			if err := f.payload(m.r, room[:f.size]); err != nil {
				return 0, err
			}
			if err := m.control(f.opcode, room[:f.size]); err != nil {
				return 0, err
			}
			continue
		}
		begun := opcode != opContinuation
		switch begins := f.opcode != opContinuation; {
		case begins && begun:
			return 0, &violation{closeProtocol, "a message within another"}
		case !begins && !begun:
			return 0, &violation{closeProtocol, "a continuation of nothing"}
		case begins:
			opcode = f.opcode
		}
		at := len(m.buf)
		if f.size > uint64(m.max-at) {
			return 0, &violation{closeTooBig, "the message is too large"}
		}
		for end := at + int(f.size); at < end; at = len(m.buf) {
			n := min(end-at, maxGrowth)
			m.buf = slices.Grow(m.buf, n)[:at+n]
			if err := f.payload(m.r, m.buf[at:]); err != nil {
				return 0, err
			}
		}
		if f.final {
			return opcode, nil
		}
	}
}

// wire is a WebSocket after the handshake. It is not safe for concurrent use.
type wire struct {
	messages
	conn   net.Conn
	idle   time.Duration // how long read waits for a message; 0 is unlimited
	closed bool          // nothing can be sent any more
}

// read returns the next message. The message is valid until the next call.
func (c *wire) read() (opcode byte, message []byte, err error) {
	if c.idle > 0 {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
			return 0, nil, err
		}
	}
	return c.next()
}

// control answers a control frame.
func (c *wire) control(opcode byte, payload []byte) error {
	switch opcode {
	case opPing:
		c.write(opPong, payload)
	case opClose:
		if len(payload) == 1 {
			return &violation{closeProtocol, "half a code in a Close frame"}
		}
		c.write(opClose, payload[:min(len(payload), 2)])
		return errClosed
	}
	return nil
}

// write sends a message or a control frame as one final frame.
func (c *wire) write(opcode byte, payload []byte) {
	out := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n <= maxControl:
		out = append(out, byte(n))
	case n <= math.MaxUint16:
		out = binary.BigEndian.AppendUint16(append(out, 126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 127), uint64(n))
	}
	c.send(append(out, payload...))
	c.closed = c.closed || opcode == opClose
}

// send writes bytes to the connection. If that fails it closes the connection, so that
// the next read returns an error.
func (c *wire) send(p []byte) {
	if c.closed {
		return
	}
	err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = c.conn.Write(p)
	}
	if err != nil {
		c.closed = true
		_ = c.conn.Close()
	}
}

// bye sends a Close frame and then reads for a moment. If a connection is closed with
// unread bytes, the kernel resets it, and the client can lose the last message.
func (c *wire) bye(code uint16, reason string) {
	c.write(opClose, append(binary.BigEndian.AppendUint16(nil, code), reason...))
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	if c.conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.r, drainLimit)
	}
}
