package manage

import (
	"context"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// defaultWithin is how far a forecast looks ahead, if nothing else is asked for.
const defaultWithin = 14 * 24 * time.Hour

// MostChildrenCounted is up to how many children of a key a forecast counts.
const MostChildrenCounted = 1000

const (
	forecastUsage = 7 * 24 * time.Hour // of how long a forecast shows the usage
	forecastJobs  = 500                // among so many of the newest jobs, the unfinished ones are counted
	forecastIDs   = 10                 // so many IDs of children and of jobs are shown
)

// What a key ends by.
const (
	endsByExpiry   = "expiry"
	endsByRotation = "rotation" // the end of the overlap
	endsByIssuer   = "issuer"   // the rotation of the key that issued it
)

// EndsBy returns the words for what a key ends by.
func EndsBy() []string { return []string{endsByExpiry, endsByRotation, endsByIssuer} }

// EndingKey is a key that ends soon.
type EndingKey struct {
	Key

	AccountName string `json:"account_name"`
	// EndsAt is the first of the ends of the key.
	EndsAt Time `json:"ends_at"`
	// EndsBy says why the key ends then: expiry; rotation, when the overlap is over; or
	// issuer, when the overlap of the key that issued it is over.
	EndsBy string `json:"ends_by"`

	// Requests, Refused, AudioSeconds and StreamSeconds are the usage of the last 7 days. What was
	// counted in the last 5 minutes may not be in it, as with [UsageQuery].Bounded.
	Requests      int64   `json:"requests"`
	Refused       int64   `json:"refused"`
	AudioSeconds  float64 `json:"audio_seconds"`
	StreamSeconds float64 `json:"stream_seconds"`

	// Jobs is how many jobs of the key have not ended, as far as the gateway has seen. It
	// looks at the newest 500 jobs of the key.
	Jobs int `json:"jobs"`
	// JobIDs are the IDs of these jobs, of the newest 10.
	JobIDs []string `json:"job_ids"`
	// GraceUntil is the end of the last grace window of these jobs. Null if there are no
	// such jobs, or no grace.
	GraceUntil Time `json:"grace_until"`
	// Children is how many keys the key has issued that have not ended, up to 1000. They
	// do not outlive it, unless they were issued to outlive it.
	Children int `json:"children"`
	// ChildIDs are the IDs of the oldest 10 of them.
	ChildIDs []string `json:"child_ids"`
	// LimitsUsed are the limits of the key and of its account, and how much of them is used.
	LimitsUsed []UsedLimit `json:"limits_used"`
}

// ForecastQuery says what a forecast is about. The zero value is all keys that end in the
// next 14 days.
type ForecastQuery struct {
	Page

	// AccountID selects the keys of the account with this ID or name.
	AccountID string `json:"account_id"`
	// Within is how far to look ahead: a duration such as 30d. Default: 14d.
	Within string `json:"within"`
}

// Validate refuses a query with a mistake in a field. It does not read the keystore.
func (q *ForecastQuery) Validate() error {
	_, err := q.within()
	if err == nil {
		err = checkAccountIfAny(q.AccountID)
	}
	if err == nil {
		err = q.check()
	}
	return err
}

func (q *ForecastQuery) within() (time.Duration, error) {
	span, err := parsePositiveSpan("within", q.Within)
	if span == 0 {
		span = defaultWithin
	}
	return span, err
}

// Forecast returns a part of the list of the keys that end soon, the key that ends first
// first. Suspended keys are in it.
func (m *Manager) Forecast(ctx context.Context, q ForecastQuery) (List[EndingKey], error) {
	none := List[EndingKey]{}
	if err := q.Validate(); err != nil {
		return none, err
	}
	within, err := q.within()
	if err != nil {
		return none, err
	}
	id, err := m.accountIDIfAny(ctx, q.AccountID)
	if err != nil {
		return none, err
	}
	if id, err = m.scope(id); err != nil {
		return none, err
	}
	found, next, err := m.Store.EndingKeys(ctx, keystore.EndingList{
		AccountID: id, After: m.Now, By: m.Now.Add(within), Limit: q.Limit, Cursor: q.Cursor,
	})
	if err != nil {
		return listOf(found, "", err, func(keystore.EndingKey) (e EndingKey) { return e })
	}
	keys := make([]policy.Identity, len(found))
	for i, k := range found {
		keys[i] = policy.Identity{KeyID: k.ID, AccountID: k.AccountID}
	}
	usage, err := m.Store.UsageSince(ctx, m.Now.Add(-forecastUsage), keys)
	if err != nil {
		return none, err
	}
	list := List[EndingKey]{Items: make([]EndingKey, len(found)), Next: OrNull(next)}
	for i := range found {
		if list.Items[i], err = m.endingKey(ctx, &found[i], usage[found[i].ID]); err != nil {
			return none, err
		}
	}
	return list, nil
}

// endingKey returns what a forecast says about a key.
func (m *Manager) endingKey(ctx context.Context, k *keystore.EndingKey, u keystore.UsageCounts) (EndingKey, error) {
	e := EndingKey{
		Key: m.keyOf(k.Key), AccountName: k.AccountName, EndsAt: Time{k.EndsAt}, EndsBy: endsByExpiry,
		Requests: u.Requests, Refused: u.Refused, AudioSeconds: seconds(u.AudioTime), StreamSeconds: seconds(u.StreamTime),
		JobIDs: []string{}, ChildIDs: []string{},
	}
	switch {
	case k.WithIssuer:
		e.EndsBy = endsByIssuer
	case k.RevokeFrom == k.EndsAt:
		e.EndsBy = endsByRotation
	}
	if k.Issuable {
		children, err := m.Store.LiveChildren(ctx, k.ID, m.Now, MostChildrenCounted)
		if err != nil {
			return e, err
		}
		e.Children = len(children)
		e.ChildIDs = children[:min(forecastIDs, len(children))]
	}
	jobs, err := m.Store.UnfinishedJobs(ctx, k.ID, forecastJobs)
	if err != nil {
		return e, err
	}
	e.Jobs = len(jobs)
	for i := range jobs {
		if len(e.JobIDs) < forecastIDs {
			e.JobIDs = append(e.JobIDs, jobs[i].ID)
		}
		until, _ := m.Gates.graceUntil(&jobs[i])
		e.GraceUntil.Time = max(e.GraceUntil.Time, until)
	}
	use, err := m.limitUse(ctx, &k.Key, policy.Unlisted)
	e.LimitsUsed = use.Limits
	return e, err
}
