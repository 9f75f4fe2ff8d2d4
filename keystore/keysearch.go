package keystore

import (
	"context"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/speechgate/speechgate/policy"
)

// searchSections has the keys whose label begins with the text, and then the keys whose label
// contains it elsewhere: once with an index of the parts of labels, and once more without it.
func searchSections(list *KeyList) [][]keyPart {
	begins, contains := labelPart(list), labelPart(list)
	label := "d.c1"
	if list.AccountID == "" {
		label = "d.c2"
		begins.order, begins.inAccounts = []string{"rowid", "lower(label)", "rowid"}, true
	}
	search := lowerASCII(list.Search)
	end := search + lastCharacter
	begins.where = begins.where.and("lower(label) >= ? AND lower(label) < ?", search, end)
	if list.AccountID != "" {
		// The keys without a label come first in the index. Keys of the issuance API can be most of them.
		contains.where = contains.where.and("lower(label) > ''")
	}
	contains.window = list.windows.labels
	pattern := `%` + likeEscaper.Replace(search) + `%`
	contains.only = contains.only.and(label+` LIKE ? ESCAPE '\' AND NOT (`+label+` >= ? AND `+label+` < ?)`,
		pattern, search, end)
	if utf8.RuneCountInString(search) < shortestFound {
		return [][]keyPart{{begins}, {contains}}
	}
	found := contains
	found.pattern = pattern
	return [][]keyPart{{begins}, {found}, {contains}}
}

// shortestFound is how many characters a text has at least that an index helps to find: the index of
// PostgreSQL has groups of three characters.
const shortestFound = 3

// readQuickly does what readSection does, for a part whose keys can be found with an index of the parts of
// labels. A text that many labels contain takes the index long, and fills the page with the first labels.
// done is false if the page is not full, and the index does not have the others in time: they are beyond
// reached.
func (s *Store) readQuickly(ctx context.Context, list *KeyList, now policy.Time, p *keyPart, from []any, most int) (page []policy.Key, reached []any, done bool, err error) {
	if most == 0 {
		return nil, from, false, nil // no window is needed
	}
	few := *p
	few.window = list.windows.first
	page, reached, err = s.readSection(ctx, list, now, []keyPart{few}, from, min(most, few.window))
	if err != nil || reached == nil || len(page) == most {
		return page, reached, true, err
	}
	others, end, done, err := s.readFound(ctx, list, now, p, reached, most-len(page))
	if err == nil && done {
		return append(page, others...), end, true, nil
	}
	return page, reached, false, err
}

// readFound returns up to most keys of a part from a place on, which the engine finds with its index. done is
// false if it has no index, or takes too long.
func (s *Store) readFound(ctx context.Context, list *KeyList, now policy.Time, p *keyPart, from []any, most int) (page []policy.Key, reached []any, done bool, err error) {
	db, err := s.database()
	if err != nil || list.windows.found == 0 {
		return nil, nil, false, err
	}
	var q listQuery
	text := p.foundText(&q, list, now, from, most)
	var keys []placedKey
	done, err = db.Search(ctx, list.windows.found, func(index querier) error {
		keys, err = queryRows(ctx, index, p.scanKey, text, q.args...)
		return err
	})
	switch {
	case s.engine.Broken(err):
		return nil, nil, false, nil // a query without the index tries again
	case err != nil || !done:
		return nil, nil, false, fault(err)
	case len(keys) > most:
		keys = keys[:most]
		reached = keys[most-1].place
	}
	return keysOf(keys), reached, true, nil
}

// foundText returns the query of readFound.
func (p *keyPart) foundText(q *listQuery, list *KeyList, now policy.Time, from []any, most int) string {
	part := *p
	// The index has no empty labels, and PostgreSQL uses it for queries that say so only.
	part.found = part.where.and(`label <> '' AND lower(label) LIKE ?`, part.pattern)
	return part.text(q, list, now, from, math.MaxInt, most)
}

// accountsAtOnce is how many accounts a page of a search looks at, if their keys match.
const accountsAtOnce = 50

// readAccounts does what readSection does, for a part with one account after the other.
func (s *Store) readAccounts(ctx context.Context, list *KeyList, now policy.Time, p *keyPart, from []any, most int) (page []policy.Key, reached []any, err error) {
	type account struct {
		row int64
		id  string
	}
	q := listQuery{descending: list.NewestFirst}
	text := p.accountsText(&q, from, most)
	accounts, err := query(ctx, s, func(row scanner) (a account, err error) {
		return a, row.Scan(&a.row, &a.id)
	}, text, q.args...)
	if err != nil || len(accounts) == 0 {
		return nil, nil, err
	}
	share := *list
	share.windows.keys /= len(accounts)
	for _, a := range accounts {
		if most > 0 && len(page) == most {
			return page, reached, nil
		}
		var place []any
		if from != nil && from[0] == a.row {
			place = from[1:]
		}
		left := 0
		if most > 0 {
			left = most - len(page)
		}
		found, end, err := s.readSection(ctx, &share, now, []keyPart{p.inAccount(a.id)}, place, left)
		if err != nil {
			return nil, nil, err
		}
		page = append(page, found...)
		if end != nil {
			return page, append([]any{a.row}, end...), nil
		}
		reached = beyondAccount(a.row, list.NewestFirst)
	}
	if len(accounts) < accountsAtOnce || most == 0 {
		return page, nil, nil
	}
	return page, reached, nil
}

// inAccount returns the part of one account.
func (p *keyPart) inAccount(id string) keyPart {
	part := *p
	part.inAccounts, part.order = false, p.order[1:]
	part.where = condition{}.and("account_id = ?", id).and(p.where.text, p.where.args...)
	return part
}

// beyondAccount returns a place after all keys of an account.
func beyondAccount(row int64, descending bool) []any {
	if descending {
		return []any{row, "", int64(0)}
	}
	return []any{row, lastCharacter, int64(math.MaxInt64)}
}

// accountsText returns the query of the accounts from a place on that have a matching key. It looks
// for one key in each account.
func (p *keyPart) accountsText(q *listQuery, from []any, most int) string {
	if from != nil {
		beyond := `x.rowid >= ?`
		if q.descending {
			beyond = `x.rowid <= ?`
		}
		q.where(beyond, from[0])
	}
	q.where(`(SELECT y.rowid FROM (SELECT account_id, label, rowid FROM api_keys WHERE `+p.where.text+`) AS y WHERE y.account_id = x.id LIMIT 1) IS NOT NULL`, p.where.args...)
	text := `SELECT x.rowid, x.id FROM accounts x WHERE ` + strings.Join(q.conditions, ` AND `) + orderOf([]string{`x.rowid`}, q.descending)
	if most > 0 {
		text += ` LIMIT ` + strconv.Itoa(accountsAtOnce)
	}
	return text
}
