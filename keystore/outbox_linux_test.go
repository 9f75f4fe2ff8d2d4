package keystore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// If the disk of the site is almost full, jobs are refused before the backend creates them. If it is full in spite of it,
// a job is not recorded, and the gate learns so. With room again, jobs are admitted again, and those from before are there.
func TestAdmitJobs_AFullDisk(t *testing.T) {
	t.Parallel()
	disk := testutil.SmallDisk(t, 24<<20)
	if disk == "" {
		return
	}
	e := newSite(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.dir = filepath.Join(disk, "replica")
	e.open(t, func(c *Config) { c.minFree = 4 << 20 })
	e.leave(t)
	before := e.job(e.owner, "before")
	junk := filepath.Join(disk, "junk")
	fillDisk(t, junk)
	err := e.CheckJobRoom()
	wantIs(t, err, ErrUnavailable)
	if err == nil || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("on a full disk: %v", err)
	}
	refused := 0
	for i := range 50 { // the log of the file has some room still
		j := policy.Job{Backend: "amivoice", ID: "late " + strings.Repeat("x", 400) + string(rune('a'+i)), AccountID: e.owner.AccountID, KeyID: e.owner.ID, CreatedAt: start}
		if err := e.CreateJob(t.Context(), j); err != nil {
			refused++
			wantIs(t, err, ErrUnavailable)
		} else {
			e.wantJob("that was recorded on the full disk", j)
		}
	}
	if refused == 0 {
		t.Error("all jobs were recorded on a full disk")
	}
	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	e.advance(2 * fullFor)
	if err := e.CheckJobRoom(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	after := e.job(e.owner, "after")
	e.wantJob("from before", before)
	e.wantJob("from after", after)
	if n := e.logs.FilterMessageSnippet("the disk of the replica is full").Len(); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	e.comeBack(t)
	e.sendAll(t)
	e.other.wantJob("at another gateway", before)
	e.other.wantJob("at another gateway", after)
}
