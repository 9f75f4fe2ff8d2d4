package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// recheckSoon adds a recheck to the queue, unless a recheck waits there already.
func (s *liveStream) recheckSoon() {
	if s.recheckWaits.CompareAndSwap(false, true) {
		s.events.post(func() {
			s.recheckWaits.Store(false)
			if reason, detail := s.check(running); !reason.OK() {
				s.cut(reason, detail)
			}
		})
	}
}

// checkMode says what a check is for.
type checkMode uint8

const (
	admitting checkMode = iota // for a start command: if the store returns an error, the command is refused
	running                    // for a running stream: if the store returns an error, the stream goes on for a while
)

// check decides on the stream by the current record of its key. If the stream may go on, check
// sets the timer to the next instant at which the decision may change even if the record does
// not.
func (s *liveStream) check(mode checkMode) (policy.Reason, string) {
	if s.ended.Load() || !s.record.Found() {
		return policy.Allowed, "" // there is nothing to cut
	}
	at := s.gate.app.Now()
	fresh, retry, err := s.reread(mode)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return policy.KeyUnknown, "the key's record is gone"
	case err != nil:
		return policy.StoreUnavailable, err.Error()
	}
	key, keyThen := fresh.Key(), s.record.Key()
	outcome := policy.Decide(at, &key, &s.asked, s.gate.rules)
	if outcome.Reason == policy.KeyExpired && !s.gate.cutsOnExpiry() && !keyThen.Expires.Passed(s.accepted) {
		outcome.Reason = policy.Allowed
	}
	if outcome.Reason.OK() {
		// If the audio cannot be read, the next check reads it.
		if met, err := s.gate.app.AudioMet(s.store, s.owner, &key.Limits, &key.AccountLimits, at); err == nil && met.Limit != policy.NoLimit {
			outcome = policy.Decision{Reason: met.Limit.Reason(), Limit: met.Limit, ByAccount: met.ByAccount}
		}
	}
	if !outcome.Reason.OK() {
		s.limit = outcome.Limit
		return outcome.Reason, cmp.Or(policy.NotYet(at, &key), policy.Exceeded(&key.Limits, &key.AccountLimits, outcome.Limit, outcome.ByAccount))
	}
	longest := time.Duration(s.gate.MaxStreamTime)
	if longest > 0 && at >= s.begun.Add(longest) {
		return policy.StreamTooLong, "the stream has lasted as long as it may"
	}
	end := s.nextEnd(at, &key, longest)
	if again := at.Add(retry); retry > 0 && (end.IsZero() || again < end) {
		end = again
	}
	s.setTimer(at, end)
	return outcome.Reason, ""
}

// reread returns the current record of the stream's key. If the store returns an error, the record of a
// running stream stays, and reread returns when to check again, until the store has been silent, or the record
// could not be read, for max_stream_staleness. While the store is silent, reread does not ask it: many streams
// would ask at once.
func (s *liveStream) reread(mode checkMode) (fresh keystore.Record, retry time.Duration, err error) {
	if silence := s.store.Silence(); mode == running && silence > 0 {
		unread := silence
		if !s.failing.IsZero() { // since before the last word from the database
			unread = max(unread, time.Duration(s.gate.app.Now()-s.failing)*time.Millisecond)
		}
		left := s.gate.app.StreamStaleness() - unread
		if left <= 0 {
			return fresh, 0, fmt.Errorf("the keystore could not be read for %s", unread.Round(time.Second))
		}
		return s.record, max(left, time.Millisecond), nil
	}
	fresh, err = s.store.Reread(context.Background(), &s.record)
	switch {
	case err == nil:
		s.failing = 0
		return fresh, 0, nil
	case mode == admitting, errors.Is(err, keystore.ErrNotFound):
		return fresh, 0, err
	}
	// The store does not know yet that it is silent, or it can read the change feed, and not the record.
	now := s.gate.app.Now()
	if s.failing.IsZero() {
		s.failing = now
	}
	if now >= s.failing.Add(s.gate.app.StreamStaleness()) {
		return fresh, 0, err
	}
	return s.record, recheckAfterFault, nil
}

// nextEnd returns the first instant later than at when the stream may have to end, even if the
// record does not change: at the revocation, at the expiry with on_expiry cut, or after
// max_stream_time. If the key or its account has a limit of audio, this is soon. It returns zero
// if there is no such instant.
func (s *liveStream) nextEnd(at policy.Time, key *policy.Key, longest time.Duration) (end policy.Time) {
	earlier := func(t policy.Time) {
		if t > at && (end.IsZero() || t < end) {
			end = t
		}
	}
	earlier(key.RevokeFrom)
	if key.Limits.Audio() || key.AccountLimits.Audio() {
		earlier(at.Add(audioCheckEvery))
	}
	if expires, ok := key.Expires.Time(); ok && s.gate.cutsOnExpiry() {
		earlier(expires)
	}
	if longest > 0 {
		earlier(s.begun.Add(longest))
	}
	return end
}

// setTimer sets the timer to the instant end. If end is zero, it only stops the timer.
func (s *liveStream) setTimer(at, end policy.Time) {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if !s.ended.Load() && !end.IsZero() {
		s.timer = time.AfterFunc(time.Duration(min(end-at, longestTimer))*time.Millisecond, s.recheckSoon)
	}
}
