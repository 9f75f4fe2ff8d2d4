package keystore

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// UsageGroup says by what usage is grouped.
type UsageGroup uint8

// The groups. The zero value makes one sum.
const (
	UsageSum UsageGroup = iota
	UsageByHour
	UsageByDay
	UsageByKey
	UsageByOperation
	UsageByReason
)

// UsageList says which usage [Store.Usage] returns, and how it is added up. The zero value
// is one sum of all usage.
type UsageList struct {
	// AccountID selects the usage of an account. Default: of all.
	AccountID string
	// KeyID selects the usage of a key; AccountID must be its account then. Default: of all.
	KeyID string
	// Since selects the usage from this instant's hour on. If the hours of that time are added
	// up to days already, it is from the beginning of its day on. Default: all, also what is
	// older than the days that are kept.
	Since policy.Time
	// Group makes one sum for each hour, day, key, operation or reason. Hours are kept for 7
	// days, and days for 400 days.
	Group UsageGroup
	// Limit is the most sums of keys to return: those with the most requests. Default: all.
	Limit int
	// Bounded limits the work: if a gateway writes more than 128 counters at a time, or more than 8 in
	// PostgreSQL, what was counted in the last 5 minutes may not be in the sums yet.
	Bounded bool
}

// Usage is a sum of usage. Only the fields of its group are set.
type Usage struct {
	UsageCounts

	At               policy.Time // the beginning of the hour or the day
	AccountID, KeyID string
	Operation        string
	Reason           string
}

// Usage calls each for every sum of usage that list selects: hours and days in their order,
// keys with the most requests first, operations and reasons in the order of the alphabet.
// What was counted in the last seconds is not in the sums yet. The argument of each is valid
// until each returns. If each returns an error, Usage returns it.
func (s *Store) Usage(ctx context.Context, list UsageList, each func(*Usage) error) error {
	if !list.Bounded {
		s.foldForReader(ctx)
	}
	db, err := s.database()
	if err != nil {
		return err
	}
	q := usageQuery{list: list}
	text := q.text()
	rows, err := db.lists.QueryContext(ctx, text, q.args...)
	if err != nil {
		return fault(fmt.Errorf("reading usage: %w", err))
	}
	defer func() { _ = rows.Close() }() // rows.Err says more
	// There can be millions of rows, so they share the variables.
	var u Usage
	var audio, stream int64
	columns := []any{&u.At, &u.AccountID, &u.KeyID, &u.Operation, &u.Reason, &u.Requests, &u.Refused, &u.AudioBytes, &audio, &stream}
	if list.Group == UsageByKey {
		columns = append(columns[1:3:3], columns[5:]...)
	}
	for rows.Next() {
		if err := rows.Scan(columns...); err != nil {
			return fault(fmt.Errorf("reading usage: %w", err))
		}
		u.AudioTime, u.StreamTime = time.Duration(audio)*time.Millisecond, time.Duration(stream)*time.Millisecond
		if err := each(&u); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fault(fmt.Errorf("reading usage: %w", err))
	}
	return nil
}

// usageQuery builds the query of a list of usage.
type usageQuery struct {
	list UsageList
	args []any
}

// arg adds a parameter, and returns its name in the text.
func (q *usageQuery) arg(value any) string {
	q.args = append(q.args, value)
	return "$" + strconv.Itoa(len(q.args))
}

const usageSums = `COALESCE(SUM(requests), 0), COALESCE(SUM(refused), 0), COALESCE(SUM(audio_bytes), 0), COALESCE(SUM(audio_ms), 0), COALESCE(SUM(stream_ms), 0)`

// text returns the query. Its parts are in the order of their parameters.
func (q *usageQuery) text() string {
	if q.list.Group == UsageByKey {
		return q.byKey()
	}
	with, source := q.source()
	at, operation, reason, order := `0`, `''`, `''`, ``
	join := ``
	switch q.list.Group {
	case UsageByHour, UsageByDay:
		at, order = `at`, ` GROUP BY at ORDER BY at`
	case UsageByOperation:
		join, operation, order = ` JOIN usage_kinds k ON k.id = u.kind`, `k.operation`, ` GROUP BY k.operation ORDER BY k.operation`
	case UsageByReason:
		join, reason, order = ` JOIN usage_kinds k ON k.id = u.kind`, `k.reason`, ` GROUP BY k.reason ORDER BY k.reason`
	case UsageSum, UsageByKey:
	}
	return with + `SELECT ` + at + `, '', '', ` + operation + `, ` + reason + `, ` + usageSums + ` FROM (` + source + `) AS u` + join + order
}

