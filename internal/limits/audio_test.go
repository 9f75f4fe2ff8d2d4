package limits

import (
	"errors"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func TestR20_AudioIsReadOnceASecond(t *testing.T) {
	t.Parallel()
	c, reads := New(), 0
	used := Audio{Today: time.Minute, Total: time.Hour}
	var fails error
	read := func() (Audio, error) {
		reads++
		return used, fails
	}
	midnight := (start/day + 1) * day
	for _, step := range []struct {
		at    policy.Time
		reads int
	}{{start, 1}, {start + 999, 1}, {start + 1000, 2}, {start + 1500, 2}, {midnight - 1, 3}, {midnight, 4}, {midnight + 5, 4}} {
		if got, err := c.AudioOf("key_1", step.at, read); err != nil || got != used || reads != step.reads {
			t.Errorf("at %s: %+v, %v after %d reads, want %d", step.at, got, err, reads, step.reads)
		}
	}
	// An error is not remembered, and neither is what was known before.
	fails = errors.New("no keystore")
	for i := range 2 {
		if _, err := c.AudioOf("key_1", midnight+2000, read); !errors.Is(err, fails) || reads != 5+i {
			t.Errorf("%v after %d reads", err, reads)
		}
	}
	fails = nil
	if got, err := c.AudioOf("key_1", midnight+2000, read); err != nil || got != used {
		t.Error(got, err)
	}
}

// While a call reads, the others use what is known. The next day nothing is known.
func TestR20_OneCallReadsTheAudioAtATime(t *testing.T) {
	t.Parallel()
	c, known := New(), Audio{Today: time.Minute, Total: time.Hour}
	midnight := (start/day + 1) * day
	for _, step := range []struct {
		at   policy.Time
		read bool // by another call too
	}{{start, true}, {start + 1000, false}, {midnight - 1, false}, {midnight, true}} {
		read := false
		used, err := c.AudioOf("key_1", step.at, func() (Audio, error) {
			other, err := c.AudioOf("key_1", step.at, func() (Audio, error) {
				read = true
				return known, nil
			})
			if err != nil || other != known {
				t.Errorf("at %s, another call knows of %+v, %v; want %+v", step.at, other, err, known)
			}
			return Audio{Today: known.Today + 1, Total: known.Total + 1}, nil
		})
		known.Today++
		known.Total++
		if err != nil || used != known || read != step.read {
			t.Errorf("at %s: %+v, %v; want %+v; another call reads: %t, want %t", step.at, used, err, known, read, step.read)
		}
	}
}

func TestR20_AudioIsUsedUpAtTheLimit(t *testing.T) {
	t.Parallel()
	noon := start/day*day + day/2
	for name, tt := range map[string]struct {
		used   Audio
		limits policy.Limits
		at     policy.Time
		want   policy.LimitName
		wait   int
	}{
		"nothing is limited":    {Audio{time.Hour, time.Hour}, policy.Limits{Requests: 1}, noon, policy.NoLimit, 0},
		"a moment is left":      {Audio{time.Minute - 1, time.Hour}, policy.Limits{AudioDay: 60}, noon, policy.NoLimit, 0},
		"the day is used up":    {Audio{time.Minute, time.Hour}, policy.Limits{AudioDay: 60}, noon, policy.LimitAudioDay, 60},
		"midnight is near":      {Audio{time.Minute, time.Hour}, policy.Limits{AudioDay: 60}, noon + day/2 - 4500, policy.LimitAudioDay, 5},
		"a moment is left over": {Audio{0, time.Hour - 1}, policy.Limits{AudioTotal: 3600}, noon, policy.NoLimit, 0},
		"all is used up":        {Audio{0, time.Hour}, policy.Limits{AudioTotal: 3600, AudioDay: 60}, noon, policy.LimitAudioTotal, 60},
	} {
		if got := tt.used.Check(&tt.limits, tt.at); got != (Refusal{Limit: tt.want, RetryAfter: tt.wait}) {
			t.Errorf("%s: %+v; want %v, %d", name, got, tt.want, tt.wait)
		}
	}
}
