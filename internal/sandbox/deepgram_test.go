package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const deepgramKey = "the-key"

const asKey = "Token " + deepgramKey

func deepgramAnswerOf(t *testing.T, w *httptest.ResponseRecorder) deepgramAnswer {
	t.Helper()
	var answer deepgramAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || len(answer.Results.Channels) != 1 {
		t.Fatalf("status %d, %v, %s", w.Code, err, w.Body)
	}
	return answer
}

func TestDeepgram_MeasuresARecordingOfAnyContentType(t *testing.T) {
	t.Parallel()
	h := NewDeepgram(Config{Key: deepgramKey})
	sum := sha256.Sum256(SpeechWAV())
	for _, contentType := range []string{"", "audio/wav", "application/octet-stream", "application/x-www-form-urlencoded"} {
		header := []string{"Authorization", asKey}
		if contentType != "" {
			header = append(header, "Content-Type", contentType)
		}
		w := doWith(h, http.MethodPost, "/v1/listen?model=nova-3&tag=a&tag=b&utterances=true", iotest.OneByteReader(bytes.NewReader(SpeechWAV())), header...)
		answer := deepgramAnswerOf(t, w)
		m, best := answer.Metadata, answer.Results.Channels[0].Alternatives[0]
		if m.Duration != 5.818625 || m.SHA256 != hex.EncodeToString(sum[:]) || m.Channels != 1 || m.RequestID != w.Header().Get("Dg-Request-Id") || len(m.RequestID) != 36 {
			t.Errorf("%q: the metadata is %+v", contentType, m)
		}
		if m.ModelInfo[m.Models[0]].Name != "nova-3" || !slices.Equal(m.Tags, []string{"a", "b"}) {
			t.Errorf("%q: the parameters have become %+v", contentType, m)
		}
		if !strings.HasPrefix(best.Transcript, "5.82 s of 16000 Hz mono") || len(best.Words) != 3 || best.Words[2].Word != "speech-3" || best.Words[2].Start < 3.6 || best.Words[2].End > 5.2 || best.Confidence <= 0 {
			t.Errorf("%q: the result is %+v", contentType, best)
		}
		if len(answer.Results.Utterances) != 3 || answer.Results.Utterances[0].Transcript != best.Words[0].PunctuatedWord {
			t.Errorf("%q: the utterances are %+v", contentType, answer.Results.Utterances)
		}
	}
}

func TestDeepgram_ReadsRawAudioByTheParameters(t *testing.T) {
	t.Parallel()
	h := NewDeepgram(Config{Key: deepgramKey})
	for query, layout := range map[string]pcm{
		"encoding=linear16&sample_rate=24000":            {rate: 24000, channels: 1, bits: 16},
		"encoding=linear16&sample_rate=16000&channels=2": {rate: 16000, channels: 2, bits: 16},
		"encoding=mulaw":                 {rate: 8000, channels: 1, bits: 8, law: muLaw},
		"encoding=alaw&sample_rate=8000": {rate: 8000, channels: 1, bits: 8, law: aLaw},
	} {
		audio := samples(layout, 440, stretch{time.Second, 0}, stretch{time.Second, 0.5})
		answer := deepgramAnswerOf(t, doWith(h, http.MethodPost, "/v1/listen?"+query, bytes.NewReader(audio), "Authorization", asKey))
		best := answer.Results.Channels[0].Alternatives[0]
		if answer.Metadata.Duration != 2 || answer.Metadata.Channels != layout.channels || len(best.Words) != 1 || best.Words[0].Start != 1 {
			t.Errorf("%s: %+v", query, answer)
		}
	}
	for query, want := range map[string]string{
		"encoding=opus": `encoding \"opus\"`, "encoding=linear16": "no sample_rate", "encoding=linear16&sample_rate=x": `sample_rate \"x\"`,
		"encoding=mulaw&sample_rate=16000": "needs 8000", "encoding=linear16&sample_rate=8000&channels=3": "channels 3",
	} {
		w := doWith(h, http.MethodPost, "/v1/listen?"+query, strings.NewReader("audio"), "Authorization", asKey)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) || !strings.Contains(w.Body.String(), `"err_code":"INVALID_QUERY_PARAMETER"`) {
			t.Errorf("%s: status %d, %s", query, w.Code, w.Body)
		}
	}
}

