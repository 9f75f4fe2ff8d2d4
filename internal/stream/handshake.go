package stream

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/policy"
)

// HandshakeConfig configures Handshake.
type HandshakeConfig struct {
	// Rules of the API. There is no default.
	Rules *dialect.HandshakeRules

	// Upstream says what the backend gets in place of the client's key.
	Upstream credential.Upstream

	// Secrets are the upstream keys. They are masked in what the backend sends.
	Secrets []policy.Secret

	// Facts are for the placeholders in the texts of Rules. It is called when the stream is
	// refused or cut. There is no default.
	Facts func() dialect.Facts
}

// Handshake is the Protocol of an API whose key is in the handshake. The caller has decided on the
// key before Wrap. All messages pass, and only the ends of the stream are made here.
type Handshake struct {
	cfg      HandshakeConfig
	answered atomic.Bool // the backend has sent its first text message
}

// NewHandshake returns the protocol of one stream.
func NewHandshake(cfg HandshakeConfig) *Handshake { return &Handshake{cfg: cfg} }

var _ Protocol = (*Handshake)(nil)

// Shape implements Protocol.
func (h *Handshake) Shape() Shape {
	return Shape{KeyInHandshake: true, Secrets: h.cfg.Secrets}
}

// Accepts implements Protocol. The key has been decided on, so every message passes.
func (*Handshake) Accepts(wsframe.Opcode) Action { return Forward }

// FromClient implements Protocol. The Guard does not call it, because Accepts buffers no message.
func (*Handshake) FromClient(text string) Step { return Step{Action: Forward, Text: text} }

// Waiting implements Protocol.
func (*Handshake) Waiting() bool { return false }

// Watching implements Protocol. Only the first text message of the backend can say that the upstream
// key is refused. If the backend gets the client's own key, no message says it.
func (h *Handshake) Watching() bool {
	return len(h.cfg.Rules.KeyRefused) > 0 && h.cfg.Upstream.Mode != credential.Pass && !h.answered.Swap(true)
}

// FromBackend implements Protocol.
func (*Handshake) FromBackend([]byte) (answered bool) { return false }

// RefusesKey implements Protocol.
func (h *Handshake) RefusesKey(answer []byte) bool {
	answer = bytes.ToLower(answer)
	return slices.ContainsFunc(h.cfg.Rules.KeyRefused, func(text string) bool { return bytes.Contains(answer, []byte(text)) })
}

// Refusal implements Protocol.
func (h *Handshake) Refusal(reason policy.Reason) Farewell {
	return h.farewell(h.cfg.Rules.End(reason))
}

// Cut implements Protocol.
func (h *Handshake) Cut() Farewell { return h.farewell(h.cfg.Rules.Cut) }

// farewell returns a Farewell whose Close frame follows its text at once: a client library that gets
// only the text may go on sending.
func (h *Handshake) farewell(end dialect.StreamEnd) Farewell {
	end = end.Fill(h.cfg.Facts())
	return Farewell{Text: end.Text, Close: wsframe.CloseFrame(end.Code, end.Reason), CloseAtOnce: true}
}

// End implements Protocol.
func (*Handshake) End() {}
