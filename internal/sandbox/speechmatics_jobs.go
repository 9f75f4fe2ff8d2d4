package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxJobWait     = 60 * time.Second // the vendor has a limit too, and does not tell it
	defaultJobWait = 2 * time.Second  // the vendor's, of a poll without the parameter wait

	maxListed = 100 // the most jobs that limit can ask for
)

// jobConfig is what the sandbox reads of the configuration of a job.
type jobConfig struct {
	Type      string `json:"type"`
	FetchData *struct {
		URL string `json:"url"`
	} `json:"fetch_data"`
	Transcription *struct {
		Language string `json:"language"`
	} `json:"transcription_config"`
	Summarization json.RawMessage `json:"summarization_config"`
	Tracking      json.RawMessage `json:"tracking"`
}

// createJob creates a job. With the parameter wait, it answers when the job has ended. If the audio
// is unsupported, the job is rejected later.
func (s *Speechmatics) createJob(w http.ResponseWriter, r *http.Request, who speechmaticsCaller) *speechmaticsFailure {
	wait, failed := waitOf(r, -1)
	format := r.URL.Query().Get("format")
	if failed == nil && wait >= 0 && !isTranscriptFormat(format) {
		failed = errSpeechmaticsFormat
	}
	if failed != nil {
		return failed
	}
	j, failed := s.readJob(r)
	if failed != nil {
		return failed
	}
	j.id, j.clientRef = newSessionID()[:10], who.clientRef
	if !s.jobs.add(j, s.now()) {
		return errSpeechmaticsBusy
	}
	answer := map[string]any{"id": j.id}
	if wait >= 0 {
		status := s.await(r.Context(), j.id, wait)
		switch answer["status"] = status; status {
		case "running":
			answer["status"] = "created"
		case "done":
			name, content := transcriptOf(j, format)
			answer[name] = content
		}
	}
	write(w, http.StatusCreated, answer)
	return nil
}

// readJob reads a form with the parts config and data_file, in any order.
func (s *Speechmatics) readJob(r *http.Request) (*job, *speechmaticsFailure) {
	boundary, count := parameter(r.Header.Get("Content-Type"), "boundary")
	if boundary == "" || count != 1 {
		return nil, errSpeechmaticsForm
	}
	j := new(job)
	hasFile := false
	parts := multipart.NewReader(r.Body, boundary)
	for range maxFields {
		part, err := parts.NextRawPart()
		switch {
		case errors.Is(err, io.EOF):
			return j, s.checkJob(j, hasFile)
		case err != nil:
			return nil, errSpeechmaticsForm
		}
		disposition := part.Header.Get("Content-Disposition")
		switch name, _ := parameter(disposition, "name"); name {
		case "data_file":
			audio := &upload{r: part, max: -1}
			j.measured, err = measure(audio, "")
			j.readable, hasFile = err == nil, true
			_, _ = io.Copy(io.Discard, audio) // the bytes after the samples count too
			if j.size = audio.size; audio.err != nil {
				return nil, errSpeechmaticsForm
			}
			j.name, _ = parameter(disposition, "filename")
		case "config":
			if j.config, err = io.ReadAll(io.LimitReader(part, maxField+1)); err != nil || len(j.config) > maxField {
				return nil, errSpeechmaticsForm
			}
		}
	}
	return nil, errSpeechmaticsForm
}

// checkJob checks the configuration of a job, and completes a job whose audio is at a URL.
func (s *Speechmatics) checkJob(j *job, hasFile bool) *speechmaticsFailure {
	var config jobConfig
	switch {
	case json.Unmarshal(j.config, &config) != nil:
		return newBadConfig("Job config JSON is invalid")
	case config.Type != "transcription":
		return newBadConfig("type: want transcription")
	case config.Transcription == nil || config.Transcription.Language == "":
		return newBadConfig("transcription_config.language is required")
	case config.FetchData == nil && !hasFile:
		return errSpeechmaticsNoFile
	case s.maxAudio >= 0 && j.size > s.maxAudio:
		return errSpeechmaticsTooLarge
	case config.FetchData == nil || hasFile:
		return nil
	}
	if !strings.HasPrefix(config.FetchData.URL, "http://") && !strings.HasPrefix(config.FetchData.URL, "https://") {
		return newBadConfig("fetch_data.url: want a URL")
	}
	j.measured = measureSpeech()
	j.readable, j.name = true, config.FetchData.URL
	return nil
}

// waitOf returns the time that the parameter wait asks for, or standard.
func waitOf(r *http.Request, standard time.Duration) (time.Duration, *speechmaticsFailure) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return standard, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return 0, newBadParameter("wait in query must be of type int64")
	}
	return time.Duration(min(seconds, int64(maxJobWait/time.Second))) * time.Second, nil
}

