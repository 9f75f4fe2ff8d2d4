package stream

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/policy"
)

// maxEmpties is how many empty fragments a buffered message may have after its first one.
// Clients send at most one, at the end.
const maxEmpties = 64

// The errors of a frame from a client.
var (
	errNesting  = errors.New("a message within another, or a continuation of nothing")
	errTooLarge = errors.New("a command that is larger than max_command, or a frame of audio that is too large")
	errEmpty    = errors.New("an empty binary message")
	errEmpties  = errors.New("too many empty fragments of a command")
	errEarly    = errors.New("too many control frames before the first start command")
)

// frameKind says how a frame of the client is handled.
type frameKind uint8

const (
	kindControl frameKind = iota
	kindText              // buffered until the message is whole
	kindAudio             // forwarded after a check of its first byte
	kindOpaque            // forwarded without a check of its payload
)

// buffering reports whether a buffered text message has begun, and more fragments of it
// must come.
func (r *clientReader) buffering() bool {
	return r.fragments == wsframe.Text && r.textAction == Buffer
}

// kind returns the kind of the frame that is being read. A continuation has the kind of its
// message.
func (r *clientReader) kind() frameKind {
	opcode := r.header.Opcode
	if opcode == wsframe.Continuation {
		opcode = r.fragments
	}
	switch {
	case opcode.IsControl():
		return kindControl
	case opcode == wsframe.Text && r.textAction == Buffer:
		return kindText
	case opcode == wsframe.Binary && r.g.shape.CheckAudio:
		return kindAudio
	}
	return kindOpaque
}

// readFrame moves bytes from r.buffered to r.frame. The argument rest has the bytes of
// r.buffered that have not been handled. When r.frame has all that must be known before the
// frame is forwarded, readFrame calls handleFrame.
func (r *clientReader) readFrame(rest []byte) error {
	for {
		want, err := r.wanted()
		if err != nil {
			return err
		}
		k := min(want-len(r.frame), len(rest))
		r.frame = append(r.frame, rest[:k]...)
		r.consumed += k
		rest = rest[k:]
		if err := r.reserve(); err != nil {
			return err
		}
		switch {
		case len(r.frame) < want:
			return nil
		case r.headerSize > 0:
			return r.handleFrame()
		}
	}
}

// wanted returns how many bytes r.frame needs next: the header, and then also the part of
// the payload that must be known before the frame is forwarded. When the header is whole,
// wanted checks it, and ends the stream if it is bad.
func (r *clientReader) wanted() (int, error) {
	size := wsframe.HeaderSize(r.frame)
	if len(r.frame) < size {
		return size, nil
	}
	if r.headerSize == 0 {
		h, err := wsframe.Parse(r.frame)
		if err == nil {
			err = r.checkHeader(h)
		}
		if err != nil {
			return 0, r.malformed(err.Error())
		}
		r.header, r.headerSize = h, size
	}
	length := r.header.Length
	switch r.kind() {
	case kindAudio:
		if r.header.Opcode == wsframe.Binary || r.noAudioYet {
			return size + int(min(length, 1)), nil
		}
		return size, nil
	case kindOpaque:
		return size, nil
	default: // a command or a control frame must be whole
		return size + int(length), nil
	}
}

// checkHeader returns an error if the client may not send a frame with this header now.
func (r *clientReader) checkHeader(h wsframe.Header) error {
	cfg := &r.g.cfg
	if h.Opcode.IsControl() {
		if r.authorized.Load() {
			return nil
		}
		if r.early++; r.early > cfg.MaxEarlyFrames {
			return errEarly
		}
		return nil
	}
	continues := h.Opcode == wsframe.Continuation
	if continues != (r.fragments != 0) {
		return errNesting
	}
	if h.Opcode == wsframe.Text {
		r.textAction = r.g.protocol.Accepts(wsframe.Text)
	}
	message := h.Opcode
	if continues {
		message = r.fragments
	}
	if message == wsframe.Text && r.textAction == Buffer {
		if continues && h.Length == 0 {
			r.empties++
		}
		switch {
		case h.Length > int64(cfg.MaxCommand-len(r.text)):
			return errTooLarge
		case r.empties > maxEmpties:
			return errEmpties
		}
		return nil
	}
	switch {
	case h.Length > cfg.MaxAudio:
		return errTooLarge
	case message == wsframe.Binary && r.g.shape.CheckAudio && h.Length == 0 && h.Fin && (!continues || r.noAudioYet):
		return errEmpty
	}
	return nil
}

