package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const assemblyKey = "the-key"

// assembly is a client of a sandbox, with a clock.
type assembly struct {
	t     *testing.T
	h     *AssemblyAI
	clock time.Time
}

func newAssembly(t *testing.T, cfg Config) *assembly {
	a := &assembly{t: t, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	cfg.Key, cfg.Now = assemblyKey, func() time.Time { return a.clock }
	a.h = NewAssemblyAI(cfg)
	return a
}

// call sends a request with the key. If the answer has this status, call reads its JSON into into,
// unless into is nil.
func (a *assembly) call(method, target string, body io.Reader, want int, into any) *httptest.ResponseRecorder {
	a.t.Helper()
	w := doWith(a.h, method, target, body, "Authorization", assemblyKey)
	if w.Code != want {
		a.t.Errorf("%s %s: status %d, %s", method, target, w.Code, w.Body)
	} else if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			a.t.Fatalf("%s %s: %v, %s", method, target, err, w.Body)
		}
	}
	return w
}

// wantError checks that a request is answered with this error.
func (a *assembly) wantError(method, target string, body io.Reader, status int, message string) {
	a.t.Helper()
	var got struct{ Error string }
	if a.call(method, target, body, status, &got); !strings.Contains(got.Error, message) {
		a.t.Errorf("%s %s: the error is %q, want %q", method, target, got.Error, message)
	}
}

func (a *assembly) upload(audio io.Reader) string {
	a.t.Helper()
	var got struct {
		URL string `json:"upload_url"`
	}
	a.call("POST", "/v2/upload", audio, 200, &got)
	return got.URL
}

func (a *assembly) create(audioURL string) transcriptAnswer {
	a.t.Helper()
	var got transcriptAnswer
	a.call("POST", "/v2/transcript", strings.NewReader(fmt.Sprintf(`{"audio_url":%q,"webhook_url":"https://x.example/"}`, audioURL)), 200, &got)
	return got
}

func (a *assembly) poll(id string) transcriptAnswer {
	a.t.Helper()
	var got transcriptAnswer
	a.call("GET", "/v2/transcript/"+id, nil, 200, &got)
	return got
}

func TestAssemblyAI_ATranscriptOfAnUploadHasItsMeasurement(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, Config{})
	address := a.upload(iotest.OneByteReader(bytes.NewReader(SpeechWAV())))
	if !strings.HasPrefix(address, "https://cdn.assemblyai.com/upload/") {
		t.Errorf("the upload is at %q", address)
	}
	layout := pcm{rate: 8000, channels: 1, bits: 16}
	other := a.create(a.upload(bytes.NewReader(wav(layout, samples(layout, 440, stretch{time.Second, 0.5})))))
	job := a.create(address)
	if job.Status != statusQueued || job.AudioURL != address || job.Text != nil || job.Words != nil || *job.WebhookURL != "https://x.example/" {
		t.Errorf("the transcript is created as %+v", job)
	}
	a.clock = a.clock.Add(defaultQueueTime)
	if got := a.poll(job.ID); got.Status != statusProcessing || got.Text != nil {
		t.Errorf("after the queue: %+v", got)
	}
	a.wantError("GET", "/v2/transcript/"+job.ID+"/srt", nil, 400, "has a status of 'processing'")
	a.wantError("DELETE", "/v2/transcript/"+job.ID, nil, 400, "processing")
	a.clock = a.clock.Add(defaultWorkTime)
	got := a.poll(job.ID)
	if got.Status != statusCompleted || *got.Text != heardSpeech || *got.AudioDuration != 6 || *got.Confidence <= 0 || got.Error != "" {
		t.Errorf("in the end: %+v", got)
	}
	if len(got.Words) != 3 || got.Words[2].Text != "speech-3" || got.Words[2].Start < 3600 || got.Words[2].End > 5200 {
		t.Errorf("the words are %+v", got.Words)
	}
	if text := *a.poll(other.ID).Text; !strings.HasPrefix(text, "1.00 s of 8000 Hz") {
		t.Errorf("the other upload is %s", text)
	}
}

