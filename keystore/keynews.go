package keystore

import (
	"context"
	"fmt"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// KeyNews is what subscribers of events are told of one key: the key has ended, or ends soon.
type KeyNews struct {
	Key    policy.Identity
	Reason policy.Reason // why it ends: KeyExpired, KeyDeleted, KeyRevoked or AccountClosed
	Ends   policy.Time   // the first of its ends
}

// TakenNews is the result of one call of TakeEndedKeys or TakeExpiringKeys.
type TakenNews struct {
	Keys []KeyNews
	// LeftOut is how many keys are not in Keys, because too many have ended at one instant or
	// with one account.
	LeftOut int
	// More says that the next call has more news already.
	More bool
}

// ExpirySpan is how long before its end a key is told of: at most Within, and more than After. A key
// that ends within After belongs to a shorter span.
type ExpirySpan struct {
	Name          string // of the span, in the keystore
	After, Within time.Duration
}

const (
	newsBatch    = 200            // keys that are taken in one call, except those that end together
	newsTogether = 10_000         // keys that end at one instant, or with one account
	newsScan     = 2000           // entries of the audit trail in which a call looks for new keys
	newsKept     = 24 * time.Hour // ends that are older than this are not told
	newsSaved    = time.Minute    // how often the position is written if there are no news
)

// newsPosition is up to where news were taken. The table meta has one for each kind of news, so
// that each key is told of once: after a restart of the server, and if several servers share the
// keystore.
type newsPosition struct {
	text string // as it is in the keystore; empty if no server has taken such news yet
	seq  int64  // the last entry of the audit trail
	at   policy.Time
}

// TakeEndedKeys returns the keys that have ended since the last call, of any server of the keystore,
// and remembers that they were returned. The first call for a keystore returns none. Ends that are
// older than a day are not returned. Any error is an ErrUnavailable.
func (s *Store) TakeEndedKeys(ctx context.Context, now policy.Time) (TakenNews, error) {
	return s.takeNews(ctx, "news_key_ended", now, func(db *database, from, to *newsPosition) (TakenNews, error) {
		if from.text == "" {
			return TakenNews{}, nil
		}
		from.at = max(from.at, now.Add(-newsKept))
		n := &newsReader{ctx: ctx, db: db, now: now}
		if err := n.endedByEntry(from, to); err != nil {
			return TakenNews{}, err
		}
		err := n.endedByClock(from, to)
		return n.TakenNews, err
	})
}

// TakeExpiringKeys returns the keys of whose end the instant span.Within before has come since the
// last call, of any server of the keystore, and remembers that they were returned. A key that is
// issued or imported within the span is returned too, except a key from the issuance API: its caller
// knows how short it lives. The first call for a keystore returns all keys that end within the span,
// except those from the issuance API. Any error is an ErrUnavailable.
func (s *Store) TakeExpiringKeys(ctx context.Context, now policy.Time, span ExpirySpan) (TakenNews, error) {
	return s.takeNews(ctx, "news_key_expiring_"+span.Name, now, func(db *database, from, to *newsPosition) (TakenNews, error) {
		n := &newsReader{ctx: ctx, db: db, now: now}
		if from.text == "" {
			err := n.expiringAtFirst(span)
			return n.TakenNews, err
		}
		if err := n.expiringSince(span, from, to); err != nil {
			return TakenNews{}, err
		}
		err := n.expiringNew(span, from, to)
		return n.TakenNews, err
	})
}

// takeNews finds the news after the position of this name, and moves the position. If another server
// has moved it in between, that server tells the news.
func (s *Store) takeNews(ctx context.Context, name string, now policy.Time, find func(db *database, from, to *newsPosition) (TakenNews, error)) (TakenNews, error) {
	db, err := s.database()
	if err != nil {
		return TakenNews{}, err
	}
	var from, to newsPosition
	err = db.reader.QueryRowContext(ctx, `SELECT COALESCE((SELECT value FROM meta WHERE name = $1), ''), (SELECT COALESCE(MAX(seq), 0) FROM audit)`, name).
		Scan(&from.text, &to.seq)
	if err == nil && from.text != "" {
		_, err = fmt.Sscan(from.text, &from.seq, &from.at)
	}
	if err != nil {
		return TakenNews{}, fault(err)
	}
	to.at = max(now, from.at)
	from.seq = min(from.seq, to.seq) // a restore can have put a shorter trail in place
	saved := from
	news, err := find(db, &from, &to)
	if err != nil {
		return TakenNews{}, fault(err)
	}
	if len(news.Keys) == 0 && !news.More && saved.text != "" && to.seq-saved.seq < newsScan && to.at < saved.at.Add(newsSaved) {
		return news, nil
	}
	moved := false
	err = s.write(ctx, func(t *txn) error {
		text := fmt.Sprint(to.seq, int64(to.at))
		n, err := t.count(`UPDATE meta SET value = $1 WHERE name = $2 AND value = $3`, text, name, saved.text)
		if saved.text == "" {
			n, err = t.count(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, text)
		}
		moved = n == 1
		return err
	})
	if err != nil || !moved {
		return TakenNews{}, err
	}
	return news, nil
}

// newsReader collects the news of one call.
type newsReader struct {
	TakenNews

	ctx context.Context
	db  *database
	now policy.Time
}

// endedByEntry finds keys that were deleted or revoked, or whose account was closed, by the audit
// trail: a commit that comes late is in it.
func (n *newsReader) endedByEntry(from, to *newsPosition) error {
	type entry struct {
		seq             int64
		action, subject string
	}
	entries, err := queryRows(n.ctx, n.db.reader, func(row scanner) (e entry, err error) {
		err = row.Scan(&e.seq, &e.action, &e.subject)
		return e, err
	}, `SELECT seq, action, subject FROM audit WHERE seq > $1 AND seq <= $2 AND at > $3 AND action IN ($4, $5, $6, $7) ORDER BY seq LIMIT $8`,
		from.seq, to.seq, n.now.Add(-newsKept), actionKeyDelete, actionKeyRevoke, actionKeyRotate, actionAccountClose, newsBatch+1)
	if err != nil {
		return err
	}
	if len(entries) > newsBatch {
		entries = entries[:newsBatch]
		to.seq, n.More = entries[newsBatch-1].seq, true
	}
	for _, e := range entries {
		keys := []string{e.subject}
		if e.action == actionAccountClose {
			if keys, err = n.together(keysOfAccount, e.subject); err != nil {
				return err
			}
		}
		err = n.add(keys, func(k *policy.Key, end keyEnd) bool {
			switch e.action {
			case actionKeyDelete:
				return end.reason == policy.KeyDeleted
			case actionAccountClose:
				return end.reason == policy.AccountClosed
			}
			return end.reason == policy.KeyRevoked && end.at == k.RevokedAt
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// The queries that find keys, without their columns. All of them read an index.
const (
	// keysOfAccount are the keys of an account that had not ended when it was closed.
	keysOfAccount = ` FROM api_keys WHERE account_id = $1 AND ` + firstEnd + ` > (SELECT closed_at FROM accounts WHERE id = $1)`
	// endsByClock are the keys that have expired, or whose scheduled revocation has come.
	endsByClock = ` FROM api_keys WHERE ` + firstEnd + ` > $1 AND ` + firstEnd + ` <= $2 AND (expires_at = ` + firstEnd + ` OR revoke_from = ` + firstEnd + `)`
	// endsByIssuer are the keys that are bound to an issuer whose scheduled revocation has come.
	endsByIssuer = ` FROM api_keys AS c WHERE NOT c.outlives_issuer AND c.issuer_id IN (SELECT id` + endsByClock + ` AND revoke_from = ` + firstEnd + `)`

	endsBetween = ` FROM api_keys WHERE ` + firstEnd + ` > $1 AND ` + firstEnd + ` <= $2`
	// endsAsIssued are the keys that were issued longer before their end than a span.
	endsAsIssued = endsBetween + ` AND created_at <= ` + firstEnd + ` - $3`
	// endsOfOthers are the keys that are not from the issuance API.
	endsOfOthers = endsBetween + ` AND origin <> $3`
	// newEnds are the keys, except those from the issuance API, that were issued within a span of
	// their end.
	newEnds = ` FROM audit x JOIN api_keys AS k ON k.id = x.subject WHERE x.seq > $1 AND x.seq <= $2 AND x.action IN ($3, $4) AND k.origin <> $5
		AND ` + firstEnd + ` > $6 AND ` + firstEnd + ` <= $7 AND k.created_at > ` + firstEnd + ` - $8`
)

// endedByClock finds keys that have expired, or whose scheduled revocation has come.
func (n *newsReader) endedByClock(from, to *newsPosition) error {
	keys, err := n.until(endsByClock, from.at, &to.at)
	if err != nil {
		return err
	}
	bound, err := n.together(endsByIssuer, from.at, to.at)
	if err != nil {
		return err
	}
	told := make(map[string]bool)
	return n.add(append(keys, bound...), func(k *policy.Key, end keyEnd) bool {
		if told[k.ID] || !end.byClock || end.at <= from.at || end.at > to.at {
			return false
		}
		told[k.ID] = true
		return true
	})
}

// expiringAtFirst finds all keys that end within the span.
func (n *newsReader) expiringAtFirst(span ExpirySpan) error {
	keys, err := n.together(endsOfOthers, n.now.Add(span.After), n.now.Add(span.Within), policy.OriginAPI.String())
	if err != nil {
		return err
	}
	return n.addExpiring(span, keys)
}

// expiringSince finds keys of whose end the instant span.Within before has come.
func (n *newsReader) expiringSince(span ExpirySpan, from, to *newsPosition) error {
	first, last := max(from.at.Add(span.Within), n.now.Add(span.After)), to.at.Add(span.Within)
	keys, err := n.until(endsAsIssued, first, &last, span.Within.Milliseconds())
	if err != nil {
		return err
	}
	to.at = last.Add(-span.Within)
	return n.addExpiring(span, keys)
}

// expiringNew finds keys that were issued or imported within the span.
func (n *newsReader) expiringNew(span ExpirySpan, from, to *newsPosition) error {
	if to.seq > from.seq+newsScan {
		to.seq, n.More = from.seq+newsScan, true
	}
	keys, err := queryRows(n.ctx, n.db.reader, scanColumn[string], `SELECT k.id`+newEnds,
		from.seq, to.seq, actionKeyIssue, actionKeyImport, policy.OriginAPI.String(),
		n.now.Add(span.After), n.now.Add(span.Within), span.Within.Milliseconds())
	if err != nil {
		return err
	}
	return n.addExpiring(span, keys)
}

func (n *newsReader) addExpiring(span ExpirySpan, keys []string) error {
	return n.add(keys, func(_ *policy.Key, end keyEnd) bool { return end.at > n.now && end.at <= n.now.Add(span.Within) })
}

// until runs a query that finds keys by their first end, after $1 and up to $2. If it finds more keys
// than a call takes, until lowers *last to the end of the last key that is taken.
func (n *newsReader) until(from string, after policy.Time, last *policy.Time, more ...any) ([]string, error) {
	type found struct {
		id   string
		ends policy.Time
	}
	keys, err := queryRows(n.ctx, n.db.reader, func(row scanner) (f found, err error) {
		err = row.Scan(&f.id, &f.ends)
		return f, err
	}, `SELECT id, `+firstEnd+from+` ORDER BY `+firstEnd+fmt.Sprintf(` LIMIT %d`, newsBatch+1), append([]any{after, *last}, more...)...)
	if err != nil {
		return nil, err
	}
	if len(keys) > newsBatch {
		n.More = true
		if *last = keys[newsBatch].ends - 1; keys[0].ends > *last { // all of them end together
			*last = keys[0].ends
			return n.together(from, append([]any{*last - 1, *last}, more...)...)
		}
	}
	var ids []string
	for _, key := range keys {
		if key.ends <= *last {
			ids = append(ids, key.id)
		}
	}
	return ids, nil
}

// together runs a query that finds keys that end together. It counts the keys that are too many.
func (n *newsReader) together(from string, args ...any) ([]string, error) {
	keys, err := queryRows(n.ctx, n.db.reader, scanColumn[string], `SELECT id`+from+fmt.Sprintf(` LIMIT %d`, newsTogether+1), args...)
	if err != nil || len(keys) <= newsTogether {
		return keys, err
	}
	var all int
	if err := n.db.reader.QueryRowContext(n.ctx, `SELECT COUNT(*)`+from, args...).Scan(&all); err != nil {
		return nil, err
	}
	n.LeftOut += all - newsTogether
	return keys[:newsTogether], nil
}

// add reads the records of keys, and adds those that are to be told.
func (n *newsReader) add(keys []string, told func(*policy.Key, keyEnd) bool) error {
	for _, id := range keys {
		var closed policy.Time
		found, err := queryRows(n.ctx, n.db.reader, func(row scanner) (policy.Key, error) { return scanKey(row, &closed) },
			`SELECT `+keyColumns+`, COALESCE(a.closed_at, 0) FROM `+keyTables+` WHERE k.id = $1`, id)
		if err != nil {
			return err
		}
		for i := range found { // a key that was pruned since is not found
			key := &found[i]
			if end := firstEndOf(key, closed); told(key, end) {
				n.Keys = append(n.Keys, KeyNews{Key: policy.Identity{KeyID: key.ID, AccountID: key.AccountID}, Reason: end.reason, Ends: end.at})
			}
		}
	}
	return nil
}

// keyEnd is the first end of a key.
type keyEnd struct {
	at      policy.Time // zero: the key has no end
	reason  policy.Reason
	byClock bool // the end was known before: it is an expiry, or a scheduled revocation
}

// firstEndOf returns the first end of a key, also if the end of its issuer or of its account is the
// first. closed is when the account was closed; zero if it is open.
func firstEndOf(k *policy.Key, closed policy.Time) (end keyEnd) {
	expires, _ := k.Expires.Time() // zero if the key does not expire
	for _, e := range []keyEnd{
		{expires, policy.KeyExpired, true}, // first, because it may have been told when another end comes at the same instant
		{k.RevokeFrom, policy.KeyRevoked, true},
		{k.DeletedAt, policy.KeyDeleted, false},
		{k.RevokedAt, policy.KeyRevoked, false},
		{closed, policy.AccountClosed, false},
	} {
		if !e.at.IsZero() && (end.at.IsZero() || e.at < end.at) {
			end = e
		}
	}
	return end
}