// handleFrame handles the frame in r.frame: it forwards the frame, perhaps in another form,
// or keeps, drops or answers it, or ends the stream.
func (r *clientReader) handleFrame() error {
	kind := r.kind()
	// The clock of a buffered message keeps running while the message is not whole: after a
	// control frame between its fragments, and after a fragment that is not the last.
	unfinished := kind == kindControl && r.buffering() || kind == kindText && !r.header.Fin
	if r.timed && !unfinished {
		if r.timed = false; !r.g.clock.stop() {
			return errEnded
		}
	}
	var err error
	switch kind {
	case kindText:
		err = r.handleText()
	case kindAudio:
		err = r.handleAudio()
	case kindOpaque:
		err = r.handleOpaque()
	case kindControl:
		err = r.handleControl()
	}
	if err == nil { // a frame that ends the stream stays in r.frame, because scanRest scans it from its beginning
		r.frame, r.headerSize = reuse(r.frame), 0
	}
	return err
}

// forward sends the bytes in r.frame to the backend as they are.
func (r *clientReader) forward() {
	r.frame, r.out = r.out[:0], r.frame
}

// handleAudio forwards a frame of audio as a whole message. A backend may treat each frame
// as a message, so every frame must begin with the byte for audio. Empty fragments are
// dropped.
func (r *clientReader) handleAudio() error {
	h := r.header
	first := h.Length > 0 && (h.Opcode == wsframe.Binary || r.noAudioYet)
	if first && r.frame[r.headerSize]^h.Mask[0] != r.g.shape.Audio {
		return r.malformed("a binary message that is no audio")
	}
	if r.g.protocol.Accepts(wsframe.Binary) != Forward {
		return r.outOfTurn()
	}
	r.noAudioYet = h.Length == 0 && (h.Opcode == wsframe.Binary || r.noAudioYet)
	r.fragments = 0
	if !h.Fin {
		r.fragments = wsframe.Binary
	}
	r.g.audio.Add(h.Length)
	switch {
	case first:
		r.g.audio.Add(-r.g.marks)
		r.frame[0] = wsframe.Fin | byte(wsframe.Binary)
		r.payloadLeft = h.Length - 1
		r.forward()
	case h.Length > 0:
		r.payloadLeft = h.Length
		r.out = r.ownMessage(r.out[:0], h)
	}
	return nil
}

// ownMessage appends a header that makes a whole message of a continuation, and the byte
// for audio. The byte moves the payload by one position. So the masking key is rotated by
// one, and the payload's bytes stay as they are.
func (r *clientReader) ownMessage(out []byte, h wsframe.Header) []byte {
	own := wsframe.Header{Fin: true, Opcode: wsframe.Binary, Masked: h.Masked, Length: h.Length + 1}
	for i, b := range h.Mask {
		own.Mask[(i+1)%len(own.Mask)] = b
	}
	out = wsframe.Append(out, own)
	return append(out, r.g.shape.Audio^own.Mask[0])
}

// handleOpaque forwards a frame without a check of its payload.
func (r *clientReader) handleOpaque() error {
	h, message := r.header, r.fragments
	if h.Opcode != wsframe.Continuation && r.g.protocol.Accepts(h.Opcode) != Forward {
		return r.outOfTurn()
	}
	switch {
	case h.Fin:
		r.fragments = 0
	case h.Opcode != wsframe.Continuation:
		r.fragments = h.Opcode
	}
	if h.Opcode == wsframe.Binary || h.Opcode == wsframe.Continuation && message == wsframe.Binary {
		r.g.audio.Add(h.Length)
	}
	r.payloadLeft = h.Length
	r.forward()
	return nil
}

