package e2e_test

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// Behind a pooler in transaction mode, gateways count together as they do without it.
func TestPostgres_GatewaysCountTogetherBehindPgBouncer(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.PgBouncer(t, postgrestest.Transaction, server.NewDatabase(t))
	jobs, deepgram := newJobBackend(t), newTokenBackend(t, "unused")
	one, other := newSharing(t, dsn, "", jobs, deepgram), newSharing(t, dsn, "", jobs, deepgram)
	one.shareRequests(other, one.importAccount())
}

// While the database is away, each gateway counts by itself, beginning with the last known numbers. When the database
// is back, all gateways know what was counted meanwhile.
func TestPostgres_WhatIsCountedWithoutTheDatabaseIsSharedLater(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	const options = "\n		max_staleness 1h"
	jobs, deepgram := newJobBackend(t), newTokenBackend(t, "unused")
	one, other := newSharing(t, dsn, options, jobs, deepgram), newSharing(t, dsn, options, jobs, deepgram)
	account := one.importAccount()
	id, key := one.key(account, "--limit", "requests=20/m")
	one.followed(account, other)
	if n := one.admitted(key, 4) + other.admitted(key, 1); n != 5 {
		t.Fatalf("%d of 5 requests were let through; the gateway's output:\n%s", n, one.output)
	}
	one.knows(id, 5)
	other.knows(id, 5)

	server.Stop(t)
	for _, s := range []sharing{one, other} {
		s.eventually("the log says that counts are not shared", func() bool { return strings.Contains(s.output.String(), "are not shared") })
	}
	if here, there := one.admitted(key, 2), other.admitted(key, 3); here != 2 || there != 3 {
		t.Errorf("without the database, %d of 2 and %d of 3 requests were let through", here, there)
	}
	server.StartAgain(t)
	for _, s := range []sharing{one, other} {
		s.eventually("the gateway knows of what both have counted", func() bool { return s.used(id) == 10 })
		s.kept(key, server.Password())
	}
}

// followed waits until both gateways have followed the change feed to its end. A key that they cache afterwards stays
// cached: the entry of its creation drops it no more.
func (s sharing) followed(account string, other sharing) {
	s.t.Helper()
	id, key := s.key(account)
	gateways := []sharing{s, other}
	for _, g := range gateways {
		g.eventually("a new key is let through", func() bool { return g.recognizes(key) })
	}
	s.run("key", "revoke", id)
	for _, g := range gateways {
		g.eventually("a revoked key is refused", func() bool { return !g.recognizes(key) })
	}
}
