package policy

import (
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
	switch {
	case r.Operation == Unlisted || r.Operation >= operations:
		return OperationUnlisted
	case r.EarlyData:
		return EarlyData
	}
	return Undecided
}

// Decide says whether key may do at now what r asks. A nil key is an unknown
// one.
//
// What no grace forgives is looked at first, so that expiry is the only reason
// left when grace is weighed.
func Decide(now Time, key *Key, r *Request) Decision {
	if reason := CheckRequest(r); reason != Undecided {
		return Decision{Reason: reason}
	}
	if reason := usable(now, key, r.Client); reason != Undecided {
		return Decision{Reason: reason}
	}
	if key.Expires.Passed(now) {
		return decideExpired(now, key, r)
	}
	switch r.Operation {
	case ReadJob, DeleteJob:
		return Decision{Reason: decideJob(key, r)}
	case IssueKey:
		if !key.Issuable {
			return Decision{Reason: NoIssuanceRight}
		}
	}
	return Decision{Reason: Allowed}
}

// usable looks at everything about a key but its expiry.
func usable(now Time, key *Key, client netip.Addr) Reason {
	switch {
	case key == nil || now < key.CreatedAt:
		return KeyUnknown
	case !key.AccountOpen:
		return AccountClosed
	case !key.RevokedAt.IsZero():
		return KeyRevoked
	case !key.DeletedAt.IsZero():
		return KeyDeleted
	case key.Allow.Any():
		return Undecided
	case !client.IsValid():
		return AddressUnknown
	case !key.Allow.Contains(client):
		return AddressRefused
	}
	return Undecided
}

// decideExpired weighs the grace window: it opens the key's own job, for
// reading, and nothing else.
func decideExpired(now Time, key *Key, r *Request) Decision {
	j := r.Job
	if r.Operation != ReadJob || j == nil || j.KeyID != key.ID || j.AccountID != key.AccountID {
		return Decision{Reason: KeyExpired}
	}
	until := r.Grace.Until(j)
	// Without a window there is no grace, for a job from a clock ahead of ours
	// neither.
	if r.Grace.Window <= 0 || now >= until {
		return Decision{Reason: KeyExpired}
	}
	return Decision{Reason: AllowedByGrace, GraceUntil: until}
}

func decideJob(key *Key, r *Request) Reason {
	switch {
	case r.Job != nil && r.Job.AccountID == key.AccountID:
		return Allowed
	case r.Job != nil:
		return JobForeign
	case r.UnrecordedJobs:
		return Allowed
	}
	return JobUnknown
}
