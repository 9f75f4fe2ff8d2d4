package keystore

import (
	"net/url"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
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
