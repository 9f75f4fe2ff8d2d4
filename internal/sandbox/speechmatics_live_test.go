package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

// realTimeAnswer has the members of all messages that the tests look at.
type realTimeAnswer struct {
	Message  string
	Type     string
	Reason   string
	ID       string
	SeqNo    int `json:"seq_no"`
	Metadata struct {
		Start      float64 `json:"start_time"`
		End        float64 `json:"end_time"`
		Transcript string
	}
	Results []spokenResult
	Pack    struct {
		Delimiter string `json:"word_delimiter"`
	} `json:"language_pack_info"`
}

// dialSpeechmatics opens a WebSocket of a sandbox. It returns the status of the handshake.
func dialSpeechmatics(t *testing.T, h http.Handler, path string, lines ...string) (*wstest.Peer, int) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	p := wstest.Dial(t, addr, "GET "+path+" HTTP/1.1\r\nHost: "+addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+wstest.Key+
		"\r\n"+strings.Join(append(lines, ""), "\r\n")+"\r\n")
	resp, err := http.ReadResponse(p.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
	return p, resp.StatusCode
}

// startSpeechmatics opens a session with this audio format and more of the configuration.
func startSpeechmatics(t *testing.T, format, more string) *wstest.Peer {
	t.Helper()
	p, status := dialSpeechmatics(t, NewSpeechmatics(Config{Key: speechmaticsKey}), "/v2", "Authorization: "+asSpeechmatics)
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", status)
	}
	p.SendText(`{"audio_format":` + format + `,"transcription_config":{"language":"en"` + more + `},"message":"StartRecognition"}`)
	return p
}

// readRealTime reads messages up to a Close frame with this code and reason.
func readRealTime(t *testing.T, p *wstest.Peer, code uint16, reason string) []realTimeAnswer {
	t.Helper()
	var all []realTimeAnswer
	for {
		f := p.Next()
		if f.Opcode == wstest.OpClose {
			if len(f.Payload) < 2 || binary.BigEndian.Uint16([]byte(f.Payload)) != code || f.Payload[2:] != reason {
				t.Errorf("the Close frame is %v, want %d %s", f, code, reason)
			}
			return all
		}
		var m realTimeAnswer
		if err := json.Unmarshal([]byte(f.Payload), &m); err != nil {
			t.Fatalf("%v: %v", err, f)
		}
		all = append(all, m)
	}
}

// realTimeWords returns the kinds of messages, without the acknowledgements of audio. Partial results
// that follow each other are one word.
func realTimeWords(all []realTimeAnswer) string {
	var words []string
	for _, m := range all {
		if m.Message != "AudioAdded" {
			words = append(words, m.Message)
		}
	}
	return strings.Join(slices.CompactFunc(words, func(a, b string) bool { return a == b && a == "AddPartialTranscript" }), " ")
}

const wavFile = `{"type":"file"}`

