package policy

import (
	"fmt"
	"net/netip"
	"time"
)

// Request holds the facts about one request. [Decide] also takes the time, the
// key and the gate's [Rules].
type Request struct {
	Operation Operation
	// EarlyData is true if the request came as TLS early data: anyone who has
	// recorded such a request can send it again.
	EarlyData bool
	// Client is the client's address. The zero value is an unknown address.
	Client netip.Addr
	// Job is the record of the job that ReadJob or DeleteJob names. It is nil if
	// the job is not recorded, and for other operations.
	Job *Job
	// Token is the record of the token that the client has shown in place of a key. The
	// key of the decision is then the token's owner, and all its rules hold, the grace
	// window too. In addition, the token must not have expired, which no grace forgives,
	// and it cannot issue a key or mint another token: such a credential could outlive it.
	// Token is nil if the client has shown a key.
	Token *Token
	// PathAccount is the account ID in the path. It is empty if the path names no
	// account. Only keys of this account may use such a path.
	PathAccount string
	// Met is the limit that the request would exceed, of the key or, if MetByAccount is
	// true, of its account. NoLimit if it exceeds none, or if the counts are not known. The
	// limit of operations needs no counts: Decide checks it itself.
	Met          LimitName
	MetByAccount bool
}

// Rules holds the settings of the gate that a decision depends on. The zero
// value is the strictest.
type Rules struct {
	// Grace applies to ReadJob.
	Grace Grace
	// UnrecordedJobs lets a valid key read and delete jobs that have no record in the
	// keystore. The backend then decides.
	UnrecordedJobs bool
}

// Grace says how long an expired key may still read the jobs that it created.
type Grace struct {
	// Window starts at the job's creation. 0 means no grace.
	Window time.Duration
	// AfterEnd starts at the job's end. Grace ends with Window or with AfterEnd,
	// whichever is earlier. 0 means that the job's end does not shorten the grace.
	AfterEnd time.Duration
}

// Until returns the instant at which the grace for j ends.
func (g Grace) Until(j *Job) Time {
	until := j.CreatedAt.Add(g.Window)
	if g.AfterEnd > 0 && !j.EndedAt.IsZero() {
		until = min(until, j.EndedAt.Add(g.AfterEnd))
	}
	return until
}

// Decision is what was decided about one request, and why.
type Decision struct {
	Reason Reason
	// GraceUntil is the instant at which the grace ends. It is set if Reason is
	// AllowedByGrace.
	GraceUntil Time
	// Limit is the limit that refuses the request, or NoLimit. ByAccount says that it is a
	// limit of the key's account.
	Limit     LimitName
	ByAccount bool
}

// CheckRequest runs the rules that need no key: the API must have the operation,
// and the request must not come as TLS early data. It returns Undecided if the
// key decides.
func CheckRequest(r *Request) Reason {
	_, reason := checkRequest(r)
	return reason
}

// Decide decides whether a key may do at now what r asks for. A nil key is an
// unknown key.
func Decide(now Time, key *Key, r *Request, rules Rules) Decision {
	_, d := check(now, key, r, rules)
	return d
}

// NotYet explains why a key that exists counts as unknown: now is before its
// creation, because one of two clocks was or is wrong. For every other key it
// returns the empty string.
func NotYet(now Time, key *Key) string {
	if key == nil || now >= key.CreatedAt {
		return ""
	}
	behind := time.Duration(key.CreatedAt-now) * time.Millisecond
	return fmt.Sprintf("the key was issued at %s, and by this process's clock it is %s, which is %s earlier: set the clock", key.CreatedAt, now, behind)
}
