package stream_test

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

// handshakeRules returns the rules of the stream at this path of an API.
func handshakeRules(api *dialect.API, path string) *dialect.HandshakeRules {
	return api.Classify("GET", path).Route.StreamRules().Handshake
}

// newHandshake returns the protocol of an API whose key is in the handshake, with the upstream key.
func newHandshake(rules *dialect.HandshakeRules, mode credential.Mode) *stream.Handshake {
	cfg := stream.HandshakeConfig{Rules: rules, Upstream: credential.Upstream{Mode: mode}, Facts: func() dialect.Facts {
		return dialect.Facts{RequestID: "0123", Time: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC), Path: "/v1/listen"}
	}}
	if mode == credential.Replace {
		secret := policy.NewSecret(upstreamKey)
		cfg.Upstream, cfg.Secrets = credential.ReplaceWith(secret), []policy.Secret{secret}
	}
	return stream.NewHandshake(cfg)
}

func newProtocolRig(t *testing.T, p stream.Protocol, early []byte) *rig {
	t.Helper()
	return newRig(t, func(cfg *settings) { cfg.Protocol = p }, early)
}

// keyedStreams has the rules of streams whose key is in the handshake. The vendors' libraries need
// such ends: a message, and a Close frame at once whose code makes the library stop.
func keyedStreams() map[string]*dialect.HandshakeRules {
	table := func(text string, code uint16, reason string) *dialect.HandshakeRules {
		return &dialect.HandshakeRules{Cut: dialect.StreamEnd{Text: text, Code: code, Reason: reason}}
	}
	return map[string]*dialect.HandshakeRules{
		"OpenAI":        handshakeRules(dialect.OpenAI, "/v1/realtime"),
		"Deepgram":      handshakeRules(dialect.Deepgram, "/v1/listen"),
		"Deepgram Flux": handshakeRules(dialect.Deepgram, "/v2/listen"),
		"a reason":      table(`{"error":"Unauthorized Connection at {time}"}`, 4001, "Unauthorized Connection"),
		"a bare Close":  table("", 4401, ""),
	}
}

func TestAnAPIWithItsKeyInTheHandshakeIsATable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for name, rules := range keyedStreams() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// What came with the handshake is forwarded at once, in any form.
				r := newProtocolRig(t, newHandshake(rules, credential.Replace), wstest.RawText(`{"type":"Settings"}`))
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
				r.wantEndOf(rules.Cut)
				begun := time.Now()
				r.send(wstest.Raw(0x88, mask, 0, []byte{3, 232})) // as a client answers
				r.client.Close()
				<-r.done
				if took := time.Since(begun); took != 0 {
					t.Errorf("a client that has closed is waited for %v", took)
				}
				r.wantSilence()
			})
		})
	}
}

// wantEndOf wants the text of an end, with its placeholders replaced, and its Close frame at once.
func (r *rig) wantEndOf(end dialect.StreamEnd) {
	r.t.Helper()
	if end.Text != "" {
		text := strings.NewReplacer("{request_id}", "0123", "{time}", "2026-11-28T00:00:00Z").Replace(end.Text)
		r.wantClient(wstest.Text(text))
	}
	got, err := r.client.ReadFrame()
	if want, _ := wstest.ReadFrame(bytes.NewReader(wsframe.CloseFrame(end.Code, end.Reason))); err != nil || got != want {
		r.t.Errorf("the client gets %v, %v; want %v", got, err, want)
	}
}

func TestAnAPICanRefuseRightAfterTheUpgrade(t *testing.T) {
	t.Parallel()
	rules := handshakeRules(dialect.OpenAI, "/v1/realtime")
	for _, reason := range []policy.Reason{policy.KeyUnknown, policy.KeyExpired, policy.CredentialMissing, policy.AddressRefused, policy.StreamLimit, policy.StoreUnavailable} {
		synctest.Test(t, func(t *testing.T) {
			r := newProtocolRig(t, newHandshake(rules, credential.Replace), nil)
			r.guard.Refuse(reason, "the detail")
			r.wantEndOf(rules.End(reason))
			r.wantRefused(reason, "the detail")
			r.wantSilence()
		})
	}
}

