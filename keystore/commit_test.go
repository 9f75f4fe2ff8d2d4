package keystore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// hold keeps the writer busy until release is called, so that the writes of the meantime
// become one batch.
func (f fixture) hold() (release func()) {
	f.t.Helper()
	running, held := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := f.write(context.Background(), func(*txn) error { close(running); <-held; return nil })
		if err != nil {
			f.t.Error(err)
		}
	})
	<-running
	return func() { close(held); wg.Wait() }
}

func TestGroupCommit_EachWriteStandsAlone(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	key, _ := f.key(f.account().ID)
	f.job(key, "taken")
	release := f.hold()
	var wg sync.WaitGroup
	errs := make([]error, 30)
	for i := range errs {
		wg.Go(func() {
			switch i % 3 {
			case 0:
				errs[i] = f.CreateJob(t.Context(), policy.Job{Backend: "b", ID: strconv.Itoa(i), AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start})
			case 1: // fails after it has written
				errs[i] = f.write(t.Context(), func(tx *txn) error {
					tx.exec(`UPDATE accounts SET name = 'half a write'`)
					if err := tx.changed(start, changedJobs, []byte{}); err != nil {
						return err
					}
					return refuse(ErrInvalid, "no")
				})
			case 2:
				errs[i] = f.write(t.Context(), func(tx *txn) error {
					tx.exec(`INSERT INTO no_such_table VALUES (1)`)
					tx.exec(`UPDATE accounts SET name = 'after an error'`)
					return nil // the txn remembers the error
				})
			}
		})
	}
	testutil.Eventually(t, "all wait", func() bool { return len(f.commits.queue) == len(errs) })
	release()
	wg.Wait()
	for i, want := range []error{nil, ErrInvalid, ErrUnavailable} {
		for ; i < len(errs); i += 3 {
			if !errors.Is(errs[i], want) {
				t.Errorf("write %d: %v, want %v", i, errs[i], want)
			}
		}
	}
	if jobs, _, _ := f.Jobs(t.Context(), JobList{}); len(jobs) != 11 {
		t.Errorf("%d jobs, want 11", len(jobs))
	}
	db := rawDB(t, path)
	if n := count(t, db, `SELECT COUNT(*) FROM accounts WHERE name <> 'Example K.K.'`) + count(t, db, `SELECT COUNT(*) FROM feed WHERE kind = 'jobs'`); n != 0 {
		t.Errorf("%d traces of failed writes", n)
	}
}

// SQLite ends the whole transaction on errors such as a full disk. Then no write of the
// batch may succeed.
func TestGroupCommit_FatalError(t *testing.T) {
	t.Parallel()
	f := openStore(t, newFile(t, "an error that ends a transaction"))
	key, _ := f.key(f.account().ID)
	release := f.hold()
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		wg.Go(func() {
			if i == 1 {
				errs[i] = f.write(t.Context(), func(tx *txn) error {
					tx.exec(`ROLLBACK`)
					tx.exec(`INSERT INTO nowhere VALUES (1)`)
					tx.exec(`UPDATE accounts SET name = 'by itself'`)
					return tx.err
				})
				return
			}
			errs[i] = f.CreateJob(t.Context(), policy.Job{Backend: "b", ID: strconv.Itoa(i), AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start})
		})
		testutil.Eventually(t, "it waits", func() bool { return len(f.commits.queue) == i+1 })
	}
	release()
	wg.Wait()
	for i, err := range errs {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if jobs, _, _ := f.Jobs(t.Context(), JobList{}); len(jobs) != 0 {
		t.Errorf("%d jobs were written", len(jobs))
	}
	if a, _, _ := f.Accounts(t.Context(), AccountList{}); a[0].Name != "Example K.K." {
		t.Error("a statement was committed by itself")
	}
	f.job(key, "next") // the writer goes on
}

func TestWrite_CallerGivesUp(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	release := f.hold()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	ran := false
	err := f.write(ctx, func(*txn) error { ran = true; return nil })
	wantIs(t, err, ErrUnavailable)
	wantIs(t, err, context.DeadlineExceeded)
	release()
	f.account()
	if ran {
		t.Error("a write ran after its caller gave up")
	}
	// A caller waits for a write that runs.
	end := make(ending)
	err = f.write(end, func(*txn) error { end <- struct{}{}; return nil })
	if err != nil {
		t.Errorf("a running write: %v", err)
	}
}

// ending is a context that ends when somebody sees it end.
type ending chan struct{}

func (ending) Deadline() (at time.Time, ok bool) { return at, false }
func (e ending) Done() <-chan struct{}           { return e }
func (ending) Err() error                        { return nil }
func (ending) Value(any) any                     { return nil }

