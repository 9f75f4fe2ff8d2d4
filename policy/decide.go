package policy

import (
	"fmt"
	"net/netip"
	"time"
)

// Grace says how long an expired key goes on reading the jobs it created.
type Grace struct {
	Window   time.Duration // from the job's creation; 0 is no grace
	AfterEnd time.Duration // from the job's end, where that comes earlier; 0 is no such bound
}

// Until is the instant at which the grace for j ends.
func (g Grace) Until(j *Job) Time {
	until := j.CreatedAt.Add(g.Window)
	if g.AfterEnd > 0 && !j.EndedAt.IsZero() {
		until = min(until, j.EndedAt.Add(g.AfterEnd))
	}
	return until
}

// Request is all that a decision rests on, but the time and the key.
type Request struct {
	Operation Operation
	// EarlyData is set while TLS has not proved the sender's address.
	EarlyData bool
	// Client is the client's address. The zero value is an unknown one.
	Client netip.Addr
	// Job is the record of the job that ReadJob and DeleteJob name, nil where
	// there is none.
	Job *Job
	// PathAccount is the ID of the account that the path names, empty where the
	// path names none. Only keys of this account may use such a path.
	PathAccount string
	// Grace applies to ReadJob.
	Grace Grace
	// UnrecordedJobs lets a valid key ask the backend for jobs that have no
	// record here.
	UnrecordedJobs bool
}

// Decision is the outcome for one request.
type Decision struct {
	Reason Reason
	// GraceUntil is when the grace ends, where Reason is AllowedByGrace.
	GraceUntil Time
}

// CheckRequest decides what can be decided before a key is looked for: whether
// the API has such an operation, and whether the connection can be trusted.
// Undecided means that a key is needed.
func CheckRequest(r *Request) Reason {
	_, reason := judgeRequest(r)
	return reason
}

// NotYet says why a key that is known counts as unknown at now: it was created at
// a later instant, because one of two clocks was or is wrong. It is empty for
// other keys.
func NotYet(now Time, key *Key) string {
	if key == nil || now >= key.CreatedAt {
		return ""
	}
	behind := time.Duration(key.CreatedAt-now) * time.Millisecond
	return fmt.Sprintf("the key was issued at %s, and by this process's clock it is %s, which is %s earlier: set the clock", key.CreatedAt, now, behind)
}

// Decide says whether key may do at now what r asks. A nil key is an unknown
// one.
func Decide(now Time, key *Key, r *Request) Decision {
	_, d := judge(now, key, r)
	return d
}
