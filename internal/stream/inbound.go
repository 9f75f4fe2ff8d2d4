package stream

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/gobwas/ws"
)

// inbound is how far the client's frames have been read.
type inbound struct {
	codec     codec
	left      int64     // of a payload that goes on as it comes
	fragments ws.OpCode // of the message that comes in fragments: text, binary, or 0 for none

	// unit is the frame that is being read: its header, and as much of its
	// payload as has to be known before any of it goes on.
	unit   []byte
	header ws.Header // of unit, once that is whole
	size   int       // of that header in unit; 0 until it is whole

	out  []byte // goes on before anything else
	sent int    // bytes of it that have gone

	stash  []byte // has been read from the client, and comes next
	taken  int    // bytes of it that have been looked at
	pooled *[stashSize]byte

	opening bool      // no byte of the audio that comes in fragments has come yet
	text    []byte    // the command that comes in fragments, unmasked
	first   ws.Header // of the command's first frame
	empties int       // empty fragments of the command after the first

	held *heldStart // a start command that waits for the backend; nil for none

	authorized atomic.Bool // a start command has gone on, once
	early      int         // control frames before that
	gone       bool        // the client has sent a Close frame, after which nothing goes on
	timed      bool        // the clock is set for what has begun
	err        error       // from the client's connection; comes after the stash
}

// stashSize is what a proxy's copying reads at once; more is allocated.
const stashSize = 32 << 10

var stashes = sync.Pool{New: func() any { return new([stashSize]byte) }}

// keptUnit is how large a buffer for a frame may be to be kept for the next one.
const keptUnit = 1 << 10

// maxEmpties is how many empty fragments a command may have after its first one.
// Clients send one at the end, if at all.
const maxEmpties = 64

var errClientGone = errors.New("the client is gone, in the middle of a frame or before a start command")

// read reads from the client until there is something that may go on.
func (g *Guard) read(p []byte) (int, error) {
	in := &g.in
	for {
		if g.ending.Load() {
			return 0, errEnded
		}
		if in.held != nil && g.backendDone.Load() {
			return 0, io.EOF // nobody answers the session before, and so the start is never judged
		}
		if n, err := g.sift(p); n > 0 || err != nil {
			return n, err
		}
		if in.held != nil && g.stalled() {
			g.waitForAnswer()
			continue
		}
		if in.err != nil {
			return 0, in.end()
		}
		g.timeUnit()
		n, err := g.readClient(p)
		in.err = err
		if n = g.pass(p[:n]); n > 0 {
			return n, nil
		}
	}
}

func (g *Guard) readClient(p []byte) (int, error) {
	if g.in.held != nil {
		return g.readWhileHeld(p)
	}
	return g.conn.Read(p)
}

// leftInOrder reports whether the client has closed its half of the connection.
func (in *inbound) leftInOrder() bool { return errors.Is(in.err, io.EOF) }

// end is the error with which the reading ends. Only a client that leaves in
// order, in between frames, may be waited for: its session's results are still
// to come.
func (in *inbound) end() error {
	err := in.err
	in.err = nil // a deadline can be set again
	inOrder := in.authorized.Load() && in.left == 0 && len(in.unit) == 0 && in.fragments != ws.OpText
	if errors.Is(err, io.EOF) && !inOrder {
		return errClientGone
	}
	return err
}

// pass goes through what has just been read into p. It returns how many bytes
// from the beginning may go on where they are, and stashes the rest.
func (g *Guard) pass(p []byte) int {
	in := &g.in
	at := 0
	for at < len(p) && len(in.unit) == 0 && !in.gone {
		if in.left > 0 {
			k := min(in.left, int64(len(p)-at))
			in.left -= k
			at += int(k)
			continue
		}
		header, length, ok := g.plainAudio(p[at:])
		if !ok {
			break
		}
		in.left = length
		at += header
	}
	if at < len(p) && !in.gone {
		in.keep(p[at:])
	}
	return at
}

// plainAudio reports whether b begins with a frame that is a whole message of
// audio in a session that runs, and how long its header and its payload are.
func (g *Guard) plainAudio(b []byte) (header int, length int64, ok bool) {
	in := &g.in
	if len(b) < ws.MinHeaderSize || b[0] != 0x80|byte(ws.OpBinary) || in.fragments != 0 || !g.feeding() {
		return 0, 0, false
	}
	header = headerLen(b[1])
	if len(b) <= header {
		return 0, 0, false
	}
	// The general way is several times slower, and this one is for every frame.
	n, first := uint64(b[1]&0x7f), b[header]
	switch n {
	case 126:
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		n = binary.BigEndian.Uint64(b[2:])
	}
	if b[1]&0x80 != 0 {
		first ^= b[header-4]
	}
	if n == 0 || n > uint64(g.cfg.MaxAudio) || first != g.cfg.Rules.Audio {
		return 0, 0, false
	}
	return header, int64(n), true
}

// keep stashes bytes, when there are none in the stash.
func (in *inbound) keep(b []byte) {
	in.drop()
	if len(b) <= stashSize {
		in.pooled = stashes.Get().(*[stashSize]byte)
		in.stash = in.pooled[:copy(in.pooled[:], b)]
		return
	}
	in.stash = append([]byte(nil), b...)
}