func TestSpeechmatics_RealTimeSendsWhatTheClientAsksFor(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		"": "RecognitionStarted SpeakersResult AddTranscript AddTranscript AddTranscript EndOfUtterance EndOfUtterance EndOfTranscript",
		`,"conversation_config":{"end_of_utterance_silence_trigger":0}`: "RecognitionStarted SpeakersResult AddTranscript AddTranscript AddTranscript EndOfUtterance EndOfUtterance EndOfTranscript",
		`,"enable_partials":true,"conversation_config":{"end_of_utterance_silence_trigger":0.5}`: "RecognitionStarted SpeakersResult" +
			strings.Repeat(" AddPartialTranscript AddTranscript EndOfUtterance", 3) + " EndOfUtterance EndOfUtterance EndOfTranscript",
	} {
		p := startSpeechmatics(t, wavFile, more)
		p.SendText(`{"message":"ForceEndOfUtterance"}`) // before the header of the audio
		p.SendText(`{"message":"GetSpeakers"}`)
		sent := 0
		for piece := range slices.Chunk(SpeechWAV(), 999) {
			if err := p.SendBinary(piece); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		p.SendText(`{"message":"ForceEndOfUtterance"}`) // after the end of the file
		p.SendText(`{"message":"ForceEndOfUtterance"}`)
		p.SendText(`{"message":"EndOfStream","last_seq_no":0}`)
		all := readRealTime(t, p, closeNormal, "")
		if got := realTimeWords(all); got != want {
			t.Errorf("%q: the messages are %s", more, got)
		}
		if len(all[0].ID) != 36 || all[0].Pack.Delimiter != " " {
			t.Errorf("%q: RecognitionStarted is %+v", more, all[0])
		}
		added, partials := 0, 0
		var texts []string
		for _, m := range all {
			switch m.Message {
			case "AudioAdded":
				if added++; m.SeqNo != added {
					t.Errorf("%q: acknowledgement %d is %+v", more, added, m)
				}
			case "AddPartialTranscript":
				partials++
			case "AddTranscript":
				texts = append(texts, m.Metadata.Transcript)
			}
		}
		if strings.Join(texts, ", ") != "speech 1 (0.81 s), speech 2 (1.72 s), speech 3 (1.50 s)" {
			t.Errorf("%q: the results are %q", more, texts)
		}
		if wantPartials := 7; strings.Contains(more, "partials") && partials != wantPartials { // one for each half second
			t.Errorf("%q: %d partial results, want %d", more, partials, wantPartials)
		}
		if added != sent {
			t.Errorf("%q: %d acknowledgements of %d messages", more, added, sent)
		}
	}
}

func TestSpeechmatics_RealTimeReadsRawAudio(t *testing.T) {
	t.Parallel()
	linear := pcm{rate: 16000, channels: 1, bits: 16}
	pieces := []stretch{{time.Second, 0}, {time.Second, 0.5}, {time.Second, 0}}
	pcm16 := samples(linear, 440, pieces...)
	var floats []byte
	for block := range slices.Chunk(pcm16, 2) {
		floats = binary.LittleEndian.AppendUint32(floats, math.Float32bits(float32(int16(binary.LittleEndian.Uint16(block)))/fullScale))
	}
	for format, audio := range map[string][]byte{
		`{"type":"raw","encoding":"pcm_s16le","sample_rate":16000}`: pcm16,
		`{"type":"raw","encoding":"pcm_f32le","sample_rate":16000}`: floats,
		`{"type":"raw","encoding":"mulaw","sample_rate":8000}`:      samples(pcm{rate: 8000, channels: 1, bits: 8, law: muLaw}, 440, pieces...),
	} {
		p := startSpeechmatics(t, format, "")
		for piece := range slices.Chunk(audio, 4099) {
			_ = p.SendBinary(piece)
		}
		p.SendText(`{"message":"EndOfStream","last_seq_no":1}`)
		all := readRealTime(t, p, closeNormal, "")
		if realTimeWords(all) != "RecognitionStarted AddTranscript EndOfTranscript" {
			t.Fatalf("%s: the messages are %+v", format, all)
		}
		got := all[slices.IndexFunc(all, func(m realTimeAnswer) bool { return m.Message == "AddTranscript" })]
		if got.Metadata.Start != 1 || got.Metadata.End != 2 || got.Metadata.Transcript != "speech 1 (1.00 s)" || got.Results[0].Alternatives[0].Content != got.Metadata.Transcript {
			t.Errorf("%s: the result is %+v", format, got)
		}
	}
}

