package manage

import (
	"context"
	"time"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// LimitUse says how much of their limits a key and its account use at one instant.
type LimitUse struct {
	// Limits are the limits of the key, and then those of its account.
	Limits []UsedLimit `json:"limits"`
	// Met is the limit that one more request would exceed. It is null if no limit is met, or
	// if that is not known.
	Met *MetLimit `json:"met"`
}

// UsedLimit is one limit, and how much of it is used.
type UsedLimit struct {
	Limit string `json:"limit"` // such as requests=60/m
	Of    string `json:"of"`    // key or account
	// Used is the number of requests in the last minute, or of requests or live streams at a time,
	// or seconds of audio. It is null if it is not known, and for operations.
	Used *int64 `json:"used"`
}

// MetLimit is a limit that one more request would exceed.
type MetLimit struct {
	Limit      string `json:"limit"`
	Of         string `json:"of"`
	RetryAfter int    `json:"retry_after"` // when a request may succeed, in seconds; 0 if that is not known
}

// The values of Of.
const (
	ofKey     = "key"
	ofAccount = "account"
)

// Use is what a key uses at one instant, or all keys of an account together.
type Use struct {
	Requests   int           // in the last minute
	Concurrent int           // requests at a time
	Streams    int           // live streams at a time
	AudioDay   time.Duration // since midnight, in UTC
	AudioTotal time.Duration
	// OnlyAudio says that only the audio is known.
	OnlyAudio bool
}

// of returns how much of a limit is used; nil if that is not known.
func (u *Use) of(n policy.LimitName) *int64 {
	var used int64
	switch n {
	case policy.LimitAudioDay:
		used = int64(u.AudioDay / time.Second)
	case policy.LimitAudioTotal:
		used = int64(u.AudioTotal / time.Second)
	case policy.LimitRequests:
		used = int64(u.Requests)
	case policy.LimitConcurrent:
		used = int64(u.Concurrent)
	case policy.LimitStreams:
		used = int64(u.Streams)
	default:
		return nil
	}
	if u.OnlyAudio && n != policy.LimitAudioDay && n != policy.LimitAudioTotal {
		return nil
	}
	return &used
}

// NewLimitUse returns how much of their limits a key and its account use, if they use own and
// shared. The argument met is the limit that one more request would exceed, or policy.NoLimit.
func NewLimitUse(key *policy.Key, own, shared *Use, met policy.LimitName, byAccount bool, retryAfter int) LimitUse {
	u := LimitUse{Limits: []UsedLimit{}}
	add := func(l *policy.Limits, use *Use, of string, met policy.LimitName) {
		for _, n := range policy.LimitNames() {
			if word := l.Word(n); word != "" {
				u.Limits = append(u.Limits, UsedLimit{word, of, use.of(n)})
				if n == met {
					u.Met = &MetLimit{word, of, retryAfter}
				}
			}
		}
	}
	metOf := [2]policy.LimitName{}
	if byAccount {
		metOf[1] = met
	} else {
		metOf[0] = met
	}
	add(&key.Limits, own, ofKey, metOf[0])
	add(&key.AccountLimits, shared, ofAccount, metOf[1])
	return u
}

// name returns the limit's name, and whether it is the account's.
func (m *MetLimit) name() (n policy.LimitName, byAccount bool) {
	l, _ := policy.ParseLimits(m.Limit) // the zero value has no limit
	for _, name := range policy.LimitNames() {
		if l.Word(name) != "" {
			n = name
		}
	}
	return n, m.Of == ofAccount
}

// KeyLimits is the [LimitUse] of one key.
type KeyLimits struct {
	KeyID     string      `json:"key_id"`
	AccountID string      `json:"account_id"`
	Limits    []UsedLimit `json:"limits"`
	Met       *MetLimit   `json:"met"`
}

// KeyLimits says how much of their limits a key and its account use. If operation is the word of an
// operation, the result also says which limit one more request for it would exceed.
func (m *Manager) KeyLimits(ctx context.Context, id, operation string) (KeyLimits, error) {
	op := policy.Unlisted
	if operation != "" {
		var ok bool
		if op, ok = policy.ParseOperation(operation); !ok {
			return KeyLimits{}, wrong("operation", " %s: want the word of an operation, such as recognize or stream", words.Quote(operation))
		}
	}
	key, err := m.key(ctx, id)
	if err != nil {
		return KeyLimits{}, err
	}
	use, err := m.limitUse(ctx, &key, op)
	return KeyLimits{key.ID, key.AccountID, use.Limits, use.Met}, err
}

// limitUse returns how much of their limits a key and its account use. A nil key has no limits.
func (m *Manager) limitUse(ctx context.Context, key *policy.Key, op policy.Operation) (LimitUse, error) {
	switch {
	case key == nil:
		return LimitUse{Limits: []UsedLimit{}}, nil
	case m.LimitUse != nil && (counts(key.Limits) || counts(key.AccountLimits)):
		return m.LimitUse(ctx, key, op)
	}
	return m.StoredLimitUse(ctx, key)
}

// counts reports whether a server has to count something for the limits.
func counts(l policy.Limits) bool {
	l.Operations = 0
	return !l.None()
}

// StoredLimitUse says how much of their limits a key and its account use, as far as the keystore
// knows it, which is the audio: a server writes it every 4 seconds.
func (m *Manager) StoredLimitUse(ctx context.Context, key *policy.Key) (LimitUse, error) {
	own, shared := Use{OnlyAudio: true}, Use{OnlyAudio: true}
	for _, of := range []struct {
		use    *Use
		limits *policy.Limits
		who    policy.Identity
	}{
		{&own, &key.Limits, policy.Identity{KeyID: key.ID, AccountID: key.AccountID}},
		{&shared, &key.AccountLimits, policy.Identity{AccountID: key.AccountID}},
	} {
		if !of.limits.Audio() {
			continue
		}
		var err error
		if of.use.AudioDay, of.use.AudioTotal, err = m.Store.AudioUsed(ctx, m.Now, of.who); err != nil {
			return LimitUse{}, err
		}
	}
	return NewLimitUse(key, &own, &shared, policy.NoLimit, false, 0), nil
}
