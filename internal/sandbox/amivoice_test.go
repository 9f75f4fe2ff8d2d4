package sandbox

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const refusal = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"-","message":"received illegal service authorization"}` + "\r\n"

// clock is a clock that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2025, 7, 1, 12, 30, 45, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func decode(t *testing.T, body []byte, into any) {
	t.Helper()
	if !bytes.HasSuffix(body, []byte("}\r\n")) {
		t.Errorf("body does not end in CRLF: %q", body)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}

func TestRecognizeAnswersWhatItMeasured(t *testing.T) {
	t.Parallel()
	h := NewAmiVoice(Config{Key: "k", Now: newClock().Now})
	sound := wav(mono16k, samples(mono16k, 440, stretch{500 * time.Millisecond, 0}, stretch{second, 0.5},
		stretch{500 * time.Millisecond, 0}, stretch{420 * time.Millisecond, 0.5}, stretch{580 * time.Millisecond, 0}))
	for _, path := range []string{"/v1/recognize", "/v1/nolog/recognize"} {
		contentType, body := form(t, part{"u", "k"}, part{"d", "-a-general"}, part{"a", string(sound)})
		w := do(h, http.MethodPost, path, contentType, bytes.NewReader(body))
		ids := w.Header()["X-Session-ID"]
		if w.Code != http.StatusOK || len(ids) != 1 || !regexp.MustCompile(`^[0-9a-f]{24}$`).MatchString(ids[0]) {
			t.Fatalf("status %d, session %q", w.Code, ids)
		}
		var got syncAnswer
		decode(t, w.Body.Bytes(), &got)
		const text = "3.00 s of 16000 Hz mono, 16 bits, 2 stretches of speech: 0.50-1.50 s, 2.00-2.42 s; peak -6.0 dBFS, RMS -12.3 dBFS"
		want := syncAnswer{
			Results: []result{{
				Tokens: []token{
					{Written: "speech 1 (1.00 s)", Spoken: "speech 1", Confidence: 0.9858, StartTime: 500, EndTime: 1500},
					{Written: "speech 2 (0.42 s)", Spoken: "speech 2", Confidence: 0.9858, StartTime: 2000, EndTime: 2420},
				},
				Confidence: 0.9858, StartTime: 500, EndTime: 2420, Tags: []string{}, Text: text,
			}},
			UtteranceID: "20250701/12/" + ids[0] + "_20250701_123045", Text: text,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAnswersByteForByte(t *testing.T) {
	t.Parallel()
	f := pcm{rate: 8000, channels: 1, bits: 16}
	silence := string(wav(f, samples(f, 100, stretch{second, 0})))
	sound := string(wav(f, samples(f, 100, stretch{200 * time.Millisecond, 0}, stretch{800 * time.Millisecond, 1})))
	const (
		quiet = `1.00 s of 8000 Hz mono, 16 bits, no speech; digital silence`
		loud  = `1.00 s of 8000 Hz mono, 16 bits, 1 stretch of speech: 0.20-1.00 s; peak 0.0 dBFS, RMS -4.0 dBFS`
		token = `{"tokens":[{"written":"speech 1 (0.80 s)","spoken":"speech 1","confidence":0.9929,"starttime":200,"endtime":1000}],"confidence":0.9929,"starttime":200,"endtime":1000,"tags":[],"rulename":"","text":"%s"}`
		tail  = `"utteranceid":"20250701/12/ID_20250701_123045","text":"%s","code":"","message":""`
	)
	tests := []struct{ name, path, audio, want string }{
		{"recognized", "/v1/recognize", sound, fmt.Sprintf(`{"results":[`+token+`],`+tail+`}`, loud, loud)},
		{"nothing recognized", "/v1/recognize", silence, fmt.Sprintf(`{"results":[{"tokens":[],"confidence":0,"starttime":0,"endtime":1000,"tags":[],"rulename":"","text":"%s"}],`+tail+`}`, quiet, quiet)},
		{"completed", "/v2/recognitions", sound, fmt.Sprintf(`{"status":"completed","session_id":"ID","service_id":"sandbox","audio_size":16044,"audio_md5":"%x",`+tail+`,"segments":[{"results":[`+token+`],"text":"speech 1 (0.80 s)"}]}`, md5.Sum([]byte(sound)), loud, "speech 1 (0.80 s)")},
		{"completed without speech", "/v2/recognitions", silence, fmt.Sprintf(`{"status":"completed","session_id":"ID","service_id":"sandbox","audio_size":16044,"audio_md5":"%x",`+tail+`,"segments":[]}`, md5.Sum([]byte(silence)), quiet)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			h := NewAmiVoice(Config{Now: c.Now})
			w := do(h, http.MethodPost, test.path, "audio/wav", strings.NewReader(test.audio))
			id := w.Header()["X-Session-ID"][0]
			if test.path == "/v2/recognitions" {
				c.advance(5 * time.Second)
				w = poll(h, test.path+"/"+id, "")
				c.advance(-5 * time.Second)
			}
			if diff := cmp.Diff(test.want+"\r\n", strings.ReplaceAll(w.Body.String(), id, "ID")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFailuresAreTheVendors(t *testing.T) {
	t.Parallel()
	cut := "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nRIFF"
	tests := []struct {
		name, query, contentType, body string
		sync, async                    string // codes
	}{
		{"no key", "?c=16K", "", "sound", "-", "-"},
		{"unsupported audio", "?u=k", "", "sound", "+", ""},
		{"unsupported audio, with a format", "?u=k&c=16K", "", "sound", "+", ""},
		{"no audio", "?u=k", "multipart/form-data; boundary=B", "--B--\r\n", "+", "+"},
		{"just not too large", "?u=k&c=LSB16K", "", strings.Repeat("x", 1000), "", ""},
		{"too large", "?u=k&c=LSB16K", "", strings.Repeat("x", 1001), "%", ""},
		{"just not too large for a job", "?u=k&c=LSB16K", "", strings.Repeat("x", 2000), "%", ""},
		{"too large for a job", "?u=k&c=LSB16K", "", strings.Repeat("x", 2001), "%", "%"},
		{"too large and unsupported", "?u=k", "", strings.Repeat("x", 2001), "%", "%"},
		{"too large without a key", "", "", strings.Repeat("x", 2001), "-", "-"},
		{"cut off", "?u=k&c=16K", "multipart/form-data; boundary=B", cut, "?", "?"},
		{"no boundary", "?u=k&c=16K", "multipart/form-data", cut, "?", "?"},
		{"no boundary and no key", "", "multipart/form-data", cut, "?", "?"},
		{"no boundary and another key", "?u=other", "multipart/form-data", cut, "-", "-"},
		{"a name for the job that is too long", "?u=k&c=LSB16K&d=contentId%3D" + strings.Repeat("x", maxContentID+1), "", "sound", "", "?"},
	}
	h := NewAmiVoice(Config{Key: "k", MaxAudio: 1000, MaxJobAudio: 2000})
	messages := map[string]string{"-": errKey.message, "+": "received unsupported audio format", "%": errTooLarge.message, "?": errFatal.message}
	for _, test := range tests {
		for path, code := range map[string]string{"/v1/recognize": test.sync, "/v2/recognitions": test.async} {
			t.Run(test.name+path, func(t *testing.T) {
				t.Parallel()
				body := strings.NewReader(test.body)
				w := do(h, http.MethodPost, path+test.query, test.contentType, body)
				if w.Code != http.StatusOK || len(w.Header()["X-Session-ID"]) != 1 || body.Len() != 0 {
					t.Errorf("status %d, session %q, %d bytes left unread", w.Code, w.Header()["X-Session-ID"], body.Len())
				}
				if code == "" {
					if strings.Contains(w.Body.String(), `"message":"r`) {
						t.Errorf("got %s", w.Body)
					}
					return
				}
				want := strings.Replace(refusal, `"code":"-"`, fmt.Sprintf(`"code":%q`, code), 1)
				want = strings.Replace(want, errKey.message, messages[code], 1)
				if got := w.Body.String(); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
}

