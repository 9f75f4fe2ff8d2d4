package keystore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"

	"github.com/speechgate/speechgate/policy"
)

// merge merges the backup into the store, as Restore says. If dry is true it changes
// nothing.
func (s *Store) merge(ctx context.Context, db *database, now policy.Time, by Actor, b *backup, dry bool) (r Restored, err error) {
	err = db.Attach(ctx, b.temp, func(begin func(context.Context) (*sql.Tx, error)) error {
		if dry {
			r, err = s.planAttached(ctx, db, begin, now, by, b)
		} else {
			r, err = s.mergeAttached(ctx, db, begin, now, by, b)
		}
		return err
	})
	return r, err
}

// mergeAttached merges the backup, which is attached to the transactions of begin.
func (s *Store) mergeAttached(ctx context.Context, db *database, begin beginFunc, now policy.Time, by Actor, b *backup) (r Restored, err error) {
	name := s.copyPath(b.from) + ".before-restore-" + now.Std().Format(beforeTime)
	tx, before, err := s.beginMerge(ctx, begin, name)
	if err != nil {
		return r, err
	}
	defer func() {
		_ = tx.Rollback() // does nothing after the commit
		if err != nil && r.Before == "" {
			_ = os.Remove(before.Path) //nolint:gosec // the store named the file; nothing was changed
		}
	}()
	m := &merger{
		txn: &txn{Tx: tx, ctx: context.WithoutCancel(ctx), store: s, db: db},
		now: now, backup: b.head, Restored: Restored{Before: before.Path},
	}
	if err = m.mergeAll(by, b); err != nil {
		return r, err
	}
	if m.send(m.records()...); m.err != nil {
		return r, m.err
	}
	r.Before = before.Path     // keep the copy: the commit may change the store
	err = db.Commit(m.ctx, tx) //nolint:contextcheck // it never ends
	s.apply(m.changes)         // also after an error, as in groupCommit.transact
	if err != nil {
		return r, fmt.Errorf("writing: %w", err)
	}
	return m.Restored, nil
}

// planAttached merges the backup in a transaction that it then rolls back.
func (s *Store) planAttached(ctx context.Context, db *database, begin beginFunc, now policy.Time, by Actor, b *backup) (Restored, error) {
	tx, err := s.lockMerge(ctx, begin)
	if err != nil {
		return Restored{}, err
	}
	defer func() { _ = tx.Rollback() }() // this is the plan
	m := &merger{txn: &txn{Tx: tx, ctx: context.WithoutCancel(ctx), store: s, db: db}, now: now, backup: b.head}
	if err := m.mergeAll(by, b); err != nil {
		return Restored{}, err
	}
	return m.Restored, nil
}

// mergeAll checks that the backup belongs to the store, and merges it.
func (m *merger) mergeAll(by Actor, b *backup) error {
	if err := m.store.checkPepper(m.txn); err != nil {
		return err
	}
	if err := m.store.checkKnown(m.ctx, m); err != nil {
		return fmt.Errorf("keystore %s: %w", m.store.cfg.name, err)
	}
	if err := m.checkTrail(b.from); err != nil {
		return err
	}
	return m.run(by)
}

// beginFunc begins a transaction to which the backup is attached.
type beginFunc = func(context.Context) (*sql.Tx, error)

// unlockedCopies is how many times a restore copies the store while other
// processes may write. After that it takes the write lock first.
const unlockedCopies = 3

// beginMerge copies the store, as it is before the restore, into a new file, and
// begins a transaction. It tries again if the store has changed in between.
func (s *Store) beginMerge(ctx context.Context, begin beginFunc, name string) (*sql.Tx, Copy, error) {
	for try := 1; ; try++ {
		var before Copy
		var err error
		if try <= unlockedCopies {
			if before, err = s.Backup(ctx, name); err != nil {
				return nil, Copy{}, err
			}
		}
		tx, err := s.lockMerge(ctx, begin)
		if err != nil {
			_ = os.Remove(before.Path)
			return nil, Copy{}, err
		}
		at, err := readPosition(ctx, tx)
		switch {
		case err == nil && try <= unlockedCopies && at == before.position:
			return tx, before, nil
		case err == nil && try > unlockedCopies:
			before, err = s.Backup(ctx, name)
			if err == nil {
				return tx, before, nil
			}
		}
		_ = tx.Rollback() // nothing was written
		_ = os.Remove(before.Path)
		if err != nil {
			return nil, Copy{}, err
		}
	}
}

