package sandbox

import (
	"cmp"
	"fmt"
	"time"
)

// deepgramModelID is the ID of the sandbox's only model.
const deepgramModelID = "5a9dbb0c-0000-4000-8000-000000000001"

// deepgramModel and the other structs are the JSON of the API. Times are in seconds.
type deepgramModel struct {
	Name          string   `json:"name"`
	CanonicalName string   `json:"canonical_name"`
	Architecture  string   `json:"architecture"`
	Languages     []string `json:"languages"`
	Version       string   `json:"version"`
	UUID          string   `json:"uuid"`
	Batch         bool     `json:"batch"`
	Streaming     bool     `json:"streaming"`
}

type deepgramModelInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
}

type deepgramWord struct {
	Word           string  `json:"word"`
	Start          float64 `json:"start"`
	End            float64 `json:"end"`
	Confidence     float64 `json:"confidence"`
	PunctuatedWord string  `json:"punctuated_word"`
}

type deepgramAlternative struct {
	Transcript string         `json:"transcript"`
	Confidence float64        `json:"confidence"`
	Words      []deepgramWord `json:"words"`
}

type deepgramChannel struct {
	Alternatives []deepgramAlternative `json:"alternatives"`
}

type deepgramUtterance struct {
	Start      float64        `json:"start"`
	End        float64        `json:"end"`
	Confidence float64        `json:"confidence"`
	Channel    int            `json:"channel"`
	Transcript string         `json:"transcript"`
	Words      []deepgramWord `json:"words"`
	ID         string         `json:"id"`
}

// deepgramMetadata is a member of the answer to a recording, and the last message of a stream.
type deepgramMetadata struct {
	Type           string                       `json:"type,omitempty"`
	TransactionKey string                       `json:"transaction_key"`
	RequestID      string                       `json:"request_id"`
	SHA256         string                       `json:"sha256"` // of the audio
	Created        string                       `json:"created"`
	Duration       float64                      `json:"duration"`
	Channels       int                          `json:"channels"`
	Models         []string                     `json:"models"`
	ModelInfo      map[string]deepgramModelInfo `json:"model_info"`
	Tags           []string                     `json:"tags,omitempty"`
}

type deepgramAnswer struct {
	Metadata deepgramMetadata `json:"metadata"`
	Results  struct {
		Channels   []deepgramChannel   `json:"channels"`
		Utterances []deepgramUtterance `json:"utterances,omitempty"`
	} `json:"results"`
}

// newDeepgramModel returns the sandbox's model, under this name or its own.
func newDeepgramModel(name string) deepgramModel {
	name = cmp.Or(name, "sandbox")
	return deepgramModel{
		Name: name, CanonicalName: name, Architecture: "meter", Languages: []string{"en"}, Version: "1",
		UUID: deepgramModelID, Batch: true, Streaming: true,
	}
}

// modelInfo describes the model that the request asks for.
func (req *deepgramRequest) modelInfo() deepgramModelInfo {
	m := newDeepgramModel(req.r.URL.Query().Get("model"))
	return deepgramModelInfo{Name: m.Name, Version: m.Version, Arch: m.Architecture}
}

func (req *deepgramRequest) metadata(m measurement, sum string) deepgramMetadata {
	return deepgramMetadata{
		TransactionKey: "deprecated", RequestID: req.id, SHA256: sum, Created: req.now().UTC().Format(time.RFC3339Nano),
		Duration: m.duration.Seconds(), Channels: m.channels, Models: []string{deepgramModelID},
		ModelInfo: map[string]deepgramModelInfo{deepgramModelID: req.modelInfo()}, Tags: req.r.URL.Query()["tag"],
	}
}

// answer returns the answer to a recording. The transcript describes the measurement, and each
// stretch of speech is a word.
func (req *deepgramRequest) answer(m measurement, sum string) deepgramAnswer {
	best := deepgramAlternative{Transcript: m.text(), Words: []deepgramWord{}}
	for i, s := range m.segments {
		best.Words = append(best.Words, newDeepgramWord(i, s))
	}
	if len(m.segments) > 0 {
		best.Confidence = m.confidence()
	}
	answer := deepgramAnswer{Metadata: req.metadata(m, sum)}
	answer.Results.Channels = []deepgramChannel{{Alternatives: []deepgramAlternative{best}}}
	if req.asks("utterances") {
		for _, word := range best.Words {
			answer.Results.Utterances = append(answer.Results.Utterances, deepgramUtterance{
				Start: word.Start, End: word.End, Confidence: word.Confidence, Transcript: word.PunctuatedWord,
				Words: []deepgramWord{word}, ID: newUUID(),
			})
		}
	}
	return answer
}

// asks reports whether a parameter of the query is true.
func (req *deepgramRequest) asks(name string) bool { return req.r.URL.Query().Get(name) == "true" }

func newDeepgramWord(i int, s segment) deepgramWord {
	return deepgramWord{
		Word: fmt.Sprintf("speech-%d", i+1), PunctuatedWord: newToken(i, s).Written, Confidence: rounded(s.confidence),
		Start: s.start.Seconds(), End: s.end.Seconds(),
	}
}
