package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

const (
	maxJobs      = 1000    // how many jobs a sandbox remembers
	maxContentID = 8 << 10 // bytes; limited because each job stores its content ID
)

// status is the state of a job, in the API's words.
type status string

const (
	statusQueued     status = "queued"
	statusStarted    status = "started"
	statusProcessing status = "processing"
	statusCompleted  status = "completed"
	statusError      status = "error"
)

// job is an asynchronous recognition. Its audio was measured while it arrived, and is
// not stored. The clock decides when the job shows its result. After a job has been
// added, only the end of its pause changes it.
type job struct {
	id        string
	created   time.Time
	contentID string // the client's name for the job; may be empty
	readable  bool   // whether the sandbox could read the audio's format
	measured  measurement
	size      int64
	md5       string

	// Only of Speechmatics.
	name      string          // of the file with the audio
	config    json.RawMessage // as the client sent it
	clientRef string          // of the temporary key that created the job; "" if it has none

	resumed time.Time // the end of its pause; zero before
	refused error     // why the job may not go on; nil if it may
}

// problem returns the reason why the job ended in an error.
func (j *job) problem() string {
	if j.refused != nil {
		return "the job paused and could not be authenticated again: " + j.refused.Error()
	}
	return errAudio.message
}

// schedule says how long a job is queued and works, and how long it works before it
// pauses. A pauseAt of 0 means that it does not pause.
type schedule struct{ queue, work, pauseAt time.Duration }

func (s schedule) pauses() bool { return s.pauseAt > 0 }

// worked returns how long the job has worked at now, without its pause. It is negative
// while the job is queued.
func (s schedule) worked(j *job, now time.Time) time.Duration {
	worked := now.Sub(j.created) - s.queue
	switch {
	case !s.pauses() || worked < s.pauseAt:
		return worked
	case j.resumed.IsZero():
		return s.pauseAt
	}
	return s.pauseAt + now.Sub(j.resumed)
}

// statusAt returns the state of the job at now: queued, then started for a tenth of the
// work time, then processing, then ended.
func (s schedule) statusAt(j *job, now time.Time) status {
	started := s.work / 10
	if s.pauses() {
		started = min(started, s.pauseAt)
	}
	switch worked := s.worked(j, now); {
	case j.refused != nil:
		return statusError
	case worked < 0:
		return statusQueued
	case worked < started:
		return statusStarted
	case worked < s.work:
		return statusProcessing
	case j.readable:
		return statusCompleted
	default:
		return statusError
	}
}

// jobs are the jobs of a sandbox, at most max jobs.
type jobs struct {
	schedule
	max int

	mu   sync.Mutex
	byID map[string]*job
	ages []*job // oldest first
}

// add adds a job, created at now. If there are too many jobs, add removes the oldest
// job that has ended. If no job has ended, it returns false.
func (js *jobs) add(j *job, now time.Time) bool {
	js.mu.Lock()
	defer js.mu.Unlock()
	if len(js.ages) >= js.max {
		ended := slices.IndexFunc(js.ages, func(j *job) bool {
			status := js.statusAt(j, now)
			return status == statusCompleted || status == statusError
		})
		if ended < 0 {
			return false
		}
		delete(js.byID, js.ages[ended].id)
		js.ages = slices.Delete(js.ages, ended, ended+1)
	}
	j.created = now
	js.byID[j.id] = j
	js.ages = append(js.ages, j)
	return true
}

// find returns a copy of the job with this ID.
func (js *jobs) find(id string) (j job, ok bool) {
	js.mu.Lock()
	defer js.mu.Unlock()
	found, ok := js.byID[id]
	if ok {
		j = *found
	}
	return j, ok
}

// all returns copies of the jobs, newest first.
func (js *jobs) all() []job {
	js.mu.Lock()
	defer js.mu.Unlock()
	all := make([]job, 0, len(js.ages))
	for _, j := range slices.Backward(js.ages) {
		all = append(all, *j)
	}
	return all
}

// remove removes the job with this ID.
func (js *jobs) remove(id string) {
	js.mu.Lock()
	defer js.mu.Unlock()
	delete(js.byID, id)
	js.ages = slices.DeleteFunc(js.ages, func(j *job) bool { return j.id == id })
}

// resume ends the pause of a job. If refused is not nil, the job ends in an error.
func (js *jobs) resume(id string, now time.Time, refused error) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if j, ok := js.byID[id]; ok {
		j.resumed, j.refused = now, refused
	}
}

// newSessionID returns 24 random hex digits.
func newSessionID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