// lockMerge waits for the write lock, as groupCommit.begin does.
func (s *Store) lockMerge(ctx context.Context, begin beginFunc) (*sql.Tx, error) {
	for deadline := s.mono() + lockWait; ; {
		tx, err := begin(ctx)
		if err == nil {
			return tx, nil
		}
		if !s.engine.Busy(err) || s.mono() > deadline {
			return nil, s.explain(fmt.Errorf("waiting for the write lock: %w", err))
		}
	}
}

// merger is a restore that is running: a transaction on the store, to which the backup
// is attached.
type merger struct {
	*txn
	Restored

	now    policy.Time
	backup AuditHead // of the backup's audit trail
	blind  bool      // entries since the backup were pruned, so it is not known which keys have ended since
}

// checkTrail makes sure that the backup's trail is the beginning of the store's.
func (m *merger) checkTrail(from string) error {
	last, err := lastHead(m.ctx, m)
	if err != nil {
		return err
	}
	pruned, err := prunedHead(m.ctx, m)
	if err != nil {
		return fmt.Errorf("the audit trail: %w", err)
	}
	m.blind = m.backup.Seq < pruned.Seq
	var own AuditHead
	switch {
	case m.blind, m.backup.Seq == 0:
		return nil
	case m.backup.Seq > last.Seq:
		return refuse(ErrInvalid, "%s is newer than this keystore, whose audit trail ends before it: move the keystore away, and restore in its place", from)
	case m.backup.Seq == pruned.Seq:
		own = pruned
	default:
		if own, err = headAt(m.ctx, m, "", m.backup.Seq); err != nil {
			return fmt.Errorf("entry %d of the audit trail: %w", m.backup.Seq, err)
		}
	}
	if own != m.backup {
		return refuse(ErrInvalid, "%s and this keystore went apart before the backup was made: entry %d of the audit trail is not the same in both; want a backup of this keystore", from, m.backup.Seq)
	}
	return nil
}

// since selects the entries of the audit trail that are newer than the backup and whose
// action follows.
const since = `SELECT subject FROM audit WHERE seq > $1 AND action `

// endedNow is true for a key k of account a that has ended for good. A key that has only
// expired can come back. The issuer i is looked up in the keystore, and not in the backup.
const (
	endedNow   = `(` + endedOnce + ` OR ` + withIssuer + ` OR ` + boundTo + ` AND i.revoke_from <= $1))`
	withIssuer = `EXISTS (SELECT 1 FROM api_keys i WHERE i.id = k.issuer_id AND i.children_revoked_at IS NOT NULL)`
	endedOnce  = `k.deleted_at IS NOT NULL OR k.revoked_at IS NOT NULL OR k.revoke_from <= $1 OR a.closed_at IS NOT NULL`
	boundTo    = `EXISTS (SELECT 1 FROM api_keys i WHERE i.id = k.issuer_id AND NOT k.outlives_issuer`
	endsByPlan = `(k.revoke_from IS NOT NULL OR ` + boundTo + ` AND i.revoke_from IS NOT NULL))`
)

