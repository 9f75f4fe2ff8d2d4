package keystore

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// EndingList says which keys [Store.EndingKeys] returns.
type EndingList struct {
	// AccountID selects the keys of an account. Default: of all.
	AccountID string
	// After and By select the keys that end later than After, and at By or earlier. Required.
	After, By policy.Time

	// Limit is the most keys to return. Default: all.
	Limit int
	// Cursor continues the list after another page: the next that the call before
	// returned. Default: the list's beginning.
	Cursor string
}

// EndingKey is a key that ends: by its expiry, or because it or its issuer was rotated.
type EndingKey struct {
	policy.Key

	AccountName string
	EndsAt      policy.Time
	// WithIssuer is true if the key ends because its issuer was rotated.
	WithIssuer bool

	row int64 // of the key in its table: the order of keys that end at the same instant
}

// EndingKeys returns a page of the keys that list selects, and the cursor of the next page,
// which is empty after the last page. The key that ends first comes first. Suspended keys are
// in the list, and keys of closed accounts are not, because they have ended. Paging neither
// repeats nor skips a key, as long as no key changes. The error is ErrInvalid if the limit is
// below zero, or if the cursor does not come from EndingKeys.
func (s *Store) EndingKeys(ctx context.Context, list EndingList) (page []EndingKey, next string, err error) {
	for _, part := range endingParts(&list) {
		text, err := part.build(`SELECT ` + part.order[0] + `, k.rowid, a.name, ` + keyColumns + ` FROM ` + keyTables)
		if err != nil {
			return nil, "", err
		}
		found, err := query(ctx, s, func(row scanner) (e EndingKey, err error) {
			e.WithIssuer = part.order[0] == issuersEnd
			e.Key, err = scanKey(beforeKey{row, []any{&e.EndsAt, &e.row, &e.AccountName}})
			return e, err
		}, text, part.args...)
		if err != nil {
			return nil, "", err
		}
		page = append(page, found...)
	}
	slices.SortFunc(page, func(a, b EndingKey) int {
		return cmp.Or(cmp.Compare(a.EndsAt, b.EndsAt), cmp.Compare(a.row, b.row))
	})
	if list.Limit == 0 || len(page) <= list.Limit {
		return page, "", nil
	}
	page = page[:list.Limit]
	last := &page[list.Limit-1]
	return page, listPosition{int64(last.EndsAt), []string{strconv.FormatInt(last.row, 10)}}.cursor(endingCursor), nil
}

// endingCursor is the beginning of the cursors of EndingKeys.
const endingCursor = "f"

const (
	// ownEnd is firstEnd of the key k.
	ownEnd = `MIN(
	COALESCE(k.expires_at, 9223372036854775807), COALESCE(k.deleted_at, 9223372036854775807),
	COALESCE(k.revoked_at, 9223372036854775807), COALESCE(k.revoke_from, 9223372036854775807))`
	// issuersEnd is the scheduled end of the issuer i.
	issuersEnd = `i.revoke_from`
	// bound is true for a key that ends with its issuer.
	bound = `i.revoke_from IS NOT NULL AND NOT k.outlives_issuer`
)

// endingParts returns the queries of a page. Each finds its keys in the order of an index, so
// that it reads no more of them than the page has: the keys that end by themselves, for an
// account of one origin after the other, and the keys that end with their issuer.
func endingParts(list *EndingList) (parts []*listQuery) {
	after := list.After
	if at, ok := parseCursor(endingCursor, list.Cursor, 1); ok {
		after = max(after, policy.Time(at.number)-1) // so that the search begins at the cursor
	}
	part := func(end string) *listQuery {
		q := &listQuery{name: endingCursor, limit: list.Limit, cursor: list.Cursor, byRow: true}
		q.where(end+` > ? AND `+end+` <= ?`, after, list.By)
		q.where(`k.deleted_at IS NULL AND k.revoked_at IS NULL AND i.children_revoked_at IS NULL AND a.closed_at IS NULL`)
		q.orderBy(end, "k.rowid")
		parts = append(parts, q)
		return q
	}
	const byItself = `NOT (` + bound + ` AND i.revoke_from < ` + ownEnd + `)`
	if list.AccountID == "" {
		part(ownEnd).where(byItself)
	} else {
		for _, origin := range []policy.Origin{policy.OriginInitial, policy.OriginConsole, policy.OriginAPI} {
			q := part(ownEnd)
			q.where(byItself)
			q.where(`k.account_id = ? AND k.origin = ?`, list.AccountID, origin.String())
		}
	}
	withIssuer := part(issuersEnd)
	withIssuer.where(bound + ` AND i.revoke_from < ` + ownEnd)
	if list.AccountID != "" {
		withIssuer.where(`i.account_id || '' = ?`, list.AccountID) // the concatenation keeps SQLite from the index of all keys of the account
	}
	return parts
}

