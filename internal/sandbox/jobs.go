package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
	"time"
)

const (
	maxJobs      = 1000    // that a sandbox remembers
	maxContentID = 8 << 10 // bytes, since every job remembers its own
)

// status is how far a job has come.
type status string

const (
	statusQueued     status = "queued"
	statusStarted    status = "started"
	statusProcessing status = "processing"
	statusCompleted  status = "completed"
	statusError      status = "error"
)

// job is an asynchronous recognition. Its audio was measured while it came in,
// and is not kept; the clock decides when the job shows its result. After it has
// been added, only its pause changes it.
type job struct {
	id        string
	created   time.Time
	contentID string // the client's own name for it; may be empty
	readable  bool   // the audio was of a kind that the sandbox reads
	measured  measurement
	size      int64
	md5       string

	resumed time.Time // when its pause ended; zero until then
	refused error     // why it may not go on, if it may not
}

// problem says why the job ends in an error.
func (j *job) problem() string {
	if j.refused != nil {
		return "the job paused and could not be authenticated again: " + j.refused.Error()
	}
	return errAudio.message
}

// schedule is how long a job takes, and how far into its work it pauses, which
// is 0 if it does not.
type schedule struct{ queue, work, pauseAt time.Duration }

func (s schedule) pauses() bool { return s.pauseAt > 0 }

// worked is how long the job has been worked on at now; less than nothing while
// it waits.
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

// statusAt is how far the job has come at now: queued, then started for a
// tenth of the work's time, then processing, then ended.
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

// jobs are the jobs of a sandbox, at most max of them.
type jobs struct {
	schedule
	max int

	mu   sync.Mutex
	byID map[string]*job
	ages []*job // oldest first
}

// add remembers a job, created at now. If there are too many it forgets the
// oldest that has ended for that, or reports false if none has.
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

// find returns the job of that ID as it is now.
func (js *jobs) find(id string) (j job, ok bool) {
	js.mu.Lock()
	defer js.mu.Unlock()
	found, ok := js.byID[id]
	if ok {
		j = *found
	}
	return j, ok
}

// resume ends a job's pause, and with an error the job.
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
