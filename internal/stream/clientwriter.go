package stream

import (
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/policy"
)

// maxBuffered is the longest text of the backend that is buffered until it is whole, in
// bytes. In a longer text, secrets are masked as it passes. A fragmented text may not be
// longer.
const maxBuffered = 64 << 10

// clientWriter passes on the frames of the backend to the client. It belongs to the
// goroutine that has locked Guard.writing.
type clientWriter struct {
	g        *Guard
	redactor *credential.Redactor // nil if there is no secret that could leak

	head        []byte // a header that has not come whole
	header      wsframe.Header
	kind        wsframe.Opcode      // of the message
	payloadLeft int64               // of the frame
	action      Action              // for the frame's payload: Forward, Buffer or redact
	open        bool                // within a message whose fragments pass
	fragmented  bool                // within a text that is buffered, and comes in fragments
	text        messageBuffer       // of a text
	control     messageBuffer       // of a control frame, which may come within a text
	flow        credential.Redactor // of a message that is masked while it passes

	watched   bool   // the message is a text that may refuse the upstream key
	learning  bool   // the message is a text whose beginning the Protocol has to know
	beginning []byte // of the text

	pong []byte // to be written when a frame of the backend ends
	err  error  // a write has failed, perhaps in the middle of a frame
}

// messageBuffer is the payload of a message that is buffered until it is whole, with
// room for a header in front.
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

// frame renders the payload as one final frame, with the secret masked.
func (b *messageBuffer) frame(w *clientWriter, opcode wsframe.Opcode) []byte {
	payload := b.payload()
	copy(payload, w.redacted(payload))
	var room [wsframe.MaxHeaderSize]byte
	header := wsframe.Append(room[:0], wsframe.Header{Fin: true, Opcode: opcode, Length: int64(len(payload))})
	from := wsframe.MaxHeaderSize - len(header)
	copy((*b)[from:], header)
	return (*b)[from:]
}

// redacted masks the secret in a message that is whole.
func (w *clientWriter) redacted(message []byte) []byte {
	if w.redactor == nil {
		return message
	}
	return w.redactor.Whole(message)
}

func (w *clientWriter) init(secret policy.Secret) {
	if !secret.Empty() {
		w.redactor = credential.NewRedactor(secret, 0)
	}
}

// inFrame reports whether the client has been sent a part of a frame only.
func (w *clientWriter) inFrame() bool { return w.payloadLeft > 0 && w.action != Buffer }

// inMessage reports whether the client has been sent a part of a message only.
func (w *clientWriter) inMessage() bool { return w.open || w.inFrame() }

// emit writes to the client.
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

// admit decides what becomes of a frame, and reports whether the backend may send it.
// watched says that a text is the backend's answer to a message with the upstream key.
func (w *clientWriter) admit(h wsframe.Header, watched bool) bool {
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
		w.watched = watched && h.Opcode == wsframe.Text
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
		// A secret could be in two fragments: they are put together.
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

// learn collects the beginning of a text. This happens before the client gets the text,
// because the Protocol's state must be current when the client reacts.
func (w *clientWriter) learn(chunk []byte) {
	enough := w.g.shape.Beginning
	w.beginning = append(w.beginning, chunk[:min(len(chunk), enough-len(w.beginning))]...)
	if len(w.beginning) == enough {
		w.learned()
	}
}

// learned tells the Protocol.
func (w *clientWriter) learned() {
	w.learning = false
	if w.g.protocol.FromBackend(w.beginning) {
		w.g.wakeReader()
	}
}

// upstreamRefused is the frame that the client gets in place of an answer that refuses
// the upstream key: the client's own key is good.
func (w *clientWriter) upstreamRefused() []byte {
	g := w.g
	if g.cfg.UpstreamRefused != nil {
		g.cfg.UpstreamRefused()
	}
	return wsframe.Final(wsframe.Text, []byte(g.protocol.Refusal(policy.UpstreamRefused).Text))
}

// pong answers a Ping, when the backend's frame has come to its end.
func (g *Guard) pong(payload []byte) {
	frame := wsframe.Final(wsframe.Pong, payload)
	g.writing.Lock()
	defer g.writing.Unlock()
	switch {
	case g.out.inFrame():
		g.out.pong = frame
	case !g.closing.started():
		_ = g.out.emit(frame) // an error is one of the next write, too
	}
}
