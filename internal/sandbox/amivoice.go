// Package sandbox is a speech backend for demos and tests of a gateway. It
// recognizes no words. It measures the audio that it receives, and answers with the
// measurement (length, format, loudness, and where there is speech) in the form of a
// real API. So an answer shows that the audio has arrived whole.
//
// The sandbox is as strict as the real API, above all about the key: where the key
// may be, and what a refusal looks like. It shares no code with the gateway, so that
// it is a second opinion on the protocol.
package sandbox

import (
	"cmp"
	"crypto/md5" //nolint:gosec // the protocol reports the MD5 of the audio
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	defaultQueueTime   = 2 * time.Second
	defaultWorkTime    = 3 * time.Second
	defaultMaxAudio    = 1<<24 - 1 // the vendor's limit for synchronous recognition
	defaultMaxJobAudio = 1<<31 - 1 // the vendor's limit for a job, "about 2.14 GB"

	// The vendor's limit is 60 seconds. A client that sends its command s after exactly
	// a minute must be in time, so 2 seconds are added for the network.
	defaultStreamIdle = 62 * time.Second

	// drainLimit is how many unused bytes of a request the sandbox reads before it
	// answers. Some clients read the answer only after they have sent the whole
	// request. The limit is more than the audio of a job.
	drainLimit = 4 << 30

	serviceID = "sandbox" // the service ID of the only account
)

