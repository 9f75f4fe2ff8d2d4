package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

// assemblyMessage has the members of all messages that the tests look at.
type assemblyMessage struct {
	assemblyTurn
	ID        string
	ExpiresAt int64   `json:"expires_at"`
	Audio     float64 `json:"audio_duration_seconds"`
	Code      uint16  `json:"error_code"`
	Error     string
}

// word returns the kind of a message in one word.
func (m assemblyMessage) word() string {
	switch {
	case m.Formatted:
		return "formatted"
	case m.End:
		return "end"
	case m.Type == "Turn":
		return "partial"
	}
	return m.Type
}

// dialAssembly opens a stream.
func dialAssembly(t *testing.T, h http.Handler, query string, lines ...string) *wstest.Peer {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	p := wstest.Dial(t, addr, "GET /v3/ws?"+query+" HTTP/1.1\r\nHost: "+addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+wstest.Key+
		"\r\n"+strings.Join(append(lines, ""), "\r\n")+"\r\n")
	resp, err := http.ReadResponse(p.Reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the answer is %v, %v", resp, err)
	}
	return p
}

// wantAssembly reads messages up to a Close frame with this code, and checks their words. Several
// partial turns are one word.
func wantAssembly(t *testing.T, p *wstest.Peer, code uint16, want string) (all []assemblyMessage) {
	t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
	var words []string
	for {
		f := p.Next()
		if f.Opcode == wstest.OpClose {
			if len(f.Payload) < 2 || binary.BigEndian.Uint16([]byte(f.Payload)) != code {
				t.Errorf("the Close frame is %v, want the code %d", f, code)
			}
			break
		}
		var m assemblyMessage
		if err := json.Unmarshal([]byte(f.Payload), &m); err != nil {
			t.Fatalf("%v: %v", err, f)
		}
		all, words = append(all, m), append(words, m.word())
	}
	if got := strings.Join(slices.Compact(words), " "); got != want {
		t.Errorf("the messages are %s, want %s", got, want)
	}
	return all
}

const assemblyLine = "Authorization: " + assemblyKey

func TestAssemblyAI_AStreamTellsTurns(t *testing.T) {
	t.Parallel()
	for format, turn := range map[string]string{"": "partial end", "&format_turns=true": "partial end formatted"} {
		p := dialAssembly(t, NewAssemblyAI(Config{Key: assemblyKey}), "sample_rate=16000&encoding=pcm_s16le"+format, assemblyLine)
		for piece := range slices.Chunk(SpeechWAV()[44:], 3200) {
			_ = p.SendBinary(append(piece, make([]byte, 3200-len(piece))...))
			p.SendText(`{"type":"KeepAlive"}`)
		}
		p.SendText(`{"type":"Terminate"}`)
		all := wantAssembly(t, p, 1000, "Begin "+strings.Repeat(turn+" ", 3)+"Termination")
		if begin := all[0]; len(begin.ID) != 36 || begin.ExpiresAt < time.Now().Add(2*time.Hour).Unix() {
			t.Errorf("%q: the stream begins with %+v", format, begin)
		}
		if last := all[len(all)-1]; last.Audio != 5.9 {
			t.Errorf("%q: the stream ends with %+v", format, last)
		}
		last := all[len(all)-2]
		want := map[bool]string{false: "speech-3", true: "speech 3 (1.50 s)"}[last.Formatted]
		if last.Order != 2 || last.Transcript != want || last.Confidence != 1 || len(last.Words) != 1 || !last.Words[0].Final || last.Words[0].Start != 3650 || last.Words[0].End != 5150 {
			t.Errorf("%q: the last turn is %+v", format, last.assemblyTurn)
		}
		if first := all[1]; first.Transcript != "" || first.Words[0].Final || first.Order != 0 {
			t.Errorf("%q: the first partial turn is %+v", format, first.assemblyTurn)
		}
	}
}

