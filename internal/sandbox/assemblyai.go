package sandbox

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	assemblyMaxShort  = 40 << 20      // bytes; the vendor's limit for short audio is 40 MB
	assemblyMaxUpload = 2_200_000_000 // bytes; the vendor's limit is 2.2 GB
	assemblyMaxJSON   = 1 << 20

	assemblyMaxTokenTime = 600 // seconds

	// The vendor ends a stream after three hours, whether audio comes or not.
	assemblyStreamTime = 3 * time.Hour
	assemblyIdle       = time.Hour
)

// AssemblyAI is an http.Handler that speaks the API of AssemblyAI, of all three hosts: recordings
// (/v2/upload and /v2/transcript), short audio (/v1/transcribe/live), live recognition over a
// WebSocket (/v3/ws) and its tokens (/v3/token). It is safe for concurrent requests.
//
// A request has the key in Authorization, without a scheme. A WebSocket can have a token in the query
// instead. A token opens one stream.
//
// The sandbox reads the WAV files that [AmiVoice] reads, and on a WebSocket raw audio: pcm_s16le
// and pcm_mulaw. It measures an upload while the upload arrives, and keeps the measurement. A
// transcript of an upload has its measurement. The sandbox fetches no other URL: the transcript is
// then that of [SpeechWAV]. It calls no webhook.
//
// It remembers 1,000 uploads and 1,000 transcripts, and forgets the oldest first.
type AssemblyAI struct {
	key         string
	maxAudio    int64         // bytes of short audio; negative is unlimited
	maxUpload   int64         // bytes; negative is unlimited
	idle        time.Duration // on a WebSocket; 0 is unlimited
	now         func() time.Time
	grants      *grants
	used        usedTokens
	uploads     assemblyUploads
	transcripts assemblyTranscripts
}

// NewAssemblyAI returns a sandbox without transcripts. Of cfg it uses Key, QueueTime, WorkTime,
// MaxAudio, MaxJobAudio, StreamIdle and Now. MaxAudio is for short audio, with a default of 40 MiB.
// MaxJobAudio is for uploads, with a default of 2.2 GB. The default of StreamIdle is one hour.
func NewAssemblyAI(cfg Config) *AssemblyAI {
	s := &AssemblyAI{
		key:       cfg.Key,
		maxAudio:  cmp.Or(cfg.MaxAudio, assemblyMaxShort),
		maxUpload: cmp.Or(cfg.MaxJobAudio, assemblyMaxUpload),
		idle:      orDefault(cfg.StreamIdle, assemblyIdle),
		now:       cfg.Now,
		grants:    newGrants(),
		used:      usedTokens{ends: make(map[string]time.Time)},
		transcripts: assemblyTranscripts{
			queue: orDefault(cfg.QueueTime, defaultQueueTime),
			work:  orDefault(cfg.WorkTime, defaultWorkTime),
		},
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// assemblyError is an error of the API, except for short audio.
type assemblyError struct {
	status int
	Text   string `json:"error"`
}

func (e *assemblyError) Error() string { return e.Text }

var errNoTranscript = &assemblyError{http.StatusBadRequest, "Transcript lookup error, transcript id not found"}

// ServeHTTP answers one request. A request that the API does not know is answered with 404.
func (s *AssemblyAI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v3/ws" && isHandshake(r) {
		s.stream(w, r)
		return
	}
	if keys := assemblyKeys(r); !keys.open(s.key) {
		drain(r)
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			write(w, http.StatusUnauthorized, shortRefusal{"Invalid API key"})
			return
		}
		write(w, http.StatusUnauthorized, assemblyError{Text: "Authentication error, API token missing/invalid"})
		return
	}
	if r.Method == http.MethodPost && r.URL.Path == "/v1/transcribe/live" {
		s.short(w, r)
		return
	}
	answer, err := s.answer(r)
	var failed *assemblyError
	switch text, plain := answer.(subtitleText); {
	case errors.As(err, &failed):
		drain(r)
		write(w, failed.status, failed)
	case plain:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, string(text))
	default:
		write(w, http.StatusOK, answer)
	}
}

// assemblyKeys returns the keys in the Authorization header fields, which have no scheme.
func assemblyKeys(r *http.Request) (keys credentials) {
	for _, value := range r.Header.Values("Authorization") {
		keys.add(strings.Trim(value, " "))
	}
	return keys
}

// answer returns the JSON that answers a request with a good key, or an *assemblyError.
func (s *AssemblyAI) answer(r *http.Request) (any, error) {
	switch r.Method + " " + r.URL.Path {
	case "POST /v2/upload":
		return s.upload(r)
	case "POST /v2/transcript":
		return s.create(r)
	case "GET /v2/transcript":
		return s.list(r.URL.Query())
	case "GET /v3/token":
		return s.token(r)
	case "GET /v1/warm":
		return map[string]string{"status": "ok"}, nil
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/transcript/")
	id, name, nested := strings.Cut(path, "/")
	switch {
	case ok && !nested && r.Method == http.MethodDelete:
		return s.transcripts.remove(id, s.now())
	case ok && r.Method == http.MethodGet:
		t, known := s.transcripts.find(id)
		switch {
		case !known:
			return nil, errNoTranscript
		case !nested:
			return t.answer(s.transcripts.statusAt(&t, s.now())), nil
		}
		return s.part(&t, name, r.URL.Query())
	}
	return nil, &assemblyError{http.StatusNotFound, "Not found"}
}

// token returns a short-lived token for one stream.
func (s *AssemblyAI) token(r *http.Request) (any, error) {
	seconds, err := strconv.Atoi(r.URL.Query().Get("expires_in_seconds"))
	if err != nil || seconds < 1 || seconds > assemblyMaxTokenTime {
		return nil, &assemblyError{http.StatusBadRequest, "expires_in_seconds: want a number from 1 to 600"}
	}
	if text := r.URL.Query().Get("max_session_duration_seconds"); text != "" {
		if longest, err := strconv.Atoi(text); err != nil || longest < 60 || longest > 10800 {
			return nil, &assemblyError{http.StatusBadRequest, "max_session_duration_seconds: want a number from 60 to 10800"}
		}
	}
	return struct {
		Token   string `json:"token"`
		Seconds int    `json:"expires_in_seconds"`
	}{s.grants.issue(s.now().Add(time.Duration(seconds) * time.Second)), seconds}, nil
}

// readAssemblyJSON reads the JSON of a request's body. The error is an *assemblyError.
func readAssemblyJSON(r *http.Request, into any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, assemblyMaxJSON))
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return &assemblyError{http.StatusBadRequest, "The body is not the JSON object of this request"}
	}
	return nil
}

var _ http.Handler = (*AssemblyAI)(nil)
