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

	"github.com/speechgate/speechgate/policy"
)

const (
	usageBatch      = 128                // counters that one transaction writes, so that the writes of requests do not wait long
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
		if err := write(ctx, func(t *txn) error { return t.addUsage(rows) }); err != nil {
			return taken[from:], err
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

// addUsage adds rows, which are in their order, to the tables.
func (t *txn) addUsage(rows []usageSum) error {
	kinds := make(map[usageKind]int64)
	var scope int64
	for i := range rows {
		row := &rows[i]
		if i == 0 || row.accountID != rows[i-1].accountID || row.keyID != rows[i-1].keyID {
			var err error
			if scope, err = t.idOf(`SELECT id FROM usage_scopes WHERE account_id = $1 AND key_id = $2`,
				`INSERT INTO usage_scopes (account_id, key_id) VALUES ($1, $2) RETURNING id`, row.accountID, row.keyID); err != nil {
				return err
			}
		}
		kind, known := kinds[row.kind]
		if !known {
			var err error
			if kind, err = t.idOf(`SELECT id FROM usage_kinds WHERE operation = $1 AND reason = $2 AND backend = $3`,
				`INSERT INTO usage_kinds (operation, reason, backend) VALUES ($1, $2, $3) RETURNING id`,
				row.kind.operation, row.kind.reason, row.kind.backend); err != nil {
				return err
			}
			kinds[row.kind] = kind
		}
		audio, stream := row.AudioTime.Milliseconds(), row.StreamTime.Milliseconds()
		t.exec(insertHour, row.hour, scope, kind, row.Requests, row.Refused, row.AudioBytes, audio, stream)
		t.exec(insertTotal, scope, kind, row.Requests, row.Refused, row.AudioBytes, audio, stream)
	}
	return t.err
}

// idOf returns the ID of a row that has a name, and inserts the row if necessary.
func (t *txn) idOf(find, insert string, args ...any) (id int64, err error) {
	err = t.queryRow(find, args...).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.queryRow(insert, args...).Scan(&id)
	}
	return id, err
}

const (
	usageCounted = `requests, refused, audio_bytes, audio_ms, stream_ms`

	insertHour = `INSERT INTO usage_hours (hour, scope, kind, ` + usageCounted + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (hour, scope, kind) DO UPDATE SET
		requests = usage_hours.requests + excluded.requests, refused = usage_hours.refused + excluded.refused,
		audio_bytes = usage_hours.audio_bytes + excluded.audio_bytes, audio_ms = usage_hours.audio_ms + excluded.audio_ms,
		stream_ms = usage_hours.stream_ms + excluded.stream_ms`
	insertTotal = `INSERT INTO usage_totals (scope, kind, ` + usageCounted + `) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (scope, kind) DO UPDATE SET
		requests = usage_totals.requests + excluded.requests, refused = usage_totals.refused + excluded.refused,
		audio_bytes = usage_totals.audio_bytes + excluded.audio_bytes, audio_ms = usage_totals.audio_ms + excluded.audio_ms,
		stream_ms = usage_totals.stream_ms + excluded.stream_ms`
	// insertDays adds up the hours of a day, for some scopes.
	insertDays = `INSERT INTO usage_days (day, scope, kind, ` + usageCounted + `)
		SELECT $1, scope, kind, SUM(requests), SUM(refused), SUM(audio_bytes), SUM(audio_ms), SUM(stream_ms)
		FROM usage_hours WHERE scope >= $2 AND scope < $3 AND hour IN (`
	onConflictOfDays = `) GROUP BY scope, kind ON CONFLICT (day, scope, kind) DO UPDATE SET
		requests = usage_days.requests + excluded.requests, refused = usage_days.refused + excluded.refused,
		audio_bytes = usage_days.audio_bytes + excluded.audio_bytes, audio_ms = usage_days.audio_ms + excluded.audio_ms,
		stream_ms = usage_days.stream_ms + excluded.stream_ms`
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
		t.exec(insertDays+hours+onConflictOfDays, day, from, from+usageScopeBatch)
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
