package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// listed is how many segments of speech a text lists.
const listed = 20

// failure is an error of the API: the vendor's code and message.
type failure struct{ code, message string }

func (f *failure) Error() string { return f.message }

var (
	errKey      = &failure{"-", "received illegal service authorization"}
	errAudio    = &failure{"+", "received unsupported audio format"}
	errTooLarge = &failure{"%", "received too large audio data from client"}
	errBusy     = &failure{"b", "recognition result is rejected because recognizer server is busy"}
	errFatal    = &failure{"?", "fatal error occurred"}
)

// token, result, syncAnswer and the other structs are the protocol's JSON. Times are
// in milliseconds.
type token struct {
	Written    string  `json:"written"`
	Spoken     string  `json:"spoken"`
	Confidence float64 `json:"confidence"`
	StartTime  int64   `json:"starttime"`
	EndTime    int64   `json:"endtime"`
}

type result struct {
	Tokens     []token  `json:"tokens"`
	Confidence float64  `json:"confidence"`
	StartTime  int64    `json:"starttime"`
	EndTime    int64    `json:"endtime"`
	Tags       []string `json:"tags"`
	RuleName   string   `json:"rulename"`
	Text       string   `json:"text"`
}

type syncAnswer struct {
	Results     []result `json:"results"`
	UtteranceID string   `json:"utteranceid"`
	Text        string   `json:"text"`
	Code        string   `json:"code"`
	Message     string   `json:"message"`
}

// failedAnswer is the answer to a failed recognition. Its only result is empty.
type failedAnswer struct {
	Results []failedResult `json:"results"`
	Text    string         `json:"text"`
	Code    string         `json:"code"`
	Message string         `json:"message"`
}

type failedResult struct {
	Tokens   []token  `json:"tokens"`
	Tags     []string `json:"tags"`
	RuleName string   `json:"rulename"`
	Text     string   `json:"text"`
}

type createAnswer struct {
	SessionID string `json:"sessionid"`
	Text      string `json:"text"`
}

type jobAnswer struct {
	Status       status `json:"status"`
	SessionID    string `json:"session_id"`
	ContentID    string `json:"content_id,omitempty"` // as sent when the job was created
	ServiceID    string `json:"service_id"`
	AudioSize    int64  `json:"audio_size"`
	AudioMD5     string `json:"audio_md5"`
	ErrorMessage string `json:"error_message,omitempty"`
	*jobResult
}

type jobResult struct {
	UtteranceID string       `json:"utteranceid"`
	Text        string       `json:"text"`
	Code        string       `json:"code"`
	Message     string       `json:"message"`
	Segments    []jobSegment `json:"segments"`
}

type jobSegment struct {
	Results []result `json:"results"`
	Text    string   `json:"text"`
}

// interimAnswer is the result of an utterance that has not ended yet.
type interimAnswer struct {
	Results []interimResult `json:"results"`
	Text    string          `json:"text"`
}

type interimResult struct {
	Tokens []interimToken `json:"tokens"`
	Text   string         `json:"text"`
}

type interimToken struct {
	Written string `json:"written"`
}

// noteAnswer is the body of an answer whose form the vendor does not document.
type noteAnswer struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

// write answers with JSON and CRLF: some clients print nothing without the CRLF.
func write(w http.ResponseWriter, code int, body any) {
	text, err := encode(body)
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, "\r\n"...))
}

func encode(body any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(body)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// setSession sets the session header in exactly the spelling that clients search for.
func setSession(w http.ResponseWriter, id string) {
	w.Header()["X-Session-ID"] = []string{id}
}

func newFailedAnswer(f *failure) failedAnswer {
	return failedAnswer{
		Results: []failedResult{{Tokens: []token{}, Tags: []string{}}},
		Code:    f.code, Message: f.message,
	}
}

func newSyncAnswer(id string, now time.Time, m measurement) syncAnswer {
	res := result{EndTime: m.duration.Milliseconds(), Tokens: []token{}, Tags: []string{}, Text: m.text()}
	for i, s := range m.segments {
		res.Tokens = append(res.Tokens, newToken(i, s))
	}
	if n := len(m.segments); n > 0 {
		res.StartTime, res.EndTime = res.Tokens[0].StartTime, res.Tokens[n-1].EndTime
		res.Confidence = m.confidence()
	}
	return syncAnswer{Results: []result{res}, UtteranceID: utteranceID(id, now), Text: res.Text}
}

func newJobResult(id string, now time.Time, m measurement) *jobResult {
	out := &jobResult{UtteranceID: utteranceID(id, now), Text: m.text(), Segments: []jobSegment{}}
	for i, s := range m.segments {
		t := newToken(i, s)
		out.Segments = append(out.Segments, jobSegment{Text: t.Written, Results: []result{t.result(t.Written)}})
	}
	return out
}

// result returns a result with t as its only token.
func (t token) result(text string) result {
	return result{
		Tokens: []token{t}, Confidence: t.Confidence, StartTime: t.StartTime, EndTime: t.EndTime,
		Tags: []string{}, Text: text,
	}
}

func newToken(i int, s segment) token {
	return token{
		Written:    fmt.Sprintf("speech %d (%.2f s)", i+1, s.length().Seconds()),
		Spoken:     fmt.Sprintf("speech %d", i+1),
		Confidence: rounded(s.confidence),
		StartTime:  s.start.Milliseconds(),
		EndTime:    s.end.Milliseconds(),
	}
}

// utteranceID returns an ID of the vendor's form: day, hour, session and time.
func utteranceID(id string, now time.Time) string {
	now = now.UTC()
	return now.Format("20060102/15/") + id + now.Format("_20060102_150405")
}

func rounded(x float64) float64 { return math.Round(x*1e4) / 1e4 }

// confidence returns the mean confidence of the stored segments of speech (m.segments,
// the first 1,000), weighted by length. There must be at least one.
func (m measurement) confidence() float64 {
	var sum, length float64
	for _, s := range m.segments {
		sum += s.confidence * s.length().Seconds()
		length += s.length().Seconds()
	}
	return rounded(sum / length)
}

// text describes the measurement in words.
func (m measurement) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.2f s of %s, ", m.duration.Seconds(), m.words())
	switch m.stretches {
	case 0:
		b.WriteString("no speech")
	case 1:
		b.WriteString("1 stretch of speech: ")
	default:
		fmt.Fprintf(&b, "%d stretches of speech: ", m.stretches)
	}
	shown := m.segments[:min(len(m.segments), listed)]
	for i, s := range shown {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.2f-%.2f s", s.start.Seconds(), s.end.Seconds())
	}
	if more := m.stretches - len(shown); more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	if m.peak == 0 {
		b.WriteString("; digital silence")
	} else {
		fmt.Fprintf(&b, "; peak %.1f dBFS, RMS %.1f dBFS", decibels(m.peak), decibels(m.rms))
	}
	return b.String()
}

// words describes the layout.
func (f pcm) words() string {
	text := fmt.Sprintf("%d Hz %s, %d bits", f.rate, channelWord(f.channels), f.bits)
	if f.law != linear {
		text += " " + f.law.String()
	}
	return text
}

func channelWord(n int) string {
	if n == 1 {
		return "mono"
	}
	return "stereo"
}

// decibels returns the level of an amplitude above 0. Its %.1f is never "-0.0".
func decibels(amplitude float64) float64 {
	if db := 20 * math.Log10(amplitude); db <= -0.05 {
		return db
	}
	return 0
}
