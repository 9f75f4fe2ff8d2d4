package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"time"
)

const (
	longestShort  = 2 * time.Minute
	shortestShort = 80 * time.Millisecond
)

// shortRefusal is an answer about the key of a request with short audio.
type shortRefusal struct {
	Detail string `json:"detail"`
}

// shortError is the answer to short audio that cannot be recognized.
type shortError struct {
	status  int
	Code    string `json:"error_code"`
	Message string `json:"message"`
}

// shortConfig is the part "config" of a form.
type shortConfig struct {
	SampleRate int `json:"sample_rate"`
	Channels   int
	Timestamps bool
}

type shortWord struct {
	Text       string  `json:"text"`
	Start      *int64  `json:"start,omitempty"` // milliseconds, if the request asks for times
	End        *int64  `json:"end,omitempty"`
	Confidence float64 `json:"confidence"`
}

type shortAnswer struct {
	Text        string      `json:"text"`
	Words       []shortWord `json:"words"`
	Confidence  float64     `json:"confidence"`
	Duration    int64       `json:"audio_duration_ms"`
	SessionID   string      `json:"session_id"`
	RequestTime int64       `json:"request_time_ms"`
}

// short answers short audio: a form whose parts are config and then audio.
func (s *AssemblyAI) short(w http.ResponseWriter, r *http.Request) {
	begun := s.now()
	config, heard, failed := s.readShort(r)
	drain(r)
	if failed != nil {
		write(w, failed.status, failed)
		return
	}
	answer := shortAnswer{Text: heard.text(), Words: []shortWord{}, Duration: heard.duration.Milliseconds(), SessionID: newUUID()}
	for i, segment := range heard.segments {
		word := newAssemblyWord(i, segment)
		short := shortWord{Text: word.Text, Confidence: word.Confidence}
		if config.Timestamps {
			short.Start, short.End = &word.Start, &word.End
		}
		answer.Words = append(answer.Words, short)
	}
	if len(heard.segments) > 0 {
		answer.Confidence = heard.confidence()
	}
	answer.RequestTime = s.now().Sub(begun).Milliseconds()
	write(w, http.StatusOK, answer)
}

// readShort reads a form, and measures its audio while the audio arrives.
func (s *AssemblyAI) readShort(r *http.Request) (config shortConfig, heard measurement, failed *shortError) {
	bad := func(message string) *shortError { return &shortError{http.StatusBadRequest, "bad_request", message} }
	if r.Header.Get("X-Aai-Model") == "" {
		return config, heard, bad("no header field X-AAI-Model: it names the model")
	}
	boundary, count := parameter(r.Header.Get("Content-Type"), "boundary")
	if boundary == "" || count != 1 {
		return config, heard, bad("the body is not multipart/form-data")
	}
	parts := multipart.NewReader(r.Body, boundary)
	for range maxFields {
		part, err := parts.NextRawPart()
		if err != nil {
			return config, heard, bad("the form has no part audio, or it is malformed")
		}
		switch name, _ := parameter(part.Header.Get("Content-Disposition"), "name"); name {
		case "config":
			text, err := io.ReadAll(io.LimitReader(part, maxField))
			if err != nil || json.Unmarshal(text, &config) != nil {
				return config, heard, bad("the part config is not a JSON object")
			}
		case "audio":
			heard, failed = s.measureShort(part, config)
			return config, heard, failed
		}
	}
	return config, heard, bad("the form has too many parts")
}

// measureShort measures the part audio. Its content type says whether it is a WAV file or raw PCM.
func (s *AssemblyAI) measureShort(part *multipart.Part, config shortConfig) (heard measurement, failed *shortError) {
	var raw pcm
	switch kind := strings.ToLower(part.Header.Get("Content-Type")); {
	case kind == "audio/pcm" && (config.SampleRate < 8000 || config.SampleRate > 48000 || config.Channels < 1 || config.Channels > maxChannels):
		return heard, &shortError{http.StatusBadRequest, "bad_audio", "raw PCM needs sample_rate and channels in the part config"}
	case kind == "audio/pcm":
		raw = pcm{rate: config.SampleRate, channels: config.Channels, bits: 16}
	case kind != "audio/wav":
		return heard, &shortError{http.StatusUnsupportedMediaType, "unsupported_media_type", "want audio/wav or audio/pcm"}
	}
	audio := &upload{r: part, max: s.maxAudio}
	layout, samples, err := audioSamples(audio, raw)
	if err == nil {
		heard = measureSamples(samples, layout, nil)
	}
	_, _ = io.Copy(io.Discard, audio) // the bytes after the samples count too
	switch {
	case errors.Is(audio.err, errTooLarge), heard.duration > longestShort:
		return heard, &shortError{http.StatusRequestEntityTooLarge, "audio_too_large", "the audio is larger than 40 MB or longer than 120000 ms"}
	case audio.err != nil:
		return heard, &shortError{http.StatusBadRequest, "bad_request", "the form ends too early"}
	case err != nil:
		return heard, &shortError{http.StatusBadRequest, "bad_audio", "the audio is no WAV file of 16 bits"}
	case heard.duration < shortestShort:
		return heard, &shortError{http.StatusBadRequest, "audio_too_short", "the audio is shorter than 80 ms"}
	}
	return heard, nil
}