// handleControl forwards a control frame if the stream has been authorized. Before that,
// the guard answers a Ping and drops a Pong, and a Close ends the stream.
func (r *clientReader) handleControl() error {
	g := r.g
	authorized := r.authorized.Load()
	isClose := r.header.Opcode == wsframe.Close
	switch {
	case authorized:
		r.closed = isClose
		r.forward()
	case isClose:
		if g.startClose(eventStartClose) {
			g.closeGracefully(Farewell{Close: wsframe.CloseReply(r.payload()), CloseAtOnce: true}, true)
		}
		return errEnded
	case r.header.Opcode == wsframe.Ping:
		g.pong(r.payload())
	}
	return nil
}

// payload returns a copy of the payload in r.frame, unmasked.
func (r *clientReader) payload() []byte {
	payload := bytes.Clone(r.frame[r.headerSize:])
	if r.header.Masked {
		wsframe.Mask(payload, r.header.Mask, 0)
	}
	return payload
}

// handleText handles a buffered text message, or a fragment of one. When the message is
// whole, handleText calls take.
func (r *clientReader) handleText() error {
	h := r.header
	payload := r.frame[r.headerSize:]
	if h.Masked {
		wsframe.Mask(payload, h.Mask, 0)
	}
	if h.Opcode == wsframe.Text {
		r.first = h
	}
	if r.fragments == wsframe.Text || !h.Fin {
		r.text = append(r.text, payload...)
		payload = r.text
		if err := r.reserve(); err != nil {
			return err
		}
	}
	if !h.Fin {
		r.fragments = wsframe.Text
		return nil
	}
	text := string(payload)
	r.fragments, r.text, r.empties = 0, nil, 0
	if !utf8.ValidString(text) {
		return r.malformed("a text that is no UTF-8")
	}
	return r.take(text)
}

// take asks the Protocol what happens to a whole text message, and does it.
func (r *clientReader) take(text string) error {
	g := r.g
	// Until the stream is authorized, the clock runs for this message.
	authorized := r.authorized.Load()
	if !authorized && !g.clock.stop() {
		return errEnded
	}
	switch step := g.protocol.FromClient(text); step.Action {
	case Forward:
		if !authorized {
			r.authorized.Store(true)
			g.release()
		}
		r.forwardText(step.Text)
		return nil
	case Wait:
		r.pipelined = &pipelinedMessage{text: text, first: r.first}
		return nil
	default:
		switch {
		case step.Reason != policy.Undecided:
			g.refuse(step.Reason, step.Detail, step.Farewell, true)
		case g.startClose(eventStartClose):
			g.closeGracefully(step.Farewell, true)
		}
		return errEnded
	}
}

// forwardText sends a text message to the backend in one frame. The frame is masked, with
// the same key, if the client's first frame of the message was masked.
func (r *clientReader) forwardText(text string) {
	h := wsframe.Header{Fin: true, Opcode: wsframe.Text, Masked: r.first.Masked, Mask: r.first.Mask, Length: int64(len(text))}
	r.out = append(wsframe.Append(r.out[:0], h), text...)
	if h.Masked {
		wsframe.Mask(r.out[len(r.out)-len(text):], h.Mask, 0)
	}
}

// malformed ends the stream of a client that has sent bytes which are not allowed.
func (r *clientReader) malformed(detail string) error {
	r.g.refuse(policy.RequestMalformed, detail, r.g.protocol.Refusal(policy.RequestMalformed), true)
	return errEnded
}

// outOfTurn ends the stream of a client that has sent a message which the Protocol does not
// accept now.
func (r *clientReader) outOfTurn() error {
	r.g.refuse(policy.RequestMalformed, "audio before a session or after its end", r.g.protocol.Cut(), true)
	return errEnded
}
