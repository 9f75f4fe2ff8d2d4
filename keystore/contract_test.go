package keystore_test

import (
	"path/filepath"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/keystore/keystoretest"
	"github.com/speechgate/speechgate/policy"
)

// The keystore keeps its contract on SQLite.
func TestContract_SQLite(t *testing.T) {
	t.Parallel()
	keystoretest.Run(t, func(t *testing.T) keystore.Config {
		t.Helper()
		return keystore.Config{Path: filepath.Join(t.TempDir(), "keystore.db")}
	})
}

// The keystore keeps its contract on PostgreSQL.
func TestContract_PostgreSQL(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	keystoretest.Run(t, func(t *testing.T) keystore.Config {
		t.Helper()
		return keystore.Config{Postgres: &keystore.Postgres{DSN: policy.NewSecret(server.NewDatabase(t))}}
	})
}
