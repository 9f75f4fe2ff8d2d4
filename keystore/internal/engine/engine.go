// Package engine is the interface between the keystore and the database that holds its
// tables. The engines are packages beside this one: sqlite and postgres.
//
// The keystore has the rules, and the SQL of accounts, keys, jobs, the audit trail and the
// change feed. An engine does everything that differs between databases: it opens,
// migrates, locks, follows, copies and closes a database, and knows what its errors mean.
//
// # SQL
//
// The SQL of the keystore is written for SQLite and PostgreSQL. Parameters are $1, $2, …,
// first used in this order, because SQLite numbers them by their first use. Times are
// integers in milliseconds. Digests are byte strings. Flags are used as conditions, and
// never compared with a number. Texts that are sorted need the order of their bytes
// (COLLATE "C" in PostgreSQL), because list cursors compare them.
//
// Few texts differ. They go through Engine.Text, which has the rules:
//
//   - (SELECT $1) avoids a slow path of SQLite, and stands for a plain $1.
//   - The schema backup has the tables of an attached copy.
//
// rowid is the number of a row in the order of insertion: SQLite has it by itself, and in
// PostgreSQL it is a column of accounts, api_keys and jobs. MIN of four numbers is a function
// of the schema in PostgreSQL.
//
// # What else differs
//
//   - A backup is an SQLite file whatever the engine is. So the keystore reads backups with the
//     functions of package sqlite, and package postgres converts from and to such a file.
//   - The disk of a PostgreSQL database is another machine's, so its free space is unknown.
//   - The keystore retries a transaction if Begin returns a Busy error, and not if a
//     statement or Commit does. Begin waits for the transactions of other processes.
package engine

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Engine opens one database, which may not exist yet. It also has the methods that a store
// needs while the database is not open.
type Engine interface {
	// Open opens the database and brings its schema to SchemaVersion. It leaves a newer schema
	// as it is, and fails if Schema.CheckNewer does. If another process holds a lock, Open fails
	// at once with an error for which Busy is true. Open and Database.Retire are called by one
	// goroutine at a time.
	Open(ctx context.Context, setup Setup) (Database, error)
	// CheckAccess returns an error if users other than the owner can write the
	// database, and the names of files that other users can read.
	CheckAccess() (readable []string, err error)
	// Busy reports whether err says that another process held a lock. The caller can try
	// again.
	Busy(err error) bool
	// Broken reports whether err says that the connection was broken when it was used again,
	// such as after a restart of the server. Another connection may work.
	Broken(err error) bool
	// Unreachable reports whether an error of Open says that the database cannot be reached, or does not
	// answer. An answer that refuses something is no such error.
	Unreachable(err error) bool
	// Refused reports whether err says that the database has answered, and does not let this program use it: the
	// password, the role, its rights or a certificate are not accepted.
	Refused(err error) bool
	// Full reports whether err says that the disk or a quota is full.
	Full(err error) bool
	// Unstorable reports whether err says that a text of the query cannot be in the database,
	// such as one with a zero byte.
	Unstorable(err error) bool
	// Advise adds to err what an operator can do about it, unless err says it already.
	Advise(err error) error
	// Schema reads the schema of a database of this engine.
	Schema(ctx context.Context, q Querier) (Schema, error)
	// Beside returns how many transactions with the mode Beside may run at the same time beside
	// another one; 0 if transactions run one after another.
	Beside() int
	// Text returns a query in the SQL of the engine. Only few queries differ: those that say so.
	Text(query string) string
}

// Setup says how a database is opened.
type Setup struct {
	// Create lets Open create a database that does not exist. If Create is false, the
	// error is then ErrNoStore.
	Create bool
	// Migrated runs after each migration, in its transaction. Only versions before 20 need it,
	// which the engine of PostgreSQL does not have.
	Migrated func(ctx context.Context, conn Conn, version int64) error
	// Prepare runs when the schema has SchemaVersion, or is newer, before Open returns.
	Prepare func(ctx context.Context, db Database) error
}

