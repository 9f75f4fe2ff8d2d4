package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/internal/wstest"
)

var mono24k = pcm{rate: 24000, channels: 1, bits: 16}

// openRealtime opens a session with these lines in the header, and reads the answer.
func openRealtime(t *testing.T, h *OpenAI, lines ...string) (*wstest.Peer, http.Header) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	c := wstest.Dial(t, addr, wstest.LibraryHandshake("/v1/realtime?intent=transcription", addr, lines...))
	c.Strict = true
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake is answered by %v, %v", resp, err)
	}
	return c, resp.Header
}

// realtimeEvent is an event of the server.
type realtimeEvent struct {
	Type       string
	EventID    string `json:"event_id"`
	ItemID     string `json:"item_id"`
	Before     string `json:"previous_item_id"`
	Delta      string
	Transcript string
	Usage      usage
	Start      int64 `json:"audio_start_ms"`
	End        int64 `json:"audio_end_ms"`
	Session    session
	Error      struct {
		Type, Code, Param string
		EventID           string `json:"event_id"`
	}
}

func nextEvent(t *testing.T, c *wstest.Peer) (e realtimeEvent) {
	t.Helper()
	f := c.Next()
	if err := json.Unmarshal([]byte(f.Payload), &e); f.Opcode != wstest.OpText || err != nil || !strings.HasPrefix(e.EventID, "event_") {
		t.Fatalf("got %v, %v", f, err)
	}
	return e
}

func appendAudio(c *wstest.Peer, audio []byte, n int) {
	for piece := range slices.Chunk(audio, n) {
		c.SendText(`{"type":"input_audio_buffer.append","audio":"` + base64.StdEncoding.EncodeToString(piece) + `"}`)
	}
}

// transcript reads the events of an item.
func transcript(t *testing.T, c *wstest.Peer) (item realtimeEvent, text string) {
	t.Helper()
	item = nextEvent(t, c)
	if item.Type != "input_audio_buffer.committed" {
		t.Fatalf("got %+v", item)
	}
	for {
		e := nextEvent(t, c)
		if e.ItemID != item.ItemID {
			t.Errorf("an event of another item: %+v", e)
		}
		switch e.Type {
		case "conversation.item.input_audio_transcription.delta":
			text += e.Delta
		case "conversation.item.input_audio_transcription.completed":
			if e.Transcript != text {
				t.Errorf("the deltas are %q, the transcript is %q", text, e.Transcript)
			}
			return item, text
		default:
			t.Fatalf("got %+v", e)
		}
	}
}

func TestOpenAI_RealtimeMakesAnItemOfEachStretchOfSpeech(t *testing.T) {
	t.Parallel()
	c, header := openRealtime(t, NewOpenAI(Config{Key: "k"}), "Authorization: bearer k\r\n")
	if got := header.Get("Sec-WebSocket-Protocol"); got != "" {
		t.Errorf("the sandbox chooses the subprotocol %q", got)
	}
	if e := nextEvent(t, c); e.Type != "session.created" || e.Session.Type != "transcription" || e.Session.Audio.Input.Format.Rate != 24000 {
		t.Errorf("got %+v", e)
	}
	sound := samples(mono24k, 440, stretch{500 * time.Millisecond, 0}, stretch{second, 0.5}, stretch{500 * time.Millisecond, 0}, stretch{420 * time.Millisecond, 0.5})
	appendAudio(c, sound, 4801) // an odd size cuts samples
	for i, want := range []struct {
		start, end int64
		text       string
	}{
		{500, 1500, "speech 1 (1.00 s): 0.50-1.50 s of 24000 Hz mono, 16 bits"},
		{2000, 2420, "speech 2 (0.42 s): 2.00-2.42 s of 24000 Hz mono, 16 bits"},
	} {
		if i == 1 {
			c.SendText(`{"type":"input_audio_buffer.commit"}`)
		}
		if e := nextEvent(t, c); e.Type != "input_audio_buffer.speech_started" || e.Start != want.start {
			t.Errorf("%d: got %+v", i, e)
		}
		if e := nextEvent(t, c); e.Type != "input_audio_buffer.speech_stopped" || e.End != want.end {
			t.Errorf("%d: got %+v", i, e)
		}
		item, text := transcript(t, c)
		if text != want.text || (item.Before != "") != (i == 1) {
			t.Errorf("%d: %q of %+v", i, text, item)
		}
	}
	// What is left after the commit of silence is an empty transcript.
	appendAudio(c, samples(mono24k, 440, stretch{200 * time.Millisecond, 0}), 4800)
	c.SendText(`{"type":"input_audio_buffer.commit"}`)
	if _, text := transcript(t, c); text != "" {
		t.Errorf("silence is %q", text)
	}
}

