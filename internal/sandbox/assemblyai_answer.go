package sandbox

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const deletedByUser = "http://deleted_by_user"

// transcriptAnswer and the other structs are the JSON of the API. Times of words are in milliseconds.
type transcriptAnswer struct {
	ID            string         `json:"id"`
	LanguageModel string         `json:"language_model"`
	AcousticModel string         `json:"acoustic_model"`
	LanguageCode  string         `json:"language_code"`
	Status        status         `json:"status"`
	AudioURL      string         `json:"audio_url"`
	Text          *string        `json:"text"`
	Words         []assemblyWord `json:"words"`
	Utterances    []string       `json:"utterances"` // always null: the sandbox hears no speakers
	Confidence    *float64       `json:"confidence"`
	AudioDuration *int64         `json:"audio_duration"` // seconds
	Punctuate     bool           `json:"punctuate"`
	FormatText    bool           `json:"format_text"`
	WebhookURL    *string        `json:"webhook_url"`
	WebhookAuth   bool           `json:"webhook_auth"`
	RedactPII     bool           `json:"redact_pii"`
	Summarization bool           `json:"summarization"`
	Highlights    bool           `json:"auto_highlights"`
	Error         string         `json:"error,omitempty"`
}

type assemblyWord struct {
	Text       string  `json:"text"`
	Start      int64   `json:"start"`
	End        int64   `json:"end"`
	Confidence float64 `json:"confidence"`
	Speaker    *string `json:"speaker"` // always null
}

// assemblyText is a sentence or a paragraph.
type assemblyText struct {
	Text       string         `json:"text"`
	Start      int64          `json:"start"`
	End        int64          `json:"end"`
	Confidence float64        `json:"confidence"`
	Words      []assemblyWord `json:"words"`
}

type pageDetails struct {
	Limit   int     `json:"limit"`
	Count   int     `json:"result_count"`
	Current *string `json:"current_url"`
	Prev    *string `json:"prev_url"` // older transcripts
	Next    *string `json:"next_url"` // newer transcripts
}

type transcriptList struct {
	Page        pageDetails       `json:"page_details"`
	Transcripts []transcriptEntry `json:"transcripts"`
}

type transcriptEntry struct {
	ID        string  `json:"id"`
	Resource  string  `json:"resource_url"`
	Status    status  `json:"status"`
	Created   string  `json:"created"`
	Completed *string `json:"completed"`
	AudioURL  string  `json:"audio_url"`
	Error     *string `json:"error"`
}

// subtitleText is an answer that is not JSON.
type subtitleText string

func newAssemblyWord(i int, s segment) assemblyWord {
	return assemblyWord{
		Text: fmt.Sprintf("speech-%d", i+1), Start: s.start.Milliseconds(), End: s.end.Milliseconds(), Confidence: rounded(s.confidence),
	}
}

func (t *assemblyTranscript) words() []assemblyWord {
	words := []assemblyWord{}
	for i, s := range t.measured.segments {
		words = append(words, newAssemblyWord(i, s))
	}
	return words
}

// sentences returns a sentence for each stretch of speech.
func (t *assemblyTranscript) sentences() []assemblyText {
	sentences := []assemblyText{}
	for i, word := range t.words() {
		sentences = append(sentences, assemblyText{
			Text: newToken(i, t.measured.segments[i]).Written, Start: word.Start, End: word.End, Confidence: word.Confidence, Words: []assemblyWord{word},
		})
	}
	return sentences
}

// confidence returns the confidence of the words, or 0 without words.
func (t *assemblyTranscript) confidence() float64 {
	if len(t.measured.segments) == 0 {
		return 0
	}
	return t.measured.confidence()
}

func (t *assemblyTranscript) seconds() int64 {
	return int64(t.measured.duration.Round(time.Second) / time.Second)
}

// answer returns the answer to a poll.
func (t *assemblyTranscript) answer(state status) transcriptAnswer {
	a := transcriptAnswer{
		ID: t.id, LanguageModel: "assemblyai_default", AcousticModel: "assemblyai_default", LanguageCode: "en_us",
		Status: state, AudioURL: t.audioURL, Punctuate: true, FormatText: true, WebhookURL: t.webhook,
	}
	switch {
	case t.deleted:
		text, address := "Deleted by user.", deletedByUser
		a.AudioURL, a.Text, a.WebhookURL = address, &text, &address
	case state == statusError:
		a.Error = t.problem
	case state == statusCompleted:
		text, confidence, seconds := t.measured.text(), t.confidence(), t.seconds()
		a.Text, a.Words, a.Confidence, a.AudioDuration = &text, t.words(), &confidence, &seconds
	}
	return a
}

