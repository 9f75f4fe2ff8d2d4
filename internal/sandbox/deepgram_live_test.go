package sandbox

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

// deepgramMessage has the members of all messages that the tests look at.
type deepgramMessage struct {
	Type         string
	Event        string
	IsFinal      bool `json:"is_final"`
	FromFinalize bool `json:"from_finalize"`
	Start        float64
	Duration     float64
	Channel      json.RawMessage
	Transcript   string
	SequenceID   *int `json:"sequence_id"`
	Timestamp    float64
	LastWordEnd  float64 `json:"last_word_end"`
	RequestID    string  `json:"request_id"`
	Description  string
	SHA256       string
}

// word returns the kind of a message in one word.
func (m deepgramMessage) word() string {
	switch {
	case m.Type == "TurnInfo":
		return m.Event
	case m.FromFinalize:
		return "finalized"
	case m.IsFinal:
		return "final"
	case m.Type == "Results":
		return "interim"
	}
	return m.Type
}

// dialDeepgram opens a stream.
func dialDeepgram(t *testing.T, cfg Config, path string, lines ...string) (*wstest.Peer, http.Header) {
	t.Helper()
	cfg.Key = deepgramKey
	server := httptest.NewServer(NewDeepgram(cfg))
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	p := wstest.Dial(t, addr, "GET "+path+" HTTP/1.1\r\nHost: "+addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+wstest.Key+
		"\r\n"+strings.Join(append(lines, ""), "\r\n")+"\r\n")
	resp, err := http.ReadResponse(p.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Header.Set("Status", resp.Status)
	return p, resp.Header
}

// messages reads messages up to a Close frame with this code.
func messagesUntil(t *testing.T, p *wstest.Peer, code byte) []deepgramMessage {
	t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
	var all []deepgramMessage
	for {
		f := p.Next()
		if f.Opcode == wstest.OpClose {
			if len(f.Payload) < 2 || f.Payload[0] != 3 || f.Payload[1] != code {
				t.Errorf("the Close frame is %v", f)
			}
			return all
		}
		var m deepgramMessage
		if err := json.Unmarshal([]byte(f.Payload), &m); err != nil {
			t.Fatalf("%v: %v", err, f)
		}
		all = append(all, m)
	}
}

// The low bytes of the codes 1000, 1008 and 1011.
const (
	normal, unsupported, serverError = 232, 240, 243
)

func wordsOf(all []deepgramMessage) string {
	words := make([]string, 0, len(all))
	for _, m := range all {
		words = append(words, m.word())
	}
	return strings.Join(words, " ")
}

const authorizationLine = "Authorization: " + asKey

func TestDeepgram_LiveSendsWhatTheClientAsksFor(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"": "final final final finalized Metadata",
		"interim_results=true&vad_events=true&utterance_end_ms=1000": "SpeechStarted interim final UtteranceEnd SpeechStarted interim final UtteranceEnd SpeechStarted interim final UtteranceEnd finalized Metadata",
		"vad_events=true": "SpeechStarted final SpeechStarted final SpeechStarted final finalized Metadata",
	} {
		p, header := dialDeepgram(t, Config{}, "/v1/listen?model=nova-3&"+query, authorizationLine)
		if header.Get("Status") != "101 Switching Protocols" || header.Get("Sec-WebSocket-Protocol") != "" {
			t.Fatalf("%q: the answer is %v", query, header)
		}
		p.SendText(`{"type":"KeepAlive"}`)
		p.SendText(`{"type":"Finalize"}`) // before the header of the audio
		for piece := range slices.Chunk(SpeechWAV(), 999) {
			if err := p.SendBinary(piece); err != nil {
				t.Fatal(err)
			}
		}
		p.SendText(`{"type":"Finalize"}`) // after the end of the file
		p.SendText(`{ "type": "CloseStream" }`)
		all := messagesUntil(t, p, normal)
		words := wordsOf(all)
		for strings.Contains(words, "interim interim") {
			words = strings.ReplaceAll(words, "interim interim", "interim")
		}
		if words != want {
			t.Errorf("%q: the messages are %s", query, words)
		}
		last := all[len(all)-1]
		if last.Duration != 5.818625 || len(last.SHA256) != 64 || len(last.RequestID) != 36 {
			t.Errorf("%q: the metadata is %+v", query, last)
		}
	}
}

