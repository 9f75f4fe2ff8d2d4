package stream

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/speechgate/speechgate/internal/stream/wsframe"
)

// clientReader reads the client's frames, and yields the bytes that may go on to the
// backend. It belongs to the goroutine that has locked Guard.reading.
type clientReader struct {
	g *Guard

	payloadLeft int64          // of a payload that is forwarded as it comes
	fragments   wsframe.Opcode // of the message that comes in fragments: Text, Binary, or 0 for none
	textAction  Action         // of the text message that has begun

	// frame is the frame that is being read: its header, and as much of its payload as
	// has to be known before any of it goes on.
	frame      []byte
	header     wsframe.Header // of frame, once the header is whole
	headerSize int            // in frame; 0 until the header is whole

	out  []byte // goes on before anything else
	sent int    // bytes of out that have gone

	buffered []byte // has been read from the client, and comes next
	consumed int    // bytes of buffered that have been looked at
	pooled   *[bufferSize]byte

	noAudioYet bool           // no byte of the audio that comes in fragments has come yet
	text       []byte         // the message that comes in fragments and is buffered, unmasked
	first      wsframe.Header // of the message's first frame
	empties    int            // empty fragments of the message after the first

	pipelined *pipelinedMessage // waits for the backend; nil for none

	authorized atomic.Bool // the stream has been authorized
	early      int         // control frames before that
	closed     bool        // the client has sent a Close frame, after which nothing goes on
	timed      bool        // the clock is set for what has begun
	err        error       // from the client's connection; comes after what is buffered
}

// bufferSize is what a proxy's copying reads at once; more is allocated.
const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// keptFrame is how large a buffer for a frame may be to be kept for the next one.
const keptFrame = 1 << 10

var errClientGone = errors.New("the client is gone, in the middle of a frame or before a start command")

// read reads from the client until there is something that may go on.
func (r *clientReader) read(p []byte) (int, error) {
	g := r.g
	for {
		if g.closing.started() {
			return 0, errEnded
		}
		if r.pipelined != nil && g.backendDone.Load() {
			return 0, io.EOF // nobody answers the session before, so that the message is never judged
		}
		if n, err := r.drainBuffer(p); n > 0 || err != nil {
			return n, err
		}
		if r.pipelined != nil && r.stalled() {
			g.waitForAnswer()
			continue
		}
		if r.err != nil {
			return 0, r.end()
		}
		r.startClock()
		n, err := r.readClient(p)
		r.err = err
		if n = r.fastPath(p[:n]); n > 0 {
			return n, nil
		}
	}
}

func (r *clientReader) readClient(p []byte) (int, error) {
	if r.pipelined != nil {
		return r.readWhileWaiting(p)
	}
	return r.g.conn.Read(p)
}

// halfClosed reports whether the client has closed its half of the connection.
func (r *clientReader) halfClosed() bool { return errors.Is(r.err, io.EOF) }

// end is the error with which the reading ends. Only a client that leaves in order,
// between frames, may be waited for: the results of its session are still to come.
func (r *clientReader) end() error {
	err := r.err
	r.err = nil // a deadline can be set again
	inOrder := r.authorized.Load() && r.payloadLeft == 0 && len(r.frame) == 0 && r.fragments != wsframe.Text
	if errors.Is(err, io.EOF) && !inOrder {
		return errClientGone
	}
	return err
}

// fastPath checks the bytes that have just been read into p. It returns how many of them,
// from the beginning, the proxy may send to the backend without a copy. It puts the rest
// into the buffer, or drops the rest if the client has sent a Close frame.
func (r *clientReader) fastPath(p []byte) int {
	at := 0
	if len(r.frame) == 0 && !r.closed {
		// Asked once: what the backend answers meanwhile counts from the next read on.
		binaryPasses := r.g.protocol.Accepts(wsframe.Binary) == Forward
		for at < len(p) {
			if r.payloadLeft > 0 {
				k := min(r.payloadLeft, int64(len(p)-at))
				r.payloadLeft -= k
				at += int(k)
				continue
			}
			header, length, ok := r.plainMessage(p[at:], binaryPasses)
			if !ok {
				break
			}
			r.payloadLeft = length
			at += header
		}
	}
	if at < len(p) && !r.closed {
		r.keep(p[at:])
	}
	return at
}