// source selects the rows of the one scope of the list. Its first result is a prefix of the
// whole query.
func (q *usageQuery) source() (with, rows string) {
	l := &q.list
	if l.Since.IsZero() && l.Group != UsageByHour && l.Group != UsageByDay {
		return ``, `SELECT kind, ` + usageCounted + ` FROM usage_totals WHERE scope = ` + q.scope()
	}
	// The tables are sorted by time and then by scope. So the query first finds each hour and
	// each day, and then the scope in it.
	since := int64(l.Since / hour)
	with = `WITH RECURSIVE ` + steps("usage_hours", "hour", q.arg(since))
	if l.Group == UsageByHour {
		return with + ` `, q.inEach("usage_hours", "hour", `t.hour * `+milliseconds(hour))
	}
	with += `, ` + steps("usage_days", "day", q.arg(since/hoursOfDay)) + ` `
	return with, q.inEach("usage_hours", "hour", `t.hour / 24 * `+milliseconds(hoursOfDay*hour)) +
		` UNION ALL ` + q.inEach("usage_days", "day", `t.day * `+milliseconds(hoursOfDay*hour))
}

func milliseconds(t policy.Time) string { return strconv.FormatInt(int64(t), 10) }

// scope returns the ID of the list's scope, in SQL.
func (q *usageQuery) scope() string {
	return `(SELECT id FROM usage_scopes WHERE account_id = ` + q.arg(q.list.AccountID) + ` AND key_id = ` + q.arg(q.list.KeyID) + `)`
}

// inEach selects the rows of the scope in each hour or day. The time of a row is at.
func (q *usageQuery) inEach(table, unit, at string) string {
	return `SELECT ` + at + ` AS at, kind, ` + usageCounted + ` FROM ` + unit + `_steps t CROSS JOIN ` + table + ` u
		WHERE u.` + unit + ` = t.` + unit + ` AND u.scope = ` + q.scope()
}

// steps is a common table expression of the values that a column has from a value on. Each
// step is one search in the table.
func steps(table, column, from string) string {
	return column + `_steps(` + column + `) AS (SELECT MIN(` + column + `) FROM ` + table + ` WHERE ` + column + ` >= ` + from +
		` UNION ALL SELECT (SELECT MIN(n.` + column + `) FROM ` + table + ` n WHERE n.` + column + ` > s.` + column + `) FROM ` + column + `_steps s WHERE s.` + column + ` IS NOT NULL)`
}

// AudioUsed returns how much audio a key has used, or all keys of an account together if there
// is no KeyID: on the day of now, in UTC, and in all. It knows the audio of formats that tell
// their length, see [UsageCounts]. It also has what this process has counted and not written
// yet. Audio that is in the journal counts when the journal is folded: that can be audio from
// before the first call for the key or the account.
func (s *Store) AudioUsed(ctx context.Context, now policy.Time, of policy.Identity) (today, total time.Duration, err error) {
	s.usage.watch(cmp.Or(of.KeyID, of.AccountID), now)
	day := int64(now/hour) / hoursOfDay
	type used struct{ today, total int64 }
	const scope = `(SELECT id FROM usage_scopes WHERE account_id = $1 AND key_id = $2)`
	found, err := query(ctx, s, func(row scanner) (u used, err error) {
		err = row.Scan(&u.today, &u.total)
		return u, err
	}, `SELECT (SELECT COALESCE(SUM(audio_ms), 0) FROM usage_hours WHERE hour IN (`+hoursIn(day)+`) AND scope = `+scope+`),
		(SELECT COALESCE(SUM(audio_ms), 0) FROM usage_totals WHERE scope = `+scope+`)`, of.AccountID, of.KeyID)
	if err != nil {
		return 0, 0, err
	}
	recent, all := s.usage.pendingAudio(of, day*hoursOfDay)
	return time.Duration(found[0].today)*time.Millisecond + recent, time.Duration(found[0].total)*time.Millisecond + all, nil
}
