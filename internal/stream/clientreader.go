package stream

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/speechgate/speechgate/internal/stream/wsframe"
)

// clientReader reads the client's frames, and returns the bytes that may be sent to the
// backend. Only the goroutine that has locked Guard.reading may use it.
type clientReader struct {
	g *Guard

	payloadLeft int64          // bytes still to come of a payload that is forwarded without buffering
	fragments   wsframe.Opcode // opcode of the message whose fragments are being read: Text, Binary, or 0 if no fragmented message is being read
	textAction  Action         // what Protocol.Accepts returned for the text message that has begun

	// frame is the frame that is being read: its header, and the part of its payload that
	// must be known before any of the frame is forwarded.
	frame      []byte
	header     wsframe.Header // the header in frame, if it is whole
	headerSize int            // how many bytes of frame are the header; 0 until it is whole

	out  []byte // bytes for the backend that come before all others
	sent int    // how many bytes of out the proxy has read

	buffered []byte // bytes that have been read from the client, and are handled next
	consumed int    // how many bytes of buffered have been handled
	pooled   *[bufferSize]byte

	noAudioYet bool           // the binary message whose fragments are being read has had no payload so far
	text       []byte         // payload of the buffered text message whose fragments are being read, unmasked
	first      wsframe.Header // header of the first frame of the text message
	empties    int            // how many empty fragments the text message has after its first frame

	pipelined *pipelinedMessage // the message that waits for an answer of the backend; nil if no message waits

	authorized atomic.Bool // the stream has been authorized
	early      int         // how many control frames came before the stream was authorized
	closed     bool        // the client has sent a Close frame: what comes after it is dropped
	timed      bool        // the clock runs for a message or a control frame that has begun
	err        error       // error of the client's connection, which is returned after the bytes of buffered
}

// bufferSize is how many bytes a proxy reads at once. Buffers of this size are pooled.
const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// keptFrame is the largest buffer, in bytes, that is kept for the next frame.
const keptFrame = 1 << 10

var errClientGone = errors.New("the client is gone, in the middle of a frame or before a start command")

// read returns bytes that may be sent to the backend. It reads from the client until there
// are some.
func (r *clientReader) read(p []byte) (int, error) {
	g := r.g
	for {
		if g.closing.started() {
			return 0, errEnded
		}
		if r.pipelined != nil && g.backendDone.Load() {
			return 0, io.EOF // the backend answers no end command any more, so the waiting message cannot be decided on
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

// end returns the error for the proxy when nothing more can be read from the client. If the
// client has left before the stream was authorized, or in the middle of a frame or of a
// text message, the error is errClientGone. Otherwise io.EOF makes the proxy wait for the
// results of the session.
func (r *clientReader) end() error {
	err := r.err
	r.err = nil // after a timeout, the proxy can set another deadline
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
	audio := int64(0)
	if len(r.frame) == 0 && !r.closed {
		// Accepts is called once for all frames in p: an answer that the backend sends
		// meanwhile counts from the next read on.
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
			if p[at] == wsframe.Fin|byte(wsframe.Binary) {
				audio += length - r.g.marks
			}
			r.payloadLeft = length
			at += header
		}
	}
	if audio > 0 {
		r.g.audio.Add(audio)
	}
	if at < len(p) && !r.closed {
		r.keep(p[at:])
	}
	return at
}

// plainMessage reports whether b begins with a frame that is a whole message and may be
// forwarded without buffering. It returns the sizes of the frame's header and payload.
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
	// wsframe.Parse is several times slower, and this code runs for every frame.
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

// keep copies b into the buffer, which must be empty.
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

// drainBuffer handles the buffered bytes frame by frame, and copies to p the bytes that may
// be sent to the backend.
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

// reuse returns an empty slice that keeps the memory of b. If b is larger than keptFrame,
// reuse returns nil.
func reuse(b []byte) []byte {
	if cap(b) > keptFrame {
		return nil
	}
	return b[:0]
}

// startClock starts the clock if a part of a control frame or of a buffered message has
// arrived. The rest must arrive within Config.CommandTime. Audio is not buffered, and has
// no time limit.
func (r *clientReader) startClock() {
	if !r.timed && r.authorized.Load() && r.begun() {
		r.timed = true
		r.g.clock.set(r.g.cfg.CommandTime, r.g.late)
	}
}

// begun reports whether a part of a buffered message or of a control frame has arrived.
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

// scanRest returns a scanner that looks for the client's Close frame. The scanner has
// already scanned the bytes that were read from the client and not forwarded. It continues
// with the next bytes of the client.
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
