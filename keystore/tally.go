package keystore

import (
	"context"
	"errors"
	"fmt"

	"github.com/speechgate/speechgate/policy"
)

// Tally counts the keys that were issued and the keys that have ended in a span of time, by
// every process.
type Tally struct {
	Issued map[Issuer]uint64
	Ended  map[KeyEnd]uint64
}

// Issuer says who has issued a key.
type Issuer string

// The issuers: a closed set.
const (
	IssuedByOperator Issuer = ActorOperator
	IssuedByAccount  Issuer = ActorAccount // through the issuance API, or on the console
	IssuedByKey      Issuer = ActorKey     // through the issuance API, by a key with the issuance right
	IssuedByImport   Issuer = "import"
)

// Issuers lists every issuer.
func Issuers() []Issuer {
	return []Issuer{IssuedByOperator, IssuedByAccount, IssuedByKey, IssuedByImport}
}

// KeyEnd says how a key has ended.
type KeyEnd string

// The ends of keys: a closed set. A key that ends twice counts with its first end.
const (
	KeyExpired       KeyEnd = "expired"
	KeyDeleted       KeyEnd = "deleted"
	KeyRevoked       KeyEnd = "revoked"
	KeyAccountClosed KeyEnd = "account_closed"
)

// KeyEnds lists every end of keys.
func KeyEnds() []KeyEnd { return []KeyEnd{KeyExpired, KeyDeleted, KeyRevoked, KeyAccountClosed} }

// TallyPosition is where a Tally ended, and where the next one begins.
type TallyPosition struct {
	storeID string
	seq     int64       // the last entry of the audit trail
	at      policy.Time // expiries up to this instant are counted
}

// SameStore reports whether both positions are of the same keystore.
func (p TallyPosition) SameStore(q TallyPosition) bool { return p.storeID == q.storeID }

// Tally counts what has happened since a position. It reads the new entries of the audit
// trail, and an index of the ends of keys. The zero position, and a position in another
// keystore or before a restore, count nothing: Tally only returns the position of now. Any
// error is an ErrUnavailable.
func (s *Store) Tally(ctx context.Context, from TallyPosition, now policy.Time) (t Tally, to TallyPosition, err error) {
	db, err := s.database()
	if err != nil {
		return t, from, err
	}
	to.at = max(now, from.at)
	err = db.reader.QueryRowContext(ctx, `SELECT (SELECT value FROM meta WHERE name = 'store_id'), (SELECT COALESCE(MAX(seq), 0) FROM audit)`).
		Scan(&to.storeID, &to.seq)
	if err != nil {
		return t, from, fault(err)
	}
	if from.storeID != to.storeID || from.seq > to.seq {
		return t, to, nil
	}
	t = Tally{Issued: make(map[Issuer]uint64), Ended: make(map[KeyEnd]uint64)}
	if err := errors.Join(t.countIssued(ctx, db, from, to), t.countEnded(ctx, db, from, to)); err != nil {
		return Tally{}, from, fault(err)
	}
	return t, to, nil
}

func (t *Tally) countIssued(ctx context.Context, q *database, from, to TallyPosition) error {
	rows, err := queryRows(ctx, q.reader, scanWordCount, `SELECT CASE WHEN action = $1 THEN $2 ELSE actor_kind END AS issuer, COUNT(*) FROM audit
		WHERE seq > $3 AND seq <= $4 AND action IN ($5, $6) GROUP BY issuer`,
		actionKeyImport, string(IssuedByImport), from.seq, to.seq, actionKeyImport, actionKeyIssue)
	for _, row := range rows {
		t.Issued[Issuer(row.word)] += row.n
	}
	return wrapCount("were issued", err)
}

// countEnded counts deletions, revocations and closures by the audit trail, which no late
// commit evades, and expiries and scheduled revocations by the clock.
func (t *Tally) countEnded(ctx context.Context, q *database, from, to TallyPosition) error {
	count := func(end KeyEnd, text string, args ...any) (err error) {
		var n uint64
		if err = q.reader.QueryRowContext(ctx, text, args...).Scan(&n); err == nil {
			t.Ended[end] += n
		}
		return wrapCount("have ended", err)
	}
	const entries = `SELECT COUNT(*) FROM audit x JOIN api_keys k ON k.id = x.subject WHERE x.seq > $1 AND x.seq <= $2
		AND COALESCE(k.expires_at, x.at + 1) > x.at AND COALESCE(k.revoke_from, x.at + 1) > x.at`
	return errors.Join(
		count(KeyDeleted, entries+` AND x.action = $3 AND COALESCE(k.revoked_at, x.at) >= x.at`, from.seq, to.seq, actionKeyDelete),
		count(KeyRevoked, entries+` AND (x.action = $3 OR x.action = $4 AND k.revoked_at = x.at) AND COALESCE(k.deleted_at, x.at + 1) > x.at`,
			from.seq, to.seq, actionKeyRevoke, actionKeyRotate),
		count(KeyAccountClosed, `SELECT COUNT(*) FROM audit x JOIN api_keys k ON k.account_id = x.subject
			WHERE x.seq > $1 AND x.seq <= $2 AND x.action = $3 AND `+firstEnd+` > x.at`, from.seq, to.seq, actionAccountClose),
		count(KeyExpired, endedByClock+` AND k.expires_at = `+firstEnd, from.at, to.at),
		count(KeyRevoked, endedByClock+` AND k.revoke_from = `+firstEnd+` AND COALESCE(k.expires_at, k.revoke_from + 1) > k.revoke_from`, from.at, to.at),
	)
}

// endedByClock counts the keys whose first end is in a span of time.
const endedByClock = `SELECT COUNT(*) FROM api_keys AS k JOIN accounts a ON a.id = k.account_id
	WHERE ` + firstEnd + ` > $1 AND ` + firstEnd + ` <= $2 AND (a.closed_at IS NULL OR a.closed_at > ` + firstEnd + `)`

type wordCount struct {
	word string
	n    uint64
}

func scanWordCount(row scanner) (c wordCount, err error) {
	err = row.Scan(&c.word, &c.n)
	return c, err
}

func wrapCount(what string, err error) error {
	if err != nil {
		err = fmt.Errorf("counting the keys that %s: %w", what, err)
	}
	return err
}