func TestOtherRequestsAreNotFound(t *testing.T) {
	t.Parallel()
	h := NewAmiVoice(Config{})
	for _, request := range []string{
		"GET /", "GET /v1/recognize", "PUT /v1/recognize", "POST /v2/recognize", "POST /v1/recognize/", "POST /v1//recognize",
		"GET /v1/recognitions", "GET /v1/recognitions/", "GET /v3/recognitions/x", "HEAD /v1/recognitions/x",
		"DELETE /v1/recognitions/x", "GET /v1/recognitions/x/y", "OPTIONS /v1/recognize", "OPTIONS /", "GET /v1/",
	} {
		method, path, _ := strings.Cut(request, " ")
		if w := do(h, method, path, "", nil); w.Code != http.StatusNotFound || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", request, w.Code, w.Body)
		}
	}
}

// createJob creates a job with a recording, and returns the job's ID.
func createJob(t *testing.T, h http.Handler, path string, audio []byte) string {
	t.Helper()
	contentType, body := form(t, part{"d", "grammarFileNames=-a-general authorization=k"}, part{"a", string(audio)})
	w := do(h, http.MethodPost, path, contentType, bytes.NewReader(body))
	var got createAnswer
	decode(t, w.Body.Bytes(), &got)
	if w.Code != http.StatusOK || got.Text != "..." || w.Header()["X-Session-ID"][0] != got.SessionID {
		t.Fatalf("status %d: %+v", w.Code, got)
	}
	return got.SessionID
}

