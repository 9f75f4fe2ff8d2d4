package manage

import (
	"context"
	"errors"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

// JobOnGrace is a job that an expired key may still read.
type JobOnGrace struct {
	Job

	// KeyExpiredAt is when the key of the job has expired.
	KeyExpiredAt Time `json:"key_expired_at"`
}

// JobsOnGrace returns a part of the jobs that expired keys may still read: those of the key that has
// expired last come first. A part can have fewer jobs than the limit, or none, although there is
// a next part. The limit of the page is required. It is for the operator only.
func (m *Manager) JobsOnGrace(ctx context.Context, page Page) (List[JobOnGrace], error) {
	if err := m.operatorOnly(); err != nil {
		return List[JobOnGrace]{}, err
	}
	if page.Limit < 1 {
		return List[JobOnGrace]{}, wrong("limit", " %d: want the number of entries", page.Limit)
	}
	all := List[JobOnGrace]{Items: []JobOnGrace{}}
	longest := m.Gates.longestWindow()
	if longest <= 0 {
		return all, nil
	}
	found, next, err := m.Store.JobsOfExpiredKeys(ctx, keystore.GraceList{Since: m.Now.Add(-longest), Now: m.Now, Limit: page.Limit, Cursor: page.Cursor})
	if errors.Is(err, keystore.ErrInvalid) {
		return all, errCursor()
	}
	if err != nil {
		return all, err
	}
	all.Next = OrNull(next)
	for i := range found {
		job, key := found[i].Job, &found[i].Key
		until, _ := m.Gates.graceUntil(&job)
		if key.Status(m.Now) == "expired" && until > m.Now {
			at, _ := key.Expires.Time()
			all.Items = append(all.Items, JobOnGrace{m.jobOf(job), Time{at}})
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