// run merges. It removes records first, because names and digests are unique.
func (m *merger) run(by Actor) error {
	// The digest of a key that has ended stays dead. A key that has expired, or
	// whose revocation is scheduled, can come back by another restore, as the same
	// key, but not by an import.
	m.exec(`INSERT INTO dead_digests (digest, at, forget_at, key_id)
		SELECT k.digest, $1, CASE k.origin WHEN $2 THEN CAST($3 AS BIGINT) END, CASE WHEN `+endedNow+` THEN NULL ELSE k.id END
		FROM api_keys k JOIN accounts a ON a.id = k.account_id
		WHERE k.id NOT IN (SELECT id FROM backup.api_keys)
			AND (`+endedNow+` OR k.expires_at <= $1 OR `+endsByPlan+`) ON CONFLICT DO NOTHING`,
		m.now, policy.OriginAPI.String(), m.now.Add(deadKept))
	m.rows(&m.Jobs.Removed, `DELETE FROM jobs WHERE key_id NOT IN (SELECT id FROM backup.api_keys)`)
	m.rows(&m.Keys.Removed, `DELETE FROM api_keys WHERE id NOT IN (SELECT id FROM backup.api_keys)`)
	m.rows(&m.Accounts.Removed, `DELETE FROM accounts WHERE id NOT IN (SELECT id FROM backup.accounts)
		AND id NOT IN (SELECT account_id FROM api_keys) AND id NOT IN (SELECT account_id FROM jobs)`)
	m.mergeConsole()
	// A digest that was forgotten after 400 days, and then imported again, is not dead.
	m.exec(`INSERT INTO dead_digests (digest, at, forget_at, key_id) SELECT digest, at, forget_at, key_id FROM backup.dead_digests
		WHERE COALESCE(forget_at > $1, TRUE) AND digest NOT IN (SELECT digest FROM api_keys) ON CONFLICT DO NOTHING`, m.now)
	if !m.blind {
		m.bringBack()
	}
	m.exec(`DELETE FROM usage_scopes WHERE key_id <> '' AND key_id NOT IN (SELECT id FROM api_keys)`)
	m.row(&m.KeptEnded, `SELECT COUNT(*) FROM backup.api_keys k JOIN backup.accounts a ON a.id = k.account_id
		WHERE NOT COALESCE(`+endedOnce+`, FALSE) AND COALESCE(k.expires_at > $1, TRUE) AND k.id NOT IN
			(SELECT k.id FROM api_keys k JOIN accounts a ON a.id = k.account_id WHERE NOT COALESCE(`+endedNow+`, FALSE))`, m.now)
	m.row(&m.KeptClosed, `SELECT COUNT(*) FROM backup.accounts WHERE closed_at IS NULL
		AND id NOT IN (SELECT id FROM accounts WHERE closed_at IS NULL)`)
	m.audit(m.now, by, actionStoreRestore, "", m.backup.String(), m.detail())
	return m.changed(m.now, changedStore, []byte{})
}

// mergeConsole removes the users of the console whose accounts are gone. Other users of the
// store stay as they are, and none comes back, so that no password from before a change works
// again: invite the holder of an account that the restore brings back.
func (m *merger) mergeConsole() {
	for _, table := range []string{"console_sessions", "console_recovery", "console_passkeys", "console_users"} {
		m.exec(`DELETE FROM ` + table + ` WHERE kind = '` + ActorAccount + `' AND id NOT IN (SELECT id FROM accounts)`)
	}
}

// bringBack brings back the records that only the backup has. An earlier restore or
// pruning has removed them.
func (m *merger) bringBack() {
	// A service password that was rotated since must not work again. Such an account
	// gets the digest of no password, so it has no password until the next rotation.
	var none digest
	_, _ = rand.Read(none[:]) // never fails
	const rotated = `b.id IN (` + since + `= $2)`
	m.rows(&m.Accounts.Restored, `INSERT INTO accounts (id, name, service_id, spw_digest, created_at, closed_at,
			suspended_at, suspend_reason, previous_service_id, previous_spw_digest, previous_until, limits)
		SELECT b.id, b.name, b.service_id,
			CASE WHEN `+rotated+` THEN $3 ELSE b.spw_digest END, b.created_at,
			COALESCE(b.closed_at, (SELECT MIN(at) FROM audit WHERE seq > $1 AND action = $4 AND subject = b.id)),
			`+suspendedNow("b", "$5", "$6")+`,
			CASE WHEN NOT `+rotated+` THEN b.previous_service_id END, CASE WHEN NOT `+rotated+` THEN b.previous_spw_digest END,
			CASE WHEN NOT `+rotated+` THEN b.previous_until END,
			NULLIF(COALESCE((SELECT detail FROM audit WHERE seq > $1 AND action = $7 AND subject = b.id ORDER BY seq DESC LIMIT 1), b.limits), $8)
		FROM backup.accounts b WHERE b.id NOT IN (SELECT id FROM accounts)`,
		m.backup.Seq, actionAccountRotate, none[:], actionAccountClose, actionAccountSuspend, actionAccountResume, actionAccountLimit, noLimits)
	const key = `id, account_id, digest, prefix, origin, label, allow, issuable, issuer_id, outlives_issuer, created_at,
		expires_at, deleted_at, revoked_at, revoked_reason, revoke_from, replaces, children_revoked_at, limits`
	m.rows(&m.Keys.Restored, `INSERT INTO api_keys (`+key+`, suspended_at, suspend_reason)
		SELECT `+key+`, `+suspendedNow("b", "$2", "$3")+` FROM backup.api_keys b
		WHERE id NOT IN (SELECT id FROM api_keys) AND digest NOT IN (SELECT digest FROM dead_digests WHERE key_id IS NULL OR key_id <> b.id)
			AND account_id IN (SELECT id FROM accounts WHERE closed_at IS NULL)
			AND id NOT IN (`+since+`IN ($4, $5, $6))
			AND COALESCE(issuer_id NOT IN (`+since+`= $7), TRUE)
			AND (outlives_issuer OR COALESCE(issuer_id NOT IN (`+since+`= $6), TRUE))`,
		m.backup.Seq, actionKeySuspend, actionKeyResume, actionKeyDelete, actionKeyRevoke, actionKeyRotate, actionTreeRevoke)
	// Also for keys that both have: a loss of power may have lost their uses here.
	m.exec(`INSERT INTO last_uses (digest, at) SELECT digest, at FROM backup.last_uses
		WHERE digest IN (SELECT digest FROM api_keys)
		ON CONFLICT (digest) DO UPDATE SET at = excluded.at WHERE last_uses.at < excluded.at`)
	m.exec(`DELETE FROM dead_digests WHERE key_id IN (SELECT id FROM api_keys)`)
	const job = `backend, id, dialect, account_id, key_id, client, created_at, state, ended_at, upstream_key`
	m.rows(&m.Jobs.Restored, `INSERT INTO jobs (`+job+`) SELECT `+job+` FROM backup.jobs
		WHERE key_id IN (SELECT id FROM api_keys) AND account_id IN (SELECT id FROM accounts)
		ON CONFLICT (id, backend) DO NOTHING`)
	m.bringBackTotals()
}

