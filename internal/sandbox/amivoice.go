// Package sandbox is a stand-in speech backend, to try a gateway with and to
// test it. It recognizes no words. It reads the audio that it is sent,
// measures it, and answers with what it measured (how long, of what form, how
// loud, and where there is speech) in the shape of the API that it stands for,
// so that an answer shows that the audio arrived whole.
//
// It is strict where the API that it stands for is, above all about the key:
// where one may be, and how a refusal looks.
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

	// The vendor's limit is 60 seconds. A client that sends its command s after
	// a minute has to be in time, so 2 seconds are for the way.
	defaultStreamIdle = 62 * time.Second

	// drainLimit is how many bytes of a request that it does not use the sandbox
	// reads before it answers, because some clients read the answer only after
	// they have sent everything. It is as much as a job may carry, and more.
	drainLimit = 4 << 30

	serviceID = "sandbox" // of the one account that there is
)

// Config of a sandbox. The zero value is one that works.
type Config struct {
	// Key is the API key that the sandbox accepts. If it is empty, keys are not
	// looked at: any request is accepted, with whatever key or none.
	Key string

	// QueueTime is how long an asynchronous job stays queued.
	// Default: 2 seconds. Negative: no time at all.
	QueueTime time.Duration

	// WorkTime is how long a job then takes, of which it is "started" for the
	// first tenth, and "processing" for the rest.
	// Default: 3 seconds. Negative: no time at all.
	WorkTime time.Duration

	// PauseAt is how far into its work a job pauses, as it may under congestion,
	// until it has been authenticated again. It is "processing" all the while.
	// Default, and for all that is not less than WorkTime: it does not pause.
	PauseAt time.Duration

	// Reauthenticate is the URL that is asked whether a job that has paused may
	// go on: GET, with the job's ID as Speechgate-Job, and no key, since the
	// sandbox does not keep what it was sent. 204 lets the job go on. After a
	// 503, or where nobody answers, it asks again, 5 times in all within some
	// seconds; after that, and after any other answer, the job ends in an error.
	// Default: none, and jobs do not pause.
	Reauthenticate string

	// Client is what it asks with. Default: one that waits 10 seconds for the
	// answer, and follows no redirect.
	Client *http.Client

	// MaxAudio is how many bytes of audio a synchronous request may carry, the
	// file header included. Default: 16,777,215, the API's limit. Negative: no
	// limit. Memory does not depend on it, because audio is measured while it
	// comes in. No limit applies to a session on a WebSocket.
	MaxAudio int64

	// MaxJobAudio is the same for the creation of an asynchronous job.
	// Default: 2,147,483,647, the API's limit ("about 2.14 GB").
	MaxJobAudio int64

	// StreamIdle is how long the sandbox waits for a message on a WebSocket, in
	// a session or between two, before it says so and closes the connection.
	// The message has to have come whole by then, and Pings do not count.
	// Default: 62 seconds, the API's limit of 60 and 2 for the way. Negative: no
	// limit.
	StreamIdle time.Duration

	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// AmiVoice is an http.Handler that speaks the protocol of the AmiVoice Cloud
// Platform, synchronous (/v1/recognize, /v1/nolog/recognize), asynchronous
// (/v1/recognitions, /v2/recognitions; both versions know the same jobs) and
// over a WebSocket (/v1/, /v1/nolog/). It may serve requests concurrently.
//
// A WebSocket takes the commands s, p and e, and any number of sessions one
// after another, each with its own key. For each utterance it sends the events
// S, C, U (after every half second of speech), E and A, as soon as there is
// audio enough to know. It is as lenient about the handshake and about masking
// as the vendor's server, and needs HTTP/1.1. A message is at most 16 MiB, in any
// number of fragments. The command s may follow at once on the command e.
//
// It reads audio in the formats of the API's table (docs.amivoice.com, "Audio
// Formats") that are not compressed. Format names, in the parameter c and in the
// command s, are the same in any case:
//
//   - 8K and 16K say that the audio has a header of its own. The sandbox reads
//     WAV files: PCM of 16 bits at 8, 11.025, 16, 22.05, 32, 44.1 or 48 kHz,
//     mu-law and A-law at 8 kHz, mono or stereo. HTTP needs no name for them.
//   - LSB8K, LSB11K, LSB16K, LSB22K, LSB32K, LSB44K, LSB48K, and MSB for the
//     other byte order, are mono PCM of 16 bits without a header.
//   - MULAW and ALAW are mono at 8 kHz without a header.
//
// A file's header counts for more than the name. The API reads some compressed
// formats as well; to all of those the sandbox says that they are unsupported.
//
// It remembers 1,000 asynchronous jobs, without their audio. For a new one it
// forgets the oldest that has ended, or says that it is busy if none has.
// No more than the first 1,000 stretches of speech in one recording are told apart.
type AmiVoice struct {
	key         string
	maxAudio    int64         // bytes; negative is unlimited
	maxJobAudio int64         // likewise
	idle        time.Duration // on a WebSocket; 0 is unlimited
	now         func() time.Time
	jobs        jobs
	reauth      reauthenticator
}

// NewAmiVoice returns a sandbox without any jobs. Where its jobs pause, Close has
// to be called in the end.
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

// Close stops asking about jobs. Those that have paused stay so.
func (s *AmiVoice) Close() { s.reauth.stop() }

func orDefault(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return max(d, 0)
}

// ServeHTTP answers one request. Anything that the protocol has no place for is not found.
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
		servePreflight(w)
		return
	}
	if isHandshake(r) {
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

// recognize answers synchronously.
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

// create makes a job. What is wrong with its audio shows in the job, later.
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

// poll tells how far a job has come, and its results once it has ended.
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
	}
	write(w, http.StatusOK, answer)
}

// listen reads a request to recognize speech to its end. It checks the key,
// measures the audio, of which there may be maxAudio bytes, and feeds it to sum
// unless that is nil. Audio of a kind that it cannot read is no error: the job
// is then not readable. A body that cannot be read is not a bad key, unless
// there is a bad key in what was read.
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
	_, _ = io.Copy(io.Discard, audio) // what comes after the samples counts too
	switch {
	case errors.Is(audio.err, errTooLarge):
		return nil, errTooLarge
	case audio.err != nil:
		return nil, errFatal
	}
	return &job{contentID: rec.contentID, readable: err == nil, measured: measured, size: audio.size}, nil
}

// fail answers a request to recognize speech that cannot be met.
func fail(w http.ResponseWriter, err error) {
	f := errFatal
	errors.As(err, &f)
	write(w, http.StatusOK, newFailedAnswer(f))
}

// drain reads what is left of a request's body, within limits.
func drain(r *http.Request) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, drainLimit))
}

var _ http.Handler = (*AmiVoice)(nil)