func TestAJobWalksThroughItsStates(t *testing.T) {
	t.Parallel()
	sum := md5.Sum(SpeechWAV())
	steps := []struct {
		wait   time.Duration
		status status
	}{
		{0, statusQueued},
		{1999 * time.Millisecond, statusQueued},
		{time.Millisecond, statusStarted},
		{299 * time.Millisecond, statusStarted},
		{time.Millisecond, statusProcessing},
		{2699 * time.Millisecond, statusProcessing},
		{time.Millisecond, statusCompleted},
		{1000 * time.Hour, statusCompleted},
	}
	for _, version := range []string{"/v1", "/v2"} {
		c := newClock()
		h := NewAmiVoice(Config{Key: "k", Now: c.Now})
		id := createJob(t, h, version+"/recognitions", SpeechWAV())
		for _, step := range steps {
			c.advance(step.wait)
			w := poll(h, version+"/recognitions/"+id, "k")
			var got jobAnswer
			got.jobResult = &jobResult{}
			decode(t, w.Body.Bytes(), &got)
			if got.Status != step.status || got.SessionID != id || got.ServiceID != "sandbox" ||
				got.AudioSize != 186240 || got.AudioMD5 != hex.EncodeToString(sum[:]) {
				t.Errorf("%+v, want it %s", got, step.status)
			}
			if step.status != statusCompleted {
				if strings.Contains(w.Body.String(), "segments") || strings.Contains(w.Body.String(), "error_message") {
					t.Errorf("too much in %s", w.Body)
				}
				continue
			}
			if len(got.Segments) != 3 || !strings.HasPrefix(got.Text, "5.82 s of 16000 Hz mono, 16 bits, 3 stretches of speech: ") || got.UtteranceID == "" {
				t.Errorf("%+v", got.jobResult)
			}
			for i, s := range got.Segments {
				if s.Text != s.Results[0].Text || s.Text != s.Results[0].Tokens[0].Written || !strings.HasPrefix(s.Text, fmt.Sprintf("speech %d (", i+1)) {
					t.Errorf("segment %d: %+v", i, s)
				}
			}
		}
	}
}

