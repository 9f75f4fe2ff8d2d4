package keystore

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// An issued key takes 605 bytes: its row, four indexes, and its entries in the audit trail
// and the feed. The space in the feed is free again after an hour.
func TestIssueKey_CostsLittleOnTheDisk(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	issuer, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	db := rawDB(t, path)
	size := func() int64 {
		if _, err := db.ExecContext(t.Context(), `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	const keys = 2000
	by := Actor{Kind: ActorKey, ID: issuer.ID, From: netip.MustParseAddr("192.0.2.117")}
	before := size()
	err := f.write(t.Context(), func(tx *txn) error {
		for i := range keys {
			id, err := newID("key_")
			if err != nil {
				return err
			}
			at := start + policy.Time(i)
			k := NewKey{AccountID: issuer.AccountID, Origin: policy.OriginAPI, Issuer: issuer.ID, Expires: policy.ExpiresAt(at.Add(time.Minute))}
			if err := tx.addKey(at, by, actionKeyIssue, k.key(at, id, "sgk_1234"), f.hash.secret(policy.NewSecret(id)), k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if each := (size() - before) / keys; each > 650 {
		t.Errorf("a key costs %d bytes", each)
	}
}

func TestIssueKey_TheTrailNamesTheIssuerOnce(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	issuer, _ := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	for _, by := range []Actor{{Kind: ActorKey, ID: issuer.ID}, operator} {
		k := NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Issuer: issuer.ID, Expires: policy.Never()}
		if _, _, err := f.IssueKey(t.Context(), start, by, k); err != nil {
			t.Fatal(err)
		}
		e := actions(t, f, a.ID, actionKeyIssue)[0]
		if n := strings.Count(e.Actor.ID+" "+e.Detail, issuer.ID); n != 1 {
			t.Errorf("by %s: %+v", by.Kind, e)
		}
	}
	if c := f.verify(nil); c.Fault != "" {
		t.Error(c.Fault)
	}
}

func TestLiveKeys_CountsKeysThatHaveNotEnded(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a, other := f.account(), f.account()
	issuer, _ := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	f.child(issuer)
	expired, _ := f.child(issuer, func(k *NewKey) { k.Expires = policy.ExpiresAt(start + 1) })
	revoked, _ := f.child(issuer)
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	f.key(other.ID, func(k *NewKey) { k.Origin = policy.OriginAPI })
	for _, tt := range []struct {
		at         policy.Time
		most, want int
	}{{start, 100, 2}, {start + 1, 100, 1}, {start.Add(time.Hour), 100, 0}, {start, 1, 1}} {
		if n, err := f.LiveKeys(t.Context(), a.ID, tt.at, tt.most); err != nil || n != tt.want {
			t.Errorf("at %s, %d at most: %d, %v; want %d (%s expires)", tt.at, tt.most, n, err, tt.want, expired.ID)
		}
	}
	if plan := f.planOf(liveKeys, a.ID, "api", start, 10); !strings.Contains(plan, "COVERING INDEX api_keys_account") {
		t.Errorf("the count runs as %s", plan)
	}
}

// planOf returns SQLite's plan for a query.
func (f fixture) planOf(query string, args ...any) string {
	f.t.Helper()
	rows, err := f.state.Load().db.reader.QueryContext(f.t.Context(), `EXPLAIN QUERY PLAN `+query, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var n int
		var line string
		if err := rows.Scan(&n, &n, &n, &line); err != nil {
			f.t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		f.t.Fatal(err)
	}
	return plan.String()
}
