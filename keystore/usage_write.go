package keystore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

const (
	usageBatch      = 128                // counters that one transaction writes, so that the writes of requests do not wait long
	usageFew        = 8                  // counters that a gateway with PostgreSQL writes without the journal
	usageHoursKept  = 7 * 24 * time.Hour // before hours are added up to days
	usageScopeBatch = 256                // scopes whose hours one transaction adds up
	hoursOfDay      = 24
)

// usageDaysKept is how long the sums of days are kept: a year, and some time to read them.
const usageDaysKept = 400 * 24 * time.Hour

// usageRow is a row to write: for a key, for an account (keyID is empty), or for all requests
// (both are empty).
type usageRow struct {
	accountID, keyID string
	hour             int64
	kind             usageKind
}

type usageKind struct{ operation, reason, backend string }

// compare orders rows by their scopes first.
func (r *usageRow) compare(other *usageRow) int {
	return cmp.Or(cmp.Compare(r.accountID, other.accountID), cmp.Compare(r.keyID, other.keyID), cmp.Compare(r.hour, other.hour),
		cmp.Compare(r.kind.operation, other.kind.operation), cmp.Compare(r.kind.reason, other.kind.reason), cmp.Compare(r.kind.backend, other.kind.backend))
}

// writeUsage writes counters. The last transaction is durable, and with it the transactions
// before it. If there is an error, writeUsage returns the counters that were not written.
func (s *Store) writeUsage(ctx context.Context, taken []takenUsage) (left []takenUsage, err error) {
	for from := 0; from < len(taken); from += usageBatch {
		end := min(from+usageBatch, len(taken))
		write := s.writeRelaxed
		if end == len(taken) {
			write = s.write
		}
		sums := make(usageRows)
		for _, t := range taken[from:end] {
			sums.add(usageRow{t.of.AccountID, t.of.KeyID, t.hour, usageKind{t.of.Operation.String(), t.of.Reason.String(), t.of.Backend}}, t.UsageCounts)
		}
		rows := sums.inOrder()
		if unsure, err := s.usage.write(ctx, write, taken[from:end], func(t *txn) error { return t.addUsage(rows) }); err != nil {
			return leftOf(taken, from, end, unsure), err
		}
	}
	return nil, nil
}

// usageRows adds counts up to the rows that they belong to.
type usageRows map[usageRow]UsageCounts

// add adds the counts of a key, or of an unknown one, to its row, and to those of its account and
// of all requests.
func (s usageRows) add(row usageRow, counts UsageCounts) {
	s.addTo(row, counts)
	if row.keyID != "" {
		row.keyID = ""
		s.addTo(row, counts)
	}
	if row.accountID != "" {
		row.accountID = ""
		s.addTo(row, counts)
	}
}

func (s usageRows) addTo(row usageRow, counts UsageCounts) {
	sum := s[row]
	sum.add(counts)
	s[row] = sum
}

// usageSum is a row with its counts.
type usageSum struct {
	usageRow
	UsageCounts
}

// inOrder returns the rows in their order.
func (s usageRows) inOrder() []usageSum {
	rows := make([]usageSum, 0, len(s))
	for row, counts := range s {
		rows = append(rows, usageSum{row, counts})
	}
	slices.SortFunc(rows, func(a, b usageSum) int { return a.compare(&b.usageRow) })
	return rows
}

// addUsage adds rows to the tables. Each statement has many rows, because a database on another machine
// takes time for each statement, and other writes wait meanwhile.
func (t *txn) addUsage(rows []usageSum) error {
	scopes, err := t.scopesOf(rows)
	if err != nil {
		return err
	}
	kinds := make(map[usageKind]int64)
	totals := make(map[usageTotal]UsageCounts)
	var hours, sums [][]any
	for i := range rows {
		row := &rows[i]
		kind, known := kinds[row.kind]
		if !known {
			if kind, err = t.idOf(`SELECT id FROM usage_kinds WHERE operation = $1 AND reason = $2 AND backend = $3`,
				`INSERT INTO usage_kinds (operation, reason, backend) VALUES ($1, $2, $3) RETURNING id`,
				row.kind.operation, row.kind.reason, row.kind.backend); err != nil {
				return err
			}
			kinds[row.kind] = kind
		}
		of := usageTotal{scopes[row.scope()], kind}
		hours = append(hours, countsRow(row.UsageCounts, row.hour, of.scope, of.kind))
		sum := totals[of]
		sum.add(row.UsageCounts)
		totals[of] = sum
	}
	for of, sum := range totals {
		sums = append(sums, countsRow(sum, of.scope, of.kind))
	}
	t.send(append(
		insertParts(`INSERT INTO usage_hours (hour, scope, kind, `+usageCounted+`) VALUES `, hours,
			` ON CONFLICT (hour, scope, kind) DO UPDATE SET `+addCounts("usage_hours")),
		insertParts(`INSERT INTO usage_totals (scope, kind, `+usageCounted+`) VALUES `, sums,
			` ON CONFLICT (scope, kind) DO UPDATE SET `+addCounts("usage_totals"))...)...)
	return t.err
}

// usageTotal is the key of a row of usage_totals.
type usageTotal struct{ scope, kind int64 }

// usageScope is whose requests are counted: see usageRow.
type usageScope struct{ accountID, keyID string }

func (r *usageRow) scope() usageScope { return usageScope{r.accountID, r.keyID} }