func TestAJobOfUnsupportedAudioEndsInError(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := NewAmiVoice(Config{Key: "k", QueueTime: -1, WorkTime: time.Second, Now: c.Now})
	id := createJob(t, h, "/v2/recognitions", []byte("no sound"))
	if body := poll(h, "/v1/recognitions/"+id, "k").Body.String(); !strings.Contains(body, `"started"`) {
		t.Error(body)
	}
	c.advance(time.Second)
	want := fmt.Sprintf(`{"status":"error","session_id":"%s","service_id":"sandbox","audio_size":8,"audio_md5":"%x","error_message":"received unsupported audio format"}`+"\r\n", id, md5.Sum([]byte("no sound")))
	if got := poll(h, "/v1/recognitions/"+id, "k").Body.String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPollsNeedABearerKeyAndAKnownJob(t *testing.T) {
	t.Parallel()
	h := NewAmiVoice(Config{Key: "k"})
	path := "/v1/recognitions/" + createJob(t, h, "/v1/recognitions", SpeechWAV())
	for name, w := range map[string]*httptest.ResponseRecorder{
		"no key": poll(h, path, ""), "wrong key": poll(h, path, "K"), "key in the query": poll(h, path+"?u=k", ""),
		"wrong key, unknown job": poll(h, "/v1/recognitions/0", "K"),
	} {
		if w.Code != http.StatusUnauthorized || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := poll(h, "/v1/recognitions/0", "k"); w.Code != http.StatusNotFound || !json.Valid(w.Body.Bytes()) {
		t.Errorf("unknown job: %d %s", w.Code, w.Body)
	}
	if w := poll(NewAmiVoice(Config{}), "/v1/recognitions/0", ""); w.Code != http.StatusNotFound {
		t.Errorf("no key wanted: %d", w.Code)
	}
}

func TestJobsAreBounded(t *testing.T) {
	t.Parallel()
	c := newClock()
	h := NewAmiVoice(Config{Now: c.Now})
	h.jobs.max = 3
	create := func() string {
		var got createAnswer
		w := do(h, http.MethodPost, "/v1/recognitions?c=16K", "", strings.NewReader("sound"))
		_ = json.Unmarshal(w.Body.Bytes(), &got)
		if (got.SessionID == "") != strings.Contains(w.Body.String(), `"code":"b"`) {
			t.Errorf("got %s", w.Body)
		}
		return got.SessionID
	}
	first, second, third := create(), create(), create()
	if id := create(); id != "" {
		t.Error("a job was made although none of three had ended")
	}
	c.advance(time.Minute)
	fourth := create()
	for id, code := range map[string]int{first: 404, second: 200, third: 200, fourth: 200} {
		if w := poll(h, "/v2/recognitions/"+id, ""); w.Code != code {
			t.Errorf("status %d, want %d", w.Code, code)
		}
	}
	if len(h.jobs.byID) != 3 || len(h.jobs.ages) != 3 {
		t.Errorf("%d jobs, %d ages", len(h.jobs.byID), len(h.jobs.ages))
	}
}

func TestMemoryDoesNotGrowWithTheAudio(t *testing.T) { //nolint:paralleltest // measures memory
	h := NewAmiVoice(Config{MaxAudio: -1, QueueTime: -1, WorkTime: -1})
	const size = 24 << 20
	sound := samples(mono16k, 440, stretch{time.Second, 0.5})
	for _, path := range []string{"/v1/recognize", "/v2/recognitions"} {
		head := bytes.NewReader(riff(fmtChunk(mono16k), []byte("data\xFF\xFF\xFF\xFF")))
		body := io.MultiReader(head, io.LimitReader(&splitReader{data: bytes.Repeat(sound, 1+size/len(sound)), sizes: []int{1 << 20}}, size))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := do(h, http.MethodPost, path, "", body)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: allocated %d bytes in all", path, got)
		}
		if path == "/v2/recognitions" {
			w = poll(h, path+"/"+w.Header()["X-Session-ID"][0], "")
		}
		if want := "786.43 s of 16000 Hz mono, 16 bits, 1 stretch of speech: 0.00-786.43 s"; !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: got %s", path, w.Body)
		}
	}
}
