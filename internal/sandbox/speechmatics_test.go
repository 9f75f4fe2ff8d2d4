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
)

const (
	speechmaticsKey = "the-key"
	asSpeechmatics  = "Bearer " + speechmaticsKey

	plainJob = `{"type":"transcription","transcription_config":{"language":"en"}}`
)

// speechmaticsClient calls a sandbox with a key in the header.
type speechmaticsClient struct {
	t             *testing.T
	h             http.Handler
	authorization string
}

func (c speechmaticsClient) do(method, target, contentType string, body io.Reader) *httptest.ResponseRecorder {
	c.t.Helper()
	return doWith(c.h, method, target, body, "Content-Type", contentType, "Authorization", c.authorization)
}

// want calls a sandbox, and checks the status and a part of the answer.
func (c speechmaticsClient) want(status int, part, method, target, body string) {
	c.t.Helper()
	if w := c.do(method, target, "application/json", strings.NewReader(body)); w.Code != status || !strings.Contains(w.Body.String(), part) {
		c.t.Errorf("%s %s: status %d, %s, want %d with %s", method, target, w.Code, w.Body, status, part)
	}
}

// create creates a job. A part without content is left out.
func (c speechmaticsClient) create(query, config string, audio []byte) *httptest.ResponseRecorder {
	c.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if audio != nil {
		part, err := form.CreateFormFile("data_file", "speech.wav")
		if err != nil {
			c.t.Fatal(err)
		}
		_, _ = part.Write(audio)
	}
	if config != "" {
		_ = form.WriteField("config", config)
	}
	_ = form.Close()
	return c.do(http.MethodPost, "/v2/jobs"+query, form.FormDataContentType(), &body)
}

// created creates a job, and returns its ID.
func (c speechmaticsClient) created(config string) string {
	c.t.Helper()
	var answer struct{ ID string }
	w := c.create("", config, SpeechWAV())
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusCreated || len(answer.ID) != 10 {
		c.t.Fatalf("status %d, %s", w.Code, w.Body)
	}
	return answer.ID
}

// mint has a temporary key made, and returns a client that has it.
func (c speechmaticsClient) mint(query, body string) speechmaticsClient {
	c.t.Helper()
	var answer struct {
		ID    *string `json:"apikey_id"`
		Value string  `json:"key_value"`
	}
	w := c.do(http.MethodPost, "/v1/api_keys"+query, "application/json", strings.NewReader(body))
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusCreated || strings.Count(answer.Value, ".") != 2 {
		c.t.Fatalf("status %d, %s", w.Code, w.Body)
	}
	return speechmaticsClient{c.t, c.h, "Bearer " + answer.Value}
}

// testClock is a clock that a test sets.
type testClock struct{ now time.Time }

func newSpeechmaticsClient(t *testing.T, cfg Config) (speechmaticsClient, *testClock) {
	t.Helper()
	clock := &testClock{time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)}
	cfg.Now = func() time.Time { return clock.now }
	cfg.Key = speechmaticsKey
	return speechmaticsClient{t, NewSpeechmatics(cfg), asSpeechmatics}, clock
}

