package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"
)

// maxJobs is how many jobs a sandbox remembers.
const maxJobs = 1000

// status is how far a job has come.
type status string

const (
	statusQueued     status = "queued"
	statusStarted    status = "started"
	statusProcessing status = "processing"
	statusCompleted  status = "completed"
	statusError      status = "error"
)

// job is an asynchronous recognition. It was measured as it came in, and
// holds no audio; what the clock decides is when it says so.
type job struct {
	id       string
	created  time.Time
	readable bool // the audio was of a kind that the sandbox reads
	measured measurement
	size     int64
	md5      string
}

// schedule is how long a job takes.
type schedule struct{ queue, work time.Duration }

// statusAt is how far the job has come at now: queued, then started for a
// tenth of the work's time, then processing, then ended.
func (s schedule) statusAt(j *job, now time.Time) status {
	switch age := now.Sub(j.created); {
	case age < s.queue:
		return statusQueued
	case age >= s.queue+s.work:
		if j.readable {
			return statusCompleted
		}
		return statusError
	case age < s.queue+s.work/10:
		return statusStarted
	default:
		return statusProcessing
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
// oldest one for that, or reports false if not even that one has ended.
func (js *jobs) add(j *job, now time.Time) bool {
	js.mu.Lock()
	defer js.mu.Unlock()
	if len(js.ages) >= js.max {
		oldest := js.ages[0]
		if now.Sub(oldest.created) < js.queue+js.work {
			return false
		}
		delete(js.byID, oldest.id)
		js.ages[0] = nil
		js.ages = js.ages[1:]
	}
	j.created = now
	js.byID[j.id] = j
	js.ages = append(js.ages, j)
	return true
}

// find returns the job of that ID, or nil. A job never changes once added.
func (js *jobs) find(id string) *job {
	js.mu.Lock()
	defer js.mu.Unlock()
	return js.byID[id]
}

// newSessionID returns 24 random hex digits.
func newSessionID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