// bringBackTotals brings back the total usage of keys that only the backup has. Limits on all
// audio of a key depend on it.
func (m *merger) bringBackTotals() {
	m.exec(`INSERT INTO usage_scopes (account_id, key_id) SELECT account_id, key_id FROM backup.usage_scopes
		WHERE key_id IN (SELECT id FROM api_keys) ON CONFLICT DO NOTHING`)
	m.exec(`INSERT INTO usage_kinds (operation, reason, backend) SELECT operation, reason, backend FROM backup.usage_kinds
		WHERE TRUE ON CONFLICT DO NOTHING`)
	m.exec(`INSERT INTO usage_totals (scope, kind, ` + usageCounted + `)
		SELECT ms.id, mk.id, ` + usageCounted + ` FROM backup.usage_totals b
		JOIN backup.usage_scopes bs ON bs.id = b.scope
		JOIN usage_scopes ms ON ms.account_id = bs.account_id AND ms.key_id = bs.key_id
		JOIN backup.usage_kinds bk ON bk.id = b.kind
		JOIN usage_kinds mk ON mk.operation = bk.operation AND mk.reason = bk.reason AND mk.backend = bk.backend
		WHERE bs.key_id <> '' ON CONFLICT DO NOTHING`)
}

// suspendedNow returns the columns suspended_at and suspend_reason of a record of the
// backup, as the last entry since the backup about its suspension says. Without such an
// entry they are as in the backup. The other arguments are the parameters that have the two
// actions.
func suspendedNow(record, suspend, resume string) string {
	last := func(column string) string {
		return `(SELECT CASE action WHEN ` + suspend + ` THEN ` + column + ` END FROM audit
			WHERE seq > $1 AND action IN (` + suspend + `, ` + resume + `) AND subject = ` + record + `.id ORDER BY seq DESC LIMIT 1)`
	}
	noted := `EXISTS (SELECT 1 FROM audit WHERE seq > $1 AND action IN (` + suspend + `, ` + resume + `) AND subject = ` + record + `.id)`
	return `CASE WHEN ` + noted + ` THEN ` + last("at") + ` ELSE ` + record + `.suspended_at END,
		CASE WHEN ` + noted + ` THEN ` + last("detail") + ` ELSE ` + record + `.suspend_reason END`
}

// exec runs a statement.
func (m *merger) exec(query string, args ...any) { m.txn.exec(m.store.engine.Text(query), args...) }

// rows runs a statement and sets n to the number of its rows.
func (m *merger) rows(n *int, query string, args ...any) {
	if m.err == nil {
		var affected int64
		affected, m.err = m.count(m.store.engine.Text(query), args...)
		*n = int(affected)
	}
}

// row reads one number into n.
func (m *merger) row(n *int, query string, args ...any) {
	if m.err == nil {
		m.err = m.queryRow(m.store.engine.Text(query), args...).Scan(n)
	}
}
