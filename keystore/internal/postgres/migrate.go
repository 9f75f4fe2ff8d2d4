package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// versionTable has the versions of the schema. The table marks a database as a keystore.
const versionTable = "speechgate_schema"

// firstVersion is the version of the schema with which the engine began. The versions are
// those of the SQLite engine.
const firstVersion = 20

const (
	// migrationLock is the key of the advisory lock of the process that migrates.
	migrationLock = 0x53474b4d // "SGKM"
	// schemaLock is the key of the advisory lock that transactions with the mode Beside share, and
	// that no migration shares.
	schemaLock = 0x53474b56 // "SGKV"
)

// lockMigrations takes the lock for the time of all migrations, whose statements run in other
// transactions. A lock of a session would get lost in a pooler. The statement has no parameters: it
// would keep its snapshot, for whose end CREATE INDEX CONCURRENTLY waits.
var lockMigrations = fmt.Sprintf(`SELECT set_config('lock_timeout', '250', TRUE), set_config('idle_in_transaction_session_timeout', '0', TRUE),
	pg_advisory_xact_lock(%d) IS NULL`, migrationLock)

// lockTables begins the transaction of a migration: no other process writes until its end. If a
// statement waits for a table that others read, everyone who reads the table after that waits too,
// so it gives up soon.
const lockTables = `SELECT set_config('lock_timeout', '250', TRUE), pg_advisory_xact_lock($1) IS NULL, pg_advisory_xact_lock($2) IS NULL`

// migratePause is how long the others can go on before a migration that got no lock is tried again.
const migratePause = 750 * time.Millisecond

// migrate brings the schema to engine.SchemaVersion. It refuses a newer schema that this program
// does not work with.
func (d *database) migrate(ctx context.Context, setup engine.Setup) error {
	schema, err := readSchema(ctx, d.reader)
	switch {
	case err != nil:
		return connectError(err)
	case schema.Version == 0 && !setup.Create:
		return engine.NoStore("there is no keystore in the database " + d.engine.place.String())
	case schema.Version == 0:
		if err := d.checkNoCopy(ctx); err != nil {
			return err
		}
	}
	if schema.Version < engine.SchemaVersion {
		results, err := d.upgrade(ctx, versionTable, migrations(), engine.SchemaVersion)
		if err != nil {
			return adviseOwner(err, initAsOwner)
		}
		for _, r := range results {
			d.made = d.made || r.Source.Version == firstVersion
		}
		if schema, err = readSchema(ctx, d.reader); err != nil { // a newer program may have been faster
			return err
		}
	}
	return schema.CheckNewer()
}

// upgrade runs the migrations up to a version that are missing. The table has the versions of the
// schema.
func (d *database) upgrade(ctx context.Context, table string, files fs.FS, to int64) ([]*goose.MigrationResult, error) {
	migrations, err := readMigrations(files)
	if err != nil {
		return nil, err
	}
	alone, err := d.working.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = alone.Rollback() }() // it writes nothing
	if _, err := alone.ExecContext(ctx, lockMigrations); err != nil {
		return nil, fmt.Errorf("another process is upgrading its schema: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, d.working, nil, goose.WithGoMigrations(migrations...),
		goose.WithTableName(table), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, err
	}
	results, err := p.UpTo(ctx, to)
	if err != nil {
		if d.engine.Busy(err) {
			_ = alone.Rollback()
			pause(ctx, migratePause)
		}
		return nil, fmt.Errorf("upgrading its schema to version %d: %w", to, err)
	}
	return results, nil
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, long time.Duration) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// migrations returns the files of the migrations.
func migrations() fs.FS {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the name is valid
	}
	return files
}

// noTransaction marks a file whose statements cannot run in a transaction, such as CREATE INDEX
// CONCURRENTLY. It may run again after it was interrupted.
const noTransaction = "-- +goose NO TRANSACTION"

// readMigrations returns the migrations of the files.
func readMigrations(files fs.FS) (migrations []*goose.Migration, err error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		up := &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, lockTables, writerLock, schemaLock); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, string(text))
			return err
		}}
		if strings.Contains(string(text), noTransaction) {
			up = &goose.GoFunc{RunDB: func(ctx context.Context, db *sql.DB) error {
				for statement := range strings.SplitSeq(string(text), ";\n") {
					if _, err := db.ExecContext(ctx, statement); err != nil {
						return err
					}
				}
				return nil
			}}
		}
		migrations = append(migrations, goose.NewGoMigration(version, up, nil))
	}
	return migrations, nil
}

// readSchema returns what q knows of the schema.
func readSchema(ctx context.Context, q engine.Querier) (s engine.Schema, err error) {
	if s.Version, err = readVersion(ctx, q); err != nil || s.Version == 0 {
		return s, err
	}
	err = q.QueryRowContext(ctx, engine.ReadCompatible).Scan(&s.Compatible)
	return s, err
}

// Schema implements [engine.Engine].
func (*Engine) Schema(ctx context.Context, q engine.Querier) (engine.Schema, error) {
	return readSchema(ctx, q)
}

// readVersion returns the version of the schema; 0 if there are no tables.
func readVersion(ctx context.Context, q engine.Querier) (version int64, err error) {
	var exists bool
	if err := q.QueryRowContext(ctx, `SELECT to_regclass('`+versionTable+`') IS NOT NULL`).Scan(&exists); err != nil || !exists {
		return 0, err
	}
	err = q.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM `+versionTable).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return version, err
}