// The first text message of the backend can say that it refuses the upstream key. A Ping or audio
// before it is no such message, and later messages are not looked at.
func TestR16_OnlyTheFirstTextCanRefuseTheUpstreamKey(t *testing.T) {
	t.Parallel()
	rules := handshakeRules(dialect.OpenAI, "/v1/realtime")
	const refusal = `{"type":"error","error":{"code":"Invalid_API_Key"}}`
	before := map[string][][]byte{
		"first":        nil,
		"after a Ping": {wstest.Raw(0x89, nil, 0, nil), wstest.Raw(0x8a, nil, 0, []byte("pong"))},
		"after audio":  {wstest.Raw(0x82, nil, 0, []byte("pcm")), wstest.Raw(0x02, nil, 0, nil), wstest.Raw(0x80, nil, 0, nil)},
		"in fragments": nil,
		"after a text": {wstest.Raw(0x81, nil, 0, []byte(`{"type":"session.created"}`))},
	}
	for name, frames := range before {
		for _, mode := range []credential.Mode{credential.Replace, credential.Drop, credential.Pass} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var told atomic.Int32
					r := newRig(t, func(cfg *settings) {
						cfg.Protocol = newHandshake(rules, mode)
						cfg.UpstreamRefused = func() { told.Add(1) }
					})
					for _, f := range frames {
						r.answer(f)
						want, _ := wstest.ReadFrame(bytes.NewReader(f))
						r.wantClient(want)
					}
					sent := [][]byte{wstest.Raw(0x81, nil, 0, []byte(refusal))}
					if name == "in fragments" {
						sent = wstest.Fragments(1, nil, refusal, 9, 0, 20)
					}
					if name == "after a text" || mode == credential.Pass {
						r.answer(sent...)
						var got strings.Builder
						for got.Len() < len(refusal) {
							got.WriteString(r.client.Next().Payload)
						}
						if got.String() != refusal || told.Load() != 0 {
							t.Errorf("the client gets %q, told %d times", got.String(), told.Load())
						}
						r.client.Close()
						return
					}
					// The backend's own Close frame says that a key is bad, too.
					r.answer(append(sent, wstest.Raw(0x88, nil, 0, append([]byte{0x0b, 0xb8}, "invalid_request_error.invalid_api_key"...)))...)
					r.wantEndOf(rules.End(policy.UpstreamRefused))
					r.client.Close()
					<-r.done
					if told.Load() != 1 {
						t.Errorf("told %d times", told.Load())
					}
				})
			})
		}
	}
}

// An API without such messages lets every text pass.
func TestR16_WithoutKeyRefusedNoTextIsLookedAt(t *testing.T) {
	t.Parallel()
	h := newHandshake(handshakeRules(dialect.Deepgram, "/v1/listen"), credential.Replace)
	if h.Watching() || h.RefusesKey([]byte(`"invalid_api_key" INVALID_AUTH`)) || h.Waiting() || h.FromBackend(nil) {
		t.Error("a message of the backend is looked at")
	}
	if s := h.Shape(); !s.KeyInHandshake || len(s.Secrets) != 1 || s.Secrets[0].Reveal() != upstreamKey || s.Beginning != 0 || s.CheckAudio {
		t.Errorf("the shape is %+v", s)
	}
	if s := newHandshake(handshakeRules(dialect.Deepgram, "/v1/listen"), credential.Pass).Shape(); len(s.Secrets) != 0 {
		t.Error("the client's own key is masked")
	}
	if step := h.FromClient("text"); step.Action != stream.Forward || step.Text != "text" {
		t.Errorf("a text of the client: %+v", step)
	}
}

// firstMessage is an API whose key is a member of the first message, such as Soniox.
type firstMessage struct {
	*stream.Handshake
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
	refusal := dialect.StreamEnd{Text: `{"error_code":401}`, Code: 1000}
	cut := dialect.StreamEnd{Text: `{"error_code":403}`, Code: 1000}
	start := func(t *testing.T) *rig {
		rules := &dialect.HandshakeRules{By: map[policy.Reason]dialect.StreamEnd{policy.KeyUnknown: refusal}, Denied: cut, Cut: cut}
		return newProtocolRig(t, &firstMessage{Handshake: newHandshake(rules, credential.Replace)}, nil)
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
