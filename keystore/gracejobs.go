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
	keys, err := query(ctx, s, func(row scanner) (k graceKey, err error) {
		return k, row.Scan(&k.end, &k.row, &k.id)
	}, keysOnGrace, from.end, from.key, window, list.Since, list.Limit+1)
	if err != nil {
		return nil, "", err
	}
	page = []JobOnGrace{}
	for _, k := range keys {
		after := int64(0)
		if k.end == from.end && k.row == from.key {
			after = from.job
		}
		found, err := query(ctx, s, func(row scanner) (g JobOnGrace, err error) {
			g.place = gracePlace{end: k.end, key: k.row}
			g.Job, g.Key, err = scanJobAndKey(beforeKey{row, []any{&g.place.job}})
			return g, err
		}, jobsOfKey, k.id, after, list.Since, list.Limit+1-len(page))
		if err != nil {
			return nil, "", err
		}
		if page = append(page, found...); len(page) > list.Limit {
			page = page[:list.Limit]
			return page, page[list.Limit-1].place.cursor(), nil
		}
	}
	if len(keys) > list.Limit {
		last := keys[list.Limit]
		return page, gracePlace{last.end, last.row, math.MaxInt64}.cursor(), nil
	}
	last, err := query(ctx, s, func(row scanner) (p gracePlace, err error) {
		p.job = math.MaxInt64
		return p, row.Scan(&p.end, &p.key)
	}, graceWindowEnd, from.end, from.key, window, list.Since, window-1)
	if err != nil || len(last) == 0 {
		return page, "", err
	}
	return page, last[0].cursor(), nil
}

// graceKey is a key that has ended.
type graceKey struct {
	end policy.Time
	row int64
	id  string
}

const (
	// keysThatEnded finds keys that have ended, the last one first, from the place of a key on. SQLite
	// does not search in an index of an expression by two columns at once, so the keys that have
	// ended at the same instant are in a query of their own.
	keysThatEnded = `
		(SELECT ended, r, id FROM (SELECT ` + firstEnd + ` AS ended, rowid AS r, id FROM api_keys WHERE ` + firstEnd + ` = $1 AND rowid <= $2 ORDER BY rowid DESC LIMIT $3) AS alike
		UNION ALL
		SELECT ended, r, id FROM (SELECT ` + firstEnd + ` AS ended, rowid AS r, id FROM api_keys WHERE ` + firstEnd + ` > $4 AND ` + firstEnd + ` < $1 ORDER BY ` + firstEnd + ` DESC, rowid DESC LIMIT $3) AS earlier
		ORDER BY ended DESC, r DESC LIMIT $3) AS ends`

	// keysOnGrace finds those of these keys that have a job.
	keysOnGrace = `SELECT ended, r, id FROM ` + keysThatEnded + `
		WHERE (SELECT j.rowid FROM jobs j WHERE j.key_id = ends.id AND j.created_at > $4 LIMIT 1) IS NOT NULL ORDER BY ended DESC, r DESC LIMIT $5`

	// graceWindowEnd finds the last one of these keys, if the window is full.
	graceWindowEnd = `SELECT ended, r FROM ` + keysThatEnded + ` ORDER BY ended DESC, r DESC LIMIT 1 OFFSET $5`

	// jobsOfKey finds jobs of a key, the oldest first.
	jobsOfKey = `SELECT j.rowid, j.backend, j.id, j.account_id, j.client, j.created_at, COALESCE(j.ended_at, 0), ` + keyColumns + `
		FROM jobs j CROSS JOIN api_keys k ` + keyJoins + `
		WHERE k.id = j.key_id AND j.key_id = $1 AND j.rowid > $2 AND j.created_at > $3 ORDER BY j.rowid LIMIT $4`
)
