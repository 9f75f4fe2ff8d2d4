package keystore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

func TestAccounts_AreFoundByNameAndID(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	ids := make(map[string]string)
	for _, name := range []string{"Example Corp.", "100% Speech", "Other"} {
		a, _, err := f.CreateAccount(t.Context(), start, operator, name)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = a.ID
	}
	for search, want := range map[string]string{
		"example": "Example Corp.", "CORP": "Example Corp.", "100%": "100% Speech", "%": "100% Speech", ids["Other"]: "Other", ids["Other"][:14]: "Other", "_": "",
	} {
		found, _, err := f.Accounts(t.Context(), AccountList{Search: search})
		if err != nil {
			t.Fatal(err)
		}
		if want == "" && len(found) > 0 || want != "" && (len(found) != 1 || found[0].Name != want) {
			t.Errorf("%q finds %v, want %q", search, found, want)
		}
	}
}

// The jobs of an account are the same if the account has many keys, and they are found in another
// way.
func TestJobs_OfAnAccountWithFewAndManyKeys(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	few, _, err := f.CreateAccount(t.Context(), start, operator, "Few")
	if err != nil {
		t.Fatal(err)
	}
	many, _, err := f.CreateAccount(t.Context(), start, operator, "Many")
	if err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, f.place)
	for _, c := range []struct {
		account string
		keys    int
	}{{few.ID, 2}, {many.ID, fewKeys + 2}} {
		mustExec(t, db, `WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < $1)
			INSERT INTO api_keys (id, account_id, digest, prefix, origin, label, allow, issuable, created_at, expires_at)
			SELECT CAST($2 AS TEXT) || n, $3, `+randomDigest(f.place)+`, 'sgk_1234', 'console', '', '[]', FALSE, CAST($4 AS BIGINT), CASE WHEN n % 2 = 0 THEN $4 + 1 END FROM n`,
			c.keys, "key_"+c.account[4:12], c.account, start)
		mustExec(t, db, `INSERT INTO jobs (id, backend, dialect, account_id, key_id, client, created_at, state)
			SELECT 'job-' || id, 'b', 'amivoice', account_id, id, '192.0.2.7', $1, 'queued' FROM api_keys WHERE account_id = $2 ORDER BY id LIMIT 2`, start, c.account)
		if got, err := f.hasFewKeys(t.Context(), c.account, fewKeys); err != nil || got != (c.keys <= fewKeys) {
			t.Fatalf("%d keys are few: %t, %v", c.keys, got, err)
		}
		jobs, _, err := f.Jobs(t.Context(), JobList{AccountID: c.account})
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) != 2 || jobs[0].AccountID != c.account || jobs[1].AccountID != c.account {
			t.Errorf("the jobs of an account with %d keys are %v", c.keys, jobs)
		}
		for at, want := range map[policy.Time]int{start: c.keys, start.Add(day): (c.keys + 1) / 2} {
			if n, err := f.CountLiveKeys(t.Context(), c.account, at); err != nil || n != want {
				t.Errorf("%s: %d live keys, %v, want %d", fmt.Sprint(at), n, err, want)
			}
		}
	}
}

// A page of the newest jobs, of all accounts or of one with many keys, does not sort all jobs.
func TestJobs_PagesAreNotSorted(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	f := openStore(t, newPath(t), commandLine)
	const jobs = `SELECT ` + jobColumns + ` FROM jobs`
	after := listPosition{int64(start), []string{"b", "job-1"}}.cursor("j")
	for _, list := range []JobList{{}, {Cursor: after}, {AccountID: "acc_1"}, {AccountID: "acc_1", Cursor: after}} {
		for _, newestFirst := range []bool{false, true} {
			list.Limit, list.NewestFirst = 50, newestFirst
			q := jobsQuery(&list, false)
			text, err := q.build(jobs)
			if err != nil {
				t.Fatal(err)
			}
			plan := f.planOf(text, q.args...)
			if !strings.Contains(plan, "SEARCH jobs USING INDEX jobs_created") || strings.Contains(plan, "B-TREE FOR ORDER BY") {
				t.Errorf("%+v: the plan is\n%s", list, plan)
			}
		}
	}
}
