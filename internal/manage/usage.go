package manage

import (
	"context"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

// Usage is a sum of usage in a result. A field that the sum is not about is null: the sums of
// hours have no operation, for example.
type Usage struct {
	// At is the beginning of the hour or of the day, in UTC.
	At        Time   `json:"at"`
	AccountID OrNull `json:"account_id"`
	KeyID     OrNull `json:"key_id"`
	Operation OrNull `json:"operation"`
	Reason    OrNull `json:"reason"`
	// Requests is the number of requests and of start commands of streams, admitted or refused.
	Requests int64 `json:"requests"`
	// Refused is how many requests were refused. It also has streams that were cut, and requests
	// whose upstream key the backend has refused.
	Refused int64 `json:"refused"`
	// AudioBytes is the size of the audio that went to the backend.
	AudioBytes int64 `json:"audio_bytes"`
	// AudioSeconds is the length of the audio whose format tells it.
	AudioSeconds float64 `json:"audio_seconds"`
	// StreamSeconds is how long live streams have lasted.
	StreamSeconds float64 `json:"stream_seconds"`
}

// UsageGroups returns the words for what usage is grouped by.
func UsageGroups() []string { return []string{"hour", "day", "key", "operation", "reason"} }

var usageGroups = map[string]keystore.UsageGroup{
	"": keystore.UsageSum, "hour": keystore.UsageByHour, "day": keystore.UsageByDay, "key": keystore.UsageByKey,
	"operation": keystore.UsageByOperation, "reason": keystore.UsageByReason,
}

// UsageQuery selects usage, and says how it is grouped. The zero value is one sum of all usage.
type UsageQuery struct {
	// AccountID selects the usage of the account with this ID or name.
	AccountID string `json:"account_id"`
	// KeyID selects the usage of the key with this ID.
	KeyID string `json:"key"`
	// Since selects the usage since this instant: a duration before now (7d), a date (from the
	// beginning of the day in UTC), or an instant in RFC 3339. It begins with the hour of the
	// instant or, if the instant is more than 7 days ago, with its day.
	Since string `json:"since"`
	// By makes one sum for each hour, day, key, operation or reason: one of [UsageGroups].
	// Default: one sum.
	By string `json:"by"`
	// Limit is the most sums of keys. Default: all.
	Limit int `json:"limit"`
	// Bounded limits the work, for pages that people wait for: if a gateway writes more than 128 counters
	// at a time, or more than 8 in PostgreSQL, what was counted in the last 5 minutes may not be in the sums.
	Bounded bool `json:"-"`
}

// Validate refuses a query with a mistake in a field, except Since. It does not read the
// keystore.
func (q *UsageQuery) Validate() error {
	if q.AccountID != "" {
		if err := CheckAccount("account_id", q.AccountID); err != nil {
			return err
		}
	}
	if q.KeyID != "" {
		if err := CheckID("key", KindKey, q.KeyID); err != nil {
			return err
		}
	}
	if q.By != "" {
		if err := oneOf("by", q.By, UsageGroups()); err != nil {
			return err
		}
	}
	if q.Limit != 0 && q.By != "key" {
		return wrong("limit", ": it is for %s key, which lists the keys with the most requests", field("by"))
	}
	return Page{Limit: q.Limit}.check()
}

// Usage calls each for every sum of usage that the query selects: hours and days in their order,
// keys with the most requests first, operations and reasons in the order of the alphabet. The
// sums are read one by one, because there can be millions of keys. What a server has counted in
// the last 5 seconds may not be in the sums. If each returns an error, Usage returns it.
func (m *Manager) Usage(ctx context.Context, q UsageQuery, each func(*Usage) error) error {
	list, err := m.usageList(ctx, &q)
	if err != nil {
		return err
	}
	return m.Store.Usage(ctx, list, func(u *keystore.Usage) error {
		result := usageOf(u)
		if u.AccountID == "" {
			result.AccountID, result.KeyID = OrNull(list.AccountID), OrNull(list.KeyID)
		}
		return each(&result)
	})
}

// KeyUsageQuery selects keys, whose usage is listed. The zero value selects all keys.
type KeyUsageQuery struct {
	Page

	// AccountID selects the keys of the account with this ID or name.
	AccountID string `json:"account_id"`
	// Since is as in [UsageQuery].
	Since string `json:"since"`
}

// KeyUsage returns a part of the list of the usage of each key, in the order of account IDs and then
// of key IDs. A part can have fewer keys than the limit, because keys without usage since then are
// left out. What a server has counted in the last 5 seconds may not be in the sums.
func (m *Manager) KeyUsage(ctx context.Context, q KeyUsageQuery) (List[Usage], error) {
	asked := UsageQuery{AccountID: q.AccountID, Since: q.Since, By: "key", Limit: q.Limit}
	list, err := m.usageList(ctx, &asked)
	if err != nil {
		return List[Usage]{}, err
	}
	records, next, err := m.Store.KeyUsage(ctx, keystore.KeyUsageList{AccountID: list.AccountID, Since: list.Since, Limit: q.Limit, Cursor: q.Cursor})
	return listOf(records, next, err, func(u keystore.Usage) Usage { return usageOf(&u) })
}

func usageOf(u *keystore.Usage) Usage {
	return Usage{
		At: Time{u.At}, AccountID: OrNull(u.AccountID), KeyID: OrNull(u.KeyID), Operation: OrNull(u.Operation), Reason: OrNull(u.Reason),
		Requests: u.Requests, Refused: u.Refused, AudioBytes: u.AudioBytes,
		AudioSeconds: seconds(u.AudioTime), StreamSeconds: seconds(u.StreamTime),
	}
}

// usageList checks the query, and looks its account and its key up.
func (m *Manager) usageList(ctx context.Context, q *UsageQuery) (list keystore.UsageList, err error) {
	if err := q.Validate(); err != nil {
		return list, err
	}
	list.Group, list.Limit, list.Bounded = usageGroups[q.By], q.Limit, q.Bounded
	id := ""
	if q.AccountID != "" {
		if id, err = m.accountID(ctx, q.AccountID); err != nil {
			return list, err
		}
	}
	if q.KeyID != "" {
		k, err := m.key(ctx, q.KeyID)
		if err != nil {
			return list, err
		}
		if id != "" && id != k.AccountID {
			return list, wrong("key", " %s belongs to another account, %s", q.KeyID, k.AccountID)
		}
		id, list.KeyID = k.AccountID, k.ID
	}
	if list.AccountID, err = m.scope(id); err != nil {
		return list, err
	}
	if q.Since != "" {
		if list.Since, err = parseSince(q.Since, m.Now); err != nil {
			return list, err
		}
	}
	return list, nil
}

// seconds returns a duration in seconds, to the millisecond.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