func TestAssemblyAI_ResultsOfATranscript(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, Config{QueueTime: -1, WorkTime: -1})
	id := a.create("https://x.example/a.wav").ID
	var texts struct {
		ID                    string
		Duration              int64 `json:"audio_duration"`
		Sentences, Paragraphs []assemblyText
	}
	a.call("GET", "/v2/transcript/"+id+"/sentences", nil, 200, &texts)
	if len(texts.Sentences) != 3 || texts.Sentences[1].Text != "speech 2 (1.72 s)" || texts.Sentences[1].Words[0].Text != "speech-2" || texts.ID != id || texts.Duration != 6 {
		t.Errorf("the sentences are %+v", texts)
	}
	a.call("GET", "/v2/transcript/"+id+"/paragraphs", nil, 200, &texts)
	if p := texts.Paragraphs; len(p) != 1 || p[0].Text != "speech 1 (0.81 s) speech 2 (1.72 s) speech 3 (1.50 s)" || p[0].Start != 260 || p[0].End != 5150 || len(p[0].Words) != 3 {
		t.Errorf("the paragraphs are %+v", p)
	}
	for name, want := range map[string]string{
		"srt": "1\n00:00:00,260 --> 00:00:01,070\nspeech 1 (0.81 s)\n\n2\n", "vtt": "WEBVTT\n\n00:00:00.260 --> 00:00:01.070\nspeech 1 (0.81 s)\n\n",
	} {
		if w := a.call("GET", "/v2/transcript/"+id+"/"+name+"?chars_per_caption=32", nil, 200, nil); !strings.HasPrefix(w.Body.String(), want) || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %v, %s", name, w.Header(), w.Body)
		}
	}
	var found wordMatches
	a.call("GET", "/v2/transcript/"+id+"/word-search?words=Speech-3,nothing,speech-1,speech-1", nil, 200, &found)
	if found.Total != 2 || len(found.Matches) != 2 || found.Matches[0].Text != "Speech-3" || !slices.Equal(found.Matches[0].Indexes, []int{2}) || found.Matches[1].Timestamps[0] != [2]int64{260, 1070} {
		t.Errorf("the matches are %+v", found)
	}
	a.wantError("GET", "/v2/transcript/"+id+"/redacted-audio", nil, 400, "not requested")
	a.wantError("GET", "/v2/transcript/"+id+"/nothing", nil, 404, "Not found")
	a.wantError("GET", "/v2/transcript/"+id+"x", nil, 400, "Transcript lookup error, transcript id not found")
	a.wantError("DELETE", "/v2/transcript/"+id+"x", nil, 400, "Transcript lookup error, transcript id not found")
	var deleted transcriptAnswer
	a.call("DELETE", "/v2/transcript/"+id, nil, 200, &deleted)
	for when, got := range map[string]transcriptAnswer{"the deletion": deleted, "a poll after it": a.poll(id)} {
		if got.Status != statusCompleted || *got.Text != "Deleted by user." || got.AudioURL != deletedByUser || *got.WebhookURL != deletedByUser || got.Words != nil {
			t.Errorf("%s answers %+v", when, got)
		}
	}
	// Silence has no words.
	layout := pcm{rate: 8000, channels: 1, bits: 16}
	id = a.create(a.upload(bytes.NewReader(wav(layout, make([]byte, 16000))))).ID
	for _, name := range []string{"", "/sentences", "/paragraphs", "/word-search?words=x", "/srt"} {
		a.call("GET", "/v2/transcript/"+id+name, nil, 200, nil)
	}
}

