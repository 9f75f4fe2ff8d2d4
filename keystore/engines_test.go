package keystore

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// newPath returns the place of a new store, in the form of --keystore: the path of a file, or the URL of
// an empty database if PostgreSQL is chosen.
func newPath(t *testing.T) string {
	t.Helper()
	if postgrestest.Chosen(t) {
		return postgrestest.Start(t).NewDatabase(t)
	}
	return sqlitePath(t)
}

// newFile returns the path of a new file, for a test that is about SQLite. On PostgreSQL the test is left
// out. What is a few words, as for [postgrestest.OfSQLite].
func newFile(t *testing.T, what string) string {
	t.Helper()
	postgrestest.OfSQLite(t, what)
	return sqlitePath(t)
}

// sqlitePath returns the path of a new file, also if PostgreSQL is chosen.
func sqlitePath(t *testing.T) string { return filepath.Join(t.TempDir(), "keystore.db") }

func isPostgres(place string) bool { return strings.HasPrefix(place, "postgres://") }

// inPlace lets a store be at a place of newPath.
func inPlace(place string) func(*Config) {
	if isPostgres(place) {
		return inPostgres(place)
	}
	return func(c *Config) { c.Path = place }
}

// inPostgres lets a store be in a PostgreSQL database.
func inPostgres(dsn string) func(*Config) {
	return func(c *Config) { c.Path, c.Postgres = "", &Postgres{DSN: policy.NewSecret(dsn)} }
}

// bareConfig returns a configuration with every default, for the store at a place of newPath.
func bareConfig(place string) (cfg Config) {
	inPlace(place)(&cfg)
	return cfg
}

// eachEngine runs a test with each engine. The function place returns the option of a new, empty
// place for a store.
func eachEngine(t *testing.T, test func(t *testing.T, place func() func(*Config))) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, func() func(*Config) {
			return inPlace(sqlitePath(t))
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		server := postgrestest.Start(t)
		test(t, func() func(*Config) { return inPostgres(server.NewDatabase(t)) })
	})
}

// rawDB opens the store at a place of newPath as another program does.
func rawDB(t testing.TB, path string) *sql.DB {
	t.Helper()
	driver, source := "sqlite3", "file:"+path+"?mode=rw&_journal_mode=WAL&_foreign_keys=on&_txlock=immediate&_busy_timeout=250"
	if isPostgres(path) {
		driver, source = "pgx", path
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// lockFromOutside begins a transaction that writes, as another process does.
func lockFromOutside(t *testing.T, path string) (unlock func()) {
	t.Helper()
	tx, err := rawDB(t, path).Begin()
	if err == nil && isPostgres(path) {
		const writerLock = 0x53474b53 // of keystore/internal/postgres
		_, err = tx.Exec(`SELECT set_config('lock_timeout', '10000', TRUE), pg_advisory_xact_lock($1) IS NULL`, writerLock)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// hideFeed makes the change feed unreadable. Without its table, PostgreSQL has no store any more.
func hideFeed(t *testing.T, path string) (show func()) {
	t.Helper()
	db := rawDB(t, path)
	hide, back := `ALTER TABLE feed RENAME TO feed_away`, `ALTER TABLE feed_away RENAME TO feed`
	if isPostgres(path) {
		hide, back = `REVOKE ALL ON feed FROM CURRENT_USER`, `GRANT ALL ON feed TO CURRENT_USER`
	}
	mustExec(t, db, hide)
	return func() { t.Helper(); mustExec(t, db, back) }
}

// What a trigger can do instead of the statement for a row. Anything else is a statement that it runs.
const (
	fails   = "the statement fails with: no more"
	nothing = "the row stays as it is"
)

// trigger makes the store at a place of newPath do something at an event, such as BEFORE INSERT ON jobs,
// if an expression of SQL is true.
func trigger(t testing.TB, path, event, condition, does string) (drop func()) {
	t.Helper()
	db, name := rawDB(t, path), "of_test_"+strings.Fields(event)[1]
	if isPostgres(path) {
		switch does {
		case fails:
			does = `RAISE EXCEPTION 'no more'`
		case nothing:
			does = `RETURN NULL`
		}
		mustExec(t, db, `CREATE FUNCTION `+name+`() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
			IF `+condition+` THEN `+does+`; END IF;
			RETURN COALESCE(NEW, OLD);
		END $$; CREATE TRIGGER `+name+` `+event+` FOR EACH ROW EXECUTE FUNCTION `+name+`()`)
		return func() { t.Helper(); mustExec(t, db, `DROP FUNCTION `+name+` CASCADE`) }
	}
	switch does {
	case fails:
		does = `SELECT RAISE(ABORT, 'no more')`
	case nothing:
		does = `SELECT RAISE(IGNORE)`
	}
	mustExec(t, db, `CREATE TRIGGER `+name+` `+event+` WHEN `+condition+` BEGIN `+does+`; END`)
	return func() { t.Helper(); mustExec(t, db, `DROP TRIGGER `+name) }
}

// randomDigest returns an expression of SQL for 32 random bytes.
func randomDigest(path string) string {
	if isPostgres(path) {
		return `sha256(CAST(CAST(gen_random_uuid() AS TEXT) AS BYTEA))`
	}
	return `randomblob(32)`
}

// contentsOf returns all that the store at a place of newPath has written to the disk.
func contentsOf(t *testing.T, path string) string {
	t.Helper()
	if isPostgres(path) {
		return postgrestest.Dump(t, path)
	}
	var all strings.Builder
	for _, suffix := range []string{"", "-wal"} {
		// Closing the file drops SQLite's locks on it. Nothing after this needs the locks.
		text, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
