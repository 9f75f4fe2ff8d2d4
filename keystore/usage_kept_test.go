package keystore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// A backup has the usage that was in the journal, so that a key that comes back has it.
func TestRestore_UsageOfTheJournal(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	lost, _ := f.key(f.account().ID)
	f.CountUsage(start, aUse(lost, policy.Recognize, policy.Allowed), UsageCounts{Requests: 3})
	for i := range usageBatch { // so many counters go to the journal
		f.CountUsage(start, aUse(policy.Key{ID: fmt.Sprintf("key_%d", i), AccountID: "acc_1"}, policy.ReadJob, policy.Allowed), UsageCounts{Requests: 1})
	}
	f.usage.flush(t.Context())
	db := rawDB(t, path)
	if count(t, db, `SELECT COUNT(*) FROM usage_journal`) == 0 {
		t.Fatal("the journal is empty")
	}
	backup := f.backup()
	mustExec(t, db, `DELETE FROM api_keys WHERE id = $1`, lost.ID) // as if it was pruned
	mustExec(t, db, `DELETE FROM usage_scopes WHERE key_id = $1`, lost.ID)
	mustExec(t, db, `DELETE FROM usage_journal`)
	f.restore(backup.Path, later)
	if got := f.sumOf(UsageList{AccountID: lost.AccountID, KeyID: lost.ID}); got.Requests != 3 {
		t.Errorf("the key has %+v, want 3 requests", got)
	}
}

// Usage stays when a backup is restored. A key that comes back has its total of the backup.
func TestRestore_Usage(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	kept, _ := f.key(f.account().ID)
	lost, _ := f.key(kept.AccountID)
	for _, k := range []policy.Key{kept, lost} {
		f.CountUsage(start, aUse(k, policy.Recognize, policy.Allowed), UsageCounts{Requests: 1, AudioTime: time.Second})
	}
	f.usage.flush(t.Context())
	backup := f.backup()
	newer, _ := f.key(kept.AccountID)
	f.CountUsage(start, aUse(newer, policy.Recognize, policy.Allowed), UsageCounts{Requests: 1})
	f.CountUsage(start, aUse(kept, policy.Recognize, policy.Allowed), UsageCounts{Requests: 1})
	f.usage.flush(t.Context())
	mustExec(t, rawDB(t, path), `DELETE FROM api_keys WHERE id = $1`, lost.ID) // as if it was pruned
	mustExec(t, rawDB(t, path), `DELETE FROM usage_scopes WHERE key_id = $1`, lost.ID)
	f.restore(backup.Path, later)
	for _, c := range []struct {
		key  policy.Key
		want UsageCounts
	}{
		{kept, UsageCounts{Requests: 2, AudioTime: time.Second}},
		{lost, UsageCounts{Requests: 1, AudioTime: time.Second}},
		{newer, UsageCounts{}},
		{policy.Key{AccountID: kept.AccountID}, UsageCounts{Requests: 4, AudioTime: 2 * time.Second}},
	} {
		if got := f.sumOf(UsageList{AccountID: c.key.AccountID, KeyID: c.key.ID}); got != c.want {
			t.Errorf("key %q: %+v, want %+v", c.key.ID, got, c.want)
		}
	}
}

const counterEnv = "KEYSTORE_TEST_COUNTER" // the store of a process that counts until it is killed

// countForEver counts a request each millisecond, and prints after each count how many there
// were.
func countForEver(path string) {
	s, err := Open(context.Background(), bareConfig(path))
	tick := time.NewTicker(time.Millisecond)
	for i := 1; err == nil; i++ {
		s.CountUsage(policy.At(<-tick.C), &UsageOf{KeyID: "key_1", AccountID: "acc_1"}, UsageCounts{Requests: 1})
		_, err = fmt.Println(i)
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// A process that is killed loses the counts of the last five seconds at most.
func TestUsage_KilledProcess(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), counterEnv+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	type counted struct {
		n  int64
		at time.Time
	}
	var seen []counted
	killed := time.Time{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, err := strconv.ParseInt(strings.TrimSpace(lines.Text()), 10, 64)
		if err != nil {
			t.Fatalf("the other process: %q", lines.Text())
		}
		seen = append(seen, counted{n, time.Now()})
		if killed.IsZero() && time.Since(seen[0].at) > 9500*time.Millisecond { // after the second write, and before the third one
			killed = time.Now()
			_ = child.Process.Kill() // SIGKILL
		}
	}
	_ = child.Wait()
	var least int64
	for _, c := range seen {
		if killed.Sub(c.at) > 5*time.Second {
			least = c.n
		}
	}
	got := openStore(t, path).sumOf(UsageList{AccountID: "acc_1", KeyID: "key_1"}).Requests
	if last := seen[len(seen)-1].n; least == 0 || got < least || got > last+1 {
		t.Errorf("%d of %d requests, want those until five seconds before the end: %d", got, last, least)
	}
}