// UsageSince returns the usage of keys since the hour of an instant, by the ID of the key. Keys
// without usage are not in the result. The instant is at most 7 days ago, because hours are kept
// for so long. What was counted in the last 5 minutes may not be in the result yet, as with
// [UsageList].Bounded.
func (s *Store) UsageSince(ctx context.Context, since policy.Time, keys []policy.Identity) (map[string]UsageCounts, error) {
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	sums := make(map[string]UsageCounts, len(keys))
	for chunk := range slices.Chunk(keys, keysAtOnce) {
		args := make([]any, 1, 1+2*keysAtOnce)
		args[0] = int64(since / hour)
		for i := range keysAtOnce {
			key := &chunk[min(i, len(chunk)-1)] // the last one again, up to the number of parameters
			args = append(args, key.AccountID, key.KeyID)
		}
		rows, err := queryRows(ctx, db.lists, scanKeyUsage, usageOfKeys, args...)
		if err != nil {
			return nil, fault(err)
		}
		for _, u := range rows {
			sums[u.KeyID] = u.UsageCounts
		}
	}
	return sums, nil
}

// keysAtOnce is the number of keys in a query of usageOfKeys.
const keysAtOnce = 50

// usageOfKeys finds the rows of each key in each hour. Each step is one search.
var usageOfKeys = func() string {
	var keys strings.Builder
	for i := range keysAtOnce {
		if i > 0 {
			keys.WriteString(", ")
		}
		keys.WriteString("(" + numbered(2+2*i, 2) + ")")
	}
	return `WITH RECURSIVE ` + steps("usage_hours", "hour", "$1") + `,
		scopes (id, account_id, key_id) AS MATERIALIZED (SELECT id, account_id, key_id FROM usage_scopes WHERE (account_id, key_id) IN (VALUES ` + keys.String() + `))
		SELECT s.account_id, s.key_id, ` + usageSums + ` FROM hour_steps t CROSS JOIN scopes s CROSS JOIN usage_hours u
		WHERE u.hour = t.hour AND u.scope = s.id GROUP BY s.account_id, s.key_id`
}()

// LiveChildren returns the IDs of keys that a key has issued and that are active or suspended at
// now: up to most of them, oldest first.
func (s *Store) LiveChildren(ctx context.Context, keyID string, now policy.Time, most int) ([]string, error) {
	q := listQuery{limit: most}
	q.where(`k.issuer_id = ?`, keyID)
	q.where(keyStatus+` IN ('active', 'suspended')`, now, now)
	q.orderBy("k.rowid")
	text, err := q.build(`SELECT k.id FROM ` + keyTables)
	if err != nil {
		return nil, err
	}
	all, err := query(ctx, s, scanColumn[string], text, q.args...)
	return all[:min(most, len(all))], err
}

// UnfinishedJobs returns jobs that a key has created and that have not ended, as far as the
// gateway knows. It looks at the newest jobs of the key, at so many. The newest comes first.
func (s *Store) UnfinishedJobs(ctx context.Context, keyID string, most int) ([]policy.Job, error) {
	return query(ctx, s, scanJob, unfinishedJobs, keyID, most)
}

const unfinishedJobs = `SELECT ` + jobColumns + ` FROM (SELECT j.rowid AS r, j.* FROM jobs j WHERE key_id = $1 ORDER BY j.rowid DESC LIMIT $2) AS newest
	WHERE ended_at IS NULL ORDER BY r DESC`

// CountLiveKeys returns how many keys of an account are active or suspended at now.
func (s *Store) CountLiveKeys(ctx context.Context, accountID string, now policy.Time) (int, error) {
	var q listQuery
	q.where(`k.account_id = ?`, accountID)
	q.where(keyStatus+` IN ('active', 'suspended')`, now, now)
	return queryCount(ctx, s, `SELECT COUNT(*) FROM `+keyTables+` WHERE `+strings.Join(q.conditions, ` AND `), q.args...)
}
