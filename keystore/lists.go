package keystore

import (
	"context"
	"math"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// AccountList says which accounts [Store.Accounts] returns. The zero value is all.
type AccountList struct {
	// Status selects the accounts whose [policy.Account.Status] is this word. Default: all.
	Status string
	// Search selects the accounts whose name contains this text, and those whose ID or service
	// ID begins with it. ASCII letters match in upper and lower case. Default: all.
	Search string
	// NewestFirst turns the order around.
	NewestFirst bool

	// Limit is the most accounts to return. Default: all.
	Limit int
	// Cursor continues the list after another page: the next that the call before
	// returned. Default: the list's beginning.
	Cursor string
}

// Accounts returns a page of the accounts that list selects, and the cursor of the next
// page. The cursor is empty after the last page. The oldest account comes first, unless
// list.NewestFirst is true. Paging neither repeats nor skips an account. An account
// that is created between two pages is on a later page, but with NewestFirst it is on
// no later page. The error is ErrInvalid if the limit is below zero, or if the cursor
// does not come from Accounts.
func (s *Store) Accounts(ctx context.Context, list AccountList) (page []policy.Account, next string, err error) {
	q := listQuery{name: "a", limit: list.Limit, cursor: list.Cursor, descending: list.NewestFirst}
	if list.Status != "" {
		q.where(accountStatus+` = ?`, list.Status)
	}
	if list.Search != "" {
		text := likeEscaper.Replace(lowerASCII(list.Search))
		q.where(`(lower(name) LIKE ? ESCAPE '\' OR lower(id) LIKE ? ESCAPE '\' OR lower(service_id) LIKE ? ESCAPE '\')`, `%`+text+`%`, text+`%`, text+`%`)
	}
	q.orderBy("created_at", "id")
	return readPage(ctx, s, &q, `SELECT `+accountColumns+` FROM accounts`, scanAccount,
		func(a *policy.Account) listPosition { return listPosition{int64(a.CreatedAt), []string{a.ID}} })
}

// accountStatus is [policy.Account.Status] in SQL.
const accountStatus = `CASE WHEN closed_at > 0 THEN 'closed' WHEN suspended_at > 0 THEN 'suspended' ELSE 'open' END`

// KeyList says which keys [Store.Keys] returns: those that all fields select. The zero
// value is all keys.
type KeyList struct {
	// AccountID selects the keys of an account. Default: of all.
	AccountID string
	// IssuerID selects the keys that the key with this ID issued. Default: no matter
	// how they were issued.
	IssuerID string
	// Status selects the keys whose [policy.Key.Status] at Now is this word. Default: all.
	Status string
	// Origin selects the keys of an origin. Default: of all.
	Origin policy.Origin
	// Label selects the keys whose label contains this text. ASCII letters match in upper
	// and lower case. Default: no matter what the label is.
	Label string
	// ExpiresBy selects the keys that are active at Now and expire at this time or
	// earlier. Default: no matter when they expire.
	ExpiresBy policy.Time
	// UnusedSince selects the keys that are active at Now, and were neither created nor
	// used after this time. Default: no matter when they were used.
	UnusedSince policy.Time
	// Now is the time for Status, ExpiresBy and UnusedSince. Default: the clock of the
	// Store's Config.
	Now policy.Time
	// Search selects the keys whose label begins with this text, and after them the keys whose
	// label contains it elsewhere. ASCII letters match in upper and lower case. A text that
	// begins as key IDs do selects the keys whose ID begins with it. The order is that of the
	// labels, or of the IDs, and Order is not used. Default: no matter what the label is.
	Search string
	// Order is the order of the keys. Default: that in which they were issued.
	Order KeyOrder
	// NewestFirst turns the order around.
	NewestFirst bool

	// Limit is the most keys to return. Default: all.
	Limit int
	// Cursor continues the list after another page: the next that the call before
	// returned. Default: the list's beginning.
	Cursor string

	// Bounded limits the work for a page that a filter selects, also in the order OrderIssued: a
	// page can have fewer keys than Limit then, even none, although another page follows. A page of
	// a Search waits for the engine's index of the parts of labels for 15 ms, and otherwise for a
	// second: where there is the index.
	Bounded bool

	windows keyWindows // set by Keys, unless a test has set them
}

// Keys returns a page of the keys that list selects, and the cursor of the next page.
// The cursor is empty after the last page. The oldest key comes first, unless
// list.NewestFirst is true. Paging neither repeats nor skips a key. A key that is
// issued between two pages is on a later page, but with NewestFirst it is on no later
// page. The error is ErrInvalid if the limit is below zero, or if the cursor does not
// come from Keys.
//
// With an Order or a Search, a page can have fewer keys than the limit, even none, although
// another page follows: no page takes long, even if few of a million keys match. A key whose
// place in the order changes between two pages, for example because it is used, can be on both
// or on none.
func (s *Store) Keys(ctx context.Context, list KeyList) (page []policy.Key, next string, err error) {
	now := list.Now
	if now.IsZero() {
		now = s.cfg.Clock()
	}
	// The keys of an issuer have an index of their own.
	if list.Order != OrderIssued || list.Search != "" || list.Bounded && list.IssuerID == "" {
		if list.windows == (keyWindows{}) {
			list.windows = defaultWindows
			if list.Bounded {
				list.windows.found = boundedFound
			}
		}
		return s.orderedKeys(ctx, &list, now)
	}
	if list.Limit > 0 && list.IssuerID == "" && list.drops(now) {
		return s.filledPage(ctx, &list, now)
	}
	q := listQuery{name: "k", limit: list.Limit, cursor: list.Cursor, descending: list.NewestFirst}
	if list.AccountID != "" {
		q.where(`k.account_id = ?`, list.AccountID)
	}
	list.filter(&q, now)
	q.orderBy("k.created_at", "k.id")
	return readPage(ctx, s, &q, `SELECT `+keyColumns+` FROM `+keyTables, scanKeyOnly,
		func(k *policy.Key) listPosition { return listPosition{int64(k.CreatedAt), []string{k.ID}} })
}

// drops reports whether the list has conditions beside its account, so that it drops keys.
func (list *KeyList) drops(now policy.Time) bool {
	var q listQuery
	list.filter(&q, now)
	return len(q.conditions) > 0
}

// filledPage returns a page that is full, unless the list ends: it reads window after window. One query
// that few of ten million keys match would take so long that it fails.
func (s *Store) filledPage(ctx context.Context, list *KeyList, now policy.Time) (page []policy.Key, next string, err error) {
	limit := list.Limit
	if list.windows == (keyWindows{}) {
		list.windows = keyWindows{keys: filledWindow}
	}
	for page = []policy.Key{}; ; {
		found, next, err := s.orderedKeys(ctx, list, now)
		if err != nil {
			return nil, "", err
		}
		if page = append(page, found...); next == "" || len(page) == limit {
			return page, next, nil
		}
		list.Limit, list.Cursor = limit-len(page), next
	}
}

// filledWindow is how many keys filledPage looks at in one query. They take a tenth of a second.
const filledWindow = 30_000

// filter adds the conditions of the list, except that of its account.
func (list *KeyList) filter(q *listQuery, now policy.Time) {
	if list.IssuerID != "" {
		q.where(`k.issuer_id = ?`, list.IssuerID)
	}
	if list.Status != "" {
		q.where(keyStatus+` = ?`, now, now, list.Status)
	}
	if list.Origin != 0 {
		q.where(`k.origin = ?`, list.Origin.String())
	}
	if list.Label != "" {
		q.where(`lower(k.label) LIKE ? ESCAPE '\'`, `%`+likeEscaper.Replace(lowerASCII(list.Label))+`%`)
	}
	if !list.ExpiresBy.IsZero() {
		q.where(keyStatus+` = 'active' AND k.expires_at <= ?`, now, now, list.ExpiresBy)
	}
	if !list.UnusedSince.IsZero() {
		q.where(keyStatus+` = 'active' AND k.created_at <= ? AND COALESCE(u.at, 0) <= ?`, now, now, list.UnusedSince, list.UnusedSince)
	}
}

// likeEscaper takes from the characters of a pattern of LIKE their meaning.
var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// lowerASCII returns a text with its ASCII letters in lower case, as lower of SQL does for the
// columns of the keystore. For a parameter, lower depends on the locale in PostgreSQL.
func lowerASCII(text string) string {
	lower := []byte(text)
	for i, c := range lower {
		if c >= 'A' && c <= 'Z' {
			lower[i] += 'a' - 'A'
		}
	}
	return string(lower)
}

// keyStatus is [policy.Key.Status] in SQL. Its two parameters are the time.
const keyStatus = `CASE
	WHEN a.closed_at > 0 OR ` + revocation + ` > 0 OR ` + scheduledEnd + ` BETWEEN 1 AND ? THEN 'revoked'
	WHEN k.deleted_at > 0 THEN 'deleted'
	WHEN k.expires_at <= ? THEN 'expired'
	WHEN a.suspended_at > 0 OR k.suspended_at > 0 THEN 'suspended'
	ELSE 'active' END`

// JobList says which jobs [Store.Jobs] returns. The zero value is all.
type JobList struct {
	// AccountID selects the jobs of an account's keys. Default: of all.
	AccountID string
	// KeyID selects the jobs that a key created. Default: of all.
	KeyID string
	// NewestFirst turns the order around.
	NewestFirst bool

	// Limit is the most jobs to return. Default: all.
	Limit int
	// Cursor continues the list after another page: the next that the call before
	// returned. Default: the list's beginning.
	Cursor string
}

// Jobs returns a page of the jobs that list selects, and the cursor of the next page.
// The cursor is empty after the last page. The oldest job comes first, unless
// list.NewestFirst is true. Paging neither repeats nor skips a job. A job that is
// created between two pages is on a later page, but with NewestFirst it is on no later
// page. The error is ErrInvalid if the limit is below zero, or if the cursor does not
// come from Jobs.
func (s *Store) Jobs(ctx context.Context, list JobList) (page []policy.Job, next string, err error) {
	few := false
	if list.AccountID != "" {
		if few, err = s.hasFewKeys(ctx, list.AccountID, fewKeys); err != nil {
			return nil, "", err
		}
	}
	q := jobsQuery(&list, few)
	return readPage(ctx, s, q, `SELECT `+jobColumns+` FROM jobs`, scanJob,
		func(j *policy.Job) listPosition { return listPosition{int64(j.CreatedAt), []string{j.Backend, j.ID}} })
}

// jobsQuery returns the query of a page. few says that the account of the list has few keys.
func jobsQuery(list *JobList, few bool) *listQuery {
	q := &listQuery{name: "j", limit: list.Limit, cursor: list.Cursor, descending: list.NewestFirst}
	switch {
	case list.KeyID != "":
		q.where(`key_id = ?`, list.KeyID)
	case list.AccountID != "" && few:
		q.where(`key_id IN (SELECT id FROM api_keys WHERE account_id = ?)`, list.AccountID)
	default:
		q.where(`created_at > ?`, int64(math.MinInt64)) // so that SQLite reads the index of this column, and does not sort all jobs
	}
	if list.AccountID != "" {
		q.where(`account_id = ?`, list.AccountID)
	}
	q.orderBy("created_at", "backend", "id")
	return q
}

// fewKeys is up to how many keys the jobs of an account are found by its keys. The jobs of an
// account with more keys are found among all jobs, in the order of the list: it has many of them.
const fewKeys = 1_000

// hasFewKeys reports whether an account has up to most keys.
func (s *Store) hasFewKeys(ctx context.Context, accountID string, most int) (bool, error) {
	n, err := query(ctx, s, scanColumn[int], `SELECT COUNT(*) FROM (SELECT 1 FROM api_keys WHERE account_id = $1 LIMIT $2) AS few`, accountID, most+1)
	return err == nil && n[0] <= most, err
}