// plainMessage reports whether b begins with a frame that is a whole message which may
// be forwarded, and returns the sizes of its header and its payload.
func (r *clientReader) plainMessage(b []byte, binaryPasses bool) (header int, length int64, ok bool) {
	if r.fragments != 0 {
		return 0, 0, false
	}
	checked := false
	switch {
	case b[0] == wsframe.Fin|byte(wsframe.Binary) && binaryPasses:
		checked = r.g.shape.CheckAudio
	case b[0] == wsframe.Fin|byte(wsframe.Text) && r.g.protocol.Accepts(wsframe.Text) == Forward:
	default:
		return 0, 0, false
	}
	header = wsframe.HeaderSize(b)
	if len(b) <= header {
		return 0, 0, false
	}
	// wsframe.Parse is several times slower, and this is for every frame.
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
	if n == 0 || n > uint64(r.g.cfg.MaxAudio) || checked && first != r.g.shape.Audio {
		return 0, 0, false
	}
	return header, int64(n), true
}

// keep puts bytes into the buffer, which is empty.
func (r *clientReader) keep(b []byte) {
	r.dropBuffer()
	if len(b) <= bufferSize {
		r.pooled = buffers.Get().(*[bufferSize]byte)
		r.buffered = r.pooled[:copy(r.pooled[:], b)]
		return
	}
	r.buffered = append([]byte(nil), b...)
}

func (r *clientReader) dropBuffer() {
	if r.pooled != nil {
		buffers.Put(r.pooled)
	}
	r.pooled, r.buffered, r.consumed = nil, nil, 0
}

// drainBuffer goes through the buffer frame by frame, and copies to p what may go on.
func (r *clientReader) drainBuffer(p []byte) (n int, err error) {
	g := r.g
	for n < len(p) {
		if len(r.out) > 0 {
			k := copy(p[n:], r.out[r.sent:])
			n += k
			if r.sent += k; r.sent == len(r.out) {
				r.out, r.sent = reuse(r.out), 0
			}
			continue
		}
		switch {
		case r.closed:
			r.dropBuffer()
			r.pipelined = nil
		case r.pipelined != nil && !g.protocol.Waiting():
			if err := r.resume(); err != nil {
				return 0, err
			}
			continue
		}
		rest := r.buffered[r.consumed:]
		if len(rest) == 0 {
			r.dropBuffer()
			break
		}
		if r.payloadLeft > 0 {
			k := copy(p[n:], rest[:min(r.payloadLeft, int64(len(rest)))])
			r.payloadLeft -= int64(k)
			r.consumed += k
			n += k
			continue
		}
		switch {
		case r.pipelined == nil:
			err = r.readFrame(rest)
		case r.pipelined.full():
			return n, nil
		default:
			err = r.queue(rest)
		}
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// reuse empties a buffer, or leaves a large one to the garbage collector.
func reuse(b []byte) []byte {
	if cap(b) > keptFrame {
		return nil
	}
	return b[:0]
}

// startClock starts the clock when a control frame or a message that is buffered has
// begun, so that it comes whole in time. Audio is not buffered, and has no clock.
func (r *clientReader) startClock() {
	if !r.timed && r.authorized.Load() && r.begun() {
		r.timed = true
		r.g.clock.set(r.g.cfg.CommandTime, r.g.late)
	}
}

// begun reports whether a message that is buffered, or a control frame, has come in
// part.
func (r *clientReader) begun() bool {
	if r.buffering() {
		return true
	}
	if len(r.frame) == 0 {
		return false
	}
	op := wsframe.Opcode(r.frame[0] & 0x0f)
	return op.IsControl() || op == wsframe.Text && r.pipelined == nil
}

// scanRest looks for a Close frame from where the reading has stopped, and returns
// the scanner for what comes next.
func (r *clientReader) scanRest() *wsframe.CloseScanner {
	payloadLeft := r.payloadLeft
	if r.pipelined != nil {
		payloadLeft = r.pipelined.payloadLeft
	}
	s := wsframe.NewCloseScanner(payloadLeft)
	if r.closed { // the Close frame has been read
		s = wsframe.NewCloseScanner(0)
		s.Scan(wsframe.CloseReply(nil))
	}
	s.Scan(r.frame)
	s.Scan(r.buffered[r.consumed:])
	r.dropBuffer()
	return s
}