func TestAssemblyAI_AnErrorOfATranscriptIsInThePoll(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, Config{QueueTime: -1, WorkTime: -1, MaxJobAudio: 200_000})
	text := a.upload(strings.NewReader("hello, this is no audio"))
	for address, want := range map[string]string{text: "does not appear to contain audio", assemblyUploadHost + "x": "unable to access file"} {
		if got := a.create(address); got.Status != statusError || !strings.Contains(got.Error, want) || got.Text != nil {
			t.Errorf("%s: %+v", address, got)
		}
	}
	var page transcriptList
	a.call("GET", "/v2/transcript?status=error", nil, 200, &page)
	if len(page.Transcripts) != 2 || page.Transcripts[0].Error == nil || page.Transcripts[0].Completed == nil {
		t.Errorf("the list is %+v", page)
	}
	for _, body := range []string{"", "{}", `{"audio_url":"a.wav"}`, `{"audio_url":1}`, "audio"} {
		a.wantError("POST", "/v2/transcript", strings.NewReader(body), 400, "")
	}
	a.wantError("POST", "/v2/upload", strings.NewReader(""), 400, "Upload failed")
	a.wantError("POST", "/v2/upload", io.MultiReader(bytes.NewReader(SpeechWAV()[:60]), iotest.ErrReader(io.ErrUnexpectedEOF)), 400, "Upload failed")
	a.wantError("POST", "/v2/upload", bytes.NewReader(make([]byte, 200_001)), 413, "too large")
}

func TestAssemblyAI_AListHasPagesAndLinks(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, Config{})
	var ids []string // newest first
	for range 25 {
		a.clock = a.clock.Add(time.Second)
		ids = append([]string{a.create("https://x.example/a.wav").ID}, ids...)
	}
	page := func(query string) (got []string, details pageDetails) {
		t.Helper()
		var list transcriptList
		a.call("GET", "/v2/transcript"+query, nil, 200, &list)
		for _, entry := range list.Transcripts {
			got = append(got, entry.ID)
			if entry.Resource != "https://api.assemblyai.com/v2/transcript/"+entry.ID || entry.AudioURL == "" || len(entry.Created) != len("2006-01-02T15:04:05.000000") {
				t.Errorf("%s: an entry is %+v", query, entry)
			}
		}
		return got, list.Page
	}
	follow := func(link *string) string {
		t.Helper()
		u, err := url.Parse(*link)
		if err != nil || u.Host != "api.assemblyai.com" {
			t.Fatalf("%q: %v", *link, err)
		}
		return "?" + u.RawQuery
	}
	first, details := page("")
	if !slices.Equal(first, ids[:10]) || details.Limit != 10 || details.Count != 10 {
		t.Errorf("the first page is %v, %+v", first, details)
	}
	second, more := page(follow(details.Prev))
	if !slices.Equal(second, ids[10:20]) {
		t.Errorf("the older page is %v", second)
	}
	if again, _ := page(follow(more.Next)); !slices.Equal(again, ids[:10]) {
		t.Errorf("the newer page is %v", again)
	}
	if got, _ := page("?limit=3&after_id=" + ids[10]); !slices.Equal(got, ids[7:10]) {
		t.Errorf("the page after an ID is %v", got)
	}
	if got, details := page("?limit=200&status=completed"); !slices.Equal(got, ids[5:]) || !strings.Contains(*details.Current, "status=completed") {
		t.Errorf("the completed ones are %v", got)
	}
	if got, details := page("?after_id=" + ids[0]); got != nil || details.Prev != nil || details.Next != nil {
		t.Errorf("after the newest: %v, %+v", got, details)
	}
	if got, _ := page("?after_id=" + ids[3] + "&before_id=" + ids[5]); got != nil {
		t.Errorf("between IDs in the wrong order: %v", got)
	}
	for _, query := range []string{"?limit=0", "?limit=201", "?limit=x", "?before_id=x", "?after_id=x"} {
		a.wantError("GET", "/v2/transcript"+query, nil, 400, "")
	}
}

func TestAssemblyAI_ForgetsTheOldest(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, Config{QueueTime: -1, WorkTime: -1})
	oldUpload := a.upload(bytes.NewReader(SpeechWAV()))
	old := a.create(oldUpload).ID
	a.h.transcripts.add(&assemblyTranscript{id: "next"})
	for n := range maxJobs - 1 {
		a.h.uploads.add(assemblyUpload{url: fmt.Sprint(n)})
		if n > 0 {
			a.h.transcripts.add(&assemblyTranscript{id: fmt.Sprint(n)})
		}
	}
	if got := a.create(oldUpload); got.Status != statusCompleted {
		t.Errorf("the oldest upload: %+v", got)
	}
	a.wantError("GET", "/v2/transcript/"+old, nil, 400, "not found")
	a.poll("next")
	a.h.uploads.add(assemblyUpload{url: "one more"})
	if got := a.create(oldUpload); got.Status != statusError {
		t.Errorf("the oldest upload after one more: %+v", got)
	}
}

