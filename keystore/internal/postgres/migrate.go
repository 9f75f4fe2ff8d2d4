package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

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

// lockMigrations takes the lock $1 of transactions that write, for the time of a migration, whose
// statements run in other transactions. A lock of a session would get lost in a pooler.
const lockMigrations = `SELECT set_config('lock_timeout', '250', TRUE), set_config('idle_in_transaction_session_timeout', '0', TRUE),
	pg_advisory_xact_lock($1) IS NULL`

// migrate brings the schema to engine.SchemaVersion. It refuses a schema that is newer.
func (d *database) migrate(ctx context.Context, setup engine.Setup) error {
	version, err := readVersion(ctx, d.reader)
	switch {
	case err != nil:
		return connectError(err)
	case version > engine.SchemaVersion:
		return fmt.Errorf("its schema is version %d, and this program knows versions up to %d: run the newer program", version, engine.SchemaVersion)
	case version == engine.SchemaVersion:
		return nil
	case version == 0 && !setup.Create:
		return engine.NoStore("there is no keystore in the database " + d.engine.place.String())
	case version == 0:
		if err := d.checkNoCopy(ctx); err != nil {
			return err
		}
	}
	results, err := d.upgrade(ctx, versionTable)
	if err != nil {
		return err
	}
	for _, r := range results {
		d.made = d.made || r.Source.Version == firstVersion
	}
	return nil
}

// upgrade runs the migrations that are missing. The table has the versions of the schema.
func (d *database) upgrade(ctx context.Context, table string) ([]*goose.MigrationResult, error) {
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	alone, err := d.working.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = alone.Rollback() }() // it writes nothing
	if _, err := alone.ExecContext(ctx, lockMigrations, writerLock); err != nil {
		return nil, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, d.working, migrations,
		goose.WithTableName(table), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, err
	}
	results, err := p.UpTo(ctx, engine.SchemaVersion)
	if err != nil {
		return nil, fmt.Errorf("upgrading its schema to version %d: %w", engine.SchemaVersion, err)
	}
	return results, nil
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