func TestSpeechmatics_AJobRunsAndIsDone(t *testing.T) {
	t.Parallel()
	c, clock := newSpeechmaticsClient(t, Config{QueueTime: time.Minute, WorkTime: time.Minute})
	id := c.created(`{"type":"transcription","transcription_config":{"language":"de"},"summarization_config":{},"tracking":{"title":"T"}}`)
	job := "/v2/jobs/" + id
	for _, at := range []time.Duration{0, time.Minute, 2*time.Minute - time.Millisecond} {
		clock.now = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC).Add(at)
		c.want(200, `"data_name":"speech.wav","duration":6,"status":"running","config":{"type":"transcription","transcription_config":{"language":"de"}`, "GET", job+"?wait=0", "")
		c.want(404, `{"code":404,"error":"Transcription not ready"}`, "GET", job+"/transcript?wait=0", "")
		c.want(423, `{"code":423,"error":"Resource Locked"}`, "DELETE", job, "")
	}
	clock.now = clock.now.Add(time.Millisecond)
	c.want(200, `"created_at":"2026-11-28T09:00:00.000Z"`, "GET", job, "")
	c.want(200, `"status":"done"`, "GET", job, "")

	w := c.do("GET", job+"/transcript", "application/json", nil)
	var got jsonTranscript
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Header().Get("Content-Type") != "application/vnd.speechmatics.v2+json" {
		t.Fatalf("%v, %v, %s", err, w.Header(), w.Body)
	}
	if got.Job.ID != id || got.Job.Duration != 6 || string(got.Job.Tracking) != `{"title":"T"}` || string(got.Metadata.Transcription) != `{"language":"de"}` {
		t.Errorf("the transcript is %+v", got)
	}
	if len(got.Results) != 3 || got.Results[2].Start < 3.6 || got.Results[2].End > 5.2 || got.Results[2].Alternatives[0].Content != "speech 3 (1.50 s)" || got.Results[2].Alternatives[0].Language != "de" {
		t.Errorf("the results are %+v", got.Results)
	}
	if got.Summary == nil || !strings.HasPrefix(got.Summary.Content, "5.82 s of 16000 Hz mono") {
		t.Errorf("the summary is %+v", got.Summary)
	}
	for format, want := range map[string]string{"txt": "5.82 s of 16000 Hz", "srt": "1\n00:00:00,260 --> 00:00:01,070\nspeech 1 (0.81 s)\n\n2\n"} {
		w := c.do("GET", job+"/transcript?format="+format, "text/plain", nil)
		if w.Code != 200 || w.Header().Get("Content-Type") != "text/plain" || !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("%s: status %d, %v, %s", format, w.Code, w.Header(), w.Body)
		}
	}
	c.want(404, "Format Not Supported", "GET", job+"/transcript?format=pdf", "")
	other := "/v2/jobs/" + c.created(plainJob)
	c.want(200, `"status":"deleted"`, "DELETE", other+"?force=true", "")
	c.want(404, "Job not found", "GET", other, "")

	c.want(200, `"status":"deleted"`, "DELETE", job, "")
	for _, method := range []string{"GET", "DELETE"} {
		c.want(404, `{"code":404,"error":"Job not found"}`, method, job, "")
	}
	c.want(404, "Job not found", "GET", job+"/transcript", "")
}

func TestSpeechmatics_ACreationCanWaitForTheResult(t *testing.T) {
	t.Parallel()
	done, _ := newSpeechmaticsClient(t, Config{QueueTime: -1, WorkTime: -1})
	running, _ := newSpeechmaticsClient(t, Config{QueueTime: -1, WorkTime: time.Hour})
	for _, test := range []struct {
		client speechmaticsClient
		query  string
		status int
		want   string
	}{
		{done, "?wait=9999999", 201, `"json-v2":{"format":"2.9"`},
		{done, "/?wait=5&format=txt", 201, `"status":"done","txt":"5.82 s of`},
		{done, "?wait=5&format=srt", 201, `"srt":"1\n00:00:00,260`},
		{running, "?wait=0&format=txt", 201, `"status":"created"}`},
		{running, "?wait=x", 422, "wait in query must be of type int64"},
		{running, "?wait=-1", 422, "wait in query must be of type int64"},
		{running, "?wait=0&format=pdf", 404, "Format Not Supported"},
		{running, "?format=pdf", 201, `{"id":`},
		{done, "?wait=1", 201, `"speaker":"UU"}]}]},"status":"done"}`}, // no summary
	} {
		w := test.client.create(test.query, plainJob, SpeechWAV())
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s: status %d, %s", test.query, w.Code, w.Body)
		}
	}
	// The wait ends with the job.
	c := speechmaticsClient{t, NewSpeechmatics(Config{Key: speechmaticsKey, QueueTime: -1, WorkTime: 50 * time.Millisecond}), asSpeechmatics}
	c.want(200, `"status":"done"`, "GET", "/v2/jobs/"+c.created(plainJob), "")
	c.want(200, "5.82 s of", "GET", "/v2/jobs/"+c.created(plainJob)+"/transcript?format=txt&wait=60", "")
}

