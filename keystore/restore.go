package keystore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/speechgate/speechgate/keystore/internal/postgres"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
	"github.com/speechgate/speechgate/policy"
)

// Restored is the result of a restore.
type Restored struct {
	Keys, Accounts, Jobs RestoreCount
	// KeptEnded and KeptClosed are how many keys and accounts have ended since the
	// backup, and therefore did not come back.
	KeptEnded, KeptClosed int
	// Before is the path of a backup of the store as it was before; empty if there
	// was no store.
	Before string
}

// RestoreCount counts the records of one kind that a restore has brought back and removed.
type RestoreCount struct{ Restored, Removed int }

func (r *Restored) detail() string {
	return fmt.Sprintf("keys: %d restored, %d removed, %d kept ended; accounts: %d restored, %d removed, %d kept closed; jobs: %d restored, %d removed",
		r.Keys.Restored, r.Keys.Removed, r.KeptEnded, r.Accounts.Restored, r.Accounts.Removed, r.KeptClosed, r.Jobs.Restored, r.Jobs.Removed)
}

// beforeTime is the layout of the time in the name of the backup that a restore makes.
const beforeTime = "20060102T150405.000Z"

// Restore brings the store back to the state of a backup. from is the path of the backup.
// A key or account that has ended since the backup does not come back. In detail:
//
//   - A record that both have stays as it is now. So later ends, service IDs and
//     passwords stay.
//   - A record that only the store has is removed. Restore first makes a backup beside
//     the store, which still has the record.
//   - A record that only the backup has is brought back, unless its key or account
//     has ended, or the audit trail does not reach back to the backup.
//   - Tokens stay with their keys. A token that only the backup has is not brought back:
//     clients get new ones.
//   - The audit trail stays, and the usage. The usage of a key that is removed goes with the
//     key; a key that is brought back has the total usage of the backup.
//
// All this happens in one transaction, beside running servers. Only the operator may
// call Restore. The error is ErrInvalid if the file is not a backup of this store.
func (s *Store) Restore(ctx context.Context, now policy.Time, by Actor, from string) (Restored, error) {
	return s.restore(ctx, now, by, from, false)
}

// PlanRestore returns what [Store.Restore] would do, and changes nothing. It makes no backup.
func (s *Store) PlanRestore(ctx context.Context, now policy.Time, by Actor, from string) (Restored, error) {
	return s.restore(ctx, now, by, from, true)
}

func (s *Store) restore(ctx context.Context, now policy.Time, by Actor, from string, dry bool) (Restored, error) {
	if err := operatorOnly(by, actRestore); err != nil {
		return Restored{}, err
	}
	db, err := s.database()
	if err != nil {
		return Restored{}, err
	}
	if err := s.checkKnown(ctx, db.reader); err != nil { // mergeAll checks it again
		return Restored{}, fault(fmt.Errorf("keystore %s: %w", s.cfg.name, err))
	}
	b, err := s.openBackup(ctx, from)
	if err != nil {
		return Restored{}, err
	}
	defer removeTemp(b.temp)
	if err := b.close(); err != nil {
		return Restored{}, fault(err)
	}
	if b.db.id != db.id {
		return Restored{}, refuse(ErrInvalid, "%s is a backup of another keystore, %s, and this one is %s: want a backup of this one", from, b.db.id, db.id)
	}
	r, err := s.merge(ctx, db, now, by, b, dry)
	if err != nil {
		return Restored{}, fault(err)
	}
	return r, nil
}

// RestoreNew puts the backup in the file from at the path of the configuration, where
// there must be no store. Keys and accounts that have ended or were suspended since the
// backup come back as they were, because nothing is known of this. Tokens do not come back.
// Only the operator may call RestoreNew. The error is ErrInvalid if the file is not a backup,
// or the path is taken, and ErrUnavailable if no file can be made at the path.
func RestoreNew(ctx context.Context, cfg Config, now policy.Time, by Actor, from string) (Restored, error) {
	return restoreNew(ctx, cfg, now, by, from, false)
}

// PlanRestoreNew returns what [RestoreNew] would do, and leaves no file behind. It tries the
// restore beside the path, so it finds a directory that cannot be written and a full disk.
func PlanRestoreNew(ctx context.Context, cfg Config, now policy.Time, by Actor, from string) (Restored, error) {
	return restoreNew(ctx, cfg, now, by, from, true)
}

