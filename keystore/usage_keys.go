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
		s.foldForReader(ctx)
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
	with, rows := q.usageOf(page)
	if !list.Since.IsZero() { // keys without usage are needed for the cursor
		rows += ` UNION ALL SELECT id, 0, 0, 0, 0, 0 FROM page`
	}
	return with + ` SELECT p.account_id, p.key_id, ` + usageSums + ` FROM (` + rows + `) AS u JOIN page p ON p.id = u.id
		GROUP BY p.account_id, p.key_id ORDER BY p.account_id, p.key_id`, true
}

// usageOf selects the usage of the scopes whose IDs a query selects as id. Its first result is a
// prefix of the whole query: the scopes are the table page there.
func (q *usageQuery) usageOf(page string) (with, rows string) {
	if q.list.Since.IsZero() {
		return `WITH page AS MATERIALIZED (` + page + `)`, `SELECT p.id, ` + usageCounted + ` FROM page p CROSS JOIN usage_totals u WHERE u.scope = p.id`
	}
	since := int64(q.list.Since / hour)
	with = `WITH RECURSIVE page AS MATERIALIZED (` + page + `), ` + steps("usage_hours", "hour", q.arg(since)) + `, ` +
		steps("usage_days", "day", q.arg(since/hoursOfDay))
	return with, `SELECT p.id, ` + usageCounted + ` FROM page p CROSS JOIN hour_steps t CROSS JOIN usage_hours u WHERE u.hour = t.hour AND u.scope = p.id
		UNION ALL SELECT p.id, ` + usageCounted + ` FROM page p CROSS JOIN day_steps t CROSS JOIN usage_days u WHERE u.day = t.day AND u.scope = p.id`
}

// byKey sums up each key. The parts of the query are in the order of their parameters.
func (q *usageQuery) byKey() string {
	l := &q.list
	var text string
	if l.Limit > 0 && l.KeyID == "" {
		with, rows := q.usageOf(q.busiest())
		text = with + ` SELECT s.account_id, s.key_id, ` + usageSums + ` FROM (` + rows + `) AS u CROSS JOIN usage_scopes s WHERE s.id = u.id AND s.key_id <> ''`
	} else {
		text = `SELECT s.account_id, s.key_id, ` + usageSums + ` FROM usage_scopes s JOIN ` + q.ofAll(usageCounted) + ` AS u ON u.scope = s.id WHERE s.key_id <> ''`
	}
	if l.AccountID != "" {
		text += ` AND s.account_id = ` + q.arg(l.AccountID)
	}
	if l.KeyID != "" {
		text += ` AND s.key_id = ` + q.arg(l.KeyID)
	}
	text += ` GROUP BY s.id ORDER BY 3 DESC, s.id`
	if l.Limit > 0 {
		text += ` LIMIT ` + q.arg(l.Limit)
	}
	return text
}

// ofAll is a table with the usage of all scopes.
func (q *usageQuery) ofAll(columns string) string {
	if q.list.Since.IsZero() {
		return `usage_totals`
	}
	since := int64(q.list.Since / hour)
	return `(SELECT scope, ` + columns + ` FROM usage_hours WHERE hour >= ` + q.arg(since) +
		` UNION ALL SELECT scope, ` + columns + ` FROM usage_days WHERE day >= ` + q.arg(since/hoursOfDay) + `)`
}

// busiest selects the scopes that are among the busiest ones. It reads the tables in their order,
// and sorts only numbers.
func (q *usageQuery) busiest() string {
	l := &q.list
	from := q.ofAll(`requests`) + ` t GROUP BY t.scope`
	switch {
	case l.AccountID != "" && l.Since.IsZero():
		// The concatenation keeps the database from using the index of names: a large account
		// would be read in the order of its key IDs, and usage_totals here and there.
		from = `usage_scopes n CROSS JOIN usage_totals t WHERE t.scope = n.id AND n.account_id || '' = ` + q.arg(l.AccountID) + ` GROUP BY t.scope`
	case l.AccountID != "":
		from += ` HAVING EXISTS (SELECT 1 FROM usage_scopes n WHERE n.id = t.scope AND n.account_id = ` + q.arg(l.AccountID) + `)`
	case !l.Since.IsZero(): // hours and days can have scopes of keys that are gone
		from += ` HAVING EXISTS (SELECT 1 FROM usage_scopes n WHERE n.id = t.scope)`
	}
	// Among the busiest scopes are those of accounts, which are not asked for.
	return `SELECT t.scope AS id, SUM(t.requests) AS asked FROM ` + from + ` ORDER BY 2 DESC, 1
		LIMIT ` + q.arg(l.Limit) + ` + (SELECT COUNT(*) FROM usage_scopes WHERE key_id = '')`
}
