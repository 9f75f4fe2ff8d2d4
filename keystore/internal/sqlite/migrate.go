package sqlite

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

const (
	versionTable  = "schema_version"
	applicationID = 0x53474b53 // "SGKS", in the header of every keystore file
)

// migrate brings the schema to engine.SchemaVersion. It refuses a file that is not a
// keystore, and a newer schema that this program does not work with.
func (d *database) migrate(ctx context.Context, setup engine.Setup) error {
	schema, err := ReadSchema(ctx, d.reader)
	switch {
	case err != nil:
		return err
	case schema.Version == 0 && !setup.Create:
		return errEmpty
	}
	if schema.Version < engine.SchemaVersion {
		if err := d.upgrade(ctx, setup, schema.Version); err != nil {
			return err
		}
		if schema, err = ReadSchema(ctx, d.reader); err != nil { // a newer program may have been faster
			return err
		}
	}
	return schema.CheckNewer()
}

// upgrade runs the migrations after a version.
func (d *database) upgrade(ctx context.Context, setup engine.Setup, version int64) error {
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	lock := &migrationLock{migrated: setup.Migrated}
	// "Isolate DDL" means that goose starts no transaction of its own for a
	// migration, so that the lock's transaction covers all statements.
	p, err := goose.NewProvider(goose.DialectSQLite3, d.writer, migrations,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true),
		goose.WithIsolateDDL(true), goose.WithSessionLocker(lock))
	if err != nil {
		return err
	}
	// Apply the versions one by one, because goose's Up writes before it takes the lock.
	for lock.version = version + 1; lock.version <= engine.SchemaVersion; lock.version++ {
		_, err := p.ApplyVersion(ctx, lock.version, true)
		switch {
		case err == nil:
			d.made = d.made || lock.version == 1
		case !errors.Is(err, goose.ErrAlreadyApplied):
			return fmt.Errorf("upgrading its schema to version %d: %w", lock.version, err)
		}
	}
	return nil
}

// ReadVersion returns the version of the schema; 0 for a file without tables. It fails for
// a database that is not a keystore.
func ReadVersion(ctx context.Context, q engine.Querier) (version int64, err error) {
	var id, tables int64
	if err := q.QueryRowContext(ctx, `SELECT COUNT(*) FROM sqlite_master`).Scan(&tables); err != nil || tables == 0 {
		return 0, err
	}
	if err := q.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id); err != nil {
		return 0, err
	}
	if id != applicationID {
		return 0, errors.New("it is a database of another program: want a keystore made by this program, or the name of a file that does not exist")
	}
	err = q.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM `+versionTable).Scan(&version)
	return version, err
}

// ReadSchema returns what q knows of the schema. It fails for a database that is not a keystore.
func ReadSchema(ctx context.Context, q engine.Querier) (s engine.Schema, err error) {
	if s.Version, err = ReadVersion(ctx, q); err != nil || s.Version == 0 {
		return s, err
	}
	err = q.QueryRowContext(ctx, engine.ReadCompatible).Scan(&s.Compatible)
	return s, err
}

// Schema implements [engine.Engine].
func (*Engine) Schema(ctx context.Context, q engine.Querier) (engine.Schema, error) {
	return ReadSchema(ctx, q)
}

// migrationLock makes a migration one transaction, which has SQLite's write lock
// from its first statement on. If two processes open a new file, the second one
// waits, and finds the migration applied.
type migrationLock struct {
	migrated func(context.Context, engine.Conn, int64) error
	version  int64 // the version being applied
}

// SessionLock implements lock.SessionLocker.
func (*migrationLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	return err
}

// SessionUnlock implements lock.SessionLocker. Goose does not tell the locker
// whether the migration failed, but it writes the version last.
func (l *migrationLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	end := "COMMIT"
	version, err := ReadVersion(ctx, conn)
	if err == nil && version == l.version {
		err = l.migrated(ctx, conn, version)
	}
	if err != nil || version < l.version {
		end = "ROLLBACK"
	}
	_, endErr := conn.ExecContext(ctx, end)
	return errors.Join(err, endErr)
}