func TestLockedDatabase_ReadsGoOn(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	key, secret := f.key(f.account().ID)
	unlock := lockFromOutside(t, path)
	for range 2 { // from the database, from the cache
		if f.find(secret) == nil {
			t.Error("not found while the database is locked")
		}
	}
	f.NoteUse(f.find(secret), start)
	if s, err := Open(t.Context(), configOf(inPlace(path), commandLine)); err != nil {
		t.Errorf("opening for reading: %v", err)
	} else if err := s.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := f.RevokeKey(ctx, start, operator, key.ID, "")
	wantIs(t, err, ErrUnavailable)
	wantIs(t, err, context.DeadlineExceeded)
	unlock()
	if _, err := f.RevokeKey(t.Context(), start, operator, key.ID, ""); err != nil {
		t.Errorf("after the lock was given back: %v", err)
	}
}

func TestClose_AnswersEveryWrite(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	key, _ := f.key(f.account().ID)
	var wg sync.WaitGroup
	var written atomic.Int64
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				err := f.CreateJob(context.Background(), policy.Job{Backend: strconv.Itoa(w), ID: strconv.Itoa(i), AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start})
				if err != nil {
					wantIs(t, err, ErrUnavailable)
					return
				}
				written.Add(1)
			}
		})
	}
	testutil.Eventually(t, "all are writing", func() bool { return written.Load() > 100 })
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

const writerEnv = "KEYSTORE_TEST_WRITER" // path and key of a process that writes until it is killed

// writeForEver creates jobs, and prints the ID of each job that CreateJob has recorded.
func writeForEver(env string) {
	path, keyAndAccount, _ := strings.Cut(env, "\n")
	keyID, accountID, _ := strings.Cut(keyAndAccount, "\n")
	s, err := Open(context.Background(), bareConfig(path))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var out sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("job-%d-%d", w, i)
				err := s.CreateJob(context.Background(), policy.Job{Backend: "b", ID: id, AccountID: accountID, KeyID: keyID, CreatedAt: start})
				out.Lock()
				fmt.Println(id, err)
				out.Unlock()
			}
		})
	}
	wg.Wait()
}

// A process is killed while it writes. All jobs that it has acknowledged are in the store,
// and the store can be used.
func TestR10_AcknowledgedJobsSurviveKill(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	key, secret := f.key(f.account().ID)
	f.find(secret)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerEnv+"="+path+"\n"+key.ID+"\n"+key.AccountID)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := []string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		id, result, _ := strings.Cut(lines.Text(), " ")
		if result != "<nil>" {
			t.Errorf("the other process: %s", lines.Text())
			_ = child.Process.Kill()
			break
		}
		if acknowledged = append(acknowledged, id); len(acknowledged) == 300 {
			_ = child.Process.Kill() // SIGKILL; what it printed before is still read
		}
	}
	_ = child.Wait()
	if len(acknowledged) < 300 {
		t.Fatalf("only %d jobs were acknowledged", len(acknowledged))
	}
	for _, id := range acknowledged {
		if _, err := f.FindJob(t.Context(), "b", id); err != nil {
			t.Errorf("acknowledged job %s: %v", id, err)
		}
	}
	f.job(key, "mine")
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if isPostgres(path) {
		return // the server has not been killed
	}
	var check string
	if err := rawDB(t, path).QueryRow(`PRAGMA integrity_check`).Scan(&check); err != nil || check != "ok" {
		t.Errorf("integrity check: %s, %v", check, err)
	}
}

// A relaxed write waits for the disk only if another write of its batch must be
// durable.
func TestWriteRelaxed_SharesADurableBatch(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	normal, full, setting := "1", "2", `PRAGMA synchronous` // https://www.sqlite.org/pragma.html#pragma_synchronous
	if isPostgres(f.place) {
		normal, full, setting = "off", "on", `SELECT current_setting('synchronous_commit')`
	}
	var level string
	ask := func(t *txn) error { return t.queryRow(setting).Scan(&level) }
	for _, c := range []struct {
		relaxed []bool
		want    string
	}{
		{[]bool{true}, normal},
		{[]bool{false}, full},
		{[]bool{true, true}, normal},
		{[]bool{true, false}, full},
		{[]bool{false, true}, full},
	} {
		var batch []*write
		for _, relaxed := range c.relaxed {
			batch = append(batch, &write{run: ask, relaxed: relaxed, done: make(chan error, 1)})
		}
		level = ""
		f.commits.commit(t.Context(), batch, false)
		for _, w := range batch {
			if err := <-w.done; err != nil {
				t.Fatal(err)
			}
		}
		if level != c.want {
			t.Errorf("relaxed %v: committed with synchronous %s, want %s", c.relaxed, level, c.want)
		}
	}
	for want, submit := range map[string]func(context.Context, func(*txn) error) error{normal: f.writeRelaxed, full: f.write} {
		if err := submit(t.Context(), ask); err != nil || level != want {
			t.Errorf("synchronous %s, %v; want %s", level, err, want)
		}
	}
}
