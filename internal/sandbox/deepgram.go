package sandbox

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	deepgramMaxAudio = 2 << 30 // bytes; the vendor's limit is 2 GB

	// The vendor's limit is 10 seconds without audio and without KeepAlive. 2 seconds are added
	// for the network.
	deepgramIdle = 12 * time.Second

	deepgramGrantTime    = 30   // seconds: the default lifetime of a token, as the vendor's
	deepgramMaxGrantTime = 3600 // seconds
	deepgramMaxJSON      = 1 << 20
)

// Deepgram is an http.Handler that speaks the API of Deepgram: recordings (POST /v1/listen, raw
// audio or JSON with a URL), live recognition over a WebSocket (/v1/listen, and /v2/listen for the
// models named Flux), models (GET /v1/models) and short-lived tokens (POST /v1/auth/grant). It is
// safe for concurrent requests.
//
// A request has the key as "Authorization: Token KEY", or a token as "Authorization: Bearer
// TOKEN". A handshake can also offer the subprotocols "token, KEY" or "bearer, TOKEN".
//
// The sandbox reads WAV files and, with the parameter encoding, raw audio: linear16 with
// sample_rate and channels, and mulaw and alaw at 8 kHz. It fetches no URL: it answers a request
// with a URL as for [SpeechWAV]. It calls no callback.
type Deepgram struct {
	key      string
	maxAudio int64         // bytes; negative is unlimited
	idle     time.Duration // on a WebSocket; 0 is unlimited
	now      func() time.Time
	grants   *grants
}

// NewDeepgram returns a sandbox. Of cfg it uses Key, MaxAudio, StreamIdle and Now. The default of
// MaxAudio is 2 GiB, and the default of StreamIdle is 12 seconds.
func NewDeepgram(cfg Config) *Deepgram {
	d := &Deepgram{
		key:      cfg.Key,
		maxAudio: cmp.Or(cfg.MaxAudio, deepgramMaxAudio),
		idle:     orDefault(cfg.StreamIdle, deepgramIdle),
		now:      cfg.Now,
		grants:   newGrants(),
	}
	if d.now == nil {
		d.now = time.Now
	}
	return d
}

// deepgramError is an error in the form of the API, with its request ID.
type deepgramError struct {
	Code      string `json:"err_code"`
	Message   string `json:"err_msg"`
	RequestID string `json:"request_id"`
}

// deepgramRequest is one request, with the ID that its answer has.
type deepgramRequest struct {
	*Deepgram
	w  http.ResponseWriter
	r  *http.Request
	id string
}

// ServeHTTP answers one request. A request that the API does not know is answered with 404.
func (d *Deepgram) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := &deepgramRequest{Deepgram: d, w: w, r: r, id: newUUID()}
	w.Header().Set("Dg-Request-Id", req.id)
	keys, tokens := deepgramCredentials(r)
	isKey := d.key == "" || tokens.key == "" && keys.open(d.key)
	if !isKey && (keys.key != "" || tokens.mixed || !d.grants.good(tokens.key, d.now())) {
		req.fail(http.StatusUnauthorized, "INVALID_AUTH", "Invalid credentials.")
		return
	}
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/v1/listen":
		req.listen()
	case isHandshake(r) && r.URL.Path == "/v1/listen":
		req.live(newListenEvents)
	case isHandshake(r) && r.URL.Path == "/v2/listen":
		req.live(newFluxEvents)
	case r.Method == http.MethodPost && r.URL.Path == "/v1/auth/grant" && isKey:
		req.grant()
	case r.Method == http.MethodPost && r.URL.Path == "/v1/auth/grant":
		req.fail(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS", "User does not have sufficient permissions.")
	case r.Method == http.MethodGet && r.URL.Path == "/v1/models":
		write(w, http.StatusOK, map[string]any{"stt": []deepgramModel{newDeepgramModel("")}, "tts": []deepgramModel{}})
	case r.Method == http.MethodGet && r.URL.Path == "/v1/models/"+deepgramModelID:
		write(w, http.StatusOK, newDeepgramModel(""))
	default:
		req.fail(http.StatusNotFound, "NOT_FOUND", "Not found.")
	}
}

// fail reads the rest of the request, and answers with an error. The header has the message too,
// because a WebSocket client cannot read the body.
func (req *deepgramRequest) fail(status int, code, message string) {
	drain(req.r)
	req.w.Header().Set("Dg-Error", message)
	write(req.w, status, deepgramError{Code: code, Message: message, RequestID: req.id})
}

// deepgramCredentials returns the keys and the short-lived tokens of a request.
func deepgramCredentials(r *http.Request) (keys, tokens credentials) {
	add := func(scheme, value string) {
		switch strings.ToLower(scheme) {
		case "token":
			keys.add(value)
		case "bearer":
			tokens.add(value)
		}
	}
	for _, value := range r.Header.Values("Authorization") {
		scheme, key, _ := strings.Cut(value, " ")
		add(scheme, strings.Trim(key, " "))
	}
	before := ""
	for _, value := range r.Header.Values("Sec-WebSocket-Protocol") {
		for item := range strings.SplitSeq(value, ",") {
			item = strings.TrimSpace(item)
			add(before, item)
			if before == "token" || before == "bearer" {
				item = "" // a key announces nothing
			}
			before = item
		}
	}
	return keys, tokens
}