// entry returns the entry of a list. A transcript that has ended took this time.
func (t *assemblyTranscript) entry(state status, took time.Duration) transcriptEntry {
	const layout = "2006-01-02T15:04:05.000000"
	e := transcriptEntry{
		ID: t.id, Resource: assemblyHost + "/v2/transcript/" + t.id, Status: state, AudioURL: t.audioURL,
		Created: t.created.UTC().Format(layout),
	}
	if t.deleted {
		e.AudioURL = deletedByUser
	}
	if state == statusCompleted || state == statusError {
		completed := t.created.Add(took).UTC().Format(layout)
		e.Completed = &completed
	}
	if state == statusError {
		e.Error = &t.problem
	}
	return e
}

// part returns a result of a transcript that is completed.
func (s *AssemblyAI) part(t *assemblyTranscript, name string, query url.Values) (any, error) {
	if state := s.transcripts.statusAt(t, s.now()); state != statusCompleted {
		return nil, &assemblyError{http.StatusBadRequest, "This transcript has a status of '" + string(state) + "'. Transcripts must have a status of 'completed'."}
	}
	type texts struct {
		ID         string         `json:"id"`
		Confidence float64        `json:"confidence"`
		Seconds    int64          `json:"audio_duration"`
		Sentences  []assemblyText `json:"sentences,omitempty"`
		Paragraphs []assemblyText `json:"paragraphs,omitempty"`
	}
	sentences := t.sentences()
	switch name {
	case "sentences":
		return texts{ID: t.id, Confidence: t.confidence(), Seconds: t.seconds(), Sentences: sentences}, nil
	case "paragraphs":
		return texts{ID: t.id, Confidence: t.confidence(), Seconds: t.seconds(), Paragraphs: paragraphs(sentences, t)}, nil
	case "srt":
		return subtitleText(subtitles(t.measured.segments, ",", true)), nil
	case "vtt":
		return subtitleText("WEBVTT\n\n" + subtitles(t.measured.segments, ".", false)), nil
	case "word-search":
		return t.search(strings.Split(query.Get("words"), ",")), nil
	case "redacted-audio":
		return nil, &assemblyError{http.StatusBadRequest, "Redacted audio was not requested for this transcript"}
	}
	return nil, &assemblyError{http.StatusNotFound, "Not found"}
}

// paragraphs returns all sentences as one paragraph.
func paragraphs(sentences []assemblyText, t *assemblyTranscript) []assemblyText {
	if len(sentences) == 0 {
		return nil
	}
	p := assemblyText{Start: sentences[0].Start, End: sentences[len(sentences)-1].End, Confidence: t.confidence(), Words: t.words()}
	for i, sentence := range sentences {
		if i > 0 {
			p.Text += " "
		}
		p.Text += sentence.Text
	}
	return []assemblyText{p}
}

type wordMatches struct {
	ID      string      `json:"id"`
	Total   int         `json:"total_count"`
	Matches []wordMatch `json:"matches"`
}

type wordMatch struct {
	Text       string     `json:"text"`
	Count      int        `json:"count"`
	Timestamps [][2]int64 `json:"timestamps"`
	Indexes    []int      `json:"indexes"`
}

// search returns where these words are among the words of the transcript.
func (t *assemblyTranscript) search(wanted []string) wordMatches {
	found := wordMatches{ID: t.id, Matches: []wordMatch{}}
	words := t.words()
	slices.Sort(wanted)
	for _, want := range slices.Compact(wanted) {
		m := wordMatch{Text: want}
		for i, word := range words {
			if strings.EqualFold(word.Text, want) {
				m.Timestamps, m.Indexes = append(m.Timestamps, [2]int64{word.Start, word.End}), append(m.Indexes, i)
			}
		}
		if m.Count = len(m.Indexes); m.Count > 0 {
			found.Total += m.Count
			found.Matches = append(found.Matches, m)
		}
	}
	return found
}