func TestAssemblyAI_ForceEndpointEndsTheTurnSoFar(t *testing.T) {
	t.Parallel()
	p := dialAssembly(t, NewAssemblyAI(Config{Key: assemblyKey}), "sample_rate=8000&encoding=pcm_mulaw", assemblyLine)
	layout := pcm{rate: 8000, channels: 1, bits: 8, law: muLaw}
	_ = p.SendBinary(samples(layout, 440, stretch{200 * time.Millisecond, 0}, stretch{300 * time.Millisecond, 0.5}))
	p.SendText(`{"type":"ForceEndpoint"}`)
	p.SendText(`{"type":"ForceEndpoint"}`) // without speech
	p.SendText(`{"type":"UpdateConfiguration","format_turns":true,"max_turn_silence":100}`)
	_ = p.SendBinary(samples(layout, 440, stretch{300 * time.Millisecond, 0.5}))
	p.SendText(`{"type":"Terminate"}`)
	all := wantAssembly(t, p, 1000, "Begin end formatted Termination")
	if len(all) != 5 || all[1].Words[0].Start != 200 || all[1].Words[0].End != 500 || all[2].Words[0].Start != 500 || all[4].Audio != 0.8 {
		t.Errorf("the messages are %+v", all)
	}
}

func TestAssemblyAI_AStreamEndsWithAnErrorAsTheVendors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		query string
		do    func(*wstest.Peer)
		code  uint16
		want  string
	}{
		"text":            {"sample_rate=16000", func(p *wstest.Peer) { p.SendText("hello") }, 3006, "Invalid JSON: hello"},
		"an array":        {"sample_rate=16000", func(p *wstest.Peer) { p.SendText("[]") }, 3006, "Invalid Message: []"},
		"an unknown type": {"sample_rate=16000", func(p *wstest.Peer) { p.SendText(`{"type":"x"}`) }, 3006, "Invalid Message Type: "},
		"too short":       {"sample_rate=16000", func(p *wstest.Peer) { _ = p.SendBinary(make([]byte, 1598)) }, 3007, "Input duration violation: 49.9 ms. Expected between 50 and 1000 ms"},
		"too long":        {"sample_rate=16000", func(p *wstest.Peer) { _ = p.SendBinary(make([]byte, 32002)) }, 3007, "Input duration violation: 1000.1 ms"},
		"silence":         {"sample_rate=16000", func(*wstest.Peer) {}, 3005, "Session Cancelled"},
		"no rate":         {"", func(*wstest.Peer) {}, 3006, `sample_rate ""`},
		"an encoding":     {"sample_rate=16000&encoding=opus", func(*wstest.Peer) {}, 3006, `encoding "opus"`},
	} {
		p := dialAssembly(t, NewAssemblyAI(Config{Key: assemblyKey, StreamIdle: 100 * time.Millisecond}), test.query, assemblyLine)
		test.do(p)
		words := "Begin Error"
		if strings.Contains(test.want, `"`) {
			words = "Error"
		}
		all := wantAssembly(t, p, test.code, words)
		if last := all[len(all)-1]; last.Code != test.code || !strings.HasPrefix(last.Error, test.want) {
			t.Errorf("%s: the error is %+v", name, last)
		}
	}
}

func TestAssemblyAI_AStreamIsRefusedAfterTheHandshake(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, Config{})
	mint := func() string {
		var got struct{ Token string }
		a.call("GET", "/v3/token?expires_in_seconds=60", nil, 200, &got)
		return got.Token
	}
	refused := func(name, query string, lines ...string) {
		t.Helper()
		p := dialAssembly(t, a.h, "sample_rate=16000"+query, lines...)
		if all := wantAssembly(t, p, 1008, "Error"); len(all) != 1 || all[0].Error != "Unauthorized Connection: Missing Authorization header" {
			t.Errorf("%s: %+v", name, all)
		}
	}
	open := func(query string) {
		t.Helper()
		p := dialAssembly(t, a.h, "sample_rate=16000"+query)
		p.SendText(`{"type":"Terminate"}`)
		wantAssembly(t, p, 1000, "Begin Termination")
	}
	token, late := mint(), mint()
	refused("no key", "")
	refused("another key", "", "Authorization: x")
	refused("a scheme", "", "Authorization: Bearer "+assemblyKey)
	refused("a key as a token", "&token="+assemblyKey)
	refused("a token as a key", "", "Authorization: "+mint())
	refused("a token and a key", "&token="+mint(), assemblyLine)
	refused("two tokens", "&token="+mint()+"&token="+mint())
	refused("a changed token", "&token=1"+mint())
	open("&token=" + token)
	refused("a token again", "&token="+token)
	a.clock = a.clock.Add(time.Minute - time.Millisecond)
	open("&token=" + late)
	late = mint()
	a.clock = a.clock.Add(time.Minute)
	refused("an expired token", "&token="+late)
	open("&token=" + mint())
	if n := len(a.h.used.ends); n != 1 {
		t.Errorf("the sandbox remembers %d tokens, want the one that has not expired", n)
	}
}
