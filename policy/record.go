package policy

import (
	"errors"
	"fmt"
	"net/netip"
)

// Account is a customer of the speech service.
type Account struct {
	ID        string // public, acc_…
	Name      string // the operator's name for it
	ServiceID string // identifies the account to the issuance API
	CreatedAt Time
	ClosedAt  Time // zero while the account is open
}

// Open reports whether the account is open.
func (a Account) Open() bool { return a.ClosedAt.IsZero() }

// Origin says where a key came from.
type Origin uint8

// The origins. The zero value is none of them.
const (
	_             Origin = iota
	OriginInitial        // came with the account, or was imported
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

// ParseOrigin is the reverse of String.
func ParseOrigin(word string) (Origin, error) {
	for i, w := range originWords {
		if w == word && i > 0 {
			return Origin(i), nil
		}
	}
	return 0, fmt.Errorf("unknown key origin %q: want initial, console or api", word)
}

// Key is an API key as the keystore knows it: everything but the secret.
// Expires, Allow and Issuable are fixed when the key is issued.
type Key struct {
	ID          string // public, key_…
	AccountID   string
	AccountOpen bool // whether the account was open when the record was read
	Origin      Origin
	Label       string
	Prefix      string // the secret's first characters, to recognize it by
	Allow       AddrSet
	Issuable    bool   // carries the issuance right
	IssuerID    string // of the key that issued this one; empty where none did
	CreatedAt   Time
	Expires     Expiry
	DeletedAt   Time // zero while it is not deleted
	RevokedAt   Time // zero while it is not revoked; counts whatever the clock says
	RevokeFrom  Time // when a scheduled revocation begins, of the key itself or of the issuer that it is bound to; zero for none
	LastUsedAt  Time // approximate, to the minute; zero if never used
}

// RevokedSince is the instant since which the key is revoked at now; zero if
// it is not.
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

// Status is a key's state for people: active, expired, deleted or revoked.
func (k *Key) Status(now Time) string {
	switch {
	case !k.RevokedSince(now).IsZero() || !k.AccountOpen:
		return "revoked"
	case !k.DeletedAt.IsZero():
		return "deleted"
	case k.Expires.Passed(now):
		return "expired"
	}
	return "active"
}

// CheckIssue says whether a key of this origin may be issued as asked.
func CheckIssue(o Origin, issuable bool) error {
	if issuable && o != OriginConsole {
		return fmt.Errorf("a key of origin %s cannot carry the issuance right: only keys issued on the console or by the operator can", o)
	}
	return nil
}

// CheckDelete says whether the account's holder may delete a key of this
// origin.
func CheckDelete(o Origin) error {
	switch o {
	case OriginConsole:
		return nil
	case OriginAPI:
		return errors.New("it came from the issuance API (origin api), and such keys cannot be deleted: let it expire, or have the operator revoke it")
	default:
		return fmt.Errorf("it came with the account (origin %s), and such keys cannot be deleted: have the operator revoke it", o)
	}
}

// JobState is how far a job has come, as last seen in the backend's answers.
type JobState uint8

// The states. Completed and Failed are final.
const (
	JobUnseen     JobState = iota // created, not polled yet, or in words the dialect does not know
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

// ParseJobState is the reverse of String; a word it does not know is JobUnseen.
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
	Backend   string // the namespace of ID
	ID        string // the backend's
	Dialect   string
	AccountID string
	KeyID     string     // the key that created it
	Client    netip.Addr // the address it was created from; invalid if it was not known
	CreatedAt Time       // the instant of the decision that admitted the creation
	State     JobState
	EndedAt   Time // when the gate saw it end; zero if it has not
}
