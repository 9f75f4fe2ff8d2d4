package sandbox

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	speechmaticsMaxAudio = 1 << 30 // bytes; the vendor's limit for a job is 1 GB

	// The vendor ends a session that gets no audio for an hour.
	speechmaticsIdle = time.Hour

	speechmaticsJobs = "/v2/jobs"
)

// Speechmatics is an http.Handler that speaks the API of Speechmatics: jobs (/v2/jobs), real-time
// recognition over a WebSocket (/v2), and temporary keys (POST /v1/api_keys). It is safe for
// concurrent requests.
//
// Of [Config] it uses Key, QueueTime, WorkTime, MaxJobAudio, StreamIdle and Now. A request has the
// key, or a temporary key, in Authorization as Bearer. The handshake of a WebSocket can have a
// temporary key, and no other, in the parameter jwt.
//
// The sandbox reads the WAV files that [AmiVoice] reads, and on a WebSocket also raw audio:
// pcm_s16le, pcm_f32le and mulaw. It fetches no URL: a job with fetch_data has the result of
// [SpeechWAV]. It sends no notifications. It keeps 1,000 jobs, as [AmiVoice] does.
type Speechmatics struct {
	key      string
	maxAudio int64         // bytes; negative is unlimited
	idle     time.Duration // on a WebSocket; 0 is unlimited
	now      func() time.Time
	jobs     jobs
	seal     []byte // the secret that signs temporary keys
}

// NewSpeechmatics returns a sandbox without jobs.
func NewSpeechmatics(cfg Config) *Speechmatics {
	s := &Speechmatics{
		key:      cfg.Key,
		maxAudio: cmp.Or(cfg.MaxJobAudio, speechmaticsMaxAudio),
		idle:     orDefault(cfg.StreamIdle, speechmaticsIdle),
		now:      cfg.Now,
		seal:     make([]byte, sha256.Size),
		jobs: jobs{
			schedule: schedule{
				queue: orDefault(cfg.QueueTime, defaultQueueTime),
				work:  orDefault(cfg.WorkTime, defaultWorkTime),
			},
			max:  maxJobs,
			byID: make(map[string]*job),
		},
	}
	if s.now == nil {
		s.now = time.Now
	}
	_, _ = rand.Read(s.seal) // never fails
	return s
}

// ServeHTTP answers one request. A request that the sandbox does not know is answered with 404.
func (s *Speechmatics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	allowOrigins(header)
	header.Set("Access-Control-Expose-Headers", "Request-Id")
	header.Set("Request-Id", newSessionID())
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		servePreflight(w, "Authorization, Content-Type")
		return
	}
	failed := errSpeechmaticsKey
	if who, ok := s.caller(r); ok {
		failed = s.serve(w, r, who)
	}
	if failed == nil {
		return
	}
	// Some clients read the answer only after they have sent the whole request.
	drain(r)
	if failed != errSpeechmaticsKey {
		write(w, failed.Code, failed)
		return
	}
	header.Set("Content-Type", "text/html")
	w.WriteHeader(failed.Code)
	_, _ = io.WriteString(w, speechmaticsDenied)
}

// serve answers a request from a caller with a good key, or returns the failure to answer with.
func (s *Speechmatics) serve(w http.ResponseWriter, r *http.Request, who speechmaticsCaller) *speechmaticsFailure {
	path := r.URL.Path
	switch {
	case isHandshake(r) && (path == "/v2" || path == "/v2/"):
		if who.keyType == "batch" {
			return errSpeechmaticsKey
		}
		return s.upgrade(w, r)
	case r.Method == http.MethodPost && path == "/v1/api_keys":
		if who.keyType != "" {
			return errSpeechmaticsForbidden
		}
		return s.mint(w, r)
	case path != speechmaticsJobs && !strings.HasPrefix(path, speechmaticsJobs+"/"):
		return errSpeechmaticsPath
	case who.keyType == "rt":
		return errSpeechmaticsForbidden
	}
	switch id, rest, _ := strings.Cut(strings.TrimPrefix(path[len(speechmaticsJobs):], "/"), "/"); r.Method + " " + rest {
	case "POST ":
		if id == "" {
			return s.createJob(w, r, who)
		}
	case "GET ":
		if id == "" {
			return s.listJobs(w, r, who)
		}
		return s.showJob(w, r, who, id)
	case "GET transcript":
		return s.showTranscript(w, r, who, id)
	case "DELETE ":
		return s.deleteJob(w, r, who, id)
	}
	return errSpeechmaticsPath
}

// speechmaticsDenied is the body of the vendor's answer to a wrong key.
const speechmaticsDenied = "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n" +
	"<center><h1>401 Authorization Required</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"

// speechmaticsFailure is the body of an answer to a failed request.
type speechmaticsFailure struct {
	Code    int    `json:"code"`
	Error   string `json:"error"`
	Detail  string `json:"detail,omitempty"`
	Message string `json:"message,omitempty"` // only of temporary keys
}

var (
	errSpeechmaticsKey       = &speechmaticsFailure{Code: http.StatusUnauthorized}
	errSpeechmaticsForbidden = &speechmaticsFailure{Code: http.StatusForbidden, Error: "Forbidden", Detail: "Entitlement check failed"}
	errSpeechmaticsPath      = &speechmaticsFailure{Code: http.StatusNotFound, Error: "Not Found", Detail: "path not found"}
	errSpeechmaticsNoJob     = &speechmaticsFailure{Code: http.StatusNotFound, Error: "Job not found"}
	errSpeechmaticsNotReady  = &speechmaticsFailure{Code: http.StatusNotFound, Error: "Transcription not ready"}
	errSpeechmaticsRejected  = &speechmaticsFailure{Code: http.StatusNotFound, Error: "Job rejected"}
	errSpeechmaticsFormat    = &speechmaticsFailure{Code: http.StatusNotFound, Error: "Format Not Supported"}
	errSpeechmaticsRunning   = &speechmaticsFailure{Code: http.StatusLocked, Error: "Resource Locked"}
	errSpeechmaticsBusy      = &speechmaticsFailure{Code: http.StatusTooManyRequests, Error: "Max concurrent running jobs exceeded"}
	errSpeechmaticsTooLarge  = &speechmaticsFailure{Code: http.StatusRequestEntityTooLarge, Error: "Job rejected", Detail: "The file is too large"}
	errSpeechmaticsNoFile    = &speechmaticsFailure{Code: http.StatusBadRequest, Error: "Missing data_file"}
	errSpeechmaticsForm      = &speechmaticsFailure{Code: http.StatusBadRequest, Error: "Malformed request", Detail: "The body is not a form"}
)

// newBadConfig returns the failure of a job whose configuration is wrong.
func newBadConfig(detail string) *speechmaticsFailure {
	return &speechmaticsFailure{Code: http.StatusBadRequest, Error: "Job rejected", Detail: detail}
}

// newBadParameter returns the failure of a request with a wrong parameter in its query.
func newBadParameter(what string) *speechmaticsFailure {
	return &speechmaticsFailure{Code: http.StatusUnprocessableEntity, Error: what}
}

var _ http.Handler = (*Speechmatics)(nil)