// In the middle of speech, the client ends the utterance, and then asks for partial results.
func TestSpeechmatics_ASessionCanBeChanged(t *testing.T) {
	t.Parallel()
	layout := pcm{rate: 8000, channels: 1, bits: 16}
	p := startSpeechmatics(t, `{"type":"raw","encoding":"pcm_s16le","sample_rate":8000}`, "")
	_ = p.SendBinary(samples(layout, 440, stretch{time.Second, 0}, stretch{time.Second, 0.5}))
	p.SendText(`{"message":"ForceEndOfUtterance"}`)
	p.SendText(`{"message":"SetRecognitionConfig","transcription_config":{"language":"fr","enable_partials":true}}`)
	_ = p.SendBinary(samples(layout, 440, stretch{time.Second, 0.5}))
	p.SendText(`{"message":"EndOfStream","last_seq_no":2}`)
	all := readRealTime(t, p, closeNormal, "")
	if got := realTimeWords(all); got != "RecognitionStarted AddTranscript EndOfUtterance AddPartialTranscript AddTranscript EndOfTranscript" {
		t.Fatalf("the messages are %s", got)
	}
	last := all[len(all)-2]
	if last.Metadata.Start != 2 || last.Metadata.End != 3 || last.Results[0].Alternatives[0].Language != "fr" {
		t.Errorf("the last result is %+v", last)
	}
}

func TestSpeechmatics_RealTimeEndsWithAnErrorAsTheVendors(t *testing.T) {
	t.Parallel()
	const start = `{"message":"StartRecognition","audio_format":{"type":"file"},"transcription_config":{"language":"en"}}`
	for name, test := range map[string]struct {
		messages []string
		word     string
	}{
		"another first message":   {[]string{`{"message":"EndOfStream"}`}, "protocol_error"},
		"no JSON":                 {[]string{start, "hello"}, "invalid_message"},
		"an unknown message":      {[]string{start, `{"message":"AddChannelAudio"}`}, "invalid_message"},
		"a second start":          {[]string{start, start}, "protocol_error"},
		"no language at all":      {[]string{strings.Replace(start, `"language":"en"`, "", 1)}, "invalid_config"},
		"a binary start":          {[]string{"\x00" + start}, "protocol_error"},
		"a rate that is too high": {[]string{strings.Replace(start, `"file"`, `"raw","encoding":"pcm_s16le","sample_rate":1048577`, 1)}, "invalid_audio_type"},
		"a file that ends early":  {[]string{start, "\x00RIFF", `{"message":"EndOfStream"}`}, "invalid_audio_type"},
		"no language":             {[]string{strings.Replace(start, `"en"`, `""`, 1)}, "invalid_config"},
		"no configuration":        {[]string{`{"message":"StartRecognition","audio_format":{"type":"file"}}`}, "invalid_config"},
		"a change of nothing":     {[]string{start, `{"message":"SetRecognitionConfig"}`}, "invalid_config"},
		"another type of audio":   {[]string{strings.Replace(start, `"file"`, `"url"`, 1)}, "invalid_audio_type"},
		"raw audio without rate":  {[]string{strings.Replace(start, `"file"`, `"raw","encoding":"mulaw"`, 1)}, "invalid_audio_type"},
		"an unknown encoding":     {[]string{strings.Replace(start, `"file"`, `"raw","encoding":"opus","sample_rate":8000`, 1)}, "invalid_audio_type"},
		"a file that is not read": {[]string{start, "\x00OggS and more", `{"message":"EndOfStream"}`}, "invalid_audio_type"},
	} {
		p, _ := dialSpeechmatics(t, NewSpeechmatics(Config{}), "/v2/")
		for _, message := range test.messages {
			if audio, ok := strings.CutPrefix(message, "\x00"); ok {
				_ = p.SendBinary([]byte(audio))
				continue
			}
			p.SendText(message)
		}
		all := readRealTime(t, p, closeWrongMessage, "protocol_error")
		if len(all) == 0 {
			t.Errorf("%s: no message", name)
			continue
		}
		if last := all[len(all)-1]; last.Message != "Error" || last.Type != test.word || last.Reason == "" {
			t.Errorf("%s: the last message is %+v", name, last)
		}
	}
	p, _ := dialSpeechmatics(t, NewSpeechmatics(Config{StreamIdle: 50 * time.Millisecond}), "/v2")
	p.SendText(start)
	all := readRealTime(t, p, closePolicy, "policy_violation")
	if realTimeWords(all) != "RecognitionStarted Error" || all[1].Type != "idle_timeout" {
		t.Errorf("a silent client: %+v", all)
	}
	p, _ = dialSpeechmatics(t, NewSpeechmatics(Config{}), "/v2")
	p.SendText(start)
	_, _ = p.Write([]byte{0xF1, 0x80, 0, 0, 0, 0}) // reserved bits
	all = readRealTime(t, p, closeProtocol, "protocol_error")
	if last := all[len(all)-1]; last.Type != "protocol_error" || !strings.Contains(last.Reason, "reserved bit") {
		t.Errorf("reserved bits: %+v", all)
	}
	p, _ = dialSpeechmatics(t, NewSpeechmatics(Config{}), "/v2")
	p.SendText(start)
	p.SendText(`{"message":"EndOfStream","last_seq_no":0}`)
	if all := readRealTime(t, p, closeNormal, ""); realTimeWords(all) != "RecognitionStarted EndOfTranscript" {
		t.Errorf("without audio: %+v", all)
	}
}

