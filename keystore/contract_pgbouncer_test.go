package keystore_test

import (
	"net/url"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/keystore/keystoretest"
	"github.com/speechgate/speechgate/policy"
)

// The keystore keeps its contract behind PgBouncer in transaction mode, which gives the statements of
// one client to several connections of the server.
func TestContract_PgBouncer(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	pooler := parseDSN(t, server.PgBouncer(t, postgrestest.Transaction, server.NewDatabase(t)))
	keystoretest.Run(t, func(t *testing.T) keystore.Config {
		t.Helper()
		direct := server.NewDatabase(t)
		pooled := parseDSN(t, direct)
		pooled.Host = pooler.Host
		return keystore.Config{Postgres: &keystore.Postgres{DSN: policy.NewSecret(pooled.String()), Direct: policy.NewSecret(direct)}}
	})
}

func parseDSN(t *testing.T, dsn string) *url.URL {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
