package stream

import (
	"github.com/gobwas/ws"

	"github.com/speechgate/speechgate/internal/credential"
)

// maxHeld is up to how many bytes a text of the backend's is held until it is
// whole. Keys in a longer one are masked while it passes; one that comes in
// pieces may not be longer.
const maxHeld = 64 << 10

// fate is what becomes of a frame's payload.
type fate uint8

const (
	passes fate = iota
	held        // until the message is whole, to mask keys in it
	masked      // while it passes
)

// outbound is how far the backend's frames have been written.
type outbound struct {
	codec    codec
	redactor *credential.Redactor // nil if there is no key that could leak

	head   []byte // a header that has not come whole
	header ws.Header
	kind   ws.OpCode // of the message
	left   int64     // of the frame's payload
	fate   fate
	open   bool                // within a message whose pieces pass
	pieces bool                // within a text that is held, and comes in pieces
	text   holder              // what is held of a text
	ctl    holder              // what is held of a control frame, which may come within a text
	flow   credential.Redactor // of a text that is masked while it passes

	watched  bool   // the message is a text that may refuse the gate's own key
	learning bool   // the message is a text whose beginning is to be known
	start    []byte // that beginning
	enough   int    // bytes of it

	pong []byte // to be written when a frame of the backend's ends
	err  error  // a write has failed, perhaps in the middle of a frame
}

// holder is the payload of a message that is held until it is whole, with room
// for a header in front.
type holder []byte

func (h *holder) add(p []byte) {
	if len(*h) == 0 {
		*h = append(*h, make([]byte, ws.MaxHeaderSize)...)
	}
	*h = append(*h, p...)
}

func (h *holder) size() int { return max(0, len(*h)-ws.MaxHeaderSize) }

// payload is what is held.
func (h *holder) payload() []byte {
	h.add(nil)
	return (*h)[ws.MaxHeaderSize:]
}

// frame renders what is held as one final frame, masked.
func (h *holder) frame(o *outbound, opcode ws.OpCode) []byte {
	payload := h.payload()
	copy(payload, o.masked(payload))
	header := o.codec.append(o.codec.spare[:0], ws.Header{Fin: true, OpCode: opcode, Length: int64(len(payload))})
	from := ws.MaxHeaderSize - len(header)
	copy((*h)[from:], header)
	return (*h)[from:]
}

// masked masks keys in a message that is whole.
func (o *outbound) masked(message []byte) []byte {
	if o.redactor == nil {
		return message
	}
	return o.redactor.Whole(message)
}

func (o *outbound) init(cfg *Config) {
	if cfg.Upstream.Mode == credential.Replace && !cfg.Upstream.Key.Empty() {
		o.redactor = credential.NewRedactor(cfg.Upstream.Key, 0)
	}
	for _, word := range []string{cfg.Rules.Started, cfg.Rules.Failed, cfg.Rules.Ended} {
		o.enough = max(o.enough, len(word)+1)
	}
}

// inFrame reports whether the client has been sent a part of a frame only.
func (o *outbound) inFrame() bool { return o.left > 0 && o.fate != held }

// inMessage reports whether the client has been sent a part of a message only.
func (o *outbound) inMessage() bool { return o.open || o.inFrame() }