func restoreNew(ctx context.Context, cfg Config, now policy.Time, by Actor, from string, dry bool) (r Restored, err error) {
	if err := operatorOnly(by, actRestore); err != nil {
		return Restored{}, err
	}
	if cfg, err = cfg.withDefaults(); err != nil {
		return Restored{}, err
	}
	if cfg.Postgres != nil {
		return loadNew(ctx, cfg, now, by, from, dry)
	}
	path := cfg.Path
	for _, name := range append(sqlite.Beside(path), path) {
		switch _, err := os.Lstat(name); {
		case err == nil:
			return Restored{}, refuse(ErrInvalid, "%s is in the way, and may belong to another keystore: move it away first", name)
		case !errors.Is(err, fs.ErrNotExist):
			return Restored{}, fault(fmt.Errorf("keystore %s: %w", path, err))
		}
	}
	if err := CheckNew(ctx, cfg); err != nil {
		return Restored{}, err
	}
	remove := func() error { return nil }
	if dry {
		cfg.Path, remove, err = trialPath(path)
	} else {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err != nil {
		return Restored{}, fault(fmt.Errorf("keystore %s: its directory cannot be made: %w", path, err))
	}
	defer func() { err = errors.Join(err, remove()) }()
	b, err := newStore(cfg, monotonic()).openBackup(ctx, from)
	if err != nil {
		return Restored{}, err
	}
	defer removeTemp(b.temp)
	r, err = b.sign(ctx, now, by)
	if err := errors.Join(err, b.close()); err != nil {
		return Restored{}, fault(fmt.Errorf("keystore %s: %w", path, b.reader.engine.Advise(err)))
	}
	if dry {
		return r, nil
	}
	if err := moveInto(b.temp, path); err != nil {
		return Restored{}, fault(fmt.Errorf("keystore %s: putting the backup in its place: %w", path, err))
	}
	return r, nil
}

// loadNew is restoreNew for a PostgreSQL database.
func loadNew(ctx context.Context, cfg Config, now policy.Time, by Actor, from string, dry bool) (r Restored, err error) {
	database := postgres.New(cfg.place, true, cfg.Logger)
	explain := func(err error) error {
		if errors.Is(err, postgres.ErrTaken) {
			return refuse(ErrInvalid, "%s: %v", cfg.name, err)
		}
		return fault(fmt.Errorf("keystore %s: %w", cfg.name, database.Advise(err)))
	}
	if err := database.CheckNew(ctx); err != nil {
		return Restored{}, explain(err)
	}
	b, err := newStore(cfg, monotonic()).openBackup(ctx, from)
	if err != nil {
		return Restored{}, err
	}
	defer removeTemp(b.temp)
	r, err = b.sign(ctx, now, by)
	if err := errors.Join(err, b.close()); err != nil {
		return Restored{}, fault(fmt.Errorf("%s: %w", from, err))
	}
	if dry {
		return r, nil
	}
	if err := database.LoadNew(ctx, b.temp); err != nil {
		return Restored{}, explain(err)
	}
	return r, nil
}

// trialPath returns the path for the trial of a restore to path: path itself or, if the
// directory of path does not exist, a path in a new directory on the same file system. The
// caller must call remove, which removes the new directory.
func trialPath(path string) (trial string, remove func() error, err error) {
	parent, err := sqlite.NearestDir(path)
	if err != nil {
		return "", nil, err
	}
	if parent == filepath.Dir(path) {
		return path, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp(parent, "speechgate-restore-*")
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(dir, filepath.Base(path)), func() error { return os.RemoveAll(dir) }, nil
}

const actRestore = "restoring a backup"

// backup is a private copy of a backup.
type backup struct {
	from   string // the file
	temp   string // the copy
	db     *database
	reader *Store    // opened the copy
	head   AuditHead // of the audit trail in the file; the copy has one more entry if a pepper was added
}

// copyPath is the path beside which a restore from a file has its copies: the store, or the file
// itself if the store is a PostgreSQL database.
func (s *Store) copyPath(from string) string {
	if s.cfg.Postgres != nil {
		return from
	}
	return s.cfg.Path
}

// openBackup makes a private copy of the backup, and gives it this program's schema and pepper.
func (s *Store) openBackup(ctx context.Context, from string) (_ *backup, err error) {
	if err := checkBackup(from, s.cfg.Path); err != nil {
		return nil, err
	}
	temp, err := newTemp(s.copyPath(from))
	if err != nil {
		return nil, fault(fmt.Errorf("keystore %s: copying the backup: %w", s.cfg.name, err))
	}
	b := &backup{from: from, temp: temp}
	defer func() {
		if err != nil {
			removeTemp(temp)
		}
	}()
	if err := copyFile(from, temp); err != nil {
		return nil, fault(fmt.Errorf("copying %s: %w", from, err))
	}
	if b.head.Seq, err = readBackup(ctx, temp); err != nil {
		return nil, fault(b.unusable(err))
	}
	cfg := s.cfg
	cfg.Path, cfg.Postgres, cfg.CommandLine, cfg.KeepPepper = temp, nil, true, false // no other process uses the copy
	b.reader = newStore(cfg, s.mono)
	if b.db, err = b.reader.tryOpen(ctx, false); err != nil {
		return nil, b.unusable(err)
	}
	if b.head, err = headAt(ctx, b.db.reader, b.db.id, b.head.Seq); err != nil {
		_ = b.db.Close() // err says more
		return nil, b.unusable(err)
	}
	return b, nil
}

// close closes the copy, and checks that one file has all of it.
func (b *backup) close() error {
	if err := b.db.Close(); err != nil {
		return err
	}
	if fi, err := os.Stat(b.temp + "-wal"); err == nil && fi.Size() > 0 {
		return fmt.Errorf("%s was not written whole", b.temp)
	}
	return nil
}

// unusable explains why the backup cannot be used.
func (b *backup) unusable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault(err)
	}
	if Damaged(err) {
		err = fmt.Errorf("%w: want a whole file, as \"backup\" makes them", err)
	}
	return refuse(ErrInvalid, "%s cannot be restored: %v", b.from, err)
}