func TestDeepgram_RefusesRecordingsThatItCannotRead(t *testing.T) {
	t.Parallel()
	h := NewDeepgram(Config{Key: deepgramKey, MaxAudio: 100})
	for name, test := range map[string]struct {
		body   io.Reader
		status int
		code   string
	}{
		"no audio":    {strings.NewReader(""), 400, "Bad Request"},
		"text":        {strings.NewReader("hello, this is no audio"), 400, "Bad Request"},
		"too large":   {bytes.NewReader(SpeechWAV()), 413, "PAYLOAD_TOO_LARGE"},
		"half a file": {io.MultiReader(bytes.NewReader(SpeechWAV()[:60]), iotest.ErrReader(io.ErrUnexpectedEOF)), 400, "INVALID_REQUEST"},
	} {
		w := doWith(h, http.MethodPost, "/v1/listen", test.body, "Authorization", asKey)
		if w.Code != test.status || !strings.Contains(w.Body.String(), `"err_code":"`+test.code+`"`) {
			t.Errorf("%s: status %d, %s", name, w.Code, w.Body)
		}
	}
}

func TestDeepgram_AnswersAURLWithoutFetchingIt(t *testing.T) {
	t.Parallel()
	h := NewDeepgram(Config{Key: deepgramKey})
	asked := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	defer server.Close()
	body := func(text string) *httptest.ResponseRecorder {
		return doWith(h, http.MethodPost, "/v1/listen", strings.NewReader(text), "Authorization", asKey, "Content-Type", "application/json; charset=utf-8")
	}
	if answer := deepgramAnswerOf(t, body(`{"url":"`+server.URL+`/a.wav"}`)); answer.Metadata.Duration != 5.818625 {
		t.Errorf("the answer is %+v", answer)
	}
	for _, text := range []string{"", "{}", `{"url":"file:///a.wav"}`, `{"url":1}`} {
		if w := body(text); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "INVALID_REQUEST") {
			t.Errorf("%q: status %d, %s", text, w.Code, w.Body)
		}
	}
	w := doWith(h, http.MethodPost, "/v1/listen?callback="+server.URL, bytes.NewReader(SpeechWAV()), "Authorization", asKey)
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"request_id":"`+w.Header().Get("Dg-Request-Id")+`"}` {
		t.Errorf("with a callback: status %d, %s", w.Code, w.Body)
	}
	select {
	case <-asked:
		t.Error("the sandbox has fetched a URL")
	default:
	}
}

func TestDeepgram_RefusesEveryOtherKeyAsTheVendorDoes(t *testing.T) {
	t.Parallel()
	h := NewDeepgram(Config{Key: deepgramKey})
	for name, header := range map[string][]string{
		"no key":             nil,
		"another key":        {"Authorization", "Token x"},
		"a key as a token":   {"Authorization", "Bearer " + deepgramKey},
		"another scheme":     {"Authorization", "Basic " + deepgramKey},
		"no scheme":          {"Authorization", deepgramKey},
		"a key in the query": nil,
		"two keys":           {"Authorization", asKey, "Authorization", "Token x"},
		"a key and a token":  {"Authorization", asKey, "Authorization", "Bearer x"},
		"a subprotocol":      {"Sec-WebSocket-Protocol", "token, x"},
		"an empty key":       {"Authorization", "Token "},
	} {
		w := doWith(h, http.MethodPost, "/v1/listen?token="+deepgramKey, bytes.NewReader(SpeechWAV()), header...)
		id := w.Header().Get("Dg-Request-Id")
		want := `{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"` + id + `"}` + "\r\n"
		if w.Code != http.StatusUnauthorized || w.Body.String() != want || w.Header().Get("Dg-Error") == "" || id == "" {
			t.Errorf("%s: status %d, %v, %s", name, w.Code, w.Header(), w.Body)
		}
	}
	for name, header := range map[string][]string{
		"another case":           {"Authorization", "tOKEN " + deepgramKey},
		"a subprotocol":          {"Sec-WebSocket-Protocol", "token, " + deepgramKey + ", x-deepgram-session-id, token"},
		"after other items":      {"Sec-WebSocket-Protocol", "x, token", "Sec-WebSocket-Protocol", deepgramKey},
		"the same in two places": {"Authorization", asKey, "Sec-WebSocket-Protocol", "token," + deepgramKey},
	} {
		if w := doWith(h, http.MethodGet, "/v1/models", nil, header...); w.Code != http.StatusOK {
			t.Errorf("%s: status %d, %s", name, w.Code, w.Body)
		}
	}
	for _, header := range [][]string{nil, {"Authorization", "Bearer x"}} {
		if w := doWith(NewDeepgram(Config{}), http.MethodGet, "/v1/models", nil, header...); w.Code != http.StatusOK {
			t.Errorf("a sandbox without a key, header %v: status %d", header, w.Code)
		}
	}
}

func TestDeepgram_ATokenIsGoodUntilItsEnd(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h := NewDeepgram(Config{Key: deepgramKey, Now: func() time.Time { return clock }})
	grant := func(body string, authorization string) (status int, token string, seconds float64) {
		w := doWith(h, http.MethodPost, "/v1/auth/grant", strings.NewReader(body), "Authorization", authorization)
		var answer struct {
			Token   string  `json:"access_token"`
			Seconds float64 `json:"expires_in"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		return w.Code, answer.Token, answer.Seconds
	}
	status, token, seconds := grant("", asKey)
	_, long, _ := grant(`{"ttl_seconds":3600}`, asKey)
	if status != http.StatusOK || seconds != 30 || token == "" || token == long {
		t.Fatalf("status %d, %v seconds", status, seconds)
	}
	for _, body := range []string{`{"ttl_seconds":0}`, `{"ttl_seconds":3601}`, `{"ttl_seconds":"1"}`, `x`} {
		if status, token, _ := grant(body, asKey); status != http.StatusBadRequest || token != "" {
			t.Errorf("%s: status %d", body, status)
		}
	}
	if status, token, _ := grant("", "Bearer "+long); status != http.StatusForbidden || token != "" {
		t.Errorf("a token that asks for a token: status %d", status)
	}
	use := func(header ...string) int { return doWith(h, http.MethodGet, "/v1/models", nil, header...).Code }
	check := func(when string, wantShort, wantLong int) {
		t.Helper()
		if got := use("Authorization", "Bearer "+token); got != wantShort {
			t.Errorf("%s: status %d, want %d", when, got, wantShort)
		}
		if got := use("Sec-WebSocket-Protocol", "bearer, "+long); got != wantLong {
			t.Errorf("%s: the long token: status %d, want %d", when, got, wantLong)
		}
	}
	check("at once", 200, 200)
	for name, header := range map[string][]string{
		"as a key": {"Authorization", "Token " + token}, "with another end": {"Authorization", "Bearer 9" + token}, "without its signature": {"Authorization", "Bearer " + token[:20]},
	} {
		if got := use(header...); got != http.StatusUnauthorized {
			t.Errorf("a token %s: status %d", name, got)
		}
	}
	clock = clock.Add(30*time.Second - time.Millisecond)
	check("just before its end", 200, 200)
	clock = clock.Add(time.Millisecond)
	check("at its end", 401, 200)
	clock = clock.Add(time.Hour)
	check("an hour later", 401, 401)
}

func TestDeepgram_ListsItsModel(t *testing.T) {
	t.Parallel()
	h := NewDeepgram(Config{Key: deepgramKey})
	var list struct{ STT []deepgramModel }
	w := doWith(h, http.MethodGet, "/v1/models", nil, "Authorization", asKey)
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list.STT) != 1 || !list.STT[0].Streaming {
		t.Fatalf("%v, %s", err, w.Body)
	}
	var model deepgramModel
	w = doWith(h, http.MethodGet, "/v1/models/"+list.STT[0].UUID, nil, "Authorization", asKey)
	if err := json.Unmarshal(w.Body.Bytes(), &model); err != nil || model.Name != list.STT[0].Name {
		t.Errorf("%v, %s", err, w.Body)
	}
	for _, path := range []string{"/v1/models/x", "/v1/projects", "/"} {
		w = doWith(h, http.MethodGet, path, nil, "Authorization", asKey)
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "NOT_FOUND") {
			t.Errorf("%s: status %d, %s", path, w.Code, w.Body)
		}
	}
}