func TestAssemblyAI_RefusesEveryOtherKeyAsTheVendorDoes(t *testing.T) {
	t.Parallel()
	a := newAssembly(t, Config{})
	var token struct{ Token string }
	a.call("GET", "/v3/token?expires_in_seconds=60", nil, 200, &token)
	for name, header := range map[string][]string{
		"no key":      nil,
		"another key": {"Authorization", "x"},
		"a scheme":    {"Authorization", "Bearer " + assemblyKey},
		"two keys":    {"Authorization", assemblyKey, "Authorization", "x"},
		"a token":     {"Authorization", token.Token},
		"empty":       {"Authorization", " "},
	} {
		for target, want := range map[string]string{
			"POST /v2/upload":                         `{"error":"Authentication error, API token missing/invalid"}`,
			"GET /v2/transcript?token=" + token.Token: `{"error":"Authentication error, API token missing/invalid"}`,
			"GET /v3/token?expires_in_seconds=60":     `{"error":"Authentication error, API token missing/invalid"}`,
			"POST /v1/transcribe/live":                `{"detail":"Invalid API key"}`,
			"GET /v1/warm":                            `{"detail":"Invalid API key"}`,
		} {
			method, path, _ := strings.Cut(target, " ")
			body := bytes.NewReader(SpeechWAV())
			if w := doWith(a.h, method, path, body, header...); w.Code != http.StatusUnauthorized || w.Body.String() != want+"\r\n" || body.Len() > 0 {
				t.Errorf("%s, %s: status %d, %s", name, target, w.Code, w.Body)
			}
		}
	}
	a.call("GET", "/v1/warm", nil, 200, nil)
	for _, target := range []string{"GET /v2/upload", "PUT /v2/transcript/x", "GET /v1/transcribe/live", "GET /v3/ws", "GET /"} {
		method, path, _ := strings.Cut(target, " ")
		a.wantError(method, path, nil, 404, "Not found")
	}
	if w := doWith(NewAssemblyAI(Config{}), "GET", "/v2/transcript", nil); w.Code != http.StatusOK {
		t.Errorf("a sandbox without a key: status %d", w.Code)
	}
	for _, query := range []string{"", "expires_in_seconds=0", "expires_in_seconds=601", "expires_in_seconds=60&max_session_duration_seconds=59"} {
		a.wantError("GET", "/v3/token?"+query, nil, 400, "_seconds: want a number from")
	}
}

func FuzzAssemblyAI(f *testing.F) {
	for _, config := range []string{"{}", `{"sample_rate":8000,"channels":1,"timestamps":true}`, "[]"} {
		kind, body := shortForm(config, "audio/pcm", speechWAV[:400])
		text, err := io.ReadAll(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, text)
	}
	f.Add("audio/wav", speechWAV[:400])
	f.Add("application/json", []byte(`{"audio_url":"https://a","webhook_url":"https://b"}`))
	h := NewAssemblyAI(Config{QueueTime: -1, WorkTime: -1})
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		ask := func(method, target string) (answer struct {
			URL string `json:"upload_url"`
			ID  string
		},
		) {
			t.Helper()
			w := doWith(h, method, target, bytes.NewReader(body), "X-AAI-Model", "x", "Content-Type", kind)
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK && w.Code/100 != 4 {
				t.Errorf("%s %s: status %d, %q", method, target, w.Code, w.Body)
			}
			return answer
		}
		ask("POST", "/v1/transcribe/live")
		ask("POST", "/v2/transcript")
		ask("GET", "/v2/transcript?limit=1&"+url.QueryEscape(kind))
		if uploaded := ask("POST", "/v2/upload"); uploaded.URL != "" {
			body = fmt.Appendf(nil, `{"audio_url":%q}`, uploaded.URL)
			path := "/v2/transcript/" + ask("POST", "/v2/transcript").ID
			for _, part := range []string{"", "/sentences", "/paragraphs", "/word-search?words=speech-1"} {
				ask("GET", path+part)
			}
		}
	})
}