// Config is the configuration of a sandbox. The zero value works.
type Config struct {
	// Key is the API key that the sandbox accepts. If Key is empty, the sandbox accepts
	// every request, with any key or without a key.
	Key string

	// QueueTime is how long an asynchronous job stays queued.
	// Default: 2 seconds. Negative: the job is not queued.
	QueueTime time.Duration

	// WorkTime is how long a job takes after the queue. The job is "started" for the
	// first tenth, and "processing" for the rest.
	// Default: 3 seconds. Negative: the job takes no time.
	WorkTime time.Duration

	// PauseAt is how long a job works before it pauses, as under congestion, until it
	// has been authenticated again. A paused job is "processing".
	// Default, and if PauseAt is not less than WorkTime: jobs do not pause.
	PauseAt time.Duration

	// Reauthenticate is the URL of a verify endpoint. The sandbox asks there whether a
	// paused job may go on: with GET, the job's ID in Speechgate-Job, and no key,
	// because the sandbox does not store keys. After 204 the job goes on. After 503, or
	// without an answer, the sandbox asks again, up to 5 times within some seconds.
	// After the fifth time, and after any other answer, the job ends in an error.
	// Default: empty, and jobs do not pause.
	Reauthenticate string

	// Client sends these requests. Default: a client that waits 10 seconds for the
	// answer, and follows no redirect.
	Client *http.Client

	// MaxAudio is how many bytes of audio a synchronous request may have, with the file
	// header. Default: the API's limit, which is 16,777,215 for AmiVoice, 26,214,400 for
	// OpenAI, 2 GiB for Deepgram, and 40 MiB for AssemblyAI. Negative: no limit. Memory
	// does not depend on MaxAudio, because audio is measured while it arrives. A session on
	// a WebSocket has no limit.
	MaxAudio int64

	// MaxJobAudio is the same limit for the creation of an asynchronous job, or for the
	// upload of its audio. Default: the API's limit, which is 2,147,483,647 for AmiVoice
	// ("about 2.14 GB"), 2.2 GB for AssemblyAI, and 1 GiB for Speechmatics.
	MaxJobAudio int64

	// StreamIdle is how long the sandbox waits for a message on a WebSocket, in a
	// session or between two sessions. After that it sends an error and closes the
	// connection. The whole message must arrive within this time. Pings do not count.
	// Default: 62 seconds for AmiVoice, which are the API's limit of 60 and 2 for the
	// network, one hour for OpenAI, AssemblyAI and Speechmatics, and 12 seconds for Deepgram.
	// Negative: no limit.
	StreamIdle time.Duration

	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// AmiVoice is an http.Handler that speaks the protocol of the AmiVoice Cloud
// Platform, synchronous (/v1/recognize, /v1/nolog/recognize), asynchronous
// (/v1/recognitions, /v2/recognitions; both versions know the same jobs) and
// over a WebSocket (/v1/, /v1/nolog/). It is safe for concurrent requests.
//
// A WebSocket takes the commands s, p and e, and any number of sessions one after
// another. Each session has its own key. For each utterance the sandbox sends the
// events S, C, U (after every half second of speech), E and A, as soon as enough
// audio has arrived. It is as lenient about the handshake and about masking as the
// vendor's server, and needs HTTP/1.1. A message has at most 16 MiB, in any number of
// fragments. The command s may follow the command e at once.
//
// The sandbox reads the uncompressed formats of the API's table (docs.amivoice.com,
// "Audio Formats"). A format name is in the parameter c or in the command s. Upper
// and lower case are the same:
//
//   - 8K and 16K say that the audio has a file header. The sandbox reads WAV files:
//     PCM of 16 bits at 8, 11.025, 16, 22.05, 32, 44.1 or 48 kHz, mu-law and A-law at
//     8 kHz, mono or stereo. A request over HTTP needs no format name for them.
//   - LSB8K, LSB11K, LSB16K, LSB22K, LSB32K, LSB44K, LSB48K, and MSB for the
//     other byte order, are mono PCM of 16 bits without a header.
//   - MULAW and ALAW are mono at 8 kHz without a header.
//
// If a file header and the format name differ, the header counts. The API also reads
// some compressed formats. The sandbox answers that they are unsupported.
//
// The sandbox remembers 1,000 asynchronous jobs, without their audio. To make room for
// a new job it forgets the oldest job that has ended. If no job has ended, it answers
// that it is busy. It lists the first 1,000 segments of speech of a recording.
type AmiVoice struct {
	key         string
	maxAudio    int64         // bytes; negative is unlimited
	maxJobAudio int64         // bytes; negative is unlimited
	idle        time.Duration // on a WebSocket; 0 is unlimited
	now         func() time.Time
	jobs        jobs
	reauth      reauthenticator
}

// NewAmiVoice returns a sandbox without jobs. If its jobs pause, the caller must call
// Close in the end.
func NewAmiVoice(cfg Config) *AmiVoice {
	s := &AmiVoice{
		key:         cfg.Key,
		maxAudio:    cmp.Or(cfg.MaxAudio, defaultMaxAudio),
		maxJobAudio: cmp.Or(cfg.MaxJobAudio, defaultMaxJobAudio),
		idle:        orDefault(cfg.StreamIdle, defaultStreamIdle),
		now:         cfg.Now,
		jobs: jobs{
			schedule: schedule{
				queue: orDefault(cfg.QueueTime, defaultQueueTime),
				work:  orDefault(cfg.WorkTime, defaultWorkTime),
			},
			max:  maxJobs,
			byID: make(map[string]*job),
		},
		reauth: newReauthenticator(cfg),
	}
	if cfg.Reauthenticate != "" && cfg.PauseAt > 0 && cfg.PauseAt < s.jobs.work {
		s.jobs.pauseAt = cfg.PauseAt
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Close stops the requests to the verify endpoint. Paused jobs stay paused.
func (s *AmiVoice) Close() { s.reauth.stop() }

func orDefault(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return max(d, 0)
}

// ServeHTTP answers one request. A request that the protocol does not know is answered
// with 404.
func (s *AmiVoice) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	allowOrigins(w.Header())
	switch r.Method + " " + r.URL.Path {
	case "POST /v1/recognize", "POST /v1/nolog/recognize":
		s.recognize(w, r)
		return
	case "POST /v1/recognitions", "POST /v2/recognitions":
		s.create(w, r)
		return
	}
	drain(r)
	if isPreflight(r) {
		servePreflight(w, "Authorization, Content-Type")
		return
	}
	if isHandshake(r) && (r.URL.Path == "/v1/" || r.URL.Path == "/v1/nolog/") {
		s.upgrade(w, r)
		return
	}
	for _, prefix := range []string{"/v1/recognitions/", "/v2/recognitions/"} {
		if id, ok := strings.CutPrefix(r.URL.Path, prefix); ok && r.Method == http.MethodGet {
			s.poll(w, r, id)
			return
		}
	}
	write(w, http.StatusNotFound, noteAnswer{Message: "not found"})
}

// upgrade answers a handshake, and serves the WebSocket to its end.
func (s *AmiVoice) upgrade(w http.ResponseWriter, r *http.Request) {
	c, bad := openSocket(w, r, s.idle, "")
	if bad != nil {
		write(w, bad.status, noteAnswer{Message: bad.message})
		return
	}
	defer func() { _ = c.conn.Close() }()
	(&stream{wire: c, sandbox: s}).serve()
}

// recognize answers a synchronous request.
func (s *AmiVoice) recognize(w http.ResponseWriter, r *http.Request) {
	id := newSessionID()
	setSession(w, id)
	heard, err := s.listen(r, s.maxAudio, nil)
	if err == nil && !heard.readable {
		err = errAudio
	}
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, newSyncAnswer(id, s.now(), heard.measured))
}

// create creates a job. If its audio is unsupported, a later poll says so.
func (s *AmiVoice) create(w http.ResponseWriter, r *http.Request) {
	id := newSessionID()
	setSession(w, id)
	sum := md5.New() //nolint:gosec // as above
	heard, err := s.listen(r, s.maxJobAudio, sum)
	if err == nil && len(heard.contentID) > maxContentID {
		err = errFatal
	}
	if err != nil {
		fail(w, err)
		return
	}
	heard.id = id
	heard.md5 = hex.EncodeToString(sum.Sum(nil))
	if !s.jobs.add(heard, s.now()) {
		fail(w, errBusy)
		return
	}
	if s.jobs.pauses() {
		go s.reauthenticate(id)
	}
	write(w, http.StatusOK, createAnswer{SessionID: id, Text: "..."})
}

// poll answers with the state of a job, and with its result if it has ended.
func (s *AmiVoice) poll(w http.ResponseWriter, r *http.Request, id string) {
	keys := bearer(r)
	if !keys.open(s.key) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		write(w, http.StatusUnauthorized, noteAnswer{Code: errKey.code, Message: errKey.message})
		return
	}
	j, ok := s.jobs.find(id)
	if !ok {
		write(w, http.StatusNotFound, noteAnswer{Message: "no such job"})
		return
	}
	answer := jobAnswer{
		Status: s.jobs.statusAt(&j, s.now()), SessionID: j.id, ContentID: j.contentID, ServiceID: serviceID,
		AudioSize: j.size, AudioMD5: j.md5,
	}
	switch answer.Status {
	case statusCompleted:
		answer.jobResult = newJobResult(j.id, j.created, j.measured)
	case statusError:
		answer.ErrorMessage = j.problem()
	case statusQueued, statusStarted, statusProcessing: // no result yet
	}
	write(w, http.StatusOK, answer)
}

