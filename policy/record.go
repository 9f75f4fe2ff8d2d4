package policy

import (
	"fmt"
	"net/netip"

	"github.com/speechgate/speechgate/internal/phrase"
)

// Account is a customer of the speech service.
type Account struct {
	ID        string // acc_…; not secret
	Name      string // the operator's name for it
	ServiceID string // identifies the account to the issuance API
	CreatedAt Time
	ClosedAt  Time // zero while the account is open

	SuspendedAt   Time   // zero if the account is not suspended
	SuspendReason string // why, for people; can be empty

	Limits Limits // of all keys of the account together

	// PreviousServiceID is the service ID before the last rotation. Until PreviousUntil,
	// it works together with the service password before the rotation.
	PreviousServiceID string
	PreviousUntil     Time // zero if the rotation had no overlap
}

// Open reports whether the account is open.
func (a Account) Open() bool { return a.ClosedAt.IsZero() }

// Status returns the account's state as a word for people: open, suspended or closed.
func (a Account) Status() string {
	switch {
	case !a.Open():
		return "closed"
	case !a.SuspendedAt.IsZero():
		return "suspended"
	}
	return "open"
}

// HasServiceID reports whether the service ID belongs to the account at now. It is the
// account's service ID, or the one before the last rotation during the overlap.
func (a Account) HasServiceID(id string, now Time) bool {
	return id == a.ServiceID || id == a.PreviousServiceID && now < a.PreviousUntil
}

// Origin says how a key was created.
type Origin uint8

// The origins. The zero value is not an origin.
const (
	_             Origin = iota
	OriginInitial        // created with the account, or imported
	OriginConsole        // issued on the console or by the operator
	OriginAPI            // issued through the issuance API
)

var originWords = [...]string{"", "initial", "console", "api"}

// String returns the origin's word.
func (o Origin) String() string {
	if int(o) >= len(originWords) {
		return ""
	}
	return originWords[o]
}

// ParseOrigin returns the origin with this word.
func ParseOrigin(word string) (Origin, error) {
	for i, w := range originWords {
		if w == word && i > 0 {
			return Origin(i), nil
		}
	}
	return 0, phrase.Errorf("unknown key origin %q: want initial, console or api", word)
}

// Key is the keystore's record of an API key: everything except the secret.
// Expires, Allow, Issuable and Limits never change after the key is issued.
type Key struct {
	ID          string // key_…; not secret
	AccountID   string
	AccountOpen bool // whether the account was open when the record was read
	// AccountSuspended says whether the account was suspended when the record was read.
	AccountSuspended bool
	Origin           Origin
	Label            string
	Prefix           string // the first characters of the secret, by which people recognize it
	Allow            AddrSet
	Issuable         bool   // whether the key may issue keys
	IssuerID         string // the ID of the key that issued this key; empty if no key did
	CreatedAt        Time
	Expires          Expiry
	DeletedAt        Time // zero if the key is not deleted
	RevokedAt        Time // zero if the key is not revoked; otherwise the key is revoked at every instant, also before RevokedAt
	RevokeFrom       Time // the start of a scheduled revocation of this key, or of the issuer that this key is bound to; zero if none is scheduled
	SuspendedAt      Time // zero if the key itself is not suspended
	LastUsedAt       Time // accurate to about a minute; zero if the key was never used
	Limits           Limits
	AccountLimits    Limits // of the account, when the record was read

	RevokeReason  string // why the key was revoked, for people; can be empty
	SuspendReason string // why the key was suspended, for people; can be empty
}

// RevokedSince returns the instant since which the key is revoked, or zero if the
// key is not revoked at now.
func (k *Key) RevokedSince(now Time) Time {
	switch scheduled := k.RevokeFrom; {
	case scheduled.IsZero() || now < scheduled:
		return k.RevokedAt
	case k.RevokedAt.IsZero():
		return scheduled
	default:
		return min(k.RevokedAt, scheduled)
	}
}

// Suspended reports whether the key or its account is suspended. The operator can resume
// a suspended key or account.
func (k *Key) Suspended() bool { return k.AccountSuspended || !k.SuspendedAt.IsZero() }

// Ended reports whether the key is expired, deleted or revoked at now, which is for good.
func (k *Key) Ended(now Time) bool {
	return !k.AccountOpen || !k.DeletedAt.IsZero() || !k.RevokedSince(now).IsZero() || k.Expires.Passed(now)
}

