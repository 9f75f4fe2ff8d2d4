package manage

import (
	"context"
	"time"
)

// JobOnGrace is a job that an expired key may still read.
type JobOnGrace struct {
	Job

	// KeyExpiredAt is when the key of the job has expired.
	KeyExpiredAt Time `json:"key_expired_at"`
}

// JobsOnGrace returns jobs that expired keys may still read, up to limit of them: those of the keys
// that have expired last. It is for the operator only.
func (m *Manager) JobsOnGrace(ctx context.Context, limit int) ([]JobOnGrace, error) {
	if err := m.operatorOnly(); err != nil {
		return nil, err
	}
	all := []JobOnGrace{}
	longest := m.Gates.longestWindow()
	if longest <= 0 {
		return all, nil
	}
	found, err := m.Store.JobsOfExpiredKeys(ctx, m.Now.Add(-longest), m.Now, limit)
	if err != nil {
		return nil, err
	}
	for i := range found {
		job, key := found[i].Job, &found[i].Key
		until, _ := m.Gates.graceUntil(&job)
		at, expires := key.Expires.Time()
		if expires && key.Status(m.Now) == "expired" && until > m.Now {
			all = append(all, JobOnGrace{m.jobOf(job), Time{at}})
		}
	}
	return all, nil
}

// longestWindow returns the longest grace window of the gates.
func (c *GateConfigs) longestWindow() (longest time.Duration) {
	for _, gate := range c.Gates {
		longest = max(longest, gate.Rules.Grace.Window)
	}
	return longest
}