// Raw audio, the key as a subprotocol, and Finalize in the middle of speech.
func TestDeepgram_FinalizeEndsTheSpeechSoFar(t *testing.T) {
	t.Parallel()
	p, header := dialDeepgram(t, Config{}, "/v1/listen?encoding=linear16&sample_rate=8000", "Sec-WebSocket-Protocol: token, "+deepgramKey+", x-deepgram-session-id, 1")
	if got := header.Get("Sec-WebSocket-Protocol"); got != "token" {
		t.Fatalf("the answer is %v", header)
	}
	layout := pcm{rate: 8000, channels: 1, bits: 16}
	_ = p.SendBinary(samples(layout, 440, stretch{time.Second, 0}, stretch{time.Second, 0.5}))
	p.SendText(`{"type":"Finalize"}`)
	var first, second deepgramMessage
	for _, m := range []*deepgramMessage{&first, &second} {
		if f := p.Next(); json.Unmarshal([]byte(f.Payload), m) != nil {
			t.Fatalf("got %v", f)
		}
	}
	if first.word() != "final" || first.Start != 1 || first.Duration != 1 || second.word() != "finalized" || second.Start != 2 {
		t.Errorf("the messages are %+v and %+v", first, second)
	}
	_ = p.SendBinary(samples(layout, 440, stretch{time.Second, 0.5}))
	_ = p.SendBinary(nil)
	all := messagesUntil(t, p, normal)
	if wordsOf(all) != "final Metadata" || all[0].Start != 2 || all[1].Duration != 3 {
		t.Errorf("the messages are %+v", all)
	}
}

func TestDeepgram_FluxTellsTurns(t *testing.T) {
	t.Parallel()
	p, _ := dialDeepgram(t, Config{}, "/v2/listen?model=flux-general-en", authorizationLine)
	_ = p.SendBinary(SpeechWAV())
	p.SendText(`{"type":"CloseStream"}`)
	all := messagesUntil(t, p, normal)
	words := wordsOf(all)
	for strings.Contains(words, "Update Update") {
		words = strings.ReplaceAll(words, "Update Update", "Update")
	}
	if words != "Connected StartOfTurn Update EndOfTurn StartOfTurn Update EndOfTurn StartOfTurn Update EndOfTurn" {
		t.Errorf("the messages are %s", words)
	}
	for i, m := range all {
		if m.SequenceID == nil || *m.SequenceID != i || m.RequestID != all[0].RequestID {
			t.Errorf("message %d is %+v", i, m)
		}
	}
}

func TestDeepgram_LiveEndsWithAnErrorAsTheVendors(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/listen", "/v2/listen"} {
		for name, test := range map[string]struct {
			do   func(*wstest.Peer)
			want string
			code byte
		}{
			"text":            {func(p *wstest.Peer) { p.SendText("hello") }, "not a JSON object", unsupported},
			"an unknown type": {func(p *wstest.Peer) { p.SendText(`{"type":"Nothing"}`) }, "unknown message type Nothing", unsupported},
			"no audio format": {func(p *wstest.Peer) { _ = p.SendBinary(make([]byte, 100)) }, "DATA-0000", unsupported},
			"silence":         {func(*wstest.Peer) {}, "NET-0001", serverError},
		} {
			p, _ := dialDeepgram(t, Config{StreamIdle: 100 * time.Millisecond}, path, authorizationLine)
			test.do(p)
			all := messagesUntil(t, p, test.code)
			if last := all[len(all)-1]; last.Type != "Error" || !strings.Contains(last.Description, test.want) {
				t.Errorf("%s, %s: the messages are %+v", path, name, all)
			}
		}
	}
	// The end of a stream without audio is no error.
	p, _ := dialDeepgram(t, Config{}, "/v1/listen", authorizationLine)
	p.SendText(`{"type":"CloseStream"}`)
	if all := messagesUntil(t, p, normal); wordsOf(all) != "Metadata" {
		t.Errorf("without audio: the messages are %+v", all)
	}
}

func TestDeepgram_RefusesAHandshakeByItsStatus(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		query, line, status string
	}{
		"no key":        {"", "X: y", "401 Unauthorized"},
		"another key":   {"", "Sec-WebSocket-Protocol: token, x", "401 Unauthorized"},
		"a wrong query": {"encoding=opus", authorizationLine, "400 Bad Request"},
	} {
		_, header := dialDeepgram(t, Config{}, "/v1/listen?"+test.query, test.line)
		if header.Get("Status") != test.status || header.Get("Dg-Error") == "" || header.Get("Dg-Request-Id") == "" {
			t.Errorf("%s: the answer is %v", name, header)
		}
	}
}