// drop empties the stash.
func (in *inbound) drop() {
	if in.pooled != nil {
		stashes.Put(in.pooled)
	}
	in.pooled, in.stash, in.taken = nil, nil, 0
}

// sift goes through the stash frame by frame, and copies to p what may go on.
func (g *Guard) sift(p []byte) (n int, err error) {
	in := &g.in
	for n < len(p) {
		if len(in.out) > 0 {
			k := copy(p[n:], in.out[in.sent:])
			n += k
			if in.sent += k; in.sent == len(in.out) {
				in.out, in.sent = reuse(in.out), 0
			}
			continue
		}
		switch {
		case in.gone:
			in.drop()
			in.held = nil
		case in.held != nil && !g.waiting():
			if err := g.resume(); err != nil {
				return 0, err
			}
			continue
		}
		rest := in.stash[in.taken:]
		if len(rest) == 0 {
			in.drop()
			break
		}
		if in.left > 0 {
			k := copy(p[n:], rest[:min(in.left, int64(len(rest)))])
			in.left -= int64(k)
			in.taken += k
			n += k
			continue
		}
		switch {
		case in.held == nil:
			err = g.collect(rest)
		case in.held.full():
			return n, nil
		default:
			err = g.enqueue(rest)
		}
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// reuse empties a buffer, or leaves a large one to the garbage collector.
func reuse(b []byte) []byte {
	if cap(b) > keptUnit {
		return nil
	}
	return b[:0]
}

// collect adds to unit from the rest of the stash. When unit is whole, it is
// dealt with.
func (g *Guard) collect(rest []byte) error {
	in := &g.in
	for {
		want, err := g.wanted()
		if err != nil {
			return err
		}
		k := min(want-len(in.unit), len(rest))
		in.unit = append(in.unit, rest[:k]...)
		in.taken += k
		rest = rest[k:]
		if err := g.reserve(); err != nil {
			return err
		}
		switch {
		case len(in.unit) < want:
			return nil
		case in.size > 0 && k == 0:
			return g.frame()
		}
	}
}

// wanted is how many bytes there must be in unit to get on.
func (g *Guard) wanted() (int, error) {
	in := &g.in
	if len(in.unit) < ws.MinHeaderSize {
		return ws.MinHeaderSize, nil
	}
	size := headerLen(in.unit[1])
	if len(in.unit) < size {
		return size, nil
	}
	if in.size == 0 {
		h, err := in.codec.parse(in.unit)
		if err == nil {
			err = g.expect(h)
		}
		if err != nil {
			return 0, g.malformed(err.Error())
		}
		in.header, in.size = h, size
	}
	length := in.header.Length
	switch in.kind() {
	case ws.OpBinary:
		if in.header.OpCode == ws.OpBinary || in.opening {
			return size + int(min(length, 1)), nil
		}
		return size, nil
	}
	return size + int(length), nil
}

// kind is what unit is a frame of: a continuation is one of the message that it
// continues.
func (in *inbound) kind() ws.OpCode {
	if in.header.OpCode == ws.OpContinuation {
		return in.fragments
	}
	return in.header.OpCode
}

// What is wrong with a frame, from a client.
var (
	errTooLarge = errors.New("a command that is larger than max_command, or a frame of audio that is too large")
	errEmpty    = errors.New("an empty binary message")
	errEmpties  = errors.New("too many empty fragments of a command")
	errEarly    = errors.New("too many control frames before the first start command")
)

// expect says what is wrong with a frame whose header is known.
func (g *Guard) expect(h ws.Header) error {
	in := &g.in
	if h.OpCode.IsControl() {
		if in.authorized.Load() {
			return nil
		}
		if in.early++; in.early > g.cfg.MaxEarlyFrames {
			return errEarly
		}
		return nil
	}
	continues := h.OpCode == ws.OpContinuation
	if continues != (in.fragments != 0) {
		return errNesting
	}
	if h.OpCode == ws.OpText || in.fragments == ws.OpText {
		if continues && h.Length == 0 {
			in.empties++
		}
		switch {
		case h.Length > int64(g.cfg.MaxCommand-len(in.text)):
			return errTooLarge
		case in.empties > maxEmpties:
			return errEmpties
		}
		return nil
	}
	switch {
	case h.Length > g.cfg.MaxAudio:
		return errTooLarge
	case h.Length == 0 && h.Fin && (!continues || in.opening):
		return errEmpty
	}
	return nil
}

// timeUnit sets the clock for a command or a control frame that has begun. It
// is for what is held until it is whole: audio is not.
func (g *Guard) timeUnit() {
	in := &g.in
	if !in.timed && in.authorized.Load() && in.begun() {
		in.timed = true
		g.clock.set(g.cfg.CommandTime, g.late)
	}
}

// begun reports whether a command or a control frame has come in part.
func (in *inbound) begun() bool {
	if in.fragments == ws.OpText {
		return true
	}
	if len(in.unit) == 0 {
		return false
	}
	op := ws.OpCode(in.unit[0] & 0x0f)
	return op.IsControl() || op == ws.OpText && in.held == nil
}

// rest looks for a Close frame from where the reading has stopped.
func (in *inbound) rest() *skimmer {
	s := &skimmer{left: in.left, closed: in.gone}
	if in.held != nil {
		s.left = in.held.left
	}
	s.skim(in.unit)
	s.skim(in.stash[in.taken:])
	in.drop()
	return s
}