// Status returns the key's state as a word for people: active, suspended, expired,
// deleted or revoked.
func (k *Key) Status(now Time) string {
	switch {
	case !k.RevokedSince(now).IsZero() || !k.AccountOpen:
		return "revoked"
	case !k.DeletedAt.IsZero():
		return "deleted"
	case k.Expires.Passed(now):
		return "expired"
	case k.Suspended():
		return "suspended"
	}
	return "active"
}

// CheckIssue refuses the issuance right for a key of an origin that may not carry
// it.
func CheckIssue(o Origin, issuable bool) error {
	if issuable && o != OriginConsole {
		return phrase.Errorf("a key of origin %s cannot carry the issuance right: only keys issued on the console or by the operator can", o)
	}
	return nil
}

// CheckDelete checks whether the account's owner may delete a key of this origin.
func CheckDelete(o Origin) error {
	switch o {
	case OriginConsole:
		return nil
	case OriginAPI:
		return phrase.Errorf("it came from the issuance API (origin api), and such keys cannot be deleted: let it expire, or have the operator revoke it")
	default:
		return phrase.Errorf("it came with the account (origin %s), and such keys cannot be deleted: have the operator revoke it", o)
	}
}

// JobState is the state of a job, as last seen in the backend's answers.
type JobState uint8

// The states. Completed and Failed are final.
const (
	JobUnseen     JobState = iota // created, and not polled yet; or the dialect does not know the state's word
	JobQueued                     // waiting
	JobStarted                    // about to run
	JobProcessing                 // running
	JobCompleted                  // ended with a result
	JobFailed                     // ended with an error
)

var jobStateWords = [...]string{"unknown", "queued", "started", "processing", "completed", "error"}

// String returns the state's word.
func (s JobState) String() string {
	if int(s) >= len(jobStateWords) {
		s = JobUnseen
	}
	return jobStateWords[s]
}

// JobStates lists every state, in order.
func JobStates() []JobState {
	all := make([]JobState, len(jobStateWords))
	for i := range all {
		all[i] = JobState(i)
	}
	return all
}

// ParseJobState returns the state with this word, or JobUnseen for an unknown word.
func ParseJobState(word string) JobState {
	for i, w := range jobStateWords {
		if w == word {
			return JobState(i)
		}
	}
	return JobUnseen
}

// Ended reports whether the state is final.
func (s JobState) Ended() bool { return s == JobCompleted || s == JobFailed }

// Job is an asynchronous recognition that passed through the gateway.
type Job struct {
	Backend   string // the name of the backend; job IDs are unique within one backend
	ID        string // as the backend has issued it
	Dialect   string
	AccountID string
	KeyID     string     // the key that created it
	Client    netip.Addr // the address that created the job; invalid if it was not known
	CreatedAt Time       // the instant of the decision that allowed the creation
	State     JobState
	EndedAt   Time // when the gate saw the job's end; zero before

	// UpstreamKey is the fingerprint of the upstream key that created the job, under this backend
	// name. It is 0 if the backend got no upstream key, and in records from before fingerprints.
	UpstreamKey Fingerprint
}

// Fingerprint tells the upstream keys of a backend apart, and does not have the keys. Package
// keystore makes it. 0 is no key.
type Fingerprint uint32

// String returns the fingerprint in eight hexadecimal digits; "" for no key.
func (f Fingerprint) String() string {
	if f == 0 {
		return ""
	}
	return fmt.Sprintf("%08x", uint32(f))
}

// Token is the record of a short-lived token, which the backend has minted for a client
// with a valid key. This key is the token's owner. A decision on a token is the decision
// on its owner, and the token must not have expired: see [Request.Token].
type Token struct {
	CreatedAt Time // the instant of the decision that allowed the mint
	ExpiresAt Time // always set: every token expires

	// UpstreamKey is the fingerprint of the upstream key with which the backend minted the token,
	// as in [Job].
	UpstreamKey Fingerprint
}

// Expired reports whether the token has expired at now.
func (t *Token) Expired(now Time) bool { return now >= t.ExpiresAt }

// Identity says whose a request or a live stream is: the key, and the account of the key.
// Both fields are empty if there is no known key.
type Identity struct {
	KeyID     string // the public ID
	AccountID string
}
