package keystore

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func limitChange(t *testing.T, text string) policy.LimitChange {
	t.Helper()
	c, err := policy.ParseLimitChange(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An account that only the backup has comes back with the limits that the audit trail has last,
// and its keys with their own.
func TestRestore_KeepsLimits(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	empty := f.backup()
	var accounts, keys [4]string
	for i := range accounts {
		accounts[i] = f.account().ID
		k, _ := f.key(accounts[i], func(k *NewKey) {
			k.Expires, k.Limits = policy.Never(), policy.Limits{Requests: 7, Operations: 1 << policy.Stream}
		})
		keys[i] = k.ID
	}
	limit := func(i int, change string) {
		t.Helper()
		if _, err := f.LimitAccount(t.Context(), start, operator, accounts[i], limitChange(t, change)); err != nil {
			t.Fatal(err)
		}
	}
	limit(0, "requests=60/m") // in the backup
	limit(1, "requests=60/m") // and none since
	limit(2, "requests=60/m") // and lower since
	full := f.backup()
	limit(1, "none")
	limit(2, "requests=9/m")
	limit(2, "streams=2")
	limit(3, "concurrent=4") // only since
	f.restore(empty.Path, later)
	f.restore(full.Path, later+1)
	for i, want := range []string{"requests=60/m", "", "requests=9/m streams=2", "concurrent=4"} {
		if a, err := f.Account(t.Context(), accounts[i]); err != nil || a.Limits.String() != want {
			t.Errorf("account %d has the limits %q, %v; want %q", i, a.Limits, err, want)
		}
		if k, err := f.Key(t.Context(), keys[i]); err != nil || k.Limits.String() != "requests=7/m operations=stream" {
			t.Errorf("key %d has the limits %q, %v", i, k.Limits, err)
		}
	}
}

// If a key's limits cannot be read, the key is not read as a key without limits.
func TestR17_DamagedLimitsAreAnError(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	k, secret := f.key(a.ID)
	for _, table := range []string{"api_keys", "accounts"} {
		mustExec(t, rawDB(t, path), `UPDATE `+table+` SET limits = 'requests=many'`)
		if _, err := f.FindKey(t.Context(), secret); err == nil || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("%s: found with %v", table, err)
		}
		if _, err := f.Key(t.Context(), k.ID); err == nil {
			t.Errorf("%s: read", table)
		}
		if _, err := f.Account(t.Context(), a.ID); table == "accounts" && err == nil {
			t.Error("the account was read")
		}
		mustExec(t, rawDB(t, path), `UPDATE `+table+` SET limits = NULL`)
	}
}