// Database is one open database. Its methods may be called concurrently, except Follow and
// Retire, which only the goroutine that polls calls.
type Database interface {
	// Begin starts a transaction that writes. The transactions of all processes run one
	// after another: each sees what the one before has committed. So the numbers of the
	// change feed and of the audit trail follow the order of the commits, and no reader
	// of the feed misses an entry. Begin fails if the database is no longer in its place:
	// see IsLost. It also fails so if the schema is by now one that this program does not
	// work with: no transaction that has begun writes to such tables.
	Begin(ctx context.Context, mode Mode) (*sql.Tx, error)
	// Alone runs a statement in a durable transaction of its own, and calls read with each row that
	// it returns. It needs one exchange with the server. undone reports, if there is an error, that
	// the statement has certainly changed nothing. An engine whose Beside is 0 does not have it.
	Alone(ctx context.Context, query string, args []any, read func(Row) error) (undone bool, err error)
	// Send runs statements in a transaction of Begin, one after the other, up to the first error. If the
	// database is on another machine, they need one exchange with it.
	Send(ctx context.Context, tx *sql.Tx, statements []Statement) error
	// Commit runs statements in a transaction of Begin, as Send does, and commits it. A transaction of
	// Attach is committed without statements. After an error the transaction has ended.
	Commit(ctx context.Context, tx *sql.Tx, statements ...Statement) error
	// Mark returns two queries, for a write that must not be made twice when the answer to its commit is
	// lost. The first, in a transaction of Begin, returns a text that names it. The second, with such a text
	// as $1, returns whether that transaction was committed. A later transaction of Begin must ask: it waits
	// for the end of the one before. Both are empty if no answer can be lost.
	Mark() (name, committed string)
	// Reader returns a pool for reads. Writes with it fail.
	Reader() *sql.DB
	// Lists returns a pool for the reads of lists, searches and sums: they may take longer than
	// others, and are planned for the values of their parameters. Writes with it fail.
	Lists() *sql.DB
	// Search calls read with a Querier of Lists, whose queries can find the keys whose label contains a
	// text in an index. done is false if the database has no such index, or if a query of read has
	// taken longer than limit, which must be at least a millisecond. The caller then reads in another way.
	Search(ctx context.Context, limit time.Duration, read func(Querier) error) (done bool, err error)
	// Follow checks that the database is still in its place and whole. It calls
	// read if another connection may have written since the last call of Follow
	// that returned nil. undone is set if, since then, changes may have been undone that this
	// process has read: a standby that lacked them has taken the place of the server. If the
	// error satisfies IsLost, it is final.
	Follow(ctx context.Context, read func(q Querier, undone bool) error) error
	// Timeline identifies, to the one that calls Follow, what the server had written when Follow succeeded
	// last. It changes when changes may have been undone. It is empty if that cannot be.
	Timeline() string
	// Wake returns a channel that has an element when another process may have written: then
	// Follow is to be called. It is nil if no process tells the engine so.
	Wake() <-chan struct{}
	// Period returns how much later than the last call Follow is to be called, if nothing wakes.
	Period() time.Duration
	// Export copies the database, as it is at one instant, into the empty file at
	// path. The copy is an SQLite database.
	Export(ctx context.Context, path string) error
	// Attach makes the tables of the copy at path readable as the schema "backup", and
	// calls use. begin starts a durable transaction that can read these tables. When use
	// returns, the copy is detached.
	Attach(ctx context.Context, path string, use func(begin func(context.Context) (*sql.Tx, error)) error) error
	// Snapshot calls read with a Querier that sees the database as it is at one instant, for
	// a read that can take long. Other transactions go on meanwhile.
	Snapshot(ctx context.Context, read func(Querier) error) error
	// Size returns how many bytes the database has on the disk, and how many its log of
	// changes has. It reads no table. An unknown size is zero.
	Size() (data, log int64)
	// Reports returns the reports that the gateways of the database send each other; nil if the
	// engine has none.
	Reports() Reports
	// Made reports whether Open has created this database.
	Made() bool
	// Retire closes a database that is lost, whose pepper is not the process's, or whose schema
	// this program does not work with. why is the error that says so.
	Retire(ctx context.Context, why error)
	// Close closes the database. Queries under way finish.
	Close() error
}

// Reports are short-lived messages between the gateways of a database, which may be lost. They are
// in no backup and no copy.
type Reports interface {
	// Send adds a report of a gateway. It does nothing if there is a report with this number.
	Send(ctx context.Context, gateway string, number int64, body []byte) error
	// Receive returns the reports of other gateways that are not older than span, and whose
	// numbers are higher than those in seen: those of each gateway in the order of their numbers.
	Receive(ctx context.Context, gateway string, span time.Duration, seen map[string]int64) ([]Report, error)
	// Sweep removes the reports that are older than kept.
	Sweep(ctx context.Context, kept time.Duration) error
}

// Report is what one gateway tells the others.
type Report struct {
	Gateway string // a name that a process has made for itself
	Number  int64
	Age     time.Duration // by the clock of the database
	Body    []byte
}

// Mode is a set of properties of a transaction that writes. Zero is a durable transaction that runs
// when no other runs.
type Mode uint8

const (
	// Relaxed is a transaction that does not wait for the disk. A loss of power may undo it.
	Relaxed Mode = 1 << iota
	// Beside is a transaction that writes neither the change feed nor the audit trail, and
	// that the engine may run beside other transactions.
	Beside
)

// Querier is what *sql.DB, *sql.Conn and *sql.Tx have in common.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Statement is a statement with its arguments.
type Statement struct {
	Query string
	Args  []any
	// Read is called with each row that the statement returns. It must not keep the Row. It is nil for a
	// statement that returns none.
	Read func(Row) error
}

// Row is a row whose columns are read.
type Row interface{ Scan(dest ...any) error }

// RunEach runs statements one after the other, up to the first error.
func RunEach(ctx context.Context, q Conn, statements []Statement) error {
	for _, s := range statements {
		if err := s.run(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func (s *Statement) run(ctx context.Context, q Conn) error {
	if s.Read == nil {
		_, err := q.ExecContext(ctx, s.Query, s.Args...)
		return err
	}
	rows, err := q.QueryContext(ctx, s.Query, s.Args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err returns the error
	for rows.Next() {
		if err := s.Read(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Rows are rows that are read one after another.
type Rows interface {
	// Next reads the next row, if there is one.
	Next() bool
	// Values returns the row. The next call of Next overwrites the slice.
	Values() ([]any, error)
	// Err returns the error that has ended the rows; nil if all were read.
	Err() error
}

// Conn is a Querier that also writes.
type Conn interface {
	Querier
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// ErrNoStore says that there is no keystore at the engine's place.
var ErrNoStore = errors.New("there is no keystore")

// NoStore returns an ErrNoStore with a text of its own.
func NoStore(text string) error { return &lostError{text, ErrNoStore} }

// Lost returns an error for which IsLost is true.
func Lost(text string) error { return &lostError{text: text} }

// ErrReplaced says that another database is now at the place of the one that was opened.
var ErrReplaced = Lost("another file or database was put in its place")

// IsLost reports whether err says that the database that was opened is gone,
// replaced or destroyed, or needs a newer program. It will never be usable again: Retire it,
// and Open.
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
