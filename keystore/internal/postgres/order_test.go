package postgres

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// PostgreSQL gives out the number of a row before the commit. So without the lock of Begin, a
// reader that has seen number 2 never looks for number 1, which is committed later.
func TestFeed_WithoutTheLockAReaderMissesAChange(t *testing.T) {
	t.Parallel()
	d, _ := openNew(t)
	begin := func() *sql.Tx {
		tx, err := d.writer.BeginTx(t.Context(), nil) // what Begin does, without the lock
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	slow, quick := begin(), begin()
	first, second := insertChange(t, slow, "slow"), insertChange(t, quick, "quick")
	mustCommit(t, d, quick)
	seen := changesAfter(t, d.reader, 0)
	mustCommit(t, d, slow)
	if !slices.Equal(seen, []int64{second}) || first >= second {
		t.Fatalf("the reader has seen %v, want only %d, which is higher than %d", seen, second, first)
	}
	if later := changesAfter(t, d.reader, second); len(later) != 0 {
		t.Errorf("the reader then sees %v", later)
	}
	if all := changesAfter(t, d.reader, 0); !slices.Equal(all, []int64{first, second}) {
		t.Errorf("the feed has %v, want %v", all, []int64{first, second})
	}
}

// A transaction of another process waits for the lock, and the keystore is told to try again.
func TestBegin_RunsOneTransactionAfterAnother(t *testing.T) {
	t.Parallel()
	one, dsn := openNew(t)
	two, _ := open(t, dsn, "")
	first := mustBegin(t, one, 0)
	before := insertChange(t, first, "one")
	begun := time.Now()
	if _, err := two.Begin(t.Context(), engine.Relaxed); err == nil || !two.engine.Busy(err) {
		t.Fatalf("beside another transaction: %v, want an error that is Busy", err)
	} else if waited := time.Since(begun); waited < 200*time.Millisecond {
		t.Errorf("the transaction has waited for %s only", waited)
	}
	mustCommit(t, one, first)
	second := mustBegin(t, two, engine.Relaxed)
	if seen := changesAfter(t, second, 0); !slices.Equal(seen, []int64{before}) {
		t.Errorf("the second transaction sees %v, want %d", seen, before)
	}
	if after := insertChange(t, second, "two"); after <= before {
		t.Errorf("the second transaction has number %d, and the first had %d", after, before)
	}
}

// A reader that reads on from the last number it has seen misses no change, whatever many
// processes write at the same time.
func TestBegin_AReaderOfTheFeedMissesNothing(t *testing.T) {
	t.Parallel()
	const processes, transactions = 4, 30
	reader, dsn := openNew(t)
	var writers sync.WaitGroup
	for p := range processes {
		d, _ := open(t, dsn, "")
		writers.Go(func() {
			for n := range transactions {
				writeSome(t.Context(), t, d, strconv.Itoa(p)+"/"+strconv.Itoa(n))
			}
		})
	}
	written := make(chan struct{})
	go func() { writers.Wait(); close(written) }()
	var seen []int64
	for done := false; !done; {
		select {
		case <-written:
			done = true // one more look, at what was written last
		default:
		}
		seen = append(seen, changesAfter(t, reader.reader, last(seen))...)
	}
	if all := changesAfter(t, reader.reader, 0); !slices.Equal(seen, all) || len(all) < processes*transactions/2 {
		t.Errorf("the reader has seen %d changes, and the feed has %d:\n%v\n%v", len(seen), len(all), seen, all)
	}
}

func last(numbers []int64) int64 {
	if len(numbers) == 0 {
		return 0
	}
	return numbers[len(numbers)-1]
}

// writeSome adds up to three changes in one transaction. A quarter of the transactions is rolled
// back: their numbers are never used.
func writeSome(ctx context.Context, t *testing.T, d *database, ref string) {
	t.Helper()
	tx, err := d.Begin(ctx, 0)
	for d.engine.Busy(err) {
		tx, err = d.Begin(ctx, 0)
	}
	if err != nil {
		t.Error(err)
		return
	}
	for range 1 + rand.N(3) {
		if _, err := tx.ExecContext(ctx, `INSERT INTO feed (at, kind, ref) VALUES (1, 'key', $1)`, []byte(ref)); err != nil {
			t.Error(err)
		}
	}
	if rand.N(4) == 0 {
		err = tx.Rollback()
	} else {
		err = d.Commit(ctx, tx)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestBegin_Modes(t *testing.T) {
	t.Parallel()
	d, dsn := openNew(t)
	for _, c := range []struct {
		server    string // synchronous_commit of the connection string
		mode      engine.Mode
		want      string
		exclusive bool
	}{
		{"", 0, "on", true},
		{"", engine.Relaxed, "off", true},
		{"", engine.Beside, "on", false},
		{"", engine.Beside | engine.Relaxed, "off", false},
		// A durable transaction never waits for less than the disk.
		{"off", 0, "on", true},
		{"local", 0, "local", true},
		{"remote_apply", 0, "remote_apply", true},
		{"remote_apply", engine.Relaxed, "off", true},
	} {
		other := d
		if c.server != "" {
			other, _ = open(t, dsn+"&synchronous_commit="+c.server, "")
		}
		tx := mustBegin(t, other, c.mode)
		var got string
		var locked bool
		err := tx.QueryRowContext(t.Context(), `SELECT current_setting('synchronous_commit'), EXISTS (
			SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND mode = 'ExclusiveLock')`).Scan(&got, &locked)
		if err != nil || got != c.want || locked != c.exclusive {
			t.Errorf("%q, mode %d: synchronous_commit %s, the lock %t, %v; want %s, %t", c.server, c.mode, got, locked, err, c.want, c.exclusive)
		}
		mustCommit(t, other, tx)
		if err := other.writer.QueryRowContext(t.Context(), `SELECT current_setting('synchronous_commit')`).Scan(&got); err != nil || c.server == "" && got != "on" {
			t.Errorf("%q, mode %d: the connection keeps synchronous_commit %s, %v", c.server, c.mode, got, err)
		}
	}
}

// Transactions beside others do not wait for the lock, and the others do not wait for them.
func TestBegin_BesideDoesNotWait(t *testing.T) {
	t.Parallel()
	d, _ := openNew(t)
	exclusive := mustBegin(t, d, 0)
	beside := make([]*sql.Tx, besides)
	for i := range beside {
		beside[i] = mustBegin(t, d, engine.Beside)
	}
	mustCommit(t, d, exclusive)
	mustCommit(t, d, mustBegin(t, d, 0))
	for _, tx := range beside {
		mustCommit(t, d, tx)
	}
}

// A process that stops in the middle of a transaction does not keep the others from writing for
// longer than 5 s, and cannot commit after that.
func TestBegin_ASilentProcessLosesTheLock(t *testing.T) {
	t.Parallel()
	silent, dsn := openNew(t)
	other, _ := open(t, dsn, "")
	held := mustBegin(t, silent, 0)
	insertChange(t, held, "never committed")
	testutil.Eventually(t, "another process writes", func() bool {
		tx, err := other.Begin(t.Context(), 0)
		if err != nil {
			if !other.engine.Busy(err) {
				t.Fatal(err)
			}
			return false
		}
		insertChange(t, tx, "other")
		mustCommit(t, other, tx)
		return true
	})
	if err := silent.Commit(t.Context(), held); err == nil {
		t.Error("the silent process has committed")
	}
	if all := changesAfter(t, other.reader, 0); len(all) != 1 {
		t.Errorf("the feed has %v, want one change", all)
	}
	addChange(t, silent, "again") // with another connection
}

func TestBegin_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	one, dsn := openNew(t)
	two, _ := open(t, dsn, "")
	tx := mustBegin(t, one, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := two.Begin(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of the context", err)
	}
	mustCommit(t, one, tx)
	addChange(t, two, "again")
}

func TestReader_CannotWrite(t *testing.T) {
	t.Parallel()
	d, _ := openNew(t)
	if _, err := d.Reader().ExecContext(t.Context(), `INSERT INTO feed (at, kind, ref) VALUES (1, 'key', '')`); !hasCode(err, codeReadOnly) {
		t.Errorf("%v, want the refusal of a write", err)
	}
}