// grant answers with a short-lived token.
func (req *deepgramRequest) grant() {
	body, err := io.ReadAll(io.LimitReader(req.r.Body, deepgramMaxJSON))
	var asked struct {
		Seconds *float64 `json:"ttl_seconds"`
	}
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, &asked)
	}
	seconds := float64(deepgramGrantTime)
	if asked.Seconds != nil {
		seconds = *asked.Seconds
	}
	if err != nil || seconds < 1 || seconds > deepgramMaxGrantTime {
		req.fail(http.StatusBadRequest, "INVALID_REQUEST", "ttl_seconds: want a number from 1 to 3600")
		return
	}
	write(req.w, http.StatusOK, struct {
		Token   string  `json:"access_token"`
		Seconds float64 `json:"expires_in"`
	}{req.grants.issue(req.now().Add(time.Duration(seconds * float64(time.Second)))), seconds})
}

// listen answers a recording.
func (req *deepgramRequest) listen() {
	raw, err := deepgramLayout(req.r.URL.Query())
	if err != nil {
		req.fail(http.StatusBadRequest, "INVALID_QUERY_PARAMETER", err.Error())
		return
	}
	body, err := req.recording()
	if err != nil {
		req.fail(http.StatusBadRequest, "INVALID_REQUEST", err.Error())
		return
	}
	sum := sha256.New()
	audio := &upload{r: body, sum: sum, max: req.maxAudio}
	layout, samples, err := audioSamples(audio, raw)
	var measured measurement
	if err == nil {
		measured = measureSamples(samples, layout, nil)
	}
	_, _ = io.Copy(io.Discard, audio) // the bytes after the samples count too
	switch {
	case errors.Is(audio.err, errTooLarge):
		req.fail(http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE", "The audio is too large.")
	case audio.err != nil:
		req.fail(http.StatusBadRequest, "INVALID_REQUEST", "The body ends too early.")
	case req.r.URL.Query().Has("callback"):
		write(req.w, http.StatusOK, struct {
			RequestID string `json:"request_id"`
		}{req.id})
	case err != nil:
		req.fail(http.StatusBadRequest, "Bad Request", "Bad Request: failed to process audio: corrupt or unsupported data")
	default:
		write(req.w, http.StatusOK, req.answer(measured, hex.EncodeToString(sum.Sum(nil))))
	}
}

// recording returns the audio of a request. A body of JSON has the URL of the audio.
func (req *deepgramRequest) recording() (io.Reader, error) {
	contentType, _, _ := strings.Cut(req.r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(contentType), "application/json") {
		return req.r.Body, nil
	}
	var asked struct{ URL string }
	body, err := io.ReadAll(io.LimitReader(req.r.Body, deepgramMaxJSON))
	if err == nil {
		err = json.Unmarshal(body, &asked)
	}
	if err != nil || !strings.HasPrefix(asked.URL, "http://") && !strings.HasPrefix(asked.URL, "https://") {
		return nil, errors.New(`the body is not a JSON object with a URL: want {"url": "https://…"}`)
	}
	return bytes.NewReader(speechWAV), nil
}

// deepgramLayout returns the layout that the parameters of a request say for audio without a
// header; the zero value if they say none.
func deepgramLayout(query map[string][]string) (pcm, error) {
	number := func(name string, standard int) (int, error) {
		values := query[name]
		if len(values) == 0 {
			return standard, nil
		}
		n, err := strconv.Atoi(values[0])
		if err != nil || n < 1 || n > 1<<20 {
			return 0, fmt.Errorf("%s %q: want a positive number", name, values[0])
		}
		return n, nil
	}
	encoding := ""
	if values := query["encoding"]; len(values) > 0 {
		encoding = values[0]
	}
	channels, err := number("channels", 1)
	if err != nil {
		return pcm{}, err
	}
	if channels > maxChannels {
		return pcm{}, fmt.Errorf("channels %d: want 1 or 2", channels)
	}
	switch encoding {
	case "":
		return pcm{}, nil
	case "linear16":
		rate, err := number("sample_rate", 0)
		if err == nil && rate == 0 {
			err = errors.New("no sample_rate: encoding linear16 needs it")
		}
		return pcm{rate: rate, channels: channels, bits: 16}, err
	case "mulaw", "alaw":
		rate, err := number("sample_rate", lawRate)
		if err == nil && rate != lawRate {
			err = fmt.Errorf("sample_rate %d: encoding %s needs %d", rate, encoding, lawRate)
		}
		layout := pcm{rate: rate, channels: channels, bits: 8, law: muLaw}
		if encoding == "alaw" {
			layout.law = aLaw
		}
		return layout, err
	}
	return pcm{}, fmt.Errorf("encoding %q: the sandbox reads linear16, mulaw and alaw", encoding)
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	text := hex.EncodeToString(b[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

var _ http.Handler = (*Deepgram)(nil)
