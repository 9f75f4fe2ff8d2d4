package sandbox

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	assemblyHost       = "https://api.assemblyai.com"
	assemblyUploadHost = "https://cdn.assemblyai.com/upload/"

	maxUploads = 1000

	defaultListLimit = 10
	maxListLimit     = 200
)

// assemblyUpload is a recording that a client has uploaded: its measurement, without its audio.
type assemblyUpload struct {
	url      string
	readable bool // whether the sandbox could read the audio's format
	measured measurement
}

// assemblyUploads are the newest uploads, at most maxUploads.
type assemblyUploads struct {
	mu  sync.Mutex
	all []assemblyUpload // oldest first
}

func (us *assemblyUploads) add(u assemblyUpload) {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.all = append(us.all, u)
	us.all = slices.Delete(us.all, 0, max(len(us.all)-maxUploads, 0))
}

func (us *assemblyUploads) find(address string) (assemblyUpload, bool) {
	us.mu.Lock()
	defer us.mu.Unlock()
	at := slices.IndexFunc(us.all, func(u assemblyUpload) bool { return u.url == address })
	if at < 0 {
		return assemblyUpload{}, false
	}
	return us.all[at], true
}

// upload measures an upload, and returns its URL.
func (s *AssemblyAI) upload(r *http.Request) (any, error) {
	audio := &upload{r: r.Body, max: s.maxUpload}
	measured, err := measure(audio, "")
	_, _ = io.Copy(io.Discard, audio) // the bytes after the samples count too
	switch {
	case errors.Is(audio.err, errTooLarge):
		return nil, &assemblyError{http.StatusRequestEntityTooLarge, "Upload failed, the file is too large"}
	case audio.err != nil || audio.size == 0:
		return nil, &assemblyError{http.StatusBadRequest, "Upload failed, please try again"}
	}
	u := assemblyUpload{url: assemblyUploadHost + newUUID(), readable: err == nil, measured: measured}
	s.uploads.add(u)
	return struct {
		URL string `json:"upload_url"`
	}{u.url}, nil
}

// assemblyTranscript is the recognition of a recording. The clock decides when it is completed.
type assemblyTranscript struct {
	id       string
	created  time.Time
	audioURL string
	webhook  *string // as the client sent it
	problem  string  // why it ends in an error; empty if it does not
	measured measurement
	deleted  bool
}

// create creates a transcript.
func (s *AssemblyAI) create(r *http.Request) (any, error) {
	var asked struct {
		AudioURL string  `json:"audio_url"`
		Webhook  *string `json:"webhook_url"`
	}
	if err := readAssemblyJSON(r, &asked); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(asked.AudioURL, "https://") && !strings.HasPrefix(asked.AudioURL, "http://") {
		return nil, &assemblyError{http.StatusBadRequest, `"audio_url" is required: want a URL with http or https`}
	}
	t := &assemblyTranscript{id: newUUID(), created: s.now(), audioURL: asked.AudioURL, webhook: asked.Webhook}
	u, known := s.uploads.find(asked.AudioURL)
	switch {
	case known && u.readable:
		t.measured = u.measured
	case known:
		t.problem = "Transcoding failed. File does not appear to contain audio."
	case strings.HasPrefix(asked.AudioURL, assemblyUploadHost):
		t.problem = "Download error, unable to access file at " + asked.AudioURL
	default:
		t.measured = measureSpeech()
	}
	s.transcripts.add(t)
	return t.answer(s.transcripts.statusAt(t, t.created)), nil
}

// assemblyTranscripts are the newest transcripts, at most maxJobs.
type assemblyTranscripts struct {
	queue, work time.Duration // how long a transcript is queued, and processed after that

	mu  sync.Mutex
	all []*assemblyTranscript // oldest first
}

// statusAt returns the state of a transcript at now.
func (ts *assemblyTranscripts) statusAt(t *assemblyTranscript, now time.Time) status {
	switch worked := now.Sub(t.created) - ts.queue; {
	case worked < 0:
		return statusQueued
	case worked < ts.work:
		return statusProcessing
	case t.problem != "":
		return statusError
	}
	return statusCompleted
}

func (ts *assemblyTranscripts) add(t *assemblyTranscript) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.all = append(ts.all, t)
	ts.all = slices.Delete(ts.all, 0, max(len(ts.all)-maxJobs, 0))
}

// find returns a copy of the transcript with this ID.
func (ts *assemblyTranscripts) find(id string) (assemblyTranscript, bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	at := ts.index(id)
	if at < 0 {
		return assemblyTranscript{}, false
	}
	return *ts.all[at], true
}

func (ts *assemblyTranscripts) index(id string) int {
	return slices.IndexFunc(ts.all, func(t *assemblyTranscript) bool { return t.id == id })
}

// remove deletes what a transcript says. As with the API, its ID stays known.
func (ts *assemblyTranscripts) remove(id string, now time.Time) (any, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	at := ts.index(id)
	if at < 0 {
		return nil, errNoTranscript
	}
	t := ts.all[at]
	state := ts.statusAt(t, now)
	if state != statusCompleted && state != statusError {
		return nil, &assemblyError{http.StatusBadRequest, "Transcript cannot be deleted while it is " + string(state)}
	}
	t.deleted, t.measured, t.problem = true, measurement{}, ""
	return t.answer(statusCompleted), nil
}

// page returns up to limit transcripts, newest first: those with this status, unless it is empty,
// those older than before and newer than after, unless these are empty.
func (ts *assemblyTranscripts) page(limit int, want status, before, after string, now time.Time) (page []assemblyTranscript, err error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	from, to := 0, len(ts.all)
	if before != "" {
		if to = ts.index(before); to < 0 {
			return nil, errNoTranscript
		}
	}
	if after != "" {
		if from = ts.index(after) + 1; from == 0 {
			return nil, errNoTranscript
		}
	}
	for _, t := range slices.Backward(ts.all[min(from, to):to]) {
		if want == "" || ts.statusAt(t, now) == want {
			page = append(page, *t)
		}
	}
	if after != "" { // the page after an ID has its next newer transcripts
		return page[max(len(page)-limit, 0):], nil
	}
	return page[:min(len(page), limit)], nil
}

// list returns a page of transcripts, newest first. Its links lead to the vendor's host, as those of
// the vendor do.
func (s *AssemblyAI) list(query url.Values) (any, error) {
	limit := defaultListLimit
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxListLimit {
			return nil, &assemblyError{http.StatusBadRequest, "limit: want a number from 1 to 200"}
		}
		limit = n
	}
	now := s.now()
	page, err := s.transcripts.page(limit, status(query.Get("status")), query.Get("before_id"), query.Get("after_id"), now)
	if err != nil {
		return nil, err
	}
	link := func(name, id string) *string {
		pairs := url.Values{"limit": {strconv.Itoa(limit)}}
		if name != "" {
			pairs.Set(name, id)
		}
		if state := query.Get("status"); state != "" {
			pairs.Set("status", state)
		}
		text := assemblyHost + "/v2/transcript?" + pairs.Encode()
		return &text
	}
	answer := transcriptList{Transcripts: []transcriptEntry{}}
	answer.Page = pageDetails{Limit: limit, Count: len(page), Current: link("", "")}
	for _, t := range page {
		answer.Transcripts = append(answer.Transcripts, t.entry(s.transcripts.statusAt(&t, now), s.transcripts.queue+s.transcripts.work))
	}
	if len(page) > 0 {
		answer.Page.Prev, answer.Page.Next = link("before_id", page[len(page)-1].id), link("after_id", page[0].id)
	}
	return answer, nil
}
