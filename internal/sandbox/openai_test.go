package sandbox

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const heardSpeech = "5.82 s of 16000 Hz mono, 16 bits, 3 stretches of speech: 0.26-1.07 s, 1.50-3.22 s, 3.65-5.15 s; peak -5.9 dBFS, RMS -25.7 dBFS"

// openAIForm returns a form whose parts are in this order. The file is speech.wav unless the part
// has a value.
func openAIForm(t testing.TB, parts ...part) (contentType string, body []byte) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, p := range parts {
		if p.name != "file" {
			if err := w.WriteField(p.name, p.value); err != nil {
				t.Fatal(err)
			}
			continue
		}
		pw, err := w.CreateFormFile("file", `a"b.wav`)
		if err != nil {
			t.Fatal(err)
		}
		audio := []byte(p.value)
		if len(audio) == 0 {
			audio = speechWAV
		}
		if _, err := pw.Write(audio); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), buf.Bytes()
}

// ask sends a request with a key; "" sends none.
func ask(h http.Handler, method, path, key, contentType string, body []byte) *httptest.ResponseRecorder {
	return doWith(h, method, path, bytes.NewReader(body), "Content-Type", contentType, "Authorization", bearerOf(key))
}

func TestOpenAI_TranscribesInEachFormat(t *testing.T) {
	t.Parallel()
	h := NewOpenAI(Config{Key: "k"})
	const srt = "1\n00:00:00,260 --> 00:00:01,070\nspeech 1 (0.81 s)\n\n2\n00:00:01,500 --> 00:00:03,220\nspeech 2 (1.72 s)\n\n3\n00:00:03,650 --> 00:00:05,150\nspeech 3 (1.50 s)\n\n"
	const vtt = "WEBVTT\n\n00:00:00.260 --> 00:00:01.070\nspeech 1 (0.81 s)\n\n00:00:01.500 --> 00:00:03.220\nspeech 2 (1.72 s)\n\n00:00:03.650 --> 00:00:05.150\nspeech 3 (1.50 s)\n\n"
	const whole = `{"text":"` + heardSpeech + `","usage":{"type":"duration","seconds":6}}` + "\r\n"
	for name, test := range map[string]struct {
		parts []part
		kind  string
		want  string
	}{
		"the file first": {[]part{{"file", ""}, {"model", "whisper-1"}}, "application/json", whole},
		"the file last":  {[]part{{"response_format", "json"}, {"model", "gpt-4o-transcribe"}, {"file", ""}}, "application/json", whole},
		"text":           {[]part{{"model", "whisper-1"}, {"file", ""}, {"response_format", "text"}}, "text/plain; charset=utf-8", heardSpeech + "\n"},
		"srt":            {[]part{{"file", ""}, {"model", "whisper-1"}, {"response_format", "srt"}}, "text/plain; charset=utf-8", srt},
		"vtt":            {[]part{{"file", ""}, {"model", "whisper-1"}, {"response_format", "vtt"}}, "text/vtt; charset=utf-8", vtt},
		"whisper-1 does not stream": {
			[]part{{"file", ""}, {"model", "whisper-1"}, {"stream", "true"}}, "application/json", whole,
		},
		"a stream": {
			[]part{{"file", ""}, {"model", "gpt-transcribe"}, {"stream", "true"}},
			"text/event-stream; charset=utf-8",
			`data: {"type":"transcript.text.delta","delta":"5.82 s of 16000 Hz mono, "}` + "\n\n" +
				`data: {"type":"transcript.text.delta","delta":"16 bits, "}` + "\n\n" +
				`data: {"type":"transcript.text.delta","delta":"3 stretches of speech: 0.26-1.07 s, "}` + "\n\n" +
				`data: {"type":"transcript.text.delta","delta":"1.50-3.22 s, "}` + "\n\n" +
				`data: {"type":"transcript.text.delta","delta":"3.65-5.15 s; peak -5.9 dBFS, "}` + "\n\n" +
				`data: {"type":"transcript.text.delta","delta":"RMS -25.7 dBFS"}` + "\n\n" +
				`data: {"type":"transcript.text.done","text":"` + heardSpeech + `","usage":{"type":"duration","seconds":6}}` + "\n\n",
		},
	} {
		kind, body := openAIForm(t, test.parts...)
		got := ask(h, http.MethodPost, "/v1/audio/transcriptions", "k", kind, body)
		if got.Code != http.StatusOK || got.Header().Get("Content-Type") != test.kind {
			t.Errorf("%s: status %d, %s, %s", name, got.Code, got.Header().Get("Content-Type"), got.Body)
		}
		if diff := cmp.Diff(test.want, got.Body.String()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestOpenAI_VerboseAnswersHaveTheStretchesOfSpeech(t *testing.T) {
	t.Parallel()
	h := NewOpenAI(Config{})
	for path, want := range map[string][2]string{
		"/v1/audio/transcriptions": {"transcribe", "de"},
		"/v1/audio/translations":   {"translate", "english"},
	} {
		kind, body := openAIForm(t, part{"file", ""}, part{"model", "whisper-1"}, part{"language", "de"}, part{"response_format", "verbose_json"})
		var got verboseTranscription
		decode(t, ask(h, http.MethodPost, path, "", kind, body).Body.Bytes(), &got)
		if got.Task != want[0] || got.Language != want[1] || got.Duration != 5.818625 || got.Text != heardSpeech || len(got.Segments) != 3 {
			t.Fatalf("%s: %+v", path, got)
		}
		if s := got.Segments[1]; s.ID != 1 || s.Start != 1.5 || s.End != 3.22 || s.Text != "speech 2 (1.72 s)" || s.NoSpeechProb <= 0 || s.AvgLogprob >= 0 {
			t.Errorf("%s: the second segment is %+v", path, s)
		}
	}
}

func TestOpenAI_FailuresAreTheVendors(t *testing.T) {
	t.Parallel()
	h := NewOpenAI(Config{Key: "k", MaxAudio: 200_000})
	const transcriptions, translations = "/v1/audio/transcriptions", "/v1/audio/translations"
	file, whisper := part{"file", ""}, part{"model", "whisper-1"}
	for name, test := range map[string]struct {
		path, key string
		parts     []part
		status    int
		code      any
		param     any
	}{
		"no key":             {transcriptions, "", []part{file, whisper}, 401, nil, nil},
		"a wrong key":        {transcriptions, "nobody", []part{file, whisper}, 401, "invalid_api_key", nil},
		"an unknown path":    {"/v1/chat/completions", "k", nil, 404, nil, nil},
		"no model":           {transcriptions, "k", []part{file}, 400, "missing_required_parameter", "model"},
		"no file":            {transcriptions, "k", []part{whisper}, 400, "missing_required_parameter", "file"},
		"an unknown model":   {transcriptions, "k", []part{file, {"model", "whisper-9"}}, 404, "model_not_found", "model"},
		"a model without it": {translations, "k", []part{file, {"model", "gpt-4o-transcribe"}}, 404, "model_not_found", "model"},
		"a format":           {transcriptions, "k", []part{file, {"model", "gpt-4o-transcribe"}, {"response_format", "srt"}}, 400, "unsupported_value", "response_format"},
		"an unknown format":  {transcriptions, "k", []part{file, whisper, {"response_format", "xml"}}, 400, "unsupported_value", "response_format"},
		"no audio":           {transcriptions, "k", []part{{"file", "not a recording"}, whisper}, 400, "invalid_value", "file"},
		"too much audio":     {transcriptions, "k", []part{{"file", strings.Repeat("x", 200_001)}, whisper}, 413, nil, nil},
	} {
		kind, body := openAIForm(t, test.parts...)
		got := ask(h, http.MethodPost, test.path, test.key, kind, body)
		var answer struct {
			Error struct {
				Message, Type string
				Param, Code   any
			}
		}
		decode(t, got.Body.Bytes(), &answer)
		if e := answer.Error; got.Code != test.status || e.Code != test.code || e.Param != test.param || e.Message == "" || e.Type != "invalid_request_error" {
			t.Errorf("%s: status %d, %s", name, got.Code, got.Body)
		}
		if strings.Contains(got.Body.String(), "nobody") || len(got.Header().Get("X-Request-Id")) != len("req_")+24 {
			t.Errorf("%s: %v, %s", name, got.Header(), got.Body)
		}
	}
	for name, kind := range map[string]string{"JSON": "application/json", "no boundary": "multipart/form-data", "another boundary": "multipart/form-data; boundary=x"} {
		_, body := openAIForm(t, file, whisper)
		if got := ask(h, http.MethodPost, transcriptions, "k", kind, body); got.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d, %s", name, got.Code, got.Body)
		}
	}
}

func TestOpenAI_ListsItsModels(t *testing.T) {
	t.Parallel()
	h := NewOpenAI(Config{Key: "k"})
	var list modelList
	decode(t, ask(h, http.MethodGet, "/v1/models", "k", "", nil).Body.Bytes(), &list)
	var ids []string
	for _, m := range list.Data {
		ids = append(ids, m.ID)
		var one model
		decode(t, ask(h, http.MethodGet, "/v1/models/"+m.ID, "k", "", nil).Body.Bytes(), &one)
		if one != m || one.Object != "model" {
			t.Errorf("%s: %+v", m.ID, one)
		}
	}
	if diff := cmp.Diff([]string{"gpt-4o-mini-transcribe", "gpt-4o-transcribe", "gpt-transcribe", "whisper-1"}, ids); diff != "" {
		t.Error(diff)
	}
	if got := ask(h, http.MethodGet, "/v1/models/whisper-9", "k", "", nil); got.Code != http.StatusNotFound || !strings.Contains(got.Body.String(), `"code":"model_not_found"`) {
		t.Errorf("status %d, %s", got.Code, got.Body)
	}
}

func TestOpenAI_PagesOfEveryOriginMayCall(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodOptions, "/v1/audio/transcriptions", nil)
	r.Header.Set("Access-Control-Request-Method", http.MethodPost)
	r.Header.Set("Access-Control-Request-Headers", "authorization,x-stainless-lang")
	w := httptest.NewRecorder()
	NewOpenAI(Config{Key: "k"}).ServeHTTP(w, r)
	if w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Headers") != "authorization,x-stainless-lang" {
		t.Errorf("status %d, %v", w.Code, w.Header())
	}
}