func TestOpenAI_RealtimeCommits(t *testing.T) {
	t.Parallel()
	c, _ := openRealtime(t, NewOpenAI(Config{Key: "k"}), "Authorization: Bearer k\r\n")
	_ = nextEvent(t, c)
	c.SendText(`{"type":"session.update","session":{"type":"transcription","audio":{"input":{"format":{"type":"audio/pcmu"},"transcription":{"model":"whisper-1"},"turn_detection":null}}}}`)
	if e := nextEvent(t, c); e.Type != "session.updated" || e.Session.Audio.Input.Format != (audioFormat{Type: "audio/pcmu"}) || string(e.Session.Audio.Input.Transcription) != `{"model":"whisper-1"}` {
		t.Errorf("got %+v", e)
	}
	sound := samples(pcm{rate: 8000, channels: 1, bits: 8, law: muLaw}, 440, stretch{500 * time.Millisecond, 0}, stretch{second, 0.5}, stretch{500 * time.Millisecond, 0})
	appendAudio(c, sound, 1000)
	c.SendText(`{"type":"input_audio_buffer.clear"}`)
	if e := nextEvent(t, c); e.Type != "input_audio_buffer.cleared" {
		t.Errorf("got %+v", e)
	}
	var before string
	for range 2 {
		appendAudio(c, sound, 1000)
		c.SendText(`{"type":"input_audio_buffer.commit"}`)
		item, text := transcript(t, c)
		if !strings.HasPrefix(text, "2.00 s of 8000 Hz mono, 8 bits mu-law, 1 stretch of speech: 0.50-1.50 s") || item.Before != before {
			t.Errorf("%q of %+v, after %s", text, item, before)
		}
		before = item.ItemID
	}
}

func TestOpenAI_RealtimeErrorsDoNotEndTheSession(t *testing.T) {
	t.Parallel()
	c, _ := openRealtime(t, NewOpenAI(Config{}))
	_ = nextEvent(t, c)
	var codes []string
	for _, event := range []string{
		`not JSON`, `{"type":"response.create","event_id":"mine"}`, `{"type":"input_audio_buffer.append","audio":"?"}`, `{"type":"input_audio_buffer.commit"}`,
		`{"type":"session.update","session":{"type":"realtime"}}`, `{"type":"session.update","session":{"audio":{"input":{"format":{"type":"audio/pcm","rate":16000}}}}}`,
	} {
		c.SendText(event)
		e := nextEvent(t, c)
		if e.Type != "error" || (e.Error.EventID == "mine") != strings.Contains(event, "mine") {
			t.Errorf("%s: %+v", event, e)
		}
		codes = append(codes, e.Error.Code)
	}
	if diff := cmp.Diff([]string{"invalid_json", "invalid_value", "invalid_value", "input_audio_buffer_commit_empty", "invalid_value", "invalid_value"}, codes); diff != "" {
		t.Error(diff)
	}
	c.Send(wstest.Raw(wstest.Fin|wstest.OpText|0x40, wstest.Mask(), 0, nil))
	c.WantClose(1002)
}

func TestOpenAI_RealtimeKeys(t *testing.T) { //nolint:tparallel // the clock moves after the subtests
	t.Parallel()
	now := newClock()
	h := NewOpenAI(Config{Key: "k", Now: now.Now})
	var minted clientSecret
	decode(t, ask(h, http.MethodPost, "/v1/realtime/client_secrets", "k", "", nil).Body.Bytes(), &minted)
	const protocols = "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key."
	for name, test := range map[string]struct {
		lines []string
		code  string // of the error; "" if the session begins
	}{
		"a subprotocol":               {[]string{protocols + "k\r\n"}, ""},
		"a client secret of a page":   {[]string{protocols + minted.Value + "\r\n"}, ""},
		"a client secret of a server": {[]string{"Authorization: Bearer " + minted.Value + "\r\n"}, ""},
		"a wrong key":                 {[]string{protocols + "nobody\r\n"}, "invalid_api_key"},
		"two keys":                    {[]string{protocols + "k\r\n", "Authorization: Bearer nobody\r\n"}, "invalid_api_key"},
		"no key":                      {[]string{"Sec-WebSocket-Protocol: realtime\r\n"}, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			c, header := openRealtime(t, h, test.lines...)
			if got, want := header.Get("Sec-WebSocket-Protocol"), strings.Contains(test.lines[0], "realtime"); (got == "realtime") != want {
				t.Errorf("the subprotocol is %q", got)
			}
			e := nextEvent(t, c)
			if test.code == "" {
				if e.Type != "session.created" {
					t.Errorf("got %+v", e)
				}
				return
			}
			if e.Type != "error" || e.Error.Type != "invalid_request_error" || test.code != "none" && e.Error.Code != test.code {
				t.Errorf("got %+v", e)
			}
			c.WantClose(3000)
		})
	}
	now.advance(600 * time.Second)
	c, _ := openRealtime(t, h, protocols+minted.Value+"\r\n")
	if e := nextEvent(t, c); e.Error.Code != "invalid_api_key" {
		t.Errorf("a client secret that has expired: %+v", e)
	}
	c.WantClose(3000)
}

func TestOpenAI_RealtimeNeedsAHandshake(t *testing.T) {
	t.Parallel()
	h := NewOpenAI(Config{Key: "k"})
	if got := ask(h, http.MethodGet, "/v1/realtime", "k", "", nil); got.Code != http.StatusNotFound {
		t.Errorf("without a handshake: status %d", got.Code)
	}
	r := httptest.NewRequest(http.MethodGet, "/v1/realtime", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {wstest.Key}, "Sec-Websocket-Version": {"8"}}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusUpgradeRequired || !strings.Contains(w.Body.String(), `"error":{"message":"unknown version of WebSocket: want 13"`) {
		t.Errorf("another version: status %d, %s", w.Code, w.Body)
	}
}
