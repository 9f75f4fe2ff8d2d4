package stream

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// frame deals with the client's frame in unit: it goes on, perhaps in another
// form, or comes to nothing, or ends the stream.
func (g *Guard) frame() error {
	in := &g.in
	// A control frame does not stop the clock of the command that it comes within,
	// nor does a fragment that another one follows.
	within := in.fragments == ws.OpText && in.header.OpCode.IsControl()
	if in.timed && in.header.Fin && !within {
		if in.timed = false; !g.clock.stop() {
			return errEnded
		}
	}
	var err error
	switch in.kind() {
	case ws.OpText:
		err = g.command()
	case ws.OpBinary:
		err = g.audio()
	default:
		err = g.control()
	}
	if err == nil { // what ends the stream stays, to be read on from its beginning
		in.unit, in.size = reuse(in.unit), 0
	}
	return err
}

// forward has unit go on as it came.
func (in *inbound) forward() {
	in.unit, in.out = in.out[:0], in.unit
}

// audio has a frame of audio go on as a message of its own: a backend may take
// each frame for one, and must find in none what has not been checked. Empty
// fragments go nowhere.
func (g *Guard) audio() error {
	in := &g.in
	h := in.header
	first := h.Length > 0 && (h.OpCode == ws.OpBinary || in.opening)
	if first && in.unit[in.size]^h.Mask[0] != g.cfg.Rules.Audio {
		return g.malformed("a binary message that is no audio")
	}
	if !g.feeding() {
		g.refuse(policy.RequestMalformed, "audio before a session or after its end", parting{text: g.cfg.Rules.CutText, inRead: true})
		return errEnded
	}
	in.opening = h.Length == 0 && (h.OpCode == ws.OpBinary || in.opening)
	in.fragments = 0
	if !h.Fin {
		in.fragments = ws.OpBinary
	}
	switch {
	case first:
		in.unit[0] = 0x80 | byte(ws.OpBinary)
		in.left = h.Length - 1
		in.forward()
	case h.Length > 0:
		in.left = h.Length
		in.out = g.ownAudio(in.out[:0], h)
	}
	return nil
}

// ownAudio appends the header of a continuation's payload as a message of its
// own, and the byte that audio begins with. That moves the payload by one, and
// turning the mask along leaves its bytes as they are.
func (g *Guard) ownAudio(out []byte, h ws.Header) []byte {
	own := ws.Header{Fin: true, OpCode: ws.OpBinary, Masked: h.Masked, Length: h.Length + 1}
	for i, b := range h.Mask {
		own.Mask[(i+1)%len(own.Mask)] = b
	}
	out = g.in.codec.append(out, own)
	return append(out, g.cfg.Rules.Audio^own.Mask[0])
}

// control answers a control frame before the first start command, and has it go
// on after that.
func (g *Guard) control() error {
	in := &g.in
	authorized := in.authorized.Load()
	isClose := in.header.OpCode == ws.OpClose
	switch {
	case authorized:
		in.gone = isClose
		in.forward()
	case isClose:
		if g.begin() {
			g.part(parting{answer: closeAnswer(in.payload()), inRead: true})
		}
		return errEnded
	case in.header.OpCode == ws.OpPing:
		g.pong(in.payload())
	}
	return nil
}

// payload is that of unit, unmasked.
func (in *inbound) payload() []byte {
	payload := bytes.Clone(in.unit[in.size:])
	if in.header.Masked {
		ws.Cipher(payload, in.header.Mask, 0)
	}
	return payload
}

// command takes a text command, or a fragment of one.
func (g *Guard) command() error {
	in := &g.in
	h := in.header
	payload := in.unit[in.size:]
	if h.Masked {
		ws.Cipher(payload, h.Mask, 0)
	}
	if h.OpCode == ws.OpText {
		in.first = h
	}
	if in.fragments == ws.OpText || !h.Fin {
		in.text = append(in.text, payload...)
		payload = in.text
		if err := g.reserve(); err != nil {
			return err
		}
	}
	if !h.Fin {
		in.fragments = ws.OpText
		return nil
	}
	text := string(payload)
	in.fragments, in.text, in.empties = 0, nil, 0
	return g.whole(text)
}

// whole deals with a text command that has come whole.
func (g *Guard) whole(text string) error {
	in, rules := &g.in, g.cfg.Rules
	switch {
	case !utf8.ValidString(text):
		return g.malformed("a text that is no UTF-8")
	case text == rules.End:
		if !g.become(ended, running, failed) {
			return g.malformed("an end command while no session runs")
		}
		in.forwardText(text)
		return nil
	case text != rules.Start && !strings.HasPrefix(text, rules.Start+" "):
		return g.malformed("an unknown command")
	case g.waiting():
		in.held = &heldStart{text: text, first: in.first}
		return nil
	}
	return g.start(text)
}

// forwardText has a command go on in one frame, masked if the client's first
// frame of it was.
func (in *inbound) forwardText(text string) {
	h := ws.Header{Fin: true, OpCode: ws.OpText, Masked: in.first.Masked, Mask: in.first.Mask, Length: int64(len(text))}
	in.out = append(in.codec.append(in.out[:0], h), text...)
	if h.Masked {
		ws.Cipher(in.out[len(in.out)-len(text):], h.Mask, 0)
	}
}

// start has a start command judged, and go on with the backend's key.
func (g *Guard) start(text string) error {
	in := &g.in
	_ = g.become(idle, failed)
	if state := g.session.Load(); state != idle {
		return g.malformed("a start command before the end of the session that runs")
	}
	// Until the first one has come, the clock runs for it.
	if !in.authorized.Load() && !g.clock.stop() {
		return errEnded
	}
	command, fault := credential.ScanCommand(text, g.cfg.Rules.Start, g.cfg.Rules.Pair)
	verdict := g.judge(&command, fault)
	if !verdict.OK {
		if verdict.Message == "" {
			verdict.Message = g.refusalOf(fault)
		}
		if g.begin() {
			g.part(parting{text: verdict.Message, inRead: true})
		}
		return errEnded
	}
	if !g.become(running, idle) { // the stream has ended meanwhile
		g.onEnd()
		return errEnded
	}
	in.authorized.Store(true)
	g.release()
	g.asked.Store(true)
	in.forwardText(command.Rewrite(g.cfg.Upstream))
	return nil
}

func (g *Guard) judge(command *credential.Command, fault *credential.Fault) Verdict {
	if g.cfg.Authorize == nil {
		return Verdict{}
	}
	var secret policy.Secret
	if fault == nil {
		secret = command.Key()
	}
	verdict := g.cfg.Authorize(secret, fault)
	verdict.OK = verdict.OK && fault == nil
	return verdict
}

// refusalOf is the text for a refusal that Authorize has not worded.
func (g *Guard) refusalOf(fault *credential.Fault) string {
	reason := policy.CredentialMalformed
	if fault != nil {
		reason = fault.Reason
	}
	return g.cfg.Rules.Refusal(reason)
}

// malformed ends the stream of a client that sends what cannot be read.
func (g *Guard) malformed(detail string) error {
	g.refuse(policy.RequestMalformed, detail, parting{text: g.unreadable(), inRead: true})
	return errEnded
}
