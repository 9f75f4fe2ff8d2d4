package keystore

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

func TestPepper(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var dead policy.Secret
	f := openStore(t, path)
	a := f.account()
	_, secret := f.key(a.ID)
	_, dead = f.key(a.ID)
	var plain []byte
	db := rawDB(t, path)
	if err := db.QueryRow(`SELECT spw_digest FROM accounts`).Scan(&plain); err != nil {
		t.Fatal(err)
	}
	deadDigest := f.hash.secret(dead)
	mustExec(t, db, `INSERT INTO dead_digests (digest, at) VALUES ($1, 1)`, deadDigest[:])

	// A pepper is added while another process still runs without one.
	var logs *observer.ObservedLogs
	g := openStore(t, path, withPepper("salt of the earth"), logTo(&logs))
	if lines := logs.FilterMessageSnippet("the configured pepper was added").All(); len(lines) != 1 || lines[0].ContextMap()["digests"] != int64(4) {
		t.Errorf("the log says of the pepper: %v", lines)
	}
	if g.find(secret) == nil {
		t.Error("a key was lost when the pepper was added")
	}
	sealed := g.hash.seal(digest(plain))
	if n := count(t, db, `SELECT COUNT(*) FROM accounts WHERE spw_digest = $1`, sealed[:]); n != 1 {
		t.Error("the service password was lost when the pepper was added")
	}
	deadDigest = g.hash.secret(dead)
	if n := count(t, db, `SELECT COUNT(*) FROM dead_digests WHERE digest = $1`, deadDigest[:]); n != 1 {
		t.Error("a dead digest was lost when the pepper was added")
	}
	if n := count(t, db, `SELECT COUNT(*) FROM audit WHERE action = 'pepper_add' AND detail = '4 digests'`); n != 1 {
		t.Error("the pepper is not in the audit trail")
	}
	testutil.Eventually(t, "the process without the pepper notices", func() bool {
		_, err := f.FindKey(t.Context(), secret)
		return errors.Is(err, ErrUnavailable)
	})
	_, _, err := f.CreateAccount(t.Context(), start, operator, "x")
	wantIs(t, err, ErrUnavailable)

	for _, c := range []struct{ pepper, want string }{{"", "has a pepper, and none is configured"}, {"another", "not the one that is configured"}} {
		s, _, err := tryStore(path, withPepper(c.pepper))
		if err == nil {
			_ = s.Close()
			t.Fatalf("pepper %q: it was opened", c.pepper)
		}
		if msg := err.Error(); !strings.Contains(msg, c.want) || !strings.Contains(msg, f.cfg.name) || strings.Contains(msg, "salt") || strings.Contains(msg, "another") {
			t.Errorf("pepper %q: error %q, want %q and no pepper", c.pepper, msg, c.want)
		}
	}
	if openStore(t, path, withPepper("salt of the earth")).find(secret) == nil {
		t.Error("the key is not found after opening again")
	}
}