// scopesOf returns the IDs of the scopes of rows, and inserts scopes that are new.
func (t *txn) scopesOf(rows []usageSum) (map[usageScope]int64, error) {
	ids := make(map[usageScope]int64, len(rows))
	var names []usageScope
	for i := range rows {
		of := rows[i].scope()
		if _, known := ids[of]; !known {
			ids[of] = 0
			names = append(names, of)
		}
	}
	note := func(row engine.Row) error {
		var id int64
		var of usageScope
		err := row.Scan(&id, &of.accountID, &of.keyID)
		ids[of] = id
		return err
	}
	var searches []engine.Statement
	for chunk := range slices.Chunk(names, usageScopesAtOnce) {
		args := make([]any, 0, 2*usageScopesAtOnce)
		for i := range usageScopesAtOnce {
			of := chunk[min(i, len(chunk)-1)] // the last one again, up to the number of parameters
			args = append(args, of.accountID, of.keyID)
		}
		searches = append(searches, engine.Statement{Query: usageScopesByName, Args: args, Read: note})
	}
	t.send(searches...)
	var missing [][]any
	for _, of := range names {
		if ids[of] == 0 {
			missing = append(missing, []any{of.accountID, of.keyID})
		}
	}
	inserts := insertParts(`INSERT INTO usage_scopes (account_id, key_id) VALUES `, missing, ` RETURNING id, account_id, key_id`)
	for i := range inserts {
		inserts[i].Read = note
	}
	t.send(inserts...)
	return ids, t.err
}

// countsRow returns a row with counts, after the columns that name the row.
func countsRow(c UsageCounts, name ...any) []any {
	return append(name, c.Requests, c.Refused, c.AudioBytes, c.AudioTime.Milliseconds(), c.StreamTime.Milliseconds())
}

// idOf returns the ID of a row that has a name, and inserts the row if necessary.
func (t *txn) idOf(find, insert string, args ...any) (id int64, err error) {
	err = t.queryRow(find, args...).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.queryRow(insert, args...).Scan(&id)
	}
	return id, err
}

// usageScopesAtOnce is how many scopes one search finds.
const usageScopesAtOnce = 64

var usageScopesByName = insertRows(`SELECT id, account_id, key_id FROM usage_scopes WHERE (account_id, key_id) IN (VALUES `, //nolint:gochecknoglobals // a constant
	2, usageScopesAtOnce) + `)`

// addCounts adds the counts of a row to those of the row that is in the table.
func addCounts(table string) string {
	var b strings.Builder
	for i, column := range strings.Split(usageCounted, ", ") {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(column + " = " + table + "." + column + " + excluded." + column)
	}
	return b.String()
}

const (
	usageCounted = `requests, refused, audio_bytes, audio_ms, stream_ms`

	// insertDays adds up the hours of a day, for some scopes.
	insertDays = `INSERT INTO usage_days (day, scope, kind, ` + usageCounted + `)
		SELECT $1, scope, kind, SUM(requests), SUM(refused), SUM(audio_bytes), SUM(audio_ms), SUM(stream_ms)
		FROM usage_hours WHERE scope >= $2 AND scope < $3 AND hour IN (`
)

// rollUpUsage adds hours up to days: the hours of some scopes, on the oldest day whose hours
// are no longer kept. Every sum over hours and days stays the same.
func (s *Store) rollUpUsage(ctx context.Context, now policy.Time) (more bool, err error) {
	before := int64(now.Add(-usageHoursKept)/hour) / hoursOfDay * hoursOfDay
	// The search does not run in the writer's transaction, because other processes can only
	// move the same rows.
	type place struct{ hour, scope int64 }
	first, err := query(ctx, s, func(row scanner) (p place, err error) {
		err = row.Scan(&p.hour, &p.scope)
		return p, err
	}, `SELECT hour, scope FROM usage_hours WHERE hour < $1 ORDER BY hour, scope LIMIT 1`, before)
	if err != nil || len(first) == 0 {
		return false, err
	}
	day := first[0].hour / hoursOfDay
	hours := hoursIn(day)
	from := first[0].scope
	err = s.writeRelaxed(ctx, func(t *txn) error {
		t.exec(insertDays+hours+`) GROUP BY scope, kind ON CONFLICT (day, scope, kind) DO UPDATE SET `+addCounts("usage_days"), day, from, from+usageScopeBatch)
		t.exec(`DELETE FROM usage_hours WHERE scope >= $1 AND scope < $2 AND hour IN (`+hours+`)`, from, from+usageScopeBatch)
		return t.err
	})
	return true, err
}

// hoursIn lists the hours of a day. With a list, and not with a range, the search uses the
// scope too.
func hoursIn(day int64) string {
	var list strings.Builder
	for h := range int64(hoursOfDay) {
		if h > 0 {
			list.WriteByte(',')
		}
		list.WriteString(strconv.FormatInt(day*hoursOfDay+h, 10))
	}
	return list.String()
}

// pruneUsage removes the sums of days that are no longer kept. Totals are kept.
func (s *Store) pruneUsage(ctx context.Context, now policy.Time) (more bool, err error) {
	day := int64(now.Add(-usageDaysKept)/hour) / hoursOfDay
	old, err := query(ctx, s, func(row scanner) (found bool, err error) {
		err = row.Scan(&found)
		return found, err
	}, `SELECT EXISTS (SELECT 1 FROM usage_days WHERE day < $1)`, day)
	if err != nil || !old[0] {
		return false, err
	}
	err = s.writeRelaxed(ctx, func(t *txn) error {
		n, err := t.count(`DELETE FROM usage_days WHERE (day, scope, kind) IN
			(SELECT day, scope, kind FROM usage_days WHERE day < $1 ORDER BY day, scope, kind LIMIT $2)`, day, auditBatch)
		more = n == auditBatch
		return err
	})
	return more, err
}