// checkBackup checks the file without opening it.
func checkBackup(from, store string) error {
	fi, err := os.Stat(from) //nolint:gosec // the operator names the file
	if err != nil {
		return refuse(ErrInvalid, "the backup cannot be read: %v", err)
	}
	if !fi.Mode().IsRegular() {
		return refuse(ErrInvalid, "%s is no regular file (%s): want one that \"backup\" made", from, fi.Mode())
	}
	// If a process opens and closes a file that SQLite has open, SQLite loses its locks.
	if own, err := os.Stat(store); err == nil && os.SameFile(own, fi) {
		return refuse(ErrInvalid, "%s is the keystore itself: want a backup of it", from)
	}
	for _, name := range sqlite.Beside(from) {
		if aside, err := os.Stat(name); err == nil && aside.Size() > 0 { //nolint:gosec // the operator names the file
			return refuse(ErrInvalid, "%s is beside it, so %s is in use, or a part only: want a file that \"backup\" made, which stands alone", name, from)
		}
	}
	return nil
}

// copyFile copies into an existing file.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()                      // it was only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_TRUNC, 0) //nolint:gosec // the store named the file
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// readBackup returns an error if the copy is not a whole keystore. It is called before
// anything writes to the copy. It returns the number of the last audit entry.
func readBackup(ctx context.Context, path string) (seq int64, err error) {
	db, err := sqlite.OpenCopy(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	schema, err := sqlite.ReadSchema(ctx, db)
	switch {
	case err != nil:
		return 0, err
	case schema.Version == 0:
		return 0, errors.New("it is empty: want a file that \"backup\" made")
	}
	if err := schema.CheckKnown(); err != nil {
		return 0, err
	}
	if err := sqlite.CheckIntegrity(ctx, db); err != nil {
		return 0, err
	}
	err = db.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM audit`).Scan(&seq)
	return seq, err
}

// headAt returns the head of the trail after entry seq.
func headAt(ctx context.Context, q querier, storeID string, seq int64) (h AuditHead, err error) {
	if seq == 0 {
		return firstHead(storeID), nil
	}
	h.Seq = seq
	var hash []byte
	err = q.QueryRowContext(ctx, `SELECT hash FROM audit WHERE seq = $1`, seq).Scan(&hash)
	copy(h.hash[:], hash)
	return h, err
}

// sign removes the copy's tokens, sessions and invitations, and adds an entry about the restore to its own trail.
func (b *backup) sign(ctx context.Context, now policy.Time, by Actor) (r Restored, err error) {
	err = b.db.reader.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM api_keys), (SELECT COUNT(*) FROM accounts), (SELECT COUNT(*) FROM jobs)`).
		Scan(&r.Keys.Restored, &r.Accounts.Restored, &r.Jobs.Restored)
	if err != nil {
		return r, err
	}
	tx, err := b.db.Begin(ctx, 0)
	if err != nil {
		return r, err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	t := &txn{Tx: tx, ctx: context.WithoutCancel(ctx), store: b.reader, db: b.db}
	t.exec(`DELETE FROM tokens`)
	t.exec(`DELETE FROM console_sessions`)
	t.exec(`UPDATE console_users SET setup_digest = NULL, setup_until = NULL`)
	t.audit(now, by, actionStoreRestore, "", b.head.String(), r.detail()+"; there was no keystore")
	if err := t.changed(now, changedStore, []byte{}); err != nil {
		return r, err
	}
	return r, t.commit()
}
