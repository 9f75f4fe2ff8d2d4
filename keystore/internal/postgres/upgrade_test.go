package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

const next = engine.SchemaVersion + 1

// withNext returns the migrations, and one more.
func withNext(t *testing.T, statements string) fs.FS {
	t.Helper()
	files := fstest.MapFS{fmt.Sprintf("%05d_next.sql", next): {Data: []byte(statements)}}
	names, err := fs.Glob(migrations(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(migrations(), name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	return files
}

// upgradePatiently runs the migrations as soon as no other process holds a lock, as the keystore does.
func upgradePatiently(ctx context.Context, d *database, files fs.FS) error {
	for {
		if _, err := d.upgrade(ctx, versionTable, files, next); !d.engine.Busy(err) {
			return err
		}
	}
}

func wantVersion(t *testing.T, d *database, want int64) {
	t.Helper()
	if version, err := readVersion(t.Context(), d.reader); err != nil || version != want {
		t.Errorf("the schema has version %d, %v; want %d", version, err, want)
	}
}

// A transaction that waits for its lock while a migration runs sees what the migration has said: a
// program that does not work with the new tables writes nothing to them.
func TestBegin_FailsOnTablesForNewerProgramsOnly(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]engine.Mode{"durable": 0, "relaxed": engine.Relaxed, "beside": engine.Beside, "beside, relaxed": engine.Beside | engine.Relaxed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, dsn := openNew(t)
			other, _ := open(t, dsn, "")
			migration, err := d.working.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = migration.Rollback() }() // does nothing after the commit
			if _, err := migration.ExecContext(t.Context(), lockTables, writerLock, schemaLock); err != nil {
				t.Fatal(err)
			}
			began := make(chan error, 1)
			go func() {
				var tx *sql.Tx
				var err error
				for {
					if tx, err = other.Begin(context.Background(), mode); !other.engine.Busy(err) {
						break
					}
				}
				if tx != nil {
					_ = tx.Rollback()
				}
				began <- err
			}()
			testutil.Eventually(t, "the transaction waits for its lock", func() bool {
				var waiting int
				err := d.reader.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
					WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()`).Scan(&waiting)
				return err == nil && waiting > 0
			})
			if _, err := migration.ExecContext(t.Context(), `UPDATE meta SET value = $1 WHERE name = 'compatible'`, fmt.Sprint(next)); err != nil {
				t.Fatal(err)
			}
			if err := migration.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := <-began; !engine.IsLost(err) {
				t.Errorf("a transaction of an older program begins: %v", err)
			}
		})
	}
}

// A write without a transaction of its own has the same check.
func TestAlone_FailsOnTablesForNewerProgramsOnly(t *testing.T) {
	t.Parallel()
	d, _ := openNew(t)
	write := func() (undone bool, err error) {
		return d.Alone(t.Context(), `INSERT INTO meta (name, value) VALUES ('mark', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
			[]any{"1"}, func(engine.Row) error { return nil })
	}
	if _, err := write(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.working.ExecContext(t.Context(), `UPDATE meta SET value = CASE name WHEN 'compatible' THEN $1 ELSE '' END WHERE name IN ('compatible', 'mark')`, fmt.Sprint(next)); err != nil {
		t.Fatal(err)
	}
	if undone, err := write(); err == nil || !undone {
		t.Errorf("undone %t, %v; want an error, and nothing written", undone, err)
	}
	var mark string
	if err := d.reader.QueryRowContext(t.Context(), `SELECT value FROM meta WHERE name = 'mark'`).Scan(&mark); err != nil || mark != "" {
		t.Errorf("%q was written, %v", mark, err)
	}
}

// A gateway whose program is too old sends no reports, and removes none.
func TestReports_FailOnTablesForNewerProgramsOnly(t *testing.T) {
	t.Parallel()
	d, _ := openNew(t)
	if err := d.Reports().Send(t.Context(), "a", 1, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.working.ExecContext(t.Context(), `UPDATE meta SET value = $1 WHERE name = 'compatible'`, fmt.Sprint(next)); err != nil {
		t.Fatal(err)
	}
	if err := d.Reports().Send(t.Context(), "a", 2, []byte("second")); !errors.Is(err, engine.ErrTooOld) {
		t.Errorf("sending: %v, want %q", err, engine.ErrTooOld)
	}
	if err := d.Reports().Sweep(t.Context(), -time.Hour); !errors.Is(err, engine.ErrTooOld) {
		t.Errorf("sweeping: %v, want %q", err, engine.ErrTooOld)
	}
	if reports, err := d.Reports().Receive(t.Context(), "b", time.Minute, nil); err != nil || len(reports) != 1 || reports[0].Number != 1 {
		t.Errorf("%+v are there, %v; want the first report", reports, err)
	}
}

// A job that waits for a lock of its table, such as that of a restore, fails while the server still answers:
// so it is certain that nothing was written.
func TestAlone_GivesUpATableThatIsLocked(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	for name, pooled := range map[string]bool{"direct": false, "behind a pooler": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := server.NewDatabase(t)
			through, direct := dsn, ""
			if pooled {
				through, direct = server.PgBouncer(t, "transaction", dsn), dsn
			}
			d, _ := open(t, through, direct)
			alone := func() (undone bool, err error) {
				return d.Alone(t.Context(), `DELETE FROM jobs`, nil, func(engine.Row) error { return nil })
			}
			if pooled { // the connection asks for the description of its statements
				if _, err := alone(); err != nil {
					t.Fatal(err)
				}
			}
			restore, err := d.working.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = restore.Rollback() }() // it has written nothing
			if _, err := restore.ExecContext(t.Context(), lockOthers); err != nil {
				t.Fatal(err)
			}
			if undone, err := alone(); !d.engine.Busy(err) || !undone {
				t.Errorf("undone %t, %v; want an error of a lock, and nothing written", undone, err)
			}
		})
	}
}

// No migration runs while a transaction writes, in any mode.
func TestUpgrade_WaitsForTransactionsThatWrite(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]engine.Mode{"alone": 0, "beside": engine.Beside} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, dsn := openNew(t)
			other, _ := open(t, dsn, "")
			tx := mustBegin(t, other, mode)
			files := withNext(t, `CREATE TABLE added (id TEXT PRIMARY KEY);`)
			if _, err := d.upgrade(t.Context(), versionTable, files, next); !d.engine.Busy(err) {
				t.Errorf("a migration beside a transaction: %v", err)
			}
			wantVersion(t, d, engine.SchemaVersion)
			mustCommit(t, other, tx)
			if err := upgradePatiently(t.Context(), d, files); err != nil {
				t.Error(err)
			}
			wantVersion(t, d, next)
		})
	}
}

