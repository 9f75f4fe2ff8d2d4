package gate

import (
	"database/sql"
	"testing"

	_ "github.com/mattn/go-sqlite3" // to hold the keystore's lock
)

// lock locks the database, so that nobody else can write to the keystore.
func (g *rig) lock(t *testing.T) (unlock func()) {
	t.Helper()
	db := g.database(t)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// database opens the database of the keystore.
func (g *rig) database(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+g.path+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
