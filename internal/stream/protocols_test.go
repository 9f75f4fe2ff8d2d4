package stream_test

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

// plainProtocol is an API whose key is in the handshake: everything passes, and only
// its ends are its own. Such an API needs no code besides a table.
type plainProtocol struct {
	secret  string
	refusal map[policy.Reason]stream.Farewell
	cut     stream.Farewell
	ended   int
}

func (p *plainProtocol) Shape() stream.Shape {
	return stream.Shape{KeyInHandshake: true, Secret: policy.NewSecret(p.secret)}
}

func (*plainProtocol) Accepts(opcode wsframe.Opcode) stream.Action {
	if opcode == wsframe.Text || opcode == wsframe.Binary {
		return stream.Forward
	}
	return stream.Refuse
}

func (*plainProtocol) FromClient(string) stream.Step                  { return stream.Step{} }
func (*plainProtocol) Waiting() bool                                  { return false }
func (*plainProtocol) Watching() bool                                 { return false }
func (*plainProtocol) FromBackend([]byte) bool                        { panic("Shape.Beginning is 0") }
func (*plainProtocol) RefusesKey([]byte) bool                         { return false }
func (p *plainProtocol) Refusal(reason policy.Reason) stream.Farewell { return p.refusal[reason] }
func (p *plainProtocol) Cut() stream.Farewell                         { return p.cut }
func (p *plainProtocol) End()                                         { p.ended++ }

func newProtocolRig(t *testing.T, p stream.Protocol, early []byte) *rig {
	t.Helper()
	return newRig(t, func(cfg *settings) { cfg.Protocol = p }, early)
}

// The ends that the SDKs of four APIs need: a message, and a Close frame at once whose
// code makes the SDK stop.
func cuts() map[string]stream.Farewell {
	return map[string]stream.Farewell{
		"OpenAI":       {Text: `{"type":"error","error":{"type":"invalid_request_error"}}`, Close: wsframe.CloseFrame(1008, ""), CloseAtOnce: true},
		"Deepgram":     {Text: `{"type":"Error","description":"Invalid credentials."}`, Close: wsframe.CloseFrame(1000, ""), CloseAtOnce: true},
		"AssemblyAI":   {Text: `{"error":"Unauthorized Connection"}`, Close: wsframe.CloseFrame(4001, "Unauthorized Connection"), CloseAtOnce: true},
		"Speechmatics": {Text: `{"message":"Error","type":"not_authorised"}`, Close: wsframe.CloseFrame(4001, "not_authorised"), CloseAtOnce: true},
		"a bare Close": {Close: wsframe.CloseFrame(4401, ""), CloseAtOnce: true},
	}
}

func TestAnAPIWithItsKeyInTheHandshakeIsATable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for name, cut := range cuts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &plainProtocol{secret: upstreamKey, cut: cut}
				// What came with the handshake is forwarded at once, in any form.
				r := newProtocolRig(t, p, wstest.RawText(`{"type":"Settings"}`))
				r.wantBackend(wstest.Text(`{"type":"Settings"}`))
				r.send(wstest.Raw(0x82, mask, 64, []byte("audio")), wstest.Raw(0x82, nil, 0, nil), wstest.Raw(0x01, mask, 0, []byte("in ")),
					wstest.Raw(0x89, mask, 0, []byte("ping")), wstest.Raw(0x80, mask, 0, []byte("two")))
				r.wantBackend(wstest.Of(true, 2, true, "audio"), wstest.Binary(""), wstest.Of(false, 1, true, "in "),
					wstest.Of(true, 9, true, "ping"), wstest.Of(true, 0, true, "two"))
				go r.client.Send(wstest.RawText(long), wstest.RawBinary(long))
				r.wantBackend(wstest.Text(long), wstest.Binary(long))
				r.answer(wstest.RawText(`{"key":"` + upstreamKey + `"}`))
				r.wantClient(wstest.Text(`{"key":"` + stars + `"}`))

				r.guard.Cut("")
				if cut.Text != "" {
					r.wantClient(wstest.Text(cut.Text))
				}
				closeFrame, err := r.client.ReadFrame()
				if want, _ := wstest.ReadFrame(strings.NewReader(string(cut.Close))); err != nil || closeFrame != want {
					t.Errorf("the client gets %v, %v; want %v", closeFrame, err, want)
				}
				begun := time.Now()
				r.send(wstest.Raw(0x88, mask, 0, []byte{3, 232})) // as a client answers
				r.client.Close()
				<-r.done
				if took := time.Since(begun); took != 0 || p.ended != 1 {
					t.Errorf("a client that has closed is waited for %v; ended %d times", took, p.ended)
				}
				r.wantSilence()
			})
		})
	}
}

func TestAnAPICanRefuseRightAfterTheUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refusal := stream.Farewell{Text: `{"message_type":"auth_error"}`, Close: wsframe.CloseFrame(1008, ""), CloseAtOnce: true}
		p := &plainProtocol{refusal: map[policy.Reason]stream.Farewell{policy.KeyUnknown: refusal}}
		r := newProtocolRig(t, p, nil)
		r.guard.Refuse(policy.KeyUnknown, "the key is unknown")
		r.wantClient(wstest.Text(refusal.Text), closed())
		r.wantRefused(policy.KeyUnknown, "the key is unknown")
		r.wantSilence()
	})
}

// firstMessage is an API whose key is a member of the first message, such as Soniox.
type firstMessage struct {
	plainProtocol
	authorized bool
}

func (*firstMessage) Shape() stream.Shape { return stream.Shape{} }

func (p *firstMessage) Accepts(opcode wsframe.Opcode) stream.Action {
	switch {
	case p.authorized:
		return stream.Forward
	case opcode == wsframe.Text:
		return stream.Buffer
	}
	return stream.Refuse
}

func (p *firstMessage) FromClient(text string) stream.Step {
	var first map[string]any
	if json.Unmarshal([]byte(text), &first) != nil || first["api_key"] != clientKey {
		return stream.Step{Farewell: p.Refusal(policy.KeyUnknown)}
	}
	first["api_key"] = upstreamKey
	sent, err := json.Marshal(first)
	if err != nil {
		return stream.Step{}
	}
	p.authorized = true
	return stream.Step{Action: stream.Forward, Text: string(sent)}
}

func TestAnAPIWithItsKeyInTheFirstMessageNeedsNoLayerBelow(t *testing.T) {
	t.Parallel()
	refusal := stream.Farewell{Text: `{"error_code":401}`, Close: wsframe.CloseFrame(1000, ""), CloseAtOnce: true}
	cut := stream.Farewell{Text: `{"error_code":403}`, Close: wsframe.CloseFrame(1000, ""), CloseAtOnce: true}
	start := func(t *testing.T) *rig {
		p := &firstMessage{plainProtocol: plainProtocol{refusal: map[policy.Reason]stream.Farewell{policy.KeyUnknown: refusal}, cut: cut}}
		return newProtocolRig(t, p, nil)
	}
	t.Run("that is good", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := start(t)
			r.send(slices.Concat(wstest.Fragments(1, mask, `{"api_key":"`+clientKey+`"}`, 5, 9)...), wstest.RawBinary("audio"), wstest.RawText(""))
			r.wantBackend(wstest.Of(true, 1, true, `{"api_key":"`+upstreamKey+`"}`), wstest.Binary("audio"), wstest.Text(""))
		})
	})
	t.Run("that is bad", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := start(t)
			r.send(wstest.RawText(`{"api_key":"OTHER"}`), wstest.RawBinary("audio"))
			r.wantClient(wstest.Text(refusal.Text), wstest.Close(1000))
			if rest, err := io.ReadAll(r.client.Reader); err != nil || len(rest) > 0 {
				t.Errorf("the client gets %q, %v", rest, err)
			}
			r.wantSilence()
		})
	})
	t.Run("after audio", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := start(t)
			r.send(wstest.RawBinary("audio"))
			r.wantClient(wstest.Text(cut.Text), wstest.Close(1000))
			r.wantRefused(malformed, outOfTurn)
		})
	})
}
