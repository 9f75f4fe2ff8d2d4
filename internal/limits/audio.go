package limits

import (
	"time"

	"github.com/speechgate/speechgate/policy"
)

// audioAge is how long the audio that a key has used is known before it is read again. Within
// this time, a request can be admitted although the key has used up its audio.
const audioAge = policy.Time(time.Second / time.Millisecond)

const day = policy.Time(24 * time.Hour / time.Millisecond)

// Audio is how much audio a key, or all keys of an account together, have used.
type Audio struct {
	Today time.Duration // since midnight, in UTC
	Total time.Duration
}

// audio is what a subject knows of its audio.
type audio struct {
	Audio

	known bool
	at    policy.Time // when it was read
}

// AudioOf returns how much audio the key or account with this ID has used, as it was a second ago
// at most. If that is not known, it calls read. The error is that of read.
func (c *Counters) AudioOf(id string, now policy.Time, read func() (Audio, error)) (Audio, error) {
	s := c.subjects.locked(id, now)
	known := s.audio
	usable := known.known && now/day == known.at/day
	fresh := usable && now-known.at < audioAge
	if usable && !fresh {
		s.audio.at = now // others use what is known until this call has read
	}
	s.mu.Unlock()
	if fresh {
		return known.Audio, nil
	}
	used, err := read()
	s = c.subjects.locked(id, now) // the table can have dropped the other one meanwhile
	s.audio = audio{used, err == nil, now}
	s.mu.Unlock()
	return used, err
}

// Check returns the limit of audio that the used audio has reached.
func (a Audio) Check(l *policy.Limits, now policy.Time) Refusal {
	switch {
	case l.AudioTotal != 0 && a.Total >= time.Duration(l.AudioTotal)*time.Second:
		return Refusal{Limit: policy.LimitAudioTotal, RetryAfter: 60}
	case l.AudioDay != 0 && a.Today >= time.Duration(l.AudioDay)*time.Second:
		return Refusal{Limit: policy.LimitAudioDay, RetryAfter: int(min((day-now%day+999)/1000, 60))}
	}
	return Refusal{}
}
