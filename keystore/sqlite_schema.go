package keystore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

const (
	schemaVersion = 7 // of the newest migration
	versionTable  = "schema_version"
	applicationID = 0x53474b53 // stands in every keystore's header: "SGKS"
)

// upgrade brings the schema to schemaVersion, and refuses files that are no
// keystores or of a newer schema.
func (s *Store) upgrade(ctx context.Context, d *database, create bool) error {
	version, err := readVersion(ctx, d.reader)
	switch {
	case err != nil:
		return err
	case version > schemaVersion:
		return fmt.Errorf("its schema is version %d, and this program knows versions up to %d: run the newer program, or restore a backup from before it", version, schemaVersion)
	case version == schemaVersion:
		return nil
	case version == 0 && !create:
		return errEmpty
	}
	migrations, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	lock := &upgradeLock{store: s}
	// Statements run outside of transactions of goose's own (that is what
	// isolating DDL means to it), so that the lock's transaction holds all.
	p, err := goose.NewProvider(goose.DialectSQLite3, d.writer, migrations,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true),
		goose.WithIsolateDDL(true), goose.WithSessionLocker(lock))
	if err != nil {
		return err
	}
	// One by one, because goose's Up writes before it takes the lock.
	for lock.version = version + 1; lock.version <= schemaVersion; lock.version++ {
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

// readVersion returns the schema's version; 0 is a file without tables.
func readVersion(ctx context.Context, q querier) (version int64, err error) {
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

// upgradeLock makes an upgrade by one version a transaction, which holds
// SQLite's write lock from its first statement on: of two processes that open a
// new file the second waits, and finds the work done.
type upgradeLock struct {
	store   *Store
	version int64 // that is being applied
}

// SessionLock implements lock.SessionLocker.
func (*upgradeLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	return err
}

// SessionUnlock implements lock.SessionLocker. Goose does not say whether the
// upgrade failed, but writes the version last.
func (l *upgradeLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	end := "COMMIT"
	version, err := readVersion(ctx, conn)
	if err == nil && version == l.version && version == chainVersion {
		err = l.store.chainAudit(ctx, conn)
	}
	if err != nil || version < l.version {
		end = "ROLLBACK"
	}
	_, endErr := conn.ExecContext(ctx, end)
	return errors.Join(err, endErr)
}
