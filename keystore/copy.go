package keystore

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/speechgate/speechgate/keystore/internal/postgres"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// CopyOptions say how [Store.CopyTo] copies.
type CopyOptions struct {
	// Snapshot lets the copy finish although the store has changed since it was read. The copy
	// then lacks these changes. Default: CopyTo fails.
	Snapshot bool
	// Progress is told of each part of a table. Default: nobody is told.
	Progress func(CopyProgress)
}

// CopyProgress says how far [Store.CopyTo] is: first it copies all tables, and then it compares them.
type CopyProgress = postgres.Progress

// Copied is the result of [Store.CopyTo].
type Copied struct {
	StoreID string // of both stores
	Kept    int64  // rows that were there already, from a copy that was interrupted
	Changed bool   // the store has changed since it was read; only with CopyOptions.Snapshot
	Tables  []CopiedTable
	Head    AuditHead // of the audit trail of the copy
	Feed    int64     // number of the last change that the copy has
}

// CopiedTable is a table that is the same in both stores.
type CopiedTable struct {
	Name   string
	Rows   int64
	SHA256 string // of all values, in the order of the rows; hexadecimal
}

// target is the place of a new store, which CopyTo fills.
type target interface {
	postgres.Destination

	Reader() *sql.DB
	Finish(ctx context.Context) error
	Close() error
	Advise(err error) error
}

// CopyTo makes a store with the same records and the same ID at another place, which must be
// empty. At least one of the two stores is a PostgreSQL database; [Store.Backup] copies a file
// to a file.
//
// The copy has the records as they were at one instant. CopyTo compares all rows of both stores, and
// verifies the audit trail of the copy. Only then there is a store at the new place. If CopyTo is
// interrupted, it can be called again: it keeps the rows that are the same.
//
// The error is ErrInvalid if there is a store at the place already, or the store has changed since
// it was read. Of what a running server changes, CopyTo does not notice last uses, usage and the
// ends of jobs: stop the servers first.
func (s *Store) CopyTo(ctx context.Context, to Config, o CopyOptions) (c Copied, err error) {
	db, err := s.database()
	if err != nil {
		return c, err
	}
	if to, err = to.withDefaults(); err != nil {
		return c, err
	}
	if s.cfg.Postgres == nil && to.Postgres == nil {
		return c, refuse(ErrInvalid, "both keystores are files, %s and %s: \"backup\" copies a file", s.cfg.name, to.name)
	}
	t, err := openTarget(ctx, to, db.id)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	c.StoreID = db.id
	err = db.Snapshot(ctx, func(from querier) error { return s.copyFrom(ctx, from, t, o, &c) })
	if err == nil {
		err = t.Finish(ctx)
	}
	switch refused := (*refusal)(nil); {
	case errors.Is(err, postgres.ErrTaken), errors.Is(err, fs.ErrExist):
		return c, taken(to.name)
	case errors.As(err, &refused):
		return c, err
	case err != nil:
		return c, fault(fmt.Errorf("keystore %s: copying it to %s: %w", s.cfg.name, to.name, t.Advise(err)))
	}
	return c, nil
}

// copyFrom copies the snapshot from into t, and checks the copy.
func (s *Store) copyFrom(ctx context.Context, from querier, t target, o CopyOptions, c *Copied) error {
	if err := s.checkKnown(ctx, from); err != nil {
		return err
	}
	began, err := readCopyPosition(ctx, from)
	if err != nil {
		return err
	}
	transfer := &postgres.Transfer{From: from, FromPostgres: s.cfg.Postgres != nil, To: t, Progress: o.Progress}
	if err := transfer.Fill(ctx); err != nil {
		return err
	}
	c.Kept, c.Feed = transfer.Kept, began.feed
	if c.Changed, err = s.changedSince(ctx, began, o); err != nil {
		return err // before the long comparison
	}
	tables, err := transfer.Compare(ctx)
	if err != nil {
		return err
	}
	for _, table := range tables {
		c.Tables = append(c.Tables, CopiedTable{table.Table, table.Rows, hex.EncodeToString(table.Sum[:])})
	}
	v := &auditVerifier{ctx: ctx, hash: s.hash}
	check, err := v.verify(t.Reader())
	switch {
	case err != nil:
		return err
	case check.Fault != "":
		return refuse(ErrInvalid, "the audit trail is not whole, as in the keystore that was copied: %s", check.Text)
	}
	c.Head = check.Head
	c.Changed, err = s.changedSince(ctx, began, o)
	return err
}

// readCopyPosition reads the position of a store, also if its change feed was pruned.
func readCopyPosition(ctx context.Context, q querier) (p position, err error) {
	if p, err = readPosition(ctx, q); err != nil {
		return p, err
	}
	feed, err := readFeedPosition(ctx, q, 0)
	p.feed = feed.last
	return p, err
}

// changedSince reports whether the store has changed since a position. Without CopyOptions.Snapshot
// a change is an error.
func (s *Store) changedSince(ctx context.Context, began position, o CopyOptions) (changed bool, err error) {
	db, err := s.database()
	if err != nil {
		return false, err
	}
	var now position
	err = db.Snapshot(ctx, func(q querier) error {
		now, err = readCopyPosition(ctx, q)
		return err
	})
	if err != nil || now == began {
		return false, err
	}
	if o.Snapshot {
		return true, nil
	}
	return true, refuse(ErrInvalid, "the keystore %s has changed since the copy began: its audit trail went from entry %d to %d, its change feed from %d to %d, its last job from %d to %d: stop the gateways and repeat this, or let the copy be without the changes",
		s.cfg.name, began.audit, now.audit, began.feed, now.feed, began.job, now.job)
}

// openTarget opens the place of a copy, and goes on with what an earlier copy has left there.
func openTarget(ctx context.Context, to Config, storeID string) (target, error) {
	if to.Postgres != nil {
		database := postgres.New(to.place, true, to.Logger)
		t, err := database.OpenTarget(ctx, storeID)
		switch {
		case errors.Is(err, postgres.ErrTaken):
			return nil, refuse(ErrInvalid, "%s: %v", to.name, err)
		case err != nil:
			return nil, fault(fmt.Errorf("keystore %s: %w", to.name, database.Advise(err)))
		}
		return t, nil
	}
	for _, name := range append(sqlite.Beside(to.Path), to.Path) {
		switch _, err := os.Lstat(name); {
		case err == nil:
			return nil, refuse(ErrInvalid, "%s is in the way, and may belong to another keystore: move it away first", name)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fault(fmt.Errorf("keystore %s: %w", to.name, err))
		}
	}
	if err := CheckNew(ctx, to); err != nil {
		return nil, err
	}
	// The ID is in the name, so that the copy of another keystore has another file.
	f := &fileTarget{path: to.Path, temp: to.Path + ".copy-" + storeID}
	var err error
	if f.Target, err = sqlite.OpenTarget(ctx, f.temp); err != nil {
		return nil, fault(fmt.Errorf("keystore %s: %w", f.temp, err))
	}
	return f, nil
}

// fileTarget is the place of a copy in a file. The file has another name until it is whole.
type fileTarget struct {
	*sqlite.Target

	path, temp string
	closed     bool
}

// Finish gives the file its name.
func (f *fileTarget) Finish(context.Context) error {
	if err := f.Close(); err != nil {
		return err
	}
	if err := moveInto(f.temp, f.path); err != nil {
		return err
	}
	removeTemp(f.temp)
	return nil
}

// Close closes the file. Closing again does nothing.
func (f *fileTarget) Close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	return f.Target.Close()
}
