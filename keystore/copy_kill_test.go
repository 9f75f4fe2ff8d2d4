package keystore

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

const copierEnv = "KEYSTORE_TEST_COPIER" // the two places of a process that copies

// copyOnce copies a store, and prints a line for each part.
func copyOnce(env string) {
	places := strings.Split(env, "\n")
	cfg := func(place string) Config { return configOf(inPlace(place), commandLine) }
	s, err := Open(context.Background(), cfg(places[0]))
	if err == nil {
		_, err = s.CopyTo(context.Background(), cfg(places[1]), CopyOptions{Progress: func(p CopyProgress) {
			fmt.Println(p.Table, p.Compared, p.Rows)
		}})
	}
	fmt.Println("end", err)
	os.Exit(0)
}

// A process is killed while it copies. There is no store then, and the next copy keeps what the
// first has copied.
func TestCopyTo_GoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	eachDirection(t, func(t *testing.T, from, to func(*Config)) {
		f := openStore(t, "", from, commandLine)
		a := f.account()
		k, _ := f.key(a.ID)
		const jobs = 50_000
		manyJobs(t, rawOf(t, from), k, jobs)
		place := func(cfg Config) string {
			if cfg.Postgres != nil {
				return cfg.Postgres.DSN.Reveal()
			}
			return cfg.Path
		}
		for _, at := range []string{"jobs false 20000", "jobs false 40000", "jobs true 40000"} {
			testutil.Eventually(t, "the database notices that the last process is gone", func() bool {
				return killCopier(t, place(configOf(from))+"\n"+place(configOf(to)), at)
			})
			if _, _, err := tryStore("", to, commandLine, func(c *Config) { c.MustExist = true }); !errors.Is(err, ErrNoStore) {
				t.Errorf("killed after %q: %v, want no store", at, err)
			}
		}
		var c Copied
		testutil.Eventually(t, "the database notices that the process is gone", func() bool {
			var err error
			c, err = f.CopyTo(t.Context(), configOf(to), CopyOptions{})
			return err == nil
		})
		if c.Kept < jobs || rowsOf(c, "jobs") != jobs {
			t.Errorf("kept %d rows, and the copy has %d jobs: want %d", c.Kept, rowsOf(c, "jobs"), jobs)
		}
		g := openStore(t, "", to, commandLine, func(c *Config) { c.MustExist = true })
		if _, err := g.Job(t.Context(), "b", "job-49999"); err != nil {
			t.Error(err)
		}
	})
}

// killCopier kills a process that copies when it prints a line. It returns false if the process did
// not begin, because the database still has the lock of another one.
func killCopier(t *testing.T, places, at string) (killed bool) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), copierEnv+"="+places)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }() // the error is the kill
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch text := lines.Text(); {
		case text == at:
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			return true
		case strings.HasPrefix(text, "end") && strings.Contains(text, "another process is copying"):
			return false
		case strings.HasPrefix(text, "end"):
			t.Fatalf("the other process ended before %q: %s", at, text)
		}
	}
	t.Fatalf("the other process ended before %q: %v", at, lines.Err())
	return false
}

// manyJobs adds jobs in one statement.
func manyJobs(t *testing.T, db *sql.DB, k policy.Key, n int) {
	t.Helper()
	mustExec(t, db, `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < CAST($1 AS BIGINT))
		INSERT INTO jobs (id, backend, dialect, account_id, key_id, client, created_at, state)
		SELECT 'job-' || CAST(i AS TEXT), 'b', 'amivoice', CAST($2 AS TEXT), CAST($3 AS TEXT), '', CAST($4 AS BIGINT), 'queued' FROM n`, n, k.AccountID, k.ID, int64(start))
}
