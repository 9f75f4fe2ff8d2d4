package keystore

import (
	"fmt"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

func TestAudit_ChainedOnUpgrade(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "versions of the schema before PostgreSQL")
	for name, pepper := range map[string]string{"plain": "", "peppered": "salt"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			makeVersion1(t, path)
			db := rawDB(t, path)
			for i, action := range []string{"account_create", actionPepperAdd, "account_close"} {
				kind := ActorOperator
				if action == actionPepperAdd {
					if pepper == "" {
						continue
					}
					kind = ActorStore
				}
				mustExec(t, db, `INSERT INTO audit (seq, at, actor_kind, actor_id, actor_from, action, account_id, subject, detail)
					VALUES ($1, 1, $2, 'root', '', $3, '', '', '')`, i+1, kind, action)
			}
			if pepper != "" {
				var id string
				if err := db.QueryRow(`SELECT value FROM meta WHERE name = 'store_id'`).Scan(&id); err != nil {
					t.Fatal(err)
				}
				mustExec(t, db, `INSERT INTO meta (name, value) VALUES ('pepper_check', $1)`, newHasher(policy.NewSecret(pepper)).check(id))
				if _, _, err := tryStore(path, withPepper("another")); err == nil {
					t.Fatal("upgraded with the wrong pepper")
				}
				if n := count(t, db, `SELECT MAX(version_id) FROM schema_version`); n > 2 {
					t.Fatalf("the schema is of version %d, with the wrong pepper", n)
				}
			} else {
				mustExec(t, db, `UPDATE audit SET seq = 2 WHERE seq = 3`)
			}
			f := openStore(t, path, withPepper(pepper))
			want := 2
			if pepper != "" {
				want = 3
			}
			want++ // the entry about the new hashes
			wantWhole(t, f.verify(nil), want)
			f.account()
			wantWhole(t, f.verify(nil), want+1)
			if e := actions(t, f, "", actionAuditChain); len(e) != 1 || e[0].Subject != fmt.Sprint(want-1) {
				t.Errorf("entries about the upgrade: %v", e)
			}
			mustExec(t, db, `UPDATE audit SET actor_id = 'nobody' WHERE seq = 1`)
			if c := f.verify(nil); c.Entries != 0 || c.Fault == "" {
				t.Errorf("a change before the upgrade's end: %+v", c)
			}
		})
	}
}

// An upgrade gives a hash to each entry under its own number, also behind a gap.
func TestAudit_ChainedOnUpgradeBehindAGap(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "versions of the schema before PostgreSQL")
	path := newPath(t)
	makeVersion1(t, path)
	db := rawDB(t, path)
	for _, seq := range []int{1, 4, 5} {
		mustExec(t, db, `INSERT INTO audit (seq, at, actor_kind, actor_id, actor_from, action, account_id, subject, detail)
			VALUES ($1, 1, 'operator', 'root', '', 'account_create', '', '', '')`, seq)
	}
	f := openStore(t, path)
	if n := count(t, db, `SELECT COUNT(*) FROM audit WHERE length(hash) <> 32`); n != 0 {
		t.Errorf("%d entries have no hash", n)
	}
	if c := f.verify(nil); c.Entries != 1 || c.Fault != "entry 2 was removed: entry 4 comes next" {
		t.Errorf("the trail is %+v", c)
	}
}
