package stream

import (
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/policy"
)

// maxBuffered is the longest text message of the backend, in bytes, that is buffered until
// it is whole. A longer message in one frame is masked while it passes. A longer message in
// fragments ends the stream.
const maxBuffered = 64 << 10

// clientWriter passes the backend's frames on to the client. Only the goroutine that has
// locked Guard.writing may use it.
type clientWriter struct {
	g        *Guard
	redactor *credential.Redactor // masks the upstream keys; nil if nothing must be masked

	head        []byte // the part of a header that has arrived
	header      wsframe.Header
	kind        wsframe.Opcode      // opcode of the message: Text or Binary
	payloadLeft int64               // bytes still to come of the frame's payload
	action      Action              // for the frame's payload: Forward, Buffer or redact
	open        bool                // a message is being passed on, and more fragments of it must come
	fragmented  bool                // a text message is being buffered, and more fragments of it must come
	text        messageBuffer       // the text message that is buffered
	control     messageBuffer       // the control frame that is buffered, which may come between the fragments of a text
	flow        credential.Redactor // masks the payload of a frame while it passes

	watched   bool   // the message is a text that may say that the upstream key is refused
	learning  bool   // the message is a text, and the Protocol has not got its beginning yet
	beginning []byte // of the text

	pong []byte // the Pong to write when the backend's frame has ended
	err  error  // a write has failed, perhaps in the middle of a frame
}

// messageBuffer is the payload of a message that is buffered until it is whole. It has room
// for a header in front of the payload.
type messageBuffer []byte

func (b *messageBuffer) add(p []byte) {
	if len(*b) == 0 {
		*b = append(*b, make([]byte, wsframe.MaxHeaderSize)...)
	}
	*b = append(*b, p...)
}

func (b *messageBuffer) size() int { return max(0, len(*b)-wsframe.MaxHeaderSize) }

func (b *messageBuffer) payload() []byte {
	b.add(nil)
	return (*b)[wsframe.MaxHeaderSize:]
}

// frame returns the payload as one frame with FIN set. Secrets are masked by the redactor
// of w.
func (b *messageBuffer) frame(w *clientWriter, opcode wsframe.Opcode) []byte {
	payload := b.payload()
	copy(payload, w.redacted(payload))
	var room [wsframe.MaxHeaderSize]byte
	header := wsframe.Append(room[:0], wsframe.Header{Fin: true, Opcode: opcode, Length: int64(len(payload))})
	from := wsframe.MaxHeaderSize - len(header)
	copy((*b)[from:], header)
	return (*b)[from:]
}

// redacted returns a whole message with the secret masked. It returns the argument itself
// if the secret is not in it.
func (w *clientWriter) redacted(message []byte) []byte {
	if w.redactor == nil {
		return message
	}
	return w.redactor.Whole(message)
}

// mask masks the next bytes of a payload that passes, whose count has been taken from payloadLeft.
// It returns chunk itself and no rest if nothing is to be masked.
func (w *clientWriter) mask(chunk []byte) (masked, rest []byte) {
	if int64(len(chunk)) == w.header.Length {
		return w.redactor.Whole(chunk), nil
	}
	masked = w.flow.Next(chunk)
	if w.payloadLeft == 0 {
		rest = w.flow.Rest()
	}
	return masked, rest
}

func (w *clientWriter) init(secrets []policy.Secret) {
	if len(secrets) > 0 {
		w.redactor = credential.NewRedactor(secrets[0], 0, secrets[1:]...)
	}
}

// inFrame reports whether the client has got the beginning of a frame, and the rest must
// follow.
func (w *clientWriter) inFrame() bool { return w.payloadLeft > 0 && w.action != Buffer }

// inMessage reports whether the client has got the beginning of a message, and the rest
// must follow.
func (w *clientWriter) inMessage() bool { return w.open || w.inFrame() }

// emit writes to the client. After an error, it writes nothing and returns the error again.
func (w *clientWriter) emit(p []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(p) == 0 {
		return nil
	}
	_, w.err = w.g.conn.Write(p)
	return w.err
}

// admit chooses the action for a frame of the backend from its header. It returns false if
// the backend may not send this frame.
func (w *clientWriter) admit(h wsframe.Header) bool {
	w.header, w.payloadLeft, w.action = h, h.Length, Forward
	if h.Opcode.IsControl() {
		if w.redactor != nil && h.Length > 0 { // the reason of a Close frame is a text
			w.action = Buffer
		}
		return true
	}
	if (h.Opcode == wsframe.Continuation) != (w.open || w.fragmented) {
		return false
	}
	if h.Opcode != wsframe.Continuation {
		w.learning, w.beginning = h.Opcode == wsframe.Text && w.g.shape.Beginning > 0, w.beginning[:0]
		w.kind = h.Opcode
		w.watched = h.Opcode == wsframe.Text && w.g.protocol.Watching()
	}
	switch {
	case w.redactor == nil && !w.watched, w.open && w.kind != wsframe.Binary:
		w.open = !h.Fin
	case w.kind == wsframe.Binary:
		// The message is masked while it passes, each fragment by itself.
		if w.open = !h.Fin; h.Length > 0 {
			w.action = redact
			w.flow = w.redactor.Clone(int(h.Length))
		}
	case w.fragmented, !h.Fin:
		// A part of the secret could be in one fragment and the rest in the next one, so
		// the fragments are put together.
		if int64(w.text.size())+h.Length > maxBuffered {
			return false
		}
		w.action, w.fragmented = Buffer, !h.Fin
	case h.Length == 0:
	case h.Length <= maxBuffered:
		w.action = Buffer
	case w.redactor == nil:
	default:
		w.action = redact
		w.flow = w.redactor.Clone(int(h.Length))
	}
	return true
}

// learn collects the beginning of a text for the Protocol. This happens before the client
// gets the text, because the Protocol's state must be current when the client reacts.
func (w *clientWriter) learn(chunk []byte) {
	enough := w.g.shape.Beginning
	w.beginning = append(w.beginning, chunk[:min(len(chunk), enough-len(w.beginning))]...)
	if len(w.beginning) == enough {
		w.learned()
	}
}

// learned gives the beginning of a text to the Protocol. If a message of the client no
// longer has to wait, learned wakes the reader.
func (w *clientWriter) learned() {
	w.learning = false
	if w.g.protocol.FromBackend(w.beginning) {
		w.g.wakeReader()
	}
}

// upstreamRefused calls Config.UpstreamRefused. It returns the frame that replaces an
// answer which says that the key is refused. From the answer itself, the client would
// conclude that its own key is bad. If the Farewell closes the stream at once, the stream
// ends here, so that the client does not get the backend's Close frame either.
func (w *clientWriter) upstreamRefused() []byte {
	g := w.g
	if g.cfg.UpstreamRefused != nil {
		g.cfg.UpstreamRefused()
	}
	f := g.protocol.Refusal(policy.UpstreamRefused)
	if !f.CloseAtOnce {
		return wsframe.Final(wsframe.Text, []byte(f.Text))
	}
	if g.startClose(eventStartClose) {
		go g.closeGracefully(f, false)
	}
	return nil
}

// pong sends the answer to a Ping: at once, or when the backend's current frame has ended.
func (g *Guard) pong(payload []byte) {
	frame := wsframe.Final(wsframe.Pong, payload)
	g.writing.Lock()
	defer g.writing.Unlock()
	switch {
	case g.out.inFrame():
		g.out.pong = frame
	case !g.closing.started():
		_ = g.out.emit(frame) // the next write returns the error, too
	}
}
