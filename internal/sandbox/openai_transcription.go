package sandbox

import (
	"errors"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"strings"
	"time"
)

const (
	maxFields = 64      // the most parts of a form
	maxField  = 1 << 20 // the most bytes of one field of a form
)

// transcription is a request for a transcription.
type transcription struct {
	fields map[string]string // the last value of each field, except the file
	heard  measurement
	file   bool  // whether there was a file
	size   int64 // of the file, in bytes
	err    error // why the file could not be measured
}

// transcribe answers a transcription or a translation. The fields of the form may come in any
// order: the vendor's libraries send the file first.
func (s *OpenAI) transcribe(w http.ResponseWriter, r *http.Request, task string) *openAIFailure {
	t, failed := s.readTranscription(r)
	if failed == nil {
		failed = t.check(s.maxAudio, task)
	}
	if failed != nil {
		return failed
	}
	if t.fields["stream"] == "true" && !openAIModels[t.fields["model"]] {
		t.stream(w)
		return nil
	}
	text := t.heard.text()
	switch t.fields["response_format"] {
	case "text":
		plain(w, "text/plain; charset=utf-8", text+"\n")
	case "srt":
		plain(w, "text/plain; charset=utf-8", subtitles(t.heard.segments, ",", true))
	case "vtt":
		plain(w, "text/vtt; charset=utf-8", "WEBVTT\n\n"+subtitles(t.heard.segments, ".", false))
	case "verbose_json":
		write(w, http.StatusOK, newVerbose(task, t.fields["language"], t.heard))
	default:
		write(w, http.StatusOK, plainTranscription{Text: text, Usage: usageOf(t.heard.duration)})
	}
	return nil
}

// readTranscription reads a form, and measures the file in it while it arrives.
func (s *OpenAI) readTranscription(r *http.Request) (*transcription, *openAIFailure) {
	malformed := newFailure(http.StatusBadRequest, "", "", "Could not parse multipart form")
	boundary, count := parameter(r.Header.Get("Content-Type"), "boundary")
	if boundary == "" || count != 1 {
		return nil, malformed
	}
	t := &transcription{fields: make(map[string]string)}
	parts := multipart.NewReader(r.Body, boundary)
	for range maxFields {
		part, err := parts.NextRawPart()
		switch {
		case errors.Is(err, io.EOF):
			return t, nil
		case err != nil:
			return nil, malformed
		}
		name, _ := parameter(part.Header.Get("Content-Disposition"), "name")
		if name == "file" {
			audio := &upload{r: part, max: -1}
			t.file = true
			t.heard, t.err = measure(audio, "")
			_, _ = io.Copy(io.Discard, audio) // the bytes after the samples count too
			if t.size = audio.size; audio.err != nil {
				return nil, malformed
			}
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, maxField+1))
		if err != nil || len(value) > maxField {
			return nil, malformed
		}
		t.fields[name] = string(value)
	}
	return nil, malformed
}

// check returns what is wrong with a request, or nil.
func (t *transcription) check(maxAudio int64, task string) *openAIFailure {
	id, format := t.fields["model"], t.fields["response_format"]
	times, known := openAIModels[id]
	switch {
	case !t.file:
		return newFailure(http.StatusBadRequest, "missing_required_parameter", "file", "Missing required parameter: 'file'.")
	case id == "":
		return newFailure(http.StatusBadRequest, "missing_required_parameter", "model", "you must provide a model parameter")
	case maxAudio >= 0 && t.size > maxAudio:
		return newFailure(http.StatusRequestEntityTooLarge, "", "", fmt.Sprintf("Maximum content size limit (%d) exceeded (%d bytes read)", maxAudio, t.size))
	case !known, task == "translate" && !times:
		return noModel(id)
	case t.err != nil:
		return newFailure(http.StatusBadRequest, "invalid_value", "file", "Audio file might be corrupted or unsupported")
	}
	switch format {
	case "", "json":
		return nil
	case "text", "srt", "vtt", "verbose_json":
		if times {
			return nil
		}
	}
	return newFailure(http.StatusBadRequest, "unsupported_value", "response_format", fmt.Sprintf("response_format '%s' is not compatible with model '%s'. Use 'json' instead.", format, id))
}

