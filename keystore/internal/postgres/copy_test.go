package postgres

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// exported returns the path of a copy of the database.
func exported(t *testing.T, d *database) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Export(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// A backup is one transaction, which also a pooler in transaction mode gives to one connection. A restore
// uses temporary tables, and so needs a connection of its own.
func TestAttach_NeedsADirectConnection(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	pooledDSN := server.PgBouncer(t, postgrestest.Transaction, dsn)
	pooled, _ := open(t, pooledDSN, "")
	mixed, _ := open(t, pooledDSN, dsn)
	addChange(t, pooled, "exported")
	path := exported(t, pooled)
	err := pooled.Attach(t.Context(), path, func(func(context.Context) (*sql.Tx, error)) error {
		t.Error("a copy is attached through a pooler")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "want a direct connection") {
		t.Errorf("%v, want that a direct connection is needed", err)
	}
	for range 2 { // the tables of the first time are gone
		err = mixed.Attach(t.Context(), path, func(begin func(context.Context) (*sql.Tx, error)) error {
			tx, err := begin(t.Context())
			if err != nil {
				return err
			}
			defer tx.Rollback()
			var ref []byte
			err = tx.QueryRowContext(t.Context(), mixed.engine.Text(`SELECT ref FROM backup.feed`)).Scan(&ref)
			if err == nil && !slices.Equal(ref, []byte("exported")) {
				t.Errorf("the copy has the change %q", ref)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