// listen reads a recognition request to its end. It checks the key, measures up to
// maxAudio bytes of audio, and writes the audio to sum if sum is not nil. Unsupported
// audio is not an error: the job is then not readable. If the body is malformed,
// listen checks the key that comes before the malformed part, if there is one.
func (s *AmiVoice) listen(r *http.Request, maxAudio int64, sum hash.Hash) (*job, error) {
	defer drain(r)
	rec, err := readRecognition(r)
	switch {
	case err != nil && rec.key == "":
		return nil, errFatal
	case !rec.open(s.key):
		return nil, errKey
	case err != nil:
		return nil, errFatal
	case rec.audio == nil:
		return nil, errAudio
	}
	audio := &upload{r: rec.audio, sum: sum, max: maxAudio}
	measured, err := measure(audio, rec.format)
	_, _ = io.Copy(io.Discard, audio) // the bytes after the samples count too
	switch {
	case errors.Is(audio.err, errTooLarge):
		return nil, errTooLarge
	case audio.err != nil:
		return nil, errFatal
	}
	return &job{contentID: rec.contentID, readable: err == nil, measured: measured, size: audio.size}, nil
}

// fail answers a recognition request with an error.
func fail(w http.ResponseWriter, err error) {
	f := errFatal
	errors.As(err, &f)
	write(w, http.StatusOK, newFailedAnswer(f))
}

// drain reads the rest of a request's body, up to drainLimit bytes.
func drain(r *http.Request) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, drainLimit))
}

var _ http.Handler = (*AmiVoice)(nil)