// A migration that waits for a long read lets the other processes go on, and is tried again.
func TestUpgrade_HoldsNobodyUpWhileItWaits(t *testing.T) {
	t.Parallel()
	d, dsn := openNew(t)
	other, _ := open(t, dsn, "")
	files := withNext(t, `ALTER TABLE accounts ADD COLUMN added TEXT NOT NULL DEFAULT 'none';`)
	done := make(chan error, 1)
	read := func() error {
		var n int
		return other.reader.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM accounts`).Scan(&n)
	}
	err := other.Snapshot(t.Context(), func(q engine.Querier) error {
		var n int
		if err := q.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM accounts`).Scan(&n); err != nil {
			return err
		}
		if _, err := d.upgrade(t.Context(), versionTable, files, next); !d.engine.Busy(err) {
			t.Errorf("the column was added beside a long read: %v", err)
		}
		go func() { done <- upgradePatiently(context.Background(), d, files) }()
		// For longer than one try and its pause, reads and writes go on.
		for begun := time.Now(); time.Since(begun) < 2*(migratePause+250*time.Millisecond); {
			begin := time.Now()
			if err := read(); err != nil {
				return err
			}
			tx, err := other.Begin(t.Context(), 0)
			if other.engine.Busy(err) {
				continue // the keystore begins again
			}
			if err != nil {
				return err
			}
			insertChange(t, tx, "meanwhile")
			mustCommit(t, other, tx)
			if took := time.Since(begin); took > readSilence {
				t.Errorf("a read and a write took %s", took)
			}
		}
		wantVersion(t, d, engine.SchemaVersion)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the long read: %v", err)
	}
	wantVersion(t, d, next)
	if err := read(); err != nil {
		t.Error(err)
	}
}

// An index of a large table is made beside transactions that write, and again after an interruption.
func TestUpgrade_MakesAnIndexBesideWrites(t *testing.T) {
	t.Parallel()
	d, dsn := openNew(t)
	other, _ := open(t, dsn, "")
	files := withNext(t, noTransaction+`
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS accounts_added;
CREATE INDEX CONCURRENTLY accounts_added ON accounts (name);
`)
	ctx, interrupt := context.WithCancel(t.Context())
	done := make(chan error, 1)
	old, err := d.working.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Rollback() }() // it only reads
	if _, err := old.ExecContext(t.Context(), `LOCK TABLE accounts IN ROW EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	go func() { done <- upgradePatiently(ctx, other, files) }()
	valid := func() (exists, valid bool) {
		err := d.reader.QueryRowContext(t.Context(), `SELECT COUNT(*) = 1, COALESCE(BOOL_AND(indisvalid), FALSE)
			FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relname = 'accounts_added'`).Scan(&exists, &valid)
		if err != nil {
			t.Error(err)
		}
		return exists, valid
	}
	testutil.Eventually(t, "the index is being made", func() bool { exists, _ := valid(); return exists })
	addChange(t, d, "while the index is being made")
	interrupt()
	if err := <-done; err == nil {
		t.Error("the interrupted migration has succeeded")
	}
	if _, valid := valid(); valid {
		t.Error("the interrupted index is valid")
	}
	wantVersion(t, d, engine.SchemaVersion)
	if err := old.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := upgradePatiently(t.Context(), other, files); err != nil {
		t.Fatal(err)
	}
	if _, valid := valid(); !valid {
		t.Error("the index is not valid")
	}
	wantVersion(t, d, next)
}
