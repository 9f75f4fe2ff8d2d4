package events

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// Name is the name of an event.
type Name uint8

// The events: a closed set.
const (
	KeyEnded        Name = iota // a key has expired, or was deleted or revoked, or its account was closed
	KeyExpiring                 // a key ends soon
	Refused                     // a request was refused, or a live stream was cut
	LimitMet                    // a request was refused because of a limit
	UpstreamRefused             // the backend has refused the upstream key
	JobOnGrace                  // a job is read for the first time with its expired key

	nameCount
)

// Prefix is the beginning of every name.
const Prefix = "speechgate."

var nameWords = [nameCount]string{
	KeyEnded:        Prefix + "key_ended",
	KeyExpiring:     Prefix + "key_expiring",
	Refused:         Prefix + "refused",
	LimitMet:        Prefix + "limit_met",
	UpstreamRefused: Prefix + "upstream_refused",
	JobOnGrace:      Prefix + "job_on_grace",
}

// String returns the name as a subscription has it.
func (n Name) String() string { return nameWords[n] }

// Names returns all names.
func Names() []Name {
	return []Name{KeyEnded, KeyExpiring, Refused, LimitMet, UpstreamRefused, JobOnGrace}
}

// CheckSubscription refuses the name of an event that begins as ours do, and that no event has: its
// subscriber would never be told of anything.
func CheckSubscription(name string) error {
	if slices.Contains(nameWords[:], name) || !strings.HasPrefix(strings.ToLower(name), Prefix) {
		return nil
	}
	if meant := words.Nearest(name, nameWords[:]); meant != "" {
		return fmt.Errorf("there is no event %q: did you mean %s?", name, meant)
	}
	return fmt.Errorf("there is no event %q: want %s", name, words.Alternatives(nameWords[:]))
}

// Event is something that has happened. The name says which of the other fields the event has.
type Event struct {
	Name      Name
	At        policy.Time // when it has happened; of KeyExpiring: when the key will end
	Owner     policy.Identity
	Reason    policy.Reason
	Operation policy.Operation
	Backend   string
	Client    netip.Addr // invalid if it is unknown
	Limit     string
	Within    string      // of KeyExpiring: how soon the key ends
	JobID     string      // of JobOnGrace
	Until     policy.Time // of JobOnGrace: when the grace ends
	LeftOut   uint64      // how many alike were not told since the event before
}

// data returns the event's data for handlers: texts and numbers. An unknown text is empty.
func (e *Event) data() map[string]any {
	data := map[string]any{"key_id": e.Owner.KeyID, "account_id": e.Owner.AccountID}
	if e.Name != JobOnGrace {
		data["left_out"] = e.LeftOut
	}
	switch e.Name {
	case KeyEnded:
		data["ended_at"], data["reason"] = e.At.String(), e.Reason.String()
		return data
	case KeyExpiring:
		data["ends_at"], data["reason"], data["within"] = e.At.String(), e.Reason.String(), e.Within
		return data
	case Refused:
		data["reason"] = e.Reason.String()
	case LimitMet:
		data["reason"], data["limit"] = e.Reason.String(), e.Limit
	case JobOnGrace:
		data["job_id"], data["grace_until"] = e.JobID, e.Until.String()
	default:
	}
	data["at"], data["operation"], data["backend"], data["client_ip"] = e.At.String(), e.Operation.String(), e.Backend, ""
	if e.Client.IsValid() {
		data["client_ip"] = e.Client.WithZone("").String() // a zone can be any text
	}
	return data
}

// own gives the event its own memory. Its IDs can be parts of a request or of a cached record.
func (e *Event) own() {
	e.Owner.KeyID, e.Owner.AccountID, e.JobID = strings.Clone(e.Owner.KeyID), strings.Clone(e.Owner.AccountID), strings.Clone(e.JobID)
}
