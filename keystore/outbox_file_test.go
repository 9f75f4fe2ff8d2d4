package keystore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

const admitterEnv = "KEYSTORE_TEST_ADMITTER" // the database, the directory and the key of a process that admits jobs until it is killed

// admitForEver records jobs, some at a time, and prints the ID of each one that is recorded.
func admitForEver(env string) {
	place := strings.Split(env, "\n")
	s, err := Open(context.Background(), configOf(inPostgres(place[0]), admitting(place[1]), func(c *Config) { c.Clock = func() policy.Time { return start } }))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for worker := range 8 {
		go func() {
			for i := 0; ; i++ {
				j := policy.Job{Backend: "amivoice", ID: fmt.Sprintf("job-%d-%d-%d", os.Getpid(), worker, i), Dialect: "amivoice", AccountID: place[2], KeyID: place[3], CreatedAt: start}
				if err := s.CreateJob(context.Background(), j); err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Println(j.ID)
			}
		}()
	}
	select {}
}

// A process that is killed while it records jobs at its site loses none that it has answered for.
func TestAdmitJobs_AKilledProcessLosesNoJob(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var recorded []string
	for range 3 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), admitterEnv+"="+strings.Join([]string{e.dsn, e.dir, e.owner.AccountID, e.owner.ID}, "\n"))
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 100 {
				_ = child.Process.Kill() // SIGKILL; the lines that it has printed are read to the end
			}
			if strings.HasPrefix(lines.Text(), "error") {
				t.Errorf("the other process: %s", lines.Text())
				continue
			}
			recorded = append(recorded, lines.Text())
		}
		_ = child.Wait()
	}
	if len(recorded) < 300 {
		t.Fatalf("%d jobs were recorded, want 300 or more", len(recorded))
	}
	recorded = recorded[:len(recorded)-1] // the last line can have been cut
	e.open(t)
	e.takeOverPolling()
	e.comeBack(t)
	e.sendAll(t)
	for _, id := range recorded {
		if _, err := e.other.Job(t.Context(), "amivoice", id); err != nil {
			t.Fatalf("job %q: %v", id, err)
		}
	}
}

// damage overwrites the file of the jobs that wait.
func (e *site) damage(t *testing.T) {
	t.Helper()
	path := filepath.Join(e.dir, "jobs.db")
	raw := rawDB(t, path)
	mustExec(t, raw, `PRAGMA wal_checkpoint(TRUNCATE)`)
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("damaged ", int(fi.Size()/8))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A file that is damaged is set aside and not removed, also if one was set aside before. New jobs go into a new file.
func TestAdmitJobs_ADamagedFileIsSetAside(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	e.job(e.owner, "in the first file")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.damage(t)
	e.open(t)
	e.takeOverPolling()
	e.job(e.owner, "in the second file")
	e.damage(t) // while it is used
	testutil.Eventually(t, "the damage is found", func() bool {
		_, err := e.FindJob(t.Context(), "amivoice", "never made")
		return err != nil && !strings.Contains(err.Error(), "cannot be read")
	})
	last := e.job(e.owner, "in the third file")
	e.wantJob("in the third file", last)
	for _, name := range []string{"jobs.db.aside", "jobs.db.aside2"} {
		content, err := os.ReadFile(filepath.Join(e.dir, name))
		if err != nil || !strings.HasPrefix(string(content), "damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := e.logs.FilterMessageSnippet("is damaged: it was set aside").FilterLevelExact(zapcore.ErrorLevel).Len(); n != 2 {
		t.Errorf("the log says it %d times, want 2", n)
	}
	e.comeBack(t)
	e.sendAll(t)
	e.other.wantJob("at another gateway", last)
}

// The file of another version stays as it is. Until it is moved away, no jobs are recorded at the site, and none is called unknown.
func TestAdmitJobs_AFileOfAnotherVersionStays(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(e.dir, "jobs.db")
	raw := rawDB(t, path)
	mustExec(t, raw, `PRAGMA user_version = 1000`)
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	e.open(t)
	e.takeOverPolling()
	e.job(e.owner, "while the database answers")
	e.wantNoJob(e.owner.AccountID, "never made", ErrUnavailable)
	e.server.Stop(t)
	testutil.Eventually(t, "the store finds out", func() bool {
		e.feed.poll(t.Context())
		return e.away() != nil
	})
	wantIs(t, e.CheckJobRoom(), ErrUnavailable)
	wantIs(t, e.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: "j", AccountID: e.owner.AccountID, KeyID: e.owner.ID, CreatedAt: start}), ErrUnavailable)
	if n := e.logs.FilterMessageSnippet("no jobs are recorded at this site").FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	e.outbox.step(t.Context())
	if err := e.CheckJobRoom(); err != nil {
		t.Error(err)
	}
	e.job(e.owner, "after it was moved away")
	e.wantWaiting(WaitingJobs{Waiting: 1})
}

// A file that was removed is an error in the log, and a new one is made: no job is written into a file that nobody can open.
func TestAdmitJobs_AFileThatWasRemoved(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(e.dir, "jobs.db"+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	j := e.job(e.owner, "made away")
	if n := e.logs.FilterMessageSnippet("was removed or replaced").FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.open(t)
	e.wantJob("after a restart", j)
}

// A process that holds the lock of the file delays a job, and refuses it only if it holds the lock for long.
func TestAdmitJobs_AFileThatIsLocked(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	raw := rawDB(t, filepath.Join(e.dir, "jobs.db"))
	raw.SetMaxOpenConns(1)
	mustExec(t, raw, `BEGIN IMMEDIATE`)
	time.AfterFunc(time.Second, func() { _, _ = raw.Exec(`ROLLBACK`) })
	j := e.job(e.owner, "made away")
	e.wantJob("after the lock", j)
}
