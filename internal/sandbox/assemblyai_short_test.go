package sandbox

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// shortForm returns a form as the vendor's library writes it.
func shortForm(config, contentType string, audio []byte) (string, io.Reader) {
	const boundary = "aai-0123"
	return "multipart/form-data; boundary=" + boundary, io.MultiReader(strings.NewReader("--"+boundary+"\r\nContent-Disposition: form-data; name=\"config\"\r\nContent-Type: application/json\r\n\r\n"+config+
		"\r\n--"+boundary+"\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"audio.wav\"\r\nContent-Type: "+contentType+"\r\n\r\n"), bytes.NewReader(audio), strings.NewReader("\r\n--"+boundary+"--\r\n"))
}

func TestAssemblyAI_ShortAudioIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	ask := func(maxAudio int64, config, contentType string, audio []byte) *httptest.ResponseRecorder {
		kind, body := shortForm(config, contentType, audio)
		return doWith(NewAssemblyAI(Config{Key: assemblyKey, MaxAudio: maxAudio}), "POST", "/v1/transcribe/live", body, "Authorization", assemblyKey, "Content-Type", kind, "X-AAI-Model", "universal-3-5-pro")
	}
	layout := pcm{rate: 16000, channels: 2, bits: 16}
	raw := samples(layout, 440, stretch{time.Second, 0}, stretch{time.Second, 0.5})
	for name, test := range map[string]struct {
		config, contentType string
		audio               []byte
		text                string
		words               int
		times               bool
	}{
		"a WAV file":            {"{}", "audio/wav", SpeechWAV(), heardSpeech, 3, false},
		"a WAV file with times": {`{"timestamps":true}`, "audio/wav", SpeechWAV(), heardSpeech, 3, true},
		"raw":                   {`{"sample_rate":16000,"channels":2}`, "audio/pcm", raw, "2.00 s of 16000 Hz stereo, 16 bits, 1 stretch", 1, false},
	} {
		var got shortAnswer
		w := ask(0, test.config, test.contentType, test.audio)
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Fatalf("%s: status %d, %v, %s", name, w.Code, err, w.Body)
		}
		if !strings.HasPrefix(got.Text, test.text) || len(got.Words) != test.words || got.Confidence <= 0 || got.Duration < 2000 || len(got.SessionID) != 36 || (got.Words[0].Start != nil) != test.times {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
	for name, test := range map[string]struct {
		max                 int64
		config, contentType string
		audio               []byte
		status              int
		code                string
	}{
		"no WAV file":     {0, "{}", "audio/wav", raw, 400, "bad_audio"},
		"no rate":         {0, `{"channels":1}`, "audio/pcm", raw, 400, "bad_audio"},
		"another type":    {0, "{}", "audio/flac", raw, 415, "unsupported_media_type"},
		"half the config": {0, "{", "audio/wav", SpeechWAV(), 400, "bad_request"},
		"too short":       {0, `{"sample_rate":16000,"channels":2}`, "audio/pcm", raw[:16000*4*79/1000], 400, "audio_too_short"},
		"too long":        {0, `{"sample_rate":8000,"channels":1}`, "audio/pcm", make([]byte, 8000*2*121), 413, "audio_too_large"},
		"too large":       {1000, "{}", "audio/wav", SpeechWAV(), 413, "audio_too_large"},
	} {
		var got shortError
		if w := ask(test.max, test.config, test.contentType, test.audio); json.Unmarshal(w.Body.Bytes(), &got) != nil || w.Code != test.status || got.Code != test.code || got.Message == "" {
			t.Errorf("%s: status %d, %s", name, w.Code, w.Body)
		}
	}
	kind, _ := shortForm("", "", nil)
	for name, header := range map[string][]string{
		"no model": {"Content-Type", kind}, "no form": {"X-AAI-Model", "x", "Content-Type", "audio/wav"}, "another boundary": {"X-AAI-Model", "x", "Content-Type", kind + "4"},
	} {
		_, body := shortForm("{}", "audio/wav", SpeechWAV())
		if w := doWith(NewAssemblyAI(Config{}), "POST", "/v1/transcribe/live", body, header...); w.Code != 400 || !strings.Contains(w.Body.String(), `"error_code":"bad_request"`) {
			t.Errorf("%s: status %d, %s", name, w.Code, w.Body)
		}
	}
}
