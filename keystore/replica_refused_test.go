package keystore

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// A database that refuses a gateway is not away. A site that is locked out reads nothing from its replica and records no
// jobs, also if the line breaks afterwards. Cached records are trusted for MaxStaleness. When the database lets the
// gateway in again, everything goes on by itself.
func TestReplica_IsNotReadByAGatewayThatTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ refuse, accept string }{
		"a role that may not log in": {`ALTER ROLE %[1]s NOLOGIN`, `ALTER ROLE %[1]s LOGIN`},
		"another password":           {`ALTER ROLE %[1]s PASSWORD 'another'`, `ALTER ROLE %[1]s PASSWORD '%[2]s'`},
		"no right to read the feed":  {`REVOKE SELECT ON feed FROM %[1]s`, `GRANT SELECT ON feed TO %[1]s`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newSite(t)
			_, unread := e.other.key(e.owner.AccountID)
			e.waitForReplica()
			e.wantFound("a key", e.secret, keyActive)
			admin := e.admin(t)
			do := func(statement string) {
				t.Helper()
				const endConnections = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%[1]s'`
				if _, err := admin.Exec(t.Context(), fmt.Sprintf(statement+`; `+endConnections+` -- %[2]s`, e.role(t), e.server.Password())); err != nil {
					t.Fatal(err)
				}
			}

			do(c.refuse)
			testutil.Eventually(t, "the store finds out", func() bool { return e.feed.refused.Load() && e.away() != nil })
			wantNothing := func(when string) {
				t.Helper()
				e.wantFound(when+", a cached key", e.secret, keyActive)
				e.wantUnavailable(when+", a key that is not cached", unread)
				wantIs(t, e.CheckJobRoom(), ErrUnavailable)
				wantIs(t, e.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: when, AccountID: e.owner.AccountID, KeyID: e.owner.ID, CreatedAt: start}), ErrUnavailable)
				if s := e.Stats().Replica; s.Readable || s.Serving || e.ServesFromReplica() {
					t.Errorf("%s, the replica is readable: %+v", when, s)
				}
			}
			wantNothing("locked out")
			if n := e.logs.FilterMessageSnippet("the database refuses this gateway").Len(); n != 1 {
				t.Errorf("the log says it %d times", n)
			}
			e.server.Stop(t)
			waitUntilAway(e.fixture)
			wantNothing("locked out and cut off")

			e.server.StartAgain(t)
			admin = e.admin(t)
			do(c.accept)
			testutil.Eventually(t, "the gateway is let in", func() bool { return e.answers() == nil && !e.feed.refused.Load() })
			e.wantFound("a key that was not cached", unread, keyActive)
			e.waitForReplica()
			e.leave(t)
			e.wantFound("the key, from the replica", unread, keyActive)
		})
	}
}

// admin returns a superuser's connection to the site's database server.
func (e *site) admin(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), e.server.AdminDSN(t, e.dsn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

// role returns the role that the site has at the database.
func (e *site) role(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(e.dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Username()
}

// A lookup that the database refuses is not answered by the replica, also if the feed can be read.
func TestReplica_IsNotReadForALookupThatTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	_, unread := e.other.key(e.owner.AccountID)
	e.waitForReplica()
	if _, err := e.admin(t).Exec(t.Context(), `REVOKE SELECT ON api_keys FROM `+e.role(t)); err != nil {
		t.Fatal(err)
	}
	e.wantUnavailable("a key that may not be read", unread)
}

// The log says when a replica that was read gets too old.
func TestReplica_TheLogSaysThatItIsTooOld(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	_, unread := e.other.key(e.owner.AccountID)
	e.waitForReplica()
	e.leave(t)
	e.wantFound("a key", unread, keyActive)
	tell := func() *observer.ObservedLogs {
		e.replica.step(t.Context())
		e.replica.step(t.Context())
		return e.logs.FilterMessageSnippet("older than max_staleness")
	}
	if n := tell().Len(); n != 0 {
		t.Errorf("while records come from the replica, the log says %d times that it is too old", n)
	}
	e.advance(e.cfg.MaxStaleness + time.Second)
	e.wantUnavailable("a key", unread)
	if n := tell().Len(); n != 1 {
		t.Errorf("the log says %d times that the replica is too old", n)
	}
}