func TestSpeechmatics_RefusesWrongJobs(t *testing.T) {
	t.Parallel()
	c, _ := newSpeechmaticsClient(t, Config{QueueTime: -1, WorkTime: -1, MaxJobAudio: int64(len(speechWAV))})
	for name, test := range map[string]struct {
		config string
		audio  []byte
		status int
		want   string
	}{
		"no config":           {"", SpeechWAV(), 400, "Job config JSON is invalid"},
		"no JSON":             {"{", SpeechWAV(), 400, "Job config JSON is invalid"},
		"another type":        {`{"type":"alignment"}`, SpeechWAV(), 400, "want transcription"},
		"no language":         {`{"type":"transcription","transcription_config":{}}`, SpeechWAV(), 400, "language is required"},
		"no file":             {plainJob, nil, 400, "Missing data_file"},
		"a file that is long": {plainJob, append(SpeechWAV(), 0), 413, "too large"},
		"no URL":              {`{"fetch_data":{"url":"file:///a.wav"},` + plainJob[1:], nil, 400, "want a URL"},
		"a large config":      {`{"tracking":"` + strings.Repeat("a", maxField) + `",` + plainJob[1:], SpeechWAV(), 400, "Malformed request"},
		"no transcription":    {`{"type":"transcription"}`, SpeechWAV(), 400, "language is required"},
		"the longest file":    {plainJob, SpeechWAV(), 201, `"txt":"5.82 s of`},
		"a URL":               {`{"fetch_data":{"url":"https://example.com/a.wav"},` + plainJob[1:], nil, 201, `"txt":"5.82 s of`},
		"a URL without TLS":   {`{"fetch_data":{"url":"http://example.com/a.wav"},` + plainJob[1:], nil, 201, `"txt":"5.82 s of`},
		"a URL and a file":    {`{"fetch_data":{"url":"https://example.com/a.wav"},` + plainJob[1:], []byte("no audio"), 201, `"status":"rejected"`},
	} {
		if w := c.create("?wait=1&format=txt", test.config, test.audio); w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s: status %d, %s", name, w.Code, w.Body)
		}
	}
	c.want(400, "Malformed request", "POST", "/v2/jobs", plainJob)
	if w := c.do("POST", "/v2/jobs", "multipart/form-data; boundary=x", strings.NewReader("--x\r\nContent-Disposition: form-data; name=data_file\r\n\r\nRIFF")); w.Code != 400 {
		t.Errorf("half a form: status %d, %s", w.Code, w.Body)
	}
	unlimited := speechmaticsClient{t, NewSpeechmatics(Config{MaxJobAudio: -1}), ""}
	if w := unlimited.create("", plainJob, SpeechWAV()); w.Code != http.StatusCreated {
		t.Errorf("without a limit: status %d, %s", w.Code, w.Body)
	}
	w := c.create("?wait=1", plainJob, []byte("this is no audio"))
	if w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"status":"rejected"`) {
		t.Fatalf("status %d, %s", w.Code, w.Body)
	}
	var answer struct{ ID string }
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	c.want(200, `"errors":[{"timestamp":"2026-11-28T09:00:00.000Z","message":"Job rejected due to invalid audio"}]`, "GET", "/v2/jobs/"+answer.ID, "")
	c.want(404, `"Job rejected"`, "GET", "/v2/jobs/"+answer.ID+"/transcript", "")
}

func TestSpeechmatics_ListsItsJobsNewestFirst(t *testing.T) {
	t.Parallel()
	c, clock := newSpeechmaticsClient(t, Config{QueueTime: -1, WorkTime: -1})
	c.want(200, `{"jobs":[]}`, "GET", "/v2/jobs", "")
	first := c.created(plainJob)
	clock.now = clock.now.Add(time.Second)
	second := c.created(plainJob)
	ids := func(query string) string {
		var list struct{ Jobs []jobDetails }
		w := c.do("GET", "/v2/jobs"+query, "", nil)
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
			t.Fatalf("%s: %v, %s", query, err, w.Body)
		}
		var ids []string
		for _, j := range list.Jobs {
			ids = append(ids, j.ID)
		}
		return strings.Join(ids, " ")
	}
	for query, want := range map[string]string{
		"": second + " " + first, "/": second + " " + first, "?limit=1": second, "?limit=100": second + " " + first, "?created_before=2026-11-28T09:00:01Z": first, "?created_before=2026-11-28T09:00:00Z": "",
	} {
		if got := ids(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"limit=0", "limit=101", "limit=x", "created_before=yesterday"} {
		c.want(422, strings.Split(query, "=")[0]+" in query must be of type", "GET", "/v2/jobs?"+query, "")
	}
}

func TestSpeechmatics_RefusesEveryOtherKeyAsTheVendorDoes(t *testing.T) {
	t.Parallel()
	c, _ := newSpeechmaticsClient(t, Config{QueueTime: -1, WorkTime: -1})
	for _, authorization := range []string{"", "Bearer x", "Basic " + speechmaticsKey, speechmaticsKey, "Bearer ", "Bearer a.b.c", "Bearer " + temporaryHeader + ".e30."} {
		other := c
		other.authorization = authorization
		for _, w := range []*httptest.ResponseRecorder{other.create("", plainJob, SpeechWAV()), other.do("GET", "/v2/jobs?jwt="+speechmaticsKey, "", nil)} {
			if w.Code != 401 || w.Header().Get("Content-Type") != "text/html" || !strings.Contains(w.Body.String(), "<h1>401 Authorization Required</h1>") || w.Header().Get("Request-Id") == "" {
				t.Errorf("%q: status %d, %v, %s", authorization, w.Code, w.Header(), w.Body)
			}
		}
	}
	for path, method := range map[string]string{"/v1/api_keys": "GET", "/v2/usage": "GET", "/": "GET", "/v2/jobs/x/y": "GET", "/v2/jobs/x/transcript": "POST", "/v2/jobsx": "GET", "/v2/jobs/x": "POST", "/v2": "GET"} {
		c.want(404, `"code":404,"error":"Not Found"`, method, path, "")
	}
	free := speechmaticsClient{t, NewSpeechmatics(Config{}), ""}
	free.want(200, "jobs", "GET", "/v2/jobs", "")
	if h := free.do("GET", "/v2/jobs", "", nil).Header(); h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Expose-Headers") != "Request-Id" {
		t.Errorf("a page reads %v", h)
	}
	r := httptest.NewRequest(http.MethodOptions, "/v2/jobs", nil)
	r.Header.Set("Access-Control-Request-Method", "DELETE")
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	if w.Code != 204 || !strings.Contains(w.Header().Get("Access-Control-Allow-Methods"), "DELETE") {
		t.Errorf("a preflight: status %d, %v", w.Code, w.Header())
	}
}

func TestSpeechmatics_ATemporaryKeyHasLessRights(t *testing.T) {
	t.Parallel()
	c, clock := newSpeechmaticsClient(t, Config{QueueTime: -1, WorkTime: -1})
	for body, want := range map[string]string{
		"": "a ttl", "{}": "from 60 to 86400", `{"ttl":59}`: "from 60 to 86400", `{"ttl":86401}`: "from 60 to 86400", `{"ttl":"60"}`: "a ttl",
	} {
		c.want(422, want, "POST", "/v1/api_keys?type=rt", body)
	}
	c.mint("", `{"ttl":86400}`)
	c.want(422, "type in query", "POST", "/v1/api_keys?type=x", `{"ttl":60}`)
	batch, rt := c.mint("", `{"ttl":60,"region":"eu"}`), c.mint("?type=rt", `{"ttl":60}`)
	ann, bob := c.mint("?type=batch", `{"ttl":3600,"client_ref":"ann"}`), c.mint("?type=batch", `{"ttl":3600,"client_ref":"bob"}`)
	for _, temporary := range []speechmaticsClient{batch, rt, ann} {
		temporary.want(403, `{"code":403,"error":"Forbidden","detail":"Entitlement check failed"}`, "POST", "/v1/api_keys", `{"ttl":60}`)
	}
	rt.want(403, "Forbidden", "GET", "/v2/jobs", "")
	mixed := c // the contents of one temporary key, with the signature of another
	mixed.authorization = batch.authorization[:strings.LastIndexByte(batch.authorization, '.')] + ann.authorization[strings.LastIndexByte(ann.authorization, '.'):]
	mixed.want(401, "Authorization Required", "GET", "/v2/jobs", "")
	job := "/v2/jobs/" + ann.created(plainJob)
	for _, owner := range []speechmaticsClient{c, batch, ann} {
		owner.want(200, `"status":"done"`, "GET", job, "")
		owner.want(200, strings.TrimPrefix(job, "/v2/jobs/"), "GET", "/v2/jobs", "")
	}
	bob.want(404, "Job not found", "GET", job, "")
	bob.want(404, "Job not found", "DELETE", job, "")
	bob.want(200, `{"jobs":[]}`, "GET", "/v2/jobs", "")
	clock.now = clock.now.Add(time.Minute - time.Millisecond)
	batch.want(200, "jobs", "GET", "/v2/jobs", "")
	clock.now = clock.now.Add(time.Millisecond)
	batch.want(401, "Authorization Required", "GET", "/v2/jobs", "")
	ann.want(200, "jobs", "GET", "/v2/jobs", "")
}

func FuzzSpeechmatics(f *testing.F) {
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=config\r\n\r\n"+plainJob+"\r\n--x\r\nContent-Disposition: form-data; name=data_file; filename=a.wav\r\n\r\n"+string(speechWAV[:60])+"\r\n--x--"))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=config\r\n\r\n{\"fetch_data\":{\"url\":\"http://a\"},"+plainJob[1:]+"\r\n--x--"))
	h := NewSpeechmatics(Config{QueueTime: -1, WorkTime: -1})
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/v2/jobs?wait=1", bytes.NewReader(body))
		r.Header["Content-Type"] = []string{kind}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) || w.Code != http.StatusCreated && w.Code/100 != 4 {
			t.Errorf("status %d, %q", w.Code, w.Body)
		}
	})
}