func TestSpeechmatics_AHandshakeHasAKeyOrATemporaryKey(t *testing.T) {
	t.Parallel()
	c := speechmaticsClient{t, NewSpeechmatics(Config{Key: speechmaticsKey}), asSpeechmatics}
	bearerOf := func(other speechmaticsClient) string { return strings.TrimPrefix(other.authorization, "Bearer ") }
	rt, batch := bearerOf(c.mint("?type=rt", `{"ttl":60}`)), bearerOf(c.mint("?type=batch", `{"ttl":60}`))
	for _, test := range []struct {
		path, line string
		want       int
	}{
		{"/v2", "Authorization: " + asSpeechmatics, 101},
		{"/v2/?x=1", "Authorization: bEARER " + speechmaticsKey, 101},
		{"/v2?jwt=" + rt, "X: y", 101},
		{"/v2", "Authorization: Bearer " + rt, 101},
		{"/v2?jwt=" + rt, "Authorization: Bearer " + rt, 101},
		{"/v2", "X: y", 401},
		{"/v2?jwt=" + speechmaticsKey, "X: y", 401},
		{"/v2?jwt=" + speechmaticsKey, "Authorization: " + asSpeechmatics, 401},
		{"/v2?jwt=" + rt, "Authorization: " + asSpeechmatics, 401},
		{"/v2?jwt=" + rt + "&jwt=x", "X: y", 401},
		{"/v2?jwt=" + batch, "X: y", 401},
		{"/v2?jwt=" + rt, "Authorization: Bearer " + bearerOf(c.mint("?type=rt", `{"ttl":60}`)), 401},
		{"/v2?jwt=x", "X: y", 401},
		{"/v2/en", "Authorization: " + asSpeechmatics, 404},
	} {
		if _, got := dialSpeechmatics(t, c.h, test.path, test.line); got != test.want {
			t.Errorf("%s, %s: status %d, want %d", test.path, test.line, got, test.want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/v2?jwt="+rt, nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	w := httptest.NewRecorder()
	if c.h.ServeHTTP(w, r); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "Sec-WebSocket-Key") {
		t.Errorf("half a handshake: status %d, %s", w.Code, w.Body)
	}
}

func TestFloatSamplesAreReadInAnyPieces(t *testing.T) {
	t.Parallel()
	var floats, want []byte
	for v, sample := range map[float32]int16{0: 0, 0.5: 16384, -1: -32768, 1: 32767, 7: 32767, -7: -32768} {
		floats = binary.LittleEndian.AppendUint32(floats, math.Float32bits(v))
		want = binary.LittleEndian.AppendUint16(want, uint16(sample))
	}
	floats = append(floats, 1, 2, 3) // an incomplete sample
	for name, r := range map[string]io.Reader{"bytes": iotest.OneByteReader(strings.NewReader(string(floats))), "whole": strings.NewReader(string(floats))} {
		got, err := io.ReadAll(&floatSamples{r: r})
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	if n, err := (&floatSamples{r: iotest.ErrReader(errMark)}).Read(make([]byte, 8)); n != 0 || !errors.Is(err, errMark) {
		t.Errorf("%d, %v", n, err)
	}
}
