package keystore

import (
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// An unknown service ID and a wrong password take the same query: it searches by the digest
// of the password, and never by the service ID alone.
func TestFindService_SearchesByThePassword(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	path := newPath(t)
	f := openStore(t, path)
	f.account()
	plan := planOf(t, path, findService, []byte{0}, "svc", start)
	if !strings.Contains(plan, "INDEX accounts_spw (spw_digest=?)") || !strings.Contains(plan, "INDEX accounts_previous_spw (previous_spw_digest=?)") || strings.Contains(plan, "SCAN") {
		t.Errorf("the query runs as %s", plan)
	}
}

// planOf returns how SQLite runs a query, a line for each step.
func planOf(t *testing.T, path, query string, args ...any) string {
	t.Helper()
	rows, err := rawDB(t, path).Query("EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var n int
		var line string
		if err := rows.Scan(&n, &n, &n, &line); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	return plan.String()
}

// child issues a key in the name of another key, as the issuance API does.
func (f fixture) child(issuer policy.Key, edit ...func(*NewKey)) (policy.Key, policy.Secret) {
	f.t.Helper()
	return f.key(issuer.AccountID, append([]func(*NewKey){func(k *NewKey) { k.Origin, k.Issuer = policy.OriginAPI, issuer.ID }}, edit...)...)
}

func TestPrune_SearchesByIndex(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	path := newPath(t)
	openStore(t, path)
	plan := planOf(t, path, endedKeys, start, pruneBatch)
	if strings.Contains(plan, "SCAN k") || !strings.Contains(plan, "api_keys_ended") || !strings.Contains(plan, "(account_id=?)") {
		t.Errorf("the search runs as %s", plan)
	}
}

// The issuance API makes many keys. After some time not even their digests are kept.
func TestPrune_ForgetsKeysOfTheIssuanceAPI(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, func(c *Config) { c.Retention = time.Hour })
	a := f.account()
	root, _ := f.key(a.ID, func(k *NewKey) { k.Issuable, k.Expires = true, policy.Never() })
	f.key(a.ID)
	for range 2*pruneBatch + 1 {
		f.child(root)
	}
	db := rawDB(t, path)
	for _, step := range []struct {
		at         policy.Time
		keys, dead int
	}{
		{start.Add(2*time.Hour - 1), 2*pruneBatch + 3, 0},
		{start.Add(2 * time.Hour), 1, 2*pruneBatch + 2},
		{start.Add(2*time.Hour + deadKept - 1), 1, 2*pruneBatch + 2},
		{start.Add(2*time.Hour + deadKept), 1, 1},
		{start.Add(100 * deadKept), 1, 1},
	} {
		if err := f.Prune(t.Context(), step.at); err != nil {
			t.Fatal(err)
		}
		keys, dead := count(t, db, `SELECT COUNT(*) FROM api_keys`), count(t, db, `SELECT COUNT(*) FROM dead_digests`)
		if keys != step.keys || dead != step.dead {
			t.Errorf("at %s: %d keys and %d digests, want %d and %d", step.at, keys, dead, step.keys, step.dead)
		}
	}
}

// Keys of one transaction share the cached record of their issuer, until a write of the
// transaction changes a record.
func TestIssueKey_SeesTheChangesOfItsTransaction(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(tx *txn, k policy.Key) error{
		"the issuer is revoked": func(tx *txn, k policy.Key) error {
			tx.revoke(start, operator, &k, "")
			return tx.changed(start, changedKey, make([]byte, len(digest{})))
		},
		"the account is closed": func(tx *txn, k policy.Key) error {
			tx.exec(`UPDATE accounts SET closed_at = $1 WHERE id = $2`, start, k.AccountID)
			return tx.changed(start, changedAccount, []byte(k.AccountID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openStore(t, newPath(t))
			root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
			by, k := Actor{Kind: ActorKey, ID: root.ID}, NewKey{AccountID: root.AccountID, Origin: policy.OriginAPI, Issuer: root.ID, Expires: policy.Never()}
			err := f.write(t.Context(), func(tx *txn) error {
				for range 2 {
					if err := tx.checkIssue(start, by, k); err != nil {
						return err
					}
				}
				if err := tx.checkIssue(start.Add(time.Hour), by, k); err == nil {
					t.Error("an expired key may issue, since it was read before")
				}
				if err := end(tx, root); err != nil {
					return err
				}
				if err := tx.checkIssue(start, by, k); err == nil {
					t.Error("a key may be issued after its issuer's end")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
