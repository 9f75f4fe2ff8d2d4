package sandbox

import (
	"encoding/json"
	"math"
	"time"
)

// speechmaticsFormat is the version of the vendor's JSON for transcripts.
const speechmaticsFormat = "2.9"

// jobDetails and the other structs are the JSON of the API. Times are in seconds.
type jobDetails struct {
	ID        string          `json:"id"`
	CreatedAt string          `json:"created_at"`
	DataName  string          `json:"data_name"`
	Duration  int64           `json:"duration,omitempty"`
	Status    string          `json:"status,omitempty"`
	Config    json.RawMessage `json:"config,omitempty"`
	Tracking  json.RawMessage `json:"tracking,omitempty"`
	Errors    []jobProblem    `json:"errors,omitempty"`
}

type jobProblem struct {
	Timestamp string `json:"timestamp"`
	Message   string `json:"message"`
}

type jsonTranscript struct {
	Format   string             `json:"format"`
	Job      jobDetails         `json:"job"`
	Metadata transcriptMetadata `json:"metadata"`
	Results  []spokenResult     `json:"results"`
	Summary  *transcriptSummary `json:"summary,omitempty"`
}

type transcriptMetadata struct {
	CreatedAt     string          `json:"created_at"`
	Type          string          `json:"type"`
	Transcription json.RawMessage `json:"transcription_config,omitempty"`
}

type transcriptSummary struct {
	Content string `json:"content"`
}

// spokenResult is a stretch of speech: a word, in the API's terms.
type spokenResult struct {
	Type         string              `json:"type"`
	Start        float64             `json:"start_time"`
	End          float64             `json:"end_time"`
	Alternatives []spokenAlternative `json:"alternatives"`
}

type spokenAlternative struct {
	Content    string  `json:"content"`
	Confidence float64 `json:"confidence"`
	Language   string  `json:"language"`
	Speaker    string  `json:"speaker,omitempty"`
}

// newJobDetails returns a job in this state.
func newJobDetails(j *job, state string) jobDetails {
	details := jobDetails{
		ID: j.id, CreatedAt: instant(j.created), DataName: j.name, Duration: int64(math.Round(j.measured.duration.Seconds())),
		Status: state, Config: j.config,
	}
	if state == "rejected" {
		details.Errors = []jobProblem{{Timestamp: instant(j.created), Message: "Job rejected due to invalid audio"}}
	}
	return details
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// transcriptOf returns the name of a format, and the transcript of a job in this format: a string,
// or an object for json-v2.
func transcriptOf(j *job, format string) (name string, content any) {
	switch format {
	case "txt":
		return format, j.measured.text()
	case "srt":
		return format, subtitles(j.measured.segments, ",", true)
	}
	var config jobConfig
	var settings struct {
		Transcription json.RawMessage `json:"transcription_config"`
	}
	_, _ = json.Unmarshal(j.config, &config), json.Unmarshal(j.config, &settings) // checkJob has read it
	details := newJobDetails(j, "")
	details.Config, details.Tracking = nil, config.Tracking
	out := jsonTranscript{
		Format: speechmaticsFormat, Job: details, Results: []spokenResult{},
		Metadata: transcriptMetadata{CreatedAt: details.CreatedAt, Type: "transcription", Transcription: settings.Transcription},
	}
	for i, s := range j.measured.segments {
		out.Results = append(out.Results, newSpokenResult(i, s, config.Transcription.Language, "UU"))
	}
	if len(config.Summarization) > 0 {
		out.Summary = &transcriptSummary{j.measured.text()}
	}
	return "json-v2", out
}

func newSpokenResult(i int, s segment, language, speaker string) spokenResult {
	word := newToken(i, s)
	return spokenResult{
		Type: "word", Start: s.start.Seconds(), End: s.end.Seconds(),
		Alternatives: []spokenAlternative{{word.Written, word.Confidence, language, speaker}},
	}
}
