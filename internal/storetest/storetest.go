// Package storetest makes the keystores of tests, on the engine that SPEECHGATE_TEST_ENGINE chooses:
// SQLite by default, or PostgreSQL.
//
//	store, err := keystore.Open(t.Context(), storetest.New(t).Config())
//
// A test that is about SQLite, such as about its file, begins with [Place.File] or
// [postgrestest.OfSQLite].
package storetest

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // for Place.Database
	_ "github.com/mattn/go-sqlite3"    // for Place.Database

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Place is where a keystore is, in the form of --keystore: the path of an SQLite file, or the URL of a
// PostgreSQL database.
type Place string

// New returns the place of a new keystore, which goes with the test t.
func New(t testing.TB) Place {
	t.Helper()
	return Place(postgrestest.NewPlace(t))
}

// IsPostgreSQL reports whether the place is a database, and not a file.
func (p Place) IsPostgreSQL() bool { return strings.HasPrefix(string(p), "postgres://") }

// Config returns the configuration of a server that uses the keystore.
func (p Place) Config() keystore.Config {
	if p.IsPostgreSQL() {
		return keystore.Config{Postgres: &keystore.Postgres{DSN: policy.NewSecret(string(p))}}
	}
	return keystore.Config{Path: string(p)}
}

// CommandLine is [Place.Config] for a command beside a server.
func (p Place) CommandLine() keystore.Config {
	cfg := p.Config()
	cfg.CommandLine = true
	return cfg
}

// Option returns the arguments of the option keystore in a Caddyfile.
func (p Place) Option() string {
	if p.IsPostgreSQL() {
		return "postgres " + string(p)
	}
	return "sqlite " + string(p)
}

// JSON returns the object keystore of a configuration in JSON.
func (p Place) JSON() string {
	if p.IsPostgreSQL() {
		return `{"engine":"postgres","dsn":"` + string(p) + `"}`
	}
	return `{"path":"` + string(p) + `"}`
}

// Name returns the place as logs, errors and Caddy's storage show it.
func (p Place) Name(t testing.TB) string {
	t.Helper()
	name, err := p.Config().Name()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// File returns the path of the keystore's file for a test that is about it. On PostgreSQL the test is
// left out. What is a few words, as for [postgrestest.OfSQLite].
func (p Place) File(t testing.TB, what string) string {
	t.Helper()
	postgrestest.OfSQLite(t, what)
	return string(p)
}

// Database opens the database as another program does.
func (p Place) Database(t testing.TB) *sql.DB {
	t.Helper()
	driver, source := "sqlite3", "file:"+string(p)+"?mode=rw&_txlock=exclusive"
	if p.IsPostgreSQL() {
		driver, source = "pgx", string(p)
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Dump returns all values of all tables of a PostgreSQL database, as text.
func (p Place) Dump(t testing.TB) string { t.Helper(); return postgrestest.Dump(t, string(p)) }

// Lock lets nobody else write to the keystore until unlock is called. The keystore can still be read.
func (p Place) Lock(t testing.TB) (unlock func()) {
	t.Helper()
	tx, err := p.Database(t).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.IsPostgreSQL() {
		if _, err := tx.ExecContext(t.Context(), `LOCK TABLE accounts, api_keys, audit, feed, jobs, last_uses, meta IN EXCLUSIVE MODE`); err != nil {
			t.Fatal(err)
		}
	}
	return func() { _ = tx.Rollback() }
}

// Beside returns another place on the same disk or server, where there is no keystore yet.
func (p Place) Beside(name string) Place {
	if p.IsPostgreSQL() {
		return Place(strings.Replace(string(p), "?", "_"+name+"?", 1))
	}
	return Place(filepath.Join(filepath.Dir(string(p))+"-"+name, filepath.Base(string(p))))
}

// Exists reports whether there is a keystore, or an SQLite file.
func (p Place) Exists(t testing.TB) bool {
	t.Helper()
	if !p.IsPostgreSQL() {
		_, err := os.Stat(string(p))
		return err == nil
	}
	cfg := p.CommandLine()
	cfg.MustExist = true
	store, err := keystore.Open(t.Context(), cfg)
	if err == nil {
		_ = store.Close()
	}
	return err == nil
}

// InUse reports whether a process has the keystore open.
func (p Place) InUse(t testing.TB) bool {
	t.Helper()
	if p.IsPostgreSQL() {
		return postgrestest.Start(t).Connections(t, string(p)) > 0
	}
	_, err := os.Stat(string(p) + "-wal")
	return err == nil
}

// Move moves a keystore to a place of [Place.Beside], in one step. No connection to it survives.
func (p Place) Move(t testing.TB, to Place) {
	t.Helper()
	if p.IsPostgreSQL() {
		postgrestest.Start(t).Rename(t, string(p), string(to))
		return
	}
	if err := os.Rename(filepath.Dir(string(p)), filepath.Dir(string(to))); err != nil {
		t.Fatal(err)
	}
}

// Spoil makes a keystore unusable: its file is replaced by one that is not a database, or the server does not let
// anybody connect to the database.
func (p Place) Spoil(t testing.TB) {
	t.Helper()
	if p.IsPostgreSQL() {
		postgrestest.Start(t).Refuse(t, string(p))
		return
	}
	spoilt := string(p) + ".new"
	if err := os.WriteFile(spoilt, []byte("this is no database, and long enough to be looked at as one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(spoilt, string(p)); err != nil {
		t.Fatal(err)
	}
}
