package keystore

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// An issued key takes 761 bytes: its row, seven indexes, and its entries in the audit trail
// and the feed. The space in the feed is free again after an hour.
func TestIssueKey_CostsLittleOnTheDisk(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a setting of SQLite")
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
	if each := (size() - before) / keys; each > 800 {
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

func TestIssueKey_TheTrailDescribesTheKey(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	issuer, _ := f.key(a.ID, func(k *NewKey) { k.Issuable, k.Expires = true, policy.Never() })
	other, _ := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	child := NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Issuer: issuer.ID, Expires: policy.ExpiresAt(start.Add(time.Hour)), Allow: addrs(t, "192.0.2.1")}
	detail := "origin api, expires " + start.Add(time.Hour).String() + ", from 192.0.2.1"
	for _, c := range []struct {
		by   Actor
		key  NewKey
		want string
	}{
		{operator, NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Issuable: true, Expires: policy.Never()}, "origin console, expires never, from any, may issue keys"},
		{operator, child, detail + ", issued by " + issuer.ID},
		{Actor{Kind: ActorKey, ID: issuer.ID}, child, detail},
		{Actor{Kind: ActorKey, ID: other.ID}, child, detail + ", issued by " + issuer.ID},
		{Actor{Kind: ActorOperator, ID: issuer.ID}, child, detail + ", issued by " + issuer.ID},
	} {
		if _, _, err := f.IssueKey(t.Context(), start, c.by, c.key); err != nil {
			t.Fatal(err)
		}
		if got := actions(t, f, a.ID, actionKeyIssue)[0].Detail; got != c.want {
			t.Errorf("by %s %s: %q, want %q", c.by.Kind, c.by.ID, got, c.want)
		}
	}
}

func TestText_HasUpTo200Bytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want error
	}{{strings.Repeat("x", 200), nil}, {strings.Repeat("x", 201), ErrInvalid}, {strings.Repeat("é", 100), nil}, {strings.Repeat("é", 100) + "x", ErrInvalid}} {
		if err := CheckText("the reason", c.text); !errors.Is(err, c.want) {
			t.Errorf("%d bytes: %v, want %v", len(c.text), err, c.want)
		}
	}
}

// An end that changes nothing is not announced, and has no entry in the trail.
func TestEndKey_AgainChangesNothing(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	revoked, _ := f.key(a.ID)
	deleted, _ := f.key(a.ID)
	imported, _ := f.key(a.ID, func(k *NewKey) { k.Origin = policy.OriginInitial })
	db := rawDB(t, path)
	state := func() [2]int {
		return [2]int{count(t, db, `SELECT COUNT(*) FROM feed`), count(t, db, `SELECT COUNT(*) FROM audit`)}
	}
	var once [2]int
	for range 2 {
		_, err1 := f.RevokeKey(t.Context(), start, operator, revoked.ID, "")
		_, err2 := f.DeleteKey(t.Context(), start, operator, deleted.ID)
		_, err3 := f.CloseAccount(t.Context(), start, operator, a.ID)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		_, err := f.DeleteKey(t.Context(), start, operator, imported.ID)
		wantIs(t, err, ErrInvalid)
		if once == [2]int{} {
			once = state()
		}
	}
	if again := state(); again != once {
		t.Errorf("the second time: %d changes and %d entries, before %v", again[0], again[1], once)
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
}

func TestLiveKeys_ReadAnIndexOnly(t *testing.T) {
	t.Parallel()
	f := openStore(t, newFile(t, "a query plan of SQLite"), commandLine)
	if plan := f.planOf(liveKeys, "acc_1", "api", start, 10); !strings.Contains(plan, "COVERING INDEX api_keys_account") {
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
