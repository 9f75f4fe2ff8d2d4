package keystore

import (
	"context"
	"math"
	"strconv"

	"github.com/speechgate/speechgate/policy"
)

// JobOnGrace is a job that an expired key may still read, if the grace window of its gate lets
// the key do so.
type JobOnGrace struct {
	Job policy.Job
	Key policy.Key

	place gracePlace
}

// GraceList says which jobs [Store.JobsOfExpiredKeys] returns.
type GraceList struct {
	// Since selects the jobs that were created later, of keys that have ended later. Required.
	Since policy.Time
	// Now selects the keys that have ended then or earlier. Required.
	Now policy.Time

	// Limit is the most jobs to return. Required.
	Limit int
	// Cursor continues the list after another page: the next that the call before
	// returned. Default: the list's beginning.
	Cursor string

	window int // how many keys a page looks at; 0 for graceWindow
}

// graceWindow is how many keys a page of [Store.JobsOfExpiredKeys] looks at, so that an account
// with a million expired keys without jobs delays no page.
const graceWindow = 2000

// gracePlace is a place in the list: a job of a key that has ended.
type gracePlace struct {
	end      policy.Time // of the key
	key, job int64       // rows
}

func (p gracePlace) cursor() string {
	return listPosition{int64(p.end), []string{strconv.FormatInt(p.key, 10), strconv.FormatInt(p.job, 10)}}.cursor(graceCursor)
}

// graceCursor is the beginning of the cursors of JobsOfExpiredKeys.
const graceCursor = "g"

func parseGracePlace(cursor string) (p gracePlace, err error) {
	at, ok := parseCursor(graceCursor, cursor, 2)
	if ok {
		p.end = policy.Time(at.number)
		if p.key, err = strconv.ParseInt(at.texts[0], 10, 64); err == nil {
			p.job, err = strconv.ParseInt(at.texts[1], 10, 64)
		}
	}
	if !ok || err != nil {
		return gracePlace{}, refuse(ErrInvalid, "cursor %.100q: want one that this list returned", cursor)
	}
	return p, nil
}

// JobsOfExpiredKeys returns a page of the jobs that list selects, and the cursor of the next page,
// which is empty after the last page. The jobs of the key that has ended last come first, and of
// these jobs the oldest one. A page can have fewer jobs than the limit, or none, although there is a
// next page. Whether a gate lets the key read the job is for the caller to decide. The error is
// ErrInvalid if the limit is below one, or if the cursor does not come from JobsOfExpiredKeys.
func (s *Store) JobsOfExpiredKeys(ctx context.Context, list GraceList) (page []JobOnGrace, next string, err error) {
	if list.Limit < 1 {
		return nil, "", refuse(ErrInvalid, "a limit of %d: want the number of entries", list.Limit)
	}
	from := gracePlace{list.Now, math.MaxInt64, 0}
	if list.Cursor != "" {
		if from, err = parseGracePlace(list.Cursor); err != nil {
			return nil, "", err
		}
	}
	window := list.window
	if window == 0 {
		window = graceWindow
	}
	last, err := query(ctx, s, func(row scanner) (p gracePlace, err error) {
		p.job = math.MaxInt64
		return p, row.Scan(&p.end, &p.key)
	}, graceWindowEnd, from.end, from.key, window, list.Since, window-1)
	if err != nil {
		return nil, "", err
	}
	page = []JobOnGrace{}
	for _, section := range graceSections(&list, from, last) {
		var q listQuery
		text := jobsOfExpiredKeys + q.bind(section.where.text, section.where.args...) +
			q.bind(` AND j.created_at > ? ORDER BY `+section.order+` LIMIT ?`, list.Since, list.Limit+1-len(page))
		found, err := query(ctx, s, func(row scanner) (g JobOnGrace, err error) {
			g.Job, g.Key, err = scanJobAndKey(beforeKey{row, []any{&g.place.end, &g.place.key, &g.place.job}})
			return g, err
		}, text, q.args...)
		if err != nil {
			return nil, "", err
		}
		if page = append(page, found...); len(page) > list.Limit {
			page = page[:list.Limit]
			return page, page[list.Limit-1].place.cursor(), nil
		}
	}
	if len(last) == 0 {
		return page, "", nil
	}
	return page, last[0].cursor(), nil
}

const (
	// graceWindowEnd finds the last key of the window that begins at a key. SQLite does not search in
	// an index of an expression by two columns at once, so the keys that have ended at the same
	// instant are in a query of their own.
	graceWindowEnd = `SELECT ended, r FROM (
		SELECT ended, r FROM (SELECT ` + firstEnd + ` AS ended, rowid AS r FROM api_keys WHERE ` + firstEnd + ` = $1 AND rowid <= $2 ORDER BY rowid DESC LIMIT $3) AS alike
		UNION ALL
		SELECT ended, r FROM (SELECT ` + firstEnd + ` AS ended, rowid AS r FROM api_keys WHERE ` + firstEnd + ` > $4 AND ` + firstEnd + ` < $1 ORDER BY ` + firstEnd + ` DESC, rowid DESC LIMIT $3) AS earlier
		) AS ends ORDER BY ended DESC, r DESC LIMIT 1 OFFSET $5`

	// jobsOfExpiredKeys reads the keys one by one, and only until the page is full.
	jobsOfExpiredKeys = `SELECT ` + ownEnd + `, k.rowid, j.rowid, j.backend, j.id, j.account_id, j.client, j.created_at, COALESCE(j.ended_at, 0), ` + keyColumns + `
		FROM ` + keyTables + ` CROSS JOIN jobs j WHERE j.key_id = k.id AND `
)

// graceSection is a part of a page of [Store.JobsOfExpiredKeys].
type graceSection struct {
	where condition
	order string
}

// graceSections returns the parts of a page from a place on, one after the other: the key of the
// place, the keys that have ended at the same instant, those that have ended before, and those that
// have ended at the same instant as the last key of the window. Each is read in the order of an
// index. Without a last key, the window has all keys that the list selects.
func graceSections(list *GraceList, from gracePlace, last []gracePlace) []graceSection {
	const keyByKey = `k.rowid DESC, j.rowid`
	alike := condition{}.and(ownEnd+` = ? AND k.rowid < ?`, from.end, from.key)
	if len(last) > 0 && last[0].end == from.end {
		alike = alike.and(`k.rowid >= ?`, last[0].key)
	}
	sections := []graceSection{
		{condition{}.and(ownEnd+` = ? AND k.rowid = ? AND j.rowid > ?`, from.end, from.key, from.job), `j.rowid`},
		{alike, keyByKey},
	}
	until := list.Since
	if len(last) > 0 {
		until = last[0].end
	}
	if until < from.end {
		sections = append(sections, graceSection{condition{}.and(ownEnd+` < ? AND `+ownEnd+` > ?`, from.end, until), ownEnd + ` DESC, ` + keyByKey})
		if len(last) > 0 {
			sections = append(sections, graceSection{condition{}.and(ownEnd+` = ? AND k.rowid >= ?`, until, last[0].key), keyByKey})
		}
	}
	return sections
}
