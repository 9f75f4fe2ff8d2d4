package keystore

import (
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// eachEngine runs a test with each engine. The function place returns the option of a new, empty
// place for a store.
func eachEngine(t *testing.T, test func(t *testing.T, place func() func(*Config))) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, func() func(*Config) {
			path := newPath(t)
			return func(c *Config) { c.Path = path }
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		server := postgrestest.Start(t)
		test(t, func() func(*Config) { return inPostgres(server.NewDatabase(t)) })
	})
}
