package keystore

import (
	"slices"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// keyPart reads keys in the order of an index.
//
// Its query has two levels. The inner one, the window, reads the columns of the order from an
// index. The outer one reads the records of these keys, and drops the keys that the list does
// not select. Both have the order of the list, so that the database reads the window row by row,
// and only until the page is full.
type keyPart struct {
	from  string    // the tables of the window
	where condition // of the window
	order []string  // the columns of the order, which identify the key
	row   string    // what the window has of the key: its rowid, or its digest
	join  string    // the column of the key for that
	// computed is true if a column of the order is an expression. SQLite does not search in its
	// index by two columns at once.
	computed bool
	// alike is how many of the first columns of the order have the same value for all keys.
	alike int
	// inAccounts is true if the part has the keys of one account after the other, in the order of the
	// accounts. Its first column is the row of the account.
	inAccounts bool
	// pattern is the pattern of LIKE of the labels, if the keys of the part are to be found with an index
	// that does not have the order of the list: see readFound.
	pattern string
	// found selects the keys that the window is read from, if it does not read them in its order.
	found  condition
	only   condition // of the outer query, where the columns of the order are d.c1, d.c2, …
	window int       // how many keys are looked at, if some of them are dropped
}

// condition is an SQL condition in which each ? is one of args, in this order. If text is empty,
// every row matches.
type condition struct {
	text string
	args []any
}

func (c condition) and(text string, args ...any) condition {
	if c.text != "" {
		text = c.text + " AND " + text
	}
	return condition{text, slices.Concat(c.args, args)}
}

// splitParts returns the keys of each part that are beyond the place: those that differ from it
// in the last column of the order only, those that differ from the column before on, and so on.
func splitParts(parts []keyPart, from []any, descending bool) (split []keyPart) {
	beyond := " > ?"
	if descending {
		beyond = " < ?"
	}
	for _, p := range parts {
		for i, last := range slices.Backward(p.order) {
			part := p
			part.alike = i
			// The place comes first: of two lower bounds, SQLite searches with the first one.
			part.where = condition{}
			for j, column := range p.order[:i] {
				part.where = part.where.and(column+" = ?", from[j])
			}
			part.where = part.where.and(last+beyond, from[i])
			if p.where.text != "" {
				part.where = part.where.and(p.where.text, p.where.args...)
			}
			split = append(split, part)
		}
	}
	return split
}

// text returns the query of up to most keys and one more, or of all if most is 0. The parameters are
// numbered in the order in which they are in the text.
func (p *keyPart) text(q *listQuery, list *KeyList, now policy.Time, from []any, window, most int) string {
	columns, order := p.outerOrder(list.NewestFirst)
	text := `SELECT ` + columns + `, ` + keyColumns + ` FROM (` + p.windowText(q, from, list.NewestFirst, window) + `) AS d
		CROSS JOIN api_keys k ` + keyJoins
	q.where(`k.` + p.join + ` = ` + p.rowColumn())
	if p.only.text != "" {
		q.where(p.only.text, p.only.args...)
	}
	list.filter(q, now)
	text += ` WHERE ` + strings.Join(q.conditions, ` AND `) + order
	if most > 0 {
		text += ` LIMIT ` + strconv.Itoa(most+1)
	}
	return text
}

// lastText returns the query of the last place of a window.
func (p *keyPart) lastText(q *listQuery, from []any, descending bool, window int) string {
	columns, order := p.outerOrder(descending)
	text := `SELECT ` + columns + ` FROM (` + p.windowText(q, from, descending, window) + `) AS d` + order
	return text + ` LIMIT 1 OFFSET ` + strconv.Itoa(window-1)
}

// windowText returns the query of the window from a place on.
func (p *keyPart) windowText(q *listQuery, place []any, descending bool, window int) string {
	beyond := `>`
	if descending {
		beyond = `<`
	}
	columns := make([]string, len(p.order), len(p.order)+1)
	for i, column := range p.order {
		columns[i] = column + ` AS c` + strconv.Itoa(i+1)
	}
	if !p.endsWithRow() {
		columns = append(columns, p.row+` AS r`)
	}
	where := p.where
	if place != nil {
		where = where.and(`(`+strings.Join(p.order, `, `)+`) `+beyond+` (`+strings.TrimSuffix(strings.Repeat(`?, `, len(place)), `, `)+`)`, place...)
	}
	from, text := p.from, ``
	if p.found.text != "" {
		// Otherwise PostgreSQL could read all keys in the order of the window until it has found enough.
		from, text = `found`, `WITH found AS MATERIALIZED (SELECT account_id, label, rowid FROM `+p.from+` WHERE `+q.bind(p.found.text, p.found.args...)+`) `
	}
	text += `SELECT ` + strings.Join(columns, `, `) + ` FROM ` + from
	if where.text != "" {
		text += ` WHERE ` + q.bind(where.text, where.args...)
	}
	// With a parameter in its place, PostgreSQL would plan for a tenth of all keys.
	return text + orderOf(p.order[p.alike:], descending) + ` LIMIT ` + strconv.Itoa(window)
}

// endsWithRow reports whether the last column of the order identifies the key for the outer query.
// The window then has this column once: SQLite would not see that the outer query has the order
// of a window with the same column twice, and sort.
func (p *keyPart) endsWithRow() bool { return p.row == p.order[len(p.order)-1] }

// rowColumn returns what the window has of the key, in the outer query.
func (p *keyPart) rowColumn() string {
	if p.endsWithRow() {
		return `d.c` + strconv.Itoa(len(p.order))
	}
	return `d.r`
}

// outerOrder returns the columns of the order in the outer query, and its order.
func (p *keyPart) outerOrder(descending bool) (columns, order string) {
	all := make([]string, len(p.order))
	for i := range all {
		all[i] = `d.c` + strconv.Itoa(i+1)
	}
	return strings.Join(all, `, `), orderOf(all[p.alike:], descending)
}

func orderOf(columns []string, descending bool) string {
	direction := ``
	if descending {
		direction = ` DESC`
	}
	return ` ORDER BY ` + strings.Join(columns, direction+`, `) + direction
}
