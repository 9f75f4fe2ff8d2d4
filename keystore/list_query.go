package keystore

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
)

// listQuery builds the query of one page of a list.
//
// Lists use keyset paging: a list is sorted by columns that identify an entry and never
// change, and a page begins after the values of the last entry of the page before. With
// OFFSET, an entry that is pruned between two pages would make the next page skip
// another.
type listQuery struct {
	name       string // of the list, as cursors begin with it
	limit      int    // 0: none
	cursor     string
	descending bool
	byRow      bool // the only text of a cursor is the number of a row

	conditions []string
	args       []any
	order      []string
}

// listPosition identifies an entry of a list by the values of its sort columns: a number,
// followed by any texts.
type listPosition struct {
	number int64
	texts  []string
}

// where adds a condition. Each ? in it is one of args.
func (q *listQuery) where(condition string, args ...any) {
	q.conditions = append(q.conditions, q.bind(condition, args...))
}

// bind adds parameters, and returns a condition with their names. Each ? in it is one of args.
func (q *listQuery) bind(condition string, args ...any) string {
	var text strings.Builder
	for _, arg := range args {
		before, after, _ := strings.Cut(condition, "?")
		q.args = append(q.args, arg)
		text.WriteString(before + "$" + strconv.Itoa(len(q.args)))
		condition = after
	}
	return text.String() + condition
}

// orderBy sets the sort columns: a number, followed by any texts.
func (q *listQuery) orderBy(columns ...string) { q.order = columns }

// build returns the whole query. The error is ErrInvalid for a bad cursor or limit.
func (q *listQuery) build(selection string) (string, error) {
	if q.limit < 0 {
		return "", refuse(ErrInvalid, "a limit of %d: want the number of entries, or 0 for all", q.limit)
	}
	direction, beyond := "", ">"
	if q.descending {
		direction, beyond = " DESC", "<"
	}
	if q.cursor != "" {
		after, ok := parseCursor(q.name, q.cursor, len(q.order)-1)
		if !ok {
			return "", refuse(ErrInvalid, "cursor %.100q: want one that this list returned", q.cursor)
		}
		args := []any{after.number}
		for _, text := range after.texts {
			args = append(args, text)
		}
		if q.byRow {
			row, err := strconv.ParseInt(after.texts[0], 10, 64)
			if err != nil {
				return "", refuse(ErrInvalid, "cursor %.100q: want one that this list returned", q.cursor)
			}
			args[1] = row
		}
		places := strings.TrimSuffix(strings.Repeat("?, ", len(args)), ", ")
		q.where(`(`+strings.Join(q.order, `, `)+`) `+beyond+` (`+places+`)`, args...)
	}
	text := selection
	if len(q.conditions) > 0 {
		text += ` WHERE ` + strings.Join(q.conditions, ` AND `)
	}
	text += ` ORDER BY ` + strings.Join(q.order, direction+`, `) + direction
	if q.limit > 0 {
		q.args = append(q.args, q.limit+1) // one more shows whether there is a next page
		text += ` LIMIT $` + strconv.Itoa(len(q.args))
	}
	return text, nil
}

// readPage returns a page, and the cursor of the next page if there is one.
func readPage[T any](ctx context.Context, s *Store, q *listQuery, selection string, scan func(scanner) (T, error), at func(*T) listPosition) ([]T, string, error) {
	text, err := q.build(selection)
	if err != nil {
		return nil, "", err
	}
	page, err := query(ctx, s, scan, text, q.args...)
	if err != nil || q.limit == 0 || len(page) <= q.limit {
		return page, "", err
	}
	page = page[:q.limit]
	return page, at(&page[q.limit-1]).cursor(q.name), nil
}

// cursor returns the position in a form that can be a part of a URL.
func (p listPosition) cursor(list string) string {
	parts := []string{list + strconv.FormatInt(p.number, 10)}
	for _, text := range p.texts {
		parts = append(parts, base64.RawURLEncoding.EncodeToString([]byte(text)))
	}
	return strings.Join(parts, ".")
}

// parseCursor is the reverse of cursor, for a list with so many texts.
func parseCursor(list, cursor string, texts int) (p listPosition, ok bool) {
	rest, ok := strings.CutPrefix(cursor, list)
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 1+texts {
		return listPosition{}, false
	}
	var err error
	if p.number, err = strconv.ParseInt(parts[0], 10, 64); err != nil {
		return listPosition{}, false
	}
	for _, part := range parts[1:] {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			return listPosition{}, false
		}
		p.texts = append(p.texts, string(text))
	}
	return p, true
}
