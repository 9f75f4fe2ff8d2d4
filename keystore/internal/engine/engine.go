// Package engine is the seam between the keystore and the database that holds
// its tables. SQLite (package sqlite beside this one) is the first engine.
//
// The keystore has the SQL of accounts, keys, jobs, the audit trail and the
// change feed, and the rules. An engine has all that differs between databases:
// how one is opened, migrated, locked, followed, copied and closed, and what its
// errors mean.
//
// Most SQL of the keystore is the same for SQLite and PostgreSQL: parameters are
// $1, $2, …, times are integers in milliseconds, digests are byte strings, and
// inserts that may conflict say ON CONFLICT. These texts are SQLite's, and need a
// second form for another engine:
//
//   - MIN(a, b) of two values, which is LEAST elsewhere and treats NULL otherwise
//     (revocation, scheduledEnd, firstEnd, revokeChildren), and IIF (issuersEnd)
//   - the schemas main and backup, randomblob and rowid of a restore
//   - MAX of several values in newestTime
package engine

import (
	"context"
	"database/sql"
	"errors"
)

// SchemaVersion is the version of the tables that the keystore works with. Every
// engine counts its migrations up to this number.
const SchemaVersion = 7

// Engine is a kind of database and the place of one: what a store knows before
// its database is open, and while it is not.
type Engine interface {
	// Open opens the database and brings its schema to SchemaVersion. It does not
	// wait for a lock of another process: see Busy. Open and Database.Retire are
	// called by one goroutine at a time.
	Open(ctx context.Context, setup Setup) (Database, error)
	// CheckAccess returns an error if users other than the owner can write the
	// database, and the names of files that other users can read.
	CheckAccess() (readable []string, err error)
	// Busy reports whether err says that another process held a lock. The call can
	// be made again.
	Busy(err error) bool
	// Full reports whether err says that the disk or a quota is full.
	Full(err error) bool
	// Advise adds to err what an operator can do about it, unless err says so.
	Advise(err error) error
}

// Setup says how a database is opened.
type Setup struct {
	// Create makes a database if there is none. Otherwise the error is ErrNoStore.
	Create bool
	// Migrated runs after each migration, in its transaction.
	Migrated func(ctx context.Context, conn Conn, version int64) error
	// Prepare runs when the schema is right, before Open returns.
	Prepare func(ctx context.Context, db Database) error
}

// Database is one open database. Its methods may be called concurrently, except
// Follow and Retire, which belong to the goroutine that polls.
type Database interface {
	// Begin starts a transaction that writes. It fails if the database is no
	// longer in its place: see IsLost. A relaxed transaction may be lost with the
	// power, and does not wait for the disk.
	Begin(ctx context.Context, relaxed bool) (*sql.Tx, error)
	// Commit commits a transaction of Begin or Attach.
	Commit(tx *sql.Tx) error
	// Reader is for reads. Writing with it fails.
	Reader() *sql.DB
	// Follow checks that the database is still in its place and whole. It calls
	// read if another connection may have written since the last call of Follow
	// that returned nil. If the error satisfies IsLost, it is final.
	Follow(ctx context.Context, read func(Querier) error) error
	// Export copies the database, as it is at one instant, into the empty file at
	// path. The copy is an SQLite database.
	Export(ctx context.Context, path string) error
	// Attach calls use while the tables of the copy at path can be read as the
	// schema "backup". begin is Begin for a durable transaction that sees them.
	Attach(ctx context.Context, path string, use func(begin func(context.Context) (*sql.Tx, error)) error) error
	// Made reports whether Open has made this database.
	Made() bool
	// Retire closes a database that is lost. why is the error of Follow, or what
	// else was found.
	Retire(ctx context.Context, why error)
	// Close closes the database. Queries under way finish.
	Close() error
}

// Querier is what *sql.DB, *sql.Conn and *sql.Tx have in common.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Conn is a Querier that also writes.
type Conn interface {
	Querier
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// ErrNoStore says that there is no keystore in this place.
var ErrNoStore = errors.New("there is no keystore")

// NoStore returns an ErrNoStore with a text of its own.
func NoStore(text string) error { return &lostError{text, ErrNoStore} }

// Lost returns an error for which IsLost is true.
func Lost(text string) error { return &lostError{text: text} }

// ErrReplaced says that another database is in the place of the one that was
// opened.
var ErrReplaced = Lost("another file was put in its place")

// IsLost reports whether err says that the database that was opened is gone,
// replaced or destroyed. It will never be usable again: Retire it, and Open.
func IsLost(err error) bool {
	var lost *lostError
	return errors.As(err, &lost)
}

type lostError struct {
	text string
	kind error // ErrNoStore, or nil
}

func (e *lostError) Error() string { return e.text }
func (e *lostError) Unwrap() error { return e.kind }