// await waits until a job has ended, for at most this time, and returns its state.
func (s *Speechmatics) await(ctx context.Context, id string, longest time.Duration) string {
	if j, ok := s.jobs.find(id); ok {
		left := j.created.Add(s.jobs.queue + s.jobs.work).Sub(s.now())
		timer := time.NewTimer(min(left, longest))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	j, ok := s.jobs.find(id)
	if !ok {
		return "deleted"
	}
	return s.state(&j)
}

// state returns the state of a job, in the API's words.
func (s *Speechmatics) state(j *job) string {
	switch s.jobs.statusAt(j, s.now()) {
	case statusCompleted:
		return "done"
	case statusError:
		return "rejected"
	case statusQueued, statusStarted, statusProcessing:
	}
	return "running"
}

// find returns the job with this ID, if the caller may see it.
func (s *Speechmatics) find(who speechmaticsCaller, id string) (*job, *speechmaticsFailure) {
	j, ok := s.jobs.find(id)
	if !ok || !who.owns(&j) {
		return nil, errSpeechmaticsNoJob
	}
	return &j, nil
}

// findAfterWait does what find does. Before it returns, it waits until the job has ended, for the
// time that the request asks for.
func (s *Speechmatics) findAfterWait(r *http.Request, who speechmaticsCaller, id string) (*job, *speechmaticsFailure) {
	wait, failed := waitOf(r, defaultJobWait)
	if failed != nil {
		return nil, failed
	}
	if _, failed := s.find(who, id); failed != nil {
		return nil, failed
	}
	s.await(r.Context(), id, wait)
	return s.find(who, id)
}

func (s *Speechmatics) showJob(w http.ResponseWriter, r *http.Request, who speechmaticsCaller, id string) *speechmaticsFailure {
	j, failed := s.findAfterWait(r, who, id)
	if failed == nil {
		write(w, http.StatusOK, map[string]jobDetails{"job": newJobDetails(j, s.state(j))})
	}
	return failed
}

func (s *Speechmatics) deleteJob(w http.ResponseWriter, r *http.Request, who speechmaticsCaller, id string) *speechmaticsFailure {
	j, failed := s.find(who, id)
	switch {
	case failed != nil:
		return failed
	case s.state(j) == "running" && r.URL.Query().Get("force") != "true":
		return errSpeechmaticsRunning
	}
	s.jobs.remove(id)
	write(w, http.StatusOK, map[string]jobDetails{"job": newJobDetails(j, "deleted")})
	return nil
}

// listJobs lists the jobs of the caller, newest first.
func (s *Speechmatics) listJobs(w http.ResponseWriter, r *http.Request, who speechmaticsCaller) *speechmaticsFailure {
	query := r.URL.Query()
	limit, before := maxJobs, time.Time{}
	var err error
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxListed {
			return newBadParameter("limit in query must be of type int64")
		}
	}
	if text := query.Get("created_before"); text != "" {
		if before, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return newBadParameter("created_before in query must be of type date-time")
		}
	}
	list := []jobDetails{}
	for _, j := range s.jobs.all() {
		if len(list) < limit && who.owns(&j) && (before.IsZero() || j.created.Before(before)) {
			list = append(list, newJobDetails(&j, s.state(&j)))
		}
	}
	write(w, http.StatusOK, map[string][]jobDetails{"jobs": list})
	return nil
}

// transcriptTypes are the content types of the formats of a transcript.
var transcriptTypes = map[string]string{
	"json-v2": "application/vnd.speechmatics.v2+json", "txt": "text/plain", "srt": "text/plain",
}

// isTranscriptFormat reports whether there is a format of this name. The empty name is json-v2.
func isTranscriptFormat(name string) bool { return name == "" || transcriptTypes[name] != "" }

func (s *Speechmatics) showTranscript(w http.ResponseWriter, r *http.Request, who speechmaticsCaller, id string) *speechmaticsFailure {
	format := r.URL.Query().Get("format")
	if !isTranscriptFormat(format) {
		return errSpeechmaticsFormat
	}
	j, failed := s.findAfterWait(r, who, id)
	if failed != nil {
		return failed
	}
	switch s.state(j) {
	case "running":
		return errSpeechmaticsNotReady
	case "rejected":
		return errSpeechmaticsRejected
	}
	name, content := transcriptOf(j, format)
	text, isText := content.(string)
	if !isText {
		encoded, err := encode(content)
		if err != nil {
			return errSpeechmaticsNotReady
		}
		text = string(encoded)
	}
	plain(w, transcriptTypes[name], text)
	return nil
}
