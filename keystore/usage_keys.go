package keystore

import (
	"context"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// KeyUsageList says which keys [Store.KeyUsage] returns the usage of. The zero value is all keys.
type KeyUsageList struct {
	// AccountID selects the keys of an account. Default: of all.
	AccountID string
	// Since is as in [UsageList].
	Since policy.Time

	// Limit is the most keys to return. Default: all.
	Limit int
	// Cursor continues the list after another page: the next that the call before
	// returned. Default: the list's beginning.
	Cursor string
}

// KeyUsage returns a page of the usage of each key, in the order of account IDs and then of key
// IDs, and the cursor of the next page. The cursor is empty after the last page. Paging neither
// repeats nor skips a key. A page can have fewer keys than the limit, because it leaves out keys
// without usage since then. The error is ErrInvalid if the limit is below zero, or if the
// cursor does not come from KeyUsage.
func (s *Store) KeyUsage(ctx context.Context, list KeyUsageList) (page []Usage, next string, err error) {
	if list.Limit < 0 {
		return nil, "", refuse(ErrInvalid, "a limit of %d: want the number of entries, or 0 for all", list.Limit)
	}
	q := usageQuery{list: UsageList{Since: list.Since}}
	text, ok := q.keysPage(&list)
	if !ok {
		return nil, "", refuse(ErrInvalid, "cursor %.100q: want one that this list returned", list.Cursor)
	}
	if list.Cursor == "" {
		s.foldInBackground(ctx)
	}
	page, err = query(ctx, s, scanKeyUsage, text, q.args...)
	if err != nil {
		return nil, "", err
	}
	if list.Limit > 0 && len(page) > list.Limit {
		page = page[:list.Limit]
		last := &page[list.Limit-1]
		next = listPosition{0, []string{last.AccountID, last.KeyID}}.cursor(keyUsageCursor)
	}
	used := page[:0]
	for _, u := range page {
		if u.UsageCounts != (UsageCounts{}) {
			used = append(used, u)
		}
	}
	return used, next, nil
}

const keyUsageCursor = "u" // the beginning of cursors

func scanKeyUsage(row scanner) (u Usage, err error) {
	var audio, stream int64
	err = row.Scan(&u.AccountID, &u.KeyID, &u.Requests, &u.Refused, &u.AudioBytes, &audio, &stream)
	u.AudioTime, u.StreamTime = time.Duration(audio)*time.Millisecond, time.Duration(stream)*time.Millisecond
	return u, err
}

// keysPage returns the query of a page of keys, with one key more than the limit. ok is false for
// a bad cursor.
func (q *usageQuery) keysPage(list *KeyUsageList) (text string, ok bool) {
	// The page is selected first, so that only its usage is read.
	page := `SELECT id, account_id, key_id FROM usage_scopes WHERE key_id <> ''`
	if list.AccountID != "" {
		page += ` AND account_id = ` + q.arg(list.AccountID)
	}
	if list.Cursor != "" {
		after, ok := parseCursor(keyUsageCursor, list.Cursor, 2)
		if !ok {
			return "", false
		}
		page += ` AND (account_id, key_id) > (` + q.arg(after.texts[0]) + `, ` + q.arg(after.texts[1]) + `)`
	}
	page += ` ORDER BY account_id, key_id`
	if list.Limit > 0 {
		page += ` LIMIT ` + strconv.Itoa(list.Limit+1)
	}
	with, rows := `WITH page AS MATERIALIZED (`+page+`)`, `SELECT p.id, `+usageCounted+` FROM page p CROSS JOIN usage_totals u ON u.scope = p.id`
	if !list.Since.IsZero() {
		since := int64(list.Since / hour)
		with = `WITH RECURSIVE page AS MATERIALIZED (` + page + `), ` + steps("usage_hours", "hour", q.arg(since)) + `, ` +
			steps("usage_days", "day", q.arg(since/hoursOfDay))
		rows = `SELECT p.id, ` + usageCounted + ` FROM page p CROSS JOIN hour_steps t CROSS JOIN usage_hours u ON u.hour = t.hour AND u.scope = p.id
			UNION ALL SELECT p.id, ` + usageCounted + ` FROM page p CROSS JOIN day_steps t CROSS JOIN usage_days u ON u.day = t.day AND u.scope = p.id
			UNION ALL SELECT p.id, 0, 0, 0, 0, 0 FROM page p`
	}
	return with + ` SELECT p.account_id, p.key_id, ` + usageSums + ` FROM (` + rows + `) AS u JOIN page p ON p.id = u.id
		GROUP BY p.account_id, p.key_id ORDER BY p.account_id, p.key_id`, true
}
