package keystore

import (
	"context"
	"database/sql"
	"net/url"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
)

// A standby is behind its primary. No connection leads to a standby, also if the connection string
// names it first, and whatever its target_session_attrs are.
func TestR2_NoLookupReadsAStandby(t *testing.T) {
	t.Parallel()
	primary := postgrestest.New(t)
	dsn := primary.NewDatabase(t)
	standby := primary.Standby(t)
	standby.CatchUp(t)
	p, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := url.Parse(standby.DSN(t, dsn))
	if err != nil {
		t.Fatal(err)
	}
	both := strings.Replace(dsn, p.Host, s.Host+","+p.Host, 1)
	for _, attrs := range []string{"", "&target_session_attrs=read-write", "&target_session_attrs=any"} {
		f := openStore(t, "", inPostgres(both+attrs))
		_, secret := f.key(f.account().ID)
		if f.find(secret) == nil {
			t.Errorf("%q: a new key is unknown", attrs)
		}
		for range 4 {
			var behind bool
			if err := f.state.Load().db.reader.QueryRow(`SELECT pg_is_in_recovery()`).Scan(&behind); err != nil || behind {
				t.Errorf("%q: a lookup reads the standby: %t, %v", attrs, behind, err)
			}
		}
	}
}

// cluster is a primary with a standby.
type cluster struct {
	t                *testing.T
	primary, standby *postgrestest.Server
	dsn, both        string // of the primary, and of whichever of the two is the primary
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	primary := postgrestest.New(t)
	c := &cluster{t: t, primary: primary, dsn: primary.NewDatabase(t), standby: primary.Standby(t)}
	p, err := url.Parse(c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := url.Parse(c.standby.DSN(t, c.dsn))
	if err != nil {
		t.Fatal(err)
	}
	c.both = strings.Replace(c.dsn, p.Host, p.Host+","+s.Host, 1)
	return c
}

// part lets the standby catch up, and follow no more.
func (c *cluster) part() {
	c.t.Helper()
	c.standby.CatchUp(c.t)
	admin, err := sql.Open("pgx", c.standby.AdminDSN(c.t, c.standby.DSN(c.t, c.dsn)))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = admin.Close() }()
	mustExec(c.t, admin, `ALTER SYSTEM SET primary_conninfo = ''`)
	mustExec(c.t, admin, `SELECT pg_reload_conf()`)
	testutil.Eventually(c.t, "the standby follows no more", func() bool {
		var receivers int
		err := admin.QueryRow(`SELECT COUNT(*) FROM pg_stat_wal_receiver`).Scan(&receivers)
		return err == nil && receivers == 0
	})
}

// failOver stops the primary, and lets the standby take its place.
func (c *cluster) failOver() {
	c.t.Helper()
	c.primary.Stop(c.t)
	c.standby.Promote(c.t)
}

// A standby that lacks the last change of its primary takes the primary's place. A record with the
// change, which was read before the follower has read of it, is dropped.
func TestR2_ARecordOfALostPrimaryIsDropped(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	f := openStore(t, "", inPostgres(c.both))
	f.takeOverPolling()
	key, secret := f.key(f.account().ID)
	f.feed.poll(t.Context())
	c.part()
	if _, err := f.RevokeKey(t.Context(), start, operator, key.ID, ""); err != nil {
		t.Fatal(err)
	}
	if status := statusOf(f.find(secret), start); status != "revoked" {
		t.Fatalf("the key is %s", status)
	}
	c.failOver()
	testutil.Eventually(t, "the store reads the feed of the new primary", func() bool {
		f.feed.poll(context.Background())
		return f.feed.failures.Load() == 0
	})
	if status := statusOf(f.find(secret), start); status != keyActive {
		t.Errorf("the revocation is lost, and the key is %s here, and active at a gateway that starts now", status)
	}
}
