package keystore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// expiredJobs returns the IDs of the jobs of each page.
func (f *fixture) expiredJobs(list GraceList) (pages [][]string) {
	f.t.Helper()
	for {
		page, next, err := f.JobsOfExpiredKeys(f.t.Context(), list)
		if err != nil {
			f.t.Fatal(err)
		}
		pages = append(pages, namesOf(page, func(g JobOnGrace) string {
			if !strings.HasPrefix(g.Job.ID, g.Key.Label+" ") || g.Job.KeyID != g.Key.ID {
				f.t.Errorf("job %s of key %s", g.Job.ID, g.Key.Label)
			}
			return g.Job.ID
		}))
		if list.Cursor = next; next == "" {
			return pages
		}
		if len(pages) > 100 {
			f.t.Fatal("the list has no end")
		}
	}
}

func TestJobsOfExpiredKeys_AreThoseOfTheKeysThatEndedLast(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	for label, expires := range map[string]time.Duration{"soon": time.Minute, "late": 2 * time.Minute, "valid": day} {
		k, _ := f.key(a.ID, expiresIn(expires), func(n *NewKey) { n.Label = label })
		f.job(k, label+" 1")
	}
	for _, c := range []struct {
		since, now policy.Time
		want       [][]string
	}{
		{start - 1, start.Add(time.Hour), [][]string{{"late 1", "soon 1"}}},
		{start - 1, start.Add(time.Minute), [][]string{{"soon 1"}}},
		{start - 1, start.Add(time.Minute) - 1, [][]string{{}}},
		{start, start.Add(time.Hour), [][]string{{}}}, // the jobs are from the instant itself
	} {
		if got := f.expiredJobs(GraceList{Since: c.since, Now: c.now, Limit: 9}); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

// The keys are found in an index of ends, and the jobs of a key are read in the order of an index.
func TestJobsOfExpiredKeys_ReadIndexes(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	f := openStore(t, newPath(t))
	if plan := f.planOf(jobsOfKey, "key_1", 2, 3, 4); strings.Contains(plan, "TEMP B-TREE") || !strings.Contains(plan, "SEARCH j USING INDEX jobs_key (key_id=? AND rowid>?)") {
		t.Errorf("the plan of the jobs is\n%s", plan)
	}
	for _, text := range []string{keysOnGrace, graceWindowEnd} {
		plan := f.planOf(text, 1, 2, 3, 4, 5)
		if strings.Contains(plan, "SCAN api_keys\n") || !strings.Contains(plan, "INDEX api_keys_ended (<expr>=? AND rowid<?)") || !strings.Contains(plan, "INDEX api_keys_ended (<expr>>? AND <expr><?)") {
			t.Errorf("the plan of the keys is\n%s", plan)
		}
	}
}

// Pages of every size, and windows of every size, have the same jobs in the same order: also if
// several keys have ended at the same instant, and if keys have no job or many.
func TestJobsOfExpiredKeys_PagesNeitherRepeatNorSkipAJob(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	var want []string
	for i, jobs := range []int{2, 0, 0, 3, 0, 1, 4, 0} {
		label := fmt.Sprintf("key-%d", i)
		k, _ := f.key(a.ID, expiresIn(time.Duration(1+i/3)*time.Minute), func(n *NewKey) { n.Label = label })
		var own []string
		for j := range jobs {
			own = append(own, fmt.Sprintf("%s %d", label, j))
			f.job(k, own[j])
		}
		want = append(own, want...)
	}
	list := GraceList{Since: start - 1, Now: start.Add(time.Hour)}
	for list.Limit = 1; list.Limit <= len(want)+1; list.Limit++ {
		for _, list.window = range []int{2, 3, 5, 8, 9} {
			if got := slices.Concat(f.expiredJobs(list)...); !slices.Equal(got, want) {
				t.Errorf("limit %d, window %d: got %q, want %q", list.Limit, list.window, got, want)
			}
		}
	}
}

func TestJobsOfExpiredKeys_RefusesWhatIsNoPage(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	for _, list := range []GraceList{{Limit: 0}, {Limit: 1, Cursor: "g"}, {Limit: 1, Cursor: "g1.MQ.eA"}, {Limit: 1, Cursor: "g1.eA.MQ"}, {Limit: 1, Cursor: "f1.MQ.MQ"}} {
		if _, _, err := f.JobsOfExpiredKeys(t.Context(), list); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", list, err)
		}
	}
}