func TestOpenAI_ClientSecrets(t *testing.T) {
	t.Parallel()
	now := newClock()
	h := NewOpenAI(Config{Key: "k", Now: now.Now})
	mint := func(body string) (*httptest.ResponseRecorder, clientSecret) {
		got := ask(h, http.MethodPost, "/v1/realtime/client_secrets", "k", "application/json", []byte(body))
		var made clientSecret
		if got.Code == http.StatusOK {
			decode(t, got.Body.Bytes(), &made)
		}
		return got, made
	}
	_, made := mint(`{"expires_after":{"anchor":"created_at","seconds":30},"session":{"type":"transcription","audio":{"input":{"format":{"type":"audio/pcmu"},"turn_detection":null}}}}`)
	if !strings.HasPrefix(made.Value, "ek_") || made.ExpiresAt != now.Now().Add(30*time.Second).Unix() || made.Session.Audio.Input.Format.Type != "audio/pcmu" || string(made.Session.Audio.Input.TurnDetection) != "null" {
		t.Errorf("the secret is %+v", made)
	}
	if _, other := mint(""); other.ExpiresAt != now.Now().Add(600*time.Second).Unix() || other.Value == made.Value {
		t.Errorf("without a body: %+v", other)
	}
	// A client secret is a key of WebSockets only.
	if got := ask(h, http.MethodGet, "/v1/models", made.Value, "", nil); got.Code != http.StatusUnauthorized {
		t.Errorf("the secret lists models: status %d", got.Code)
	}
	for _, body := range []string{
		"{", `{"expires_after":{"seconds":9}}`, `{"expires_after":{"seconds":7201}}`, `{"session":{"type":"realtime"}}`,
		`{"session":{"audio":{"input":{"format":{"type":"audio/pcm","rate":16000}}}}}`, `{"session":{"audio":{"input":{"format":{"type":"audio/mp3"}}}}}`,
	} {
		if got, _ := mint(body); got.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", body, got.Code)
		}
	}
	if got := ask(h, http.MethodPost, "/v1/realtime/client_secrets", "", "", nil); got.Code != http.StatusUnauthorized {
		t.Errorf("without a key: status %d", got.Code)
	}
	for range maxClientSecrets - 2 {
		mint("")
	}
	if got, _ := mint(""); got.Code != http.StatusTooManyRequests {
		t.Errorf("too many secrets: status %d", got.Code)
	}
	now.advance(30 * time.Second)
	if got, _ := mint(""); got.Code != http.StatusOK {
		t.Errorf("after a secret has expired: status %d, %s", got.Code, got.Body)
	}
}

func FuzzOpenAI(f *testing.F) {
	kind, body := openAIForm(f, part{"file", ""}, part{"model", "whisper-1"}, part{"response_format", "srt"})
	f.Add(kind, body)
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=model\r\n\r\ny\r\n--x--"))
	h := NewOpenAI(Config{})
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/v1/audio/transcriptions", bytes.NewReader(body))
		r.Header["Content-Type"] = []string{kind}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		answer, err := io.ReadAll(w.Body)
		if err != nil || w.Code == http.StatusOK && len(answer) == 0 {
			t.Errorf("status %d, %q, %v", w.Code, answer, err)
		}
		if w.Code != http.StatusOK && !json.Valid(answer) {
			t.Errorf("status %d, %q", w.Code, answer)
		}
	})
}
