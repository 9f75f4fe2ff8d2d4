package sandbox

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	openAIMaxAudio = 25 << 20 // the vendor's limit for a transcription

	// The vendor ends a realtime session after an hour.
	openAIStreamIdle = time.Hour
)

// openAIModels are the vendor's models for transcriptions. The values say whether a model knows
// the response formats with times: text, srt, vtt and verbose_json. These models do not stream.
var openAIModels = map[string]bool{
	"whisper-1": true, "gpt-transcribe": false, "gpt-4o-transcribe": false, "gpt-4o-mini-transcribe": false,
}

// OpenAI is an http.Handler that speaks OpenAI's API for transcriptions: POST
// /v1/audio/transcriptions and /v1/audio/translations, GET /v1/models and /v1/models/{id}, POST
// /v1/realtime/client_secrets, and the WebSocket /v1/realtime. It is safe for concurrent requests.
//
// Of [Config] it uses Key, MaxAudio, StreamIdle and Now. A request has the key in Authorization, as Bearer. A WebSocket may also have
// it in a subprotocol, after "openai-insecure-api-key.". A client secret is a key for WebSockets
// only, until it expires.
//
// The API reads many formats of audio. The sandbox reads the WAV files that [AmiVoice] reads. On
// a WebSocket it reads audio/pcm at 24 kHz, audio/pcmu and audio/pcma, as the API does.
type OpenAI struct {
	key      string
	maxAudio int64         // bytes; negative is unlimited
	idle     time.Duration // on a WebSocket; 0 is unlimited
	now      func() time.Time
	secrets  clientSecrets
}

// NewOpenAI returns a sandbox without client secrets.
func NewOpenAI(cfg Config) *OpenAI {
	s := &OpenAI{
		key:      cfg.Key,
		maxAudio: cmp.Or(cfg.MaxAudio, openAIMaxAudio),
		idle:     orDefault(cfg.StreamIdle, openAIStreamIdle),
		now:      cfg.Now,
		secrets:  clientSecrets{ends: make(map[string]time.Time)},
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// ServeHTTP answers one request. A request that the sandbox does not know is answered with 404.
func (s *OpenAI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	allowOrigins(header)
	header.Set("Access-Control-Expose-Headers", "X-Request-Id")
	header.Set("X-Request-Id", "req_"+newSessionID())
	if r.URL.Path == "/v1/realtime" && isHandshake(r) {
		s.upgrade(w, r)
		return
	}
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		// The vendor's library sends fields with names of its own, such as X-Stainless-Lang.
		servePreflight(w, r.Header.Get("Access-Control-Request-Headers"))
		return
	}
	keys := bearer(r)
	failed := s.refusal(keys)
	if failed == nil {
		failed = s.serve(w, r)
	}
	if failed != nil {
		// Some clients read the answer only after they have sent the whole request.
		drain(r)
		write(w, failed.status, openAIError{Error: failed})
	}
}

// serve answers a request whose key is good, or returns the failure to answer with.
func (s *OpenAI) serve(w http.ResponseWriter, r *http.Request) *openAIFailure {
	switch r.Method + " " + r.URL.Path {
	case "POST /v1/audio/transcriptions":
		return s.transcribe(w, r, "transcribe")
	case "POST /v1/audio/translations":
		return s.transcribe(w, r, "translate")
	case "POST /v1/realtime/client_secrets":
		return s.mint(w, r)
	case "GET /v1/models":
		list := modelList{Object: "list", Data: []model{}}
		for _, id := range slices.Sorted(maps.Keys(openAIModels)) {
			list.Data = append(list.Data, newModel(id))
		}
		write(w, http.StatusOK, list)
		return nil
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/v1/models/"); ok && r.Method == http.MethodGet {
		if _, known := openAIModels[id]; !known {
			return noModel(id)
		}
		write(w, http.StatusOK, newModel(id))
		return nil
	}
	return newFailure(http.StatusNotFound, "", "", "Invalid URL ("+r.Method+" "+r.URL.Path+")")
}

// refusal returns why a request with these keys is refused, or nil.
func (s *OpenAI) refusal(keys credentials) *openAIFailure {
	switch {
	case keys.open(s.key):
		return nil
	case keys.key == "":
		return newFailure(http.StatusUnauthorized, "", "", "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).")
	}
	return newFailure(http.StatusUnauthorized, "invalid_api_key", "", "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.")
}

// openAIError is the body of an answer to a failed request.
type openAIError struct {
	Error *openAIFailure `json:"error"`
}

// openAIFailure is the vendor's error object.
type openAIFailure struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
	status  int
}

// newFailure returns a failure that is the client's fault. If code or param is empty, the member
// is null.
func newFailure(status int, code, param, message string) *openAIFailure {
	f := &openAIFailure{Message: message, Type: "invalid_request_error", status: status}
	if code != "" {
		f.Code = &code
	}
	if param != "" {
		f.Param = &param
	}
	return f
}

func noModel(id string) *openAIFailure {
	return newFailure(http.StatusNotFound, "model_not_found", "model", "The model "+strconv.Quote(id)+" does not exist or you do not have access to it.")
}

type modelList struct {
	Object string  `json:"object"`
	Data   []model `json:"data"`
}

type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func newModel(id string) model {
	return model{ID: id, Object: "model", Created: 1677532384, OwnedBy: "openai-internal"}
}

var _ http.Handler = (*OpenAI)(nil)