// stream sends a transcription as server-sent events.
func (t *transcription) stream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	flush := http.NewResponseController(w).Flush
	send := func(event any) {
		if text, err := encode(event); err == nil {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", text)
			_ = flush()
		}
	}
	text := t.heard.text()
	for _, piece := range deltas(text) {
		send(textDelta{Type: "transcript.text.delta", Delta: piece})
	}
	send(textDone{Type: "transcript.text.done", Text: text, Usage: usageOf(t.heard.duration)})
}

// deltas returns the pieces in which a text is sent.
func deltas(text string) []string { return strings.SplitAfter(text, ", ") }

func plain(w http.ResponseWriter, contentType, text string) {
	w.Header().Set("Content-Type", contentType)
	_, _ = io.WriteString(w, text)
}

// subtitles returns the stretches of speech as the entries of an SRT or VTT file.
func subtitles(segments []segment, point string, numbered bool) string {
	var b strings.Builder
	for i, s := range segments {
		if numbered {
			fmt.Fprintf(&b, "%d\n", i+1)
		}
		fmt.Fprintf(&b, "%s --> %s\n%s\n\n", timecode(s.start, point), timecode(s.end, point), newToken(i, s).Written)
	}
	return b.String()
}

// timecode returns a time as 00:00:01 and, after the point, milliseconds.
func timecode(d time.Duration, point string) string {
	ms := d.Milliseconds()
	return fmt.Sprintf("%02d:%02d:%02d%s%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, point, ms%1000)
}

type plainTranscription struct {
	Text  string `json:"text"`
	Usage usage  `json:"usage"`
}

type usage struct {
	Type    string `json:"type"`
	Seconds int64  `json:"seconds"`
}

// usageOf returns the length of audio, rounded up.
func usageOf(d time.Duration) usage {
	return usage{Type: "duration", Seconds: int64(math.Ceil(d.Seconds()))}
}

type textDelta struct {
	Type  string `json:"type"`
	Delta string `json:"delta"`
}

type textDone struct {
	Type  string `json:"type"`
	Text  string `json:"text"`
	Usage usage  `json:"usage"`
}

type verboseTranscription struct {
	Task     string           `json:"task"`
	Language string           `json:"language"`
	Duration float64          `json:"duration"`
	Text     string           `json:"text"`
	Segments []verboseSegment `json:"segments"`
	Usage    usage            `json:"usage"`
}

type verboseSegment struct {
	ID               int     `json:"id"`
	Seek             int     `json:"seek"`
	Start            float64 `json:"start"`
	End              float64 `json:"end"`
	Text             string  `json:"text"`
	Tokens           []int   `json:"tokens"`
	Temperature      float64 `json:"temperature"`
	AvgLogprob       float64 `json:"avg_logprob"`
	CompressionRatio float64 `json:"compression_ratio"`
	NoSpeechProb     float64 `json:"no_speech_prob"`
}

// newVerbose returns a transcription with its stretches of speech. The sandbox hears no language:
// the language is the one that the request names, or english.
func newVerbose(task, language string, heard measurement) verboseTranscription {
	if language == "" || task == "translate" {
		language = "english"
	}
	out := verboseTranscription{
		Task: task, Language: language, Duration: heard.duration.Seconds(), Text: heard.text(), Segments: []verboseSegment{},
		Usage: usageOf(heard.duration),
	}
	for i, s := range heard.segments {
		out.Segments = append(out.Segments, verboseSegment{
			ID: i, Start: s.start.Seconds(), End: s.end.Seconds(), Text: newToken(i, s).Written, Tokens: []int{},
			AvgLogprob: rounded(math.Log(max(s.confidence, 1e-4))), CompressionRatio: 1, NoSpeechProb: rounded(1 - s.confidence),
		})
	}
	return out
}
