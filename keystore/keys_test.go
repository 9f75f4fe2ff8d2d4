package keystore

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/speechgate/speechgate/policy"
)

var cmpPolicy = cmp.Options{
	cmp.Comparer(func(a, b policy.AddrSet) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b policy.Expiry) bool { return a == b }),
	cmpopts.EquateComparable(netip.Addr{}),
}

func addrs(t testing.TB, list string) policy.AddrSet {
	t.Helper()
	set, err := policy.ParseAddrSet(list)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func actions(t *testing.T, f fixture, accountID, action string) (found []AuditEntry) {
	t.Helper()
	entries, _, err := f.Audit(t.Context(), AuditList{AccountID: accountID, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Action == action {
			found = append(found, e)
		}
	}
	return found
}

func TestR18_TheStoreHasNoSecret(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, withPepper("the pepper itself"))
	_, password, err := f.CreateAccount(t.Context(), start, operator, "x")
	if err != nil {
		t.Fatal(err)
	}
	_, secret := f.key(f.account().ID)
	all := contentsOf(t, path)
	for _, s := range []string{secret.Reveal(), secret.Reveal()[9:], password.Reveal(), "the pepper itself"} {
		if strings.Contains(all, s) {
			t.Error("the store holds a secret")
		}
	}
	if !strings.Contains(all, "Example K.K.") {
		t.Error("what is read is not what the store has written")
	}
}

// A row that cannot be parsed is an error, and never a key with fewer restrictions.
func TestR17_DamagedRowsAreErrors(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	key, secret := f.key(f.account().ID, func(k *NewKey) { k.Allow = addrs(t, "192.0.2.1") })
	f.job(key, "j")
	db := rawDB(t, path)
	damages := []string{
		`allow = ''`, `allow = 'null'`, `allow = '{}'`, `allow = '"192.0.2.1"'`, `allow = '["somewhere"]'`, `allow = '[null]'`, `allow = '["192.0.2.1"'`,
		`origin = ''`, `origin = 'gift'`,
	}
	if !isPostgres(path) { // whose columns have types
		damages = append(damages, `expires_at = 'later'`, `created_at = x'00'`)
	}
	for _, set := range damages {
		mustExec(t, db, `CREATE TABLE saved AS SELECT * FROM api_keys`)
		mustExec(t, db, `UPDATE api_keys SET `+set)
		_, err := f.FindKey(t.Context(), secret)
		wantIs(t, err, ErrUnavailable)
		// For the holder of the account too, it is a fault and no unknown key.
		_, err = f.DeleteKey(t.Context(), start, Actor{Kind: ActorAccount, ID: key.AccountID}, key.ID)
		if wantIs(t, err, ErrUnavailable); errors.Is(err, ErrNotFound) {
			t.Errorf("%s: deleting: %v", set, err)
		}
		if _, _, err := f.Keys(t.Context(), KeyList{}); err == nil || strings.Contains(set, "allow") && !strings.Contains(err.Error(), key.ID) {
			t.Errorf("%s: error %v does not name the key", set, err)
		}
		mustExec(t, db, `UPDATE api_keys SET (allow, origin, expires_at, created_at) = (SELECT allow, origin, expires_at, created_at FROM saved)`)
		mustExec(t, db, `DROP TABLE saved`)
	}
	if f.find(secret) == nil {
		t.Error("the restored row is not found")
	}
	for _, set := range []string{`state = 'finished'`, `state = ''`, `client = 'somewhere'`} {
		mustExec(t, db, `UPDATE jobs SET client = '192.0.2.1', state = 'queued'`)
		mustExec(t, db, `UPDATE jobs SET `+set)
		_, err := f.FindJob(t.Context(), "amivoice", "j")
		wantIs(t, err, ErrUnavailable)
	}
}
