package keystore

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// submitWrite puts a write into the writer's queue. The channel receives the write's
// transaction when that is committed.
func (f fixture) submitWrite() <-chan *sql.Tx { return f.submitReserved(new(WriteReservation)) }

// submitReserved is submitWrite for a write that was reserved.
func (f fixture) submitReserved(reserved *WriteReservation) <-chan *sql.Tx {
	var tx *sql.Tx
	w := &write{run: func(t *txn) error { tx = t.Tx; return nil }, reserved: reserved.commits != nil, done: make(chan error, 1)}
	reserved.commits = nil
	f.commits.queue <- w
	done := make(chan *sql.Tx, 1)
	go func() {
		if err := <-w.done; err != nil {
			f.t.Error(err)
		}
		done <- tx
	}()
	return done
}

// committed returns the transaction of a write when it is committed.
func committed(t *testing.T, what string, done <-chan *sql.Tx) *sql.Tx {
	t.Helper()
	select {
	case tx := <-done:
		return tx
	case <-time.After(10 * time.Second):
		t.Fatalf("%s is not committed", what)
		return nil
	}
}

// waitForWriter waits until the writer has taken all writes from the queue. On a machine
// that is not very busy, the writer then waits for reserved writes.
func (f fixture) waitForWriter() {
	f.t.Helper()
	empty := 0
	testutil.Eventually(f.t, "the writer has taken the writes from the queue", func() bool {
		if len(f.commits.queue) == 0 {
			empty++
		}
		return empty == 3
	})
}

// openQuiet opens a store that only the test writes to.
func openQuiet(t *testing.T) fixture {
	t.Helper()
	f := openStore(t, newPath(t))
	f.takeOverPolling()
	return f
}

func TestGroupCommit_WritesWaitForAReservedWrite(t *testing.T) {
	t.Parallel()
	f := openQuiet(t)
	f.commits.maxDelay = time.Hour
	reserved := f.ReserveWrite()
	first := f.submitWrite()
	f.waitForWriter()
	second := f.submitWrite()
	f.waitForWriter()
	third := f.submitReserved(&reserved)
	tx := committed(t, "the first", first)
	if committed(t, "the second", second) != tx {
		t.Error("two writes have a transaction each, although a third is reserved")
	}
	if committed(t, "the reserved write", third) != tx {
		t.Error("the reserved write has a transaction of its own")
	}
	reserved.Release() // does nothing: the write has used the reservation
	if n := f.commits.reserved.Load(); n != 0 {
		t.Errorf("%d reservations are left, want none", n)
	}
}

// Writes that come while a transaction begins, such as while another process holds the lock, are in it. A
// relaxed transaction takes no other writes: they would not be durable.
func TestGroupCommit_TakesTheWritesThatComeWhileATransactionBegins(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	for _, relaxed := range []bool{false, true} {
		unlock := lockFromOutside(t, path)
		var tx *sql.Tx
		first := &write{run: func(t *txn) error { tx = t.Tx; return nil }, relaxed: relaxed, done: make(chan error, 1)}
		f.commits.queue <- first
		f.waitForWriter()
		second, third := f.submitWrite(), f.submitWrite()
		testutil.Eventually(t, "two writes are in the queue", func() bool { return len(f.commits.queue) == 2 })
		unlock()
		if err := <-first.done; err != nil {
			t.Fatal(err)
		}
		for _, late := range []*sql.Tx{committed(t, "the second", second), committed(t, "the third", third)} {
			if (late == tx) == relaxed {
				t.Errorf("relaxed %t: a late write is in the same transaction: %t", relaxed, late == tx)
			}
		}
	}
}

func TestGroupCommit_NoWriteWaitsForAReleasedReservation(t *testing.T) {
	t.Parallel()
	f := openQuiet(t)
	f.commits.maxDelay = time.Hour
	committed(t, "a write without a reservation", f.submitWrite())
	for range maxMisses { // also if the round before has left an element in released
		reserved := f.ReserveWrite()
		waiting := f.submitWrite()
		f.waitForWriter()
		reserved.Release()
		reserved.Release()
		committed(t, "a write that waited for a released reservation", waiting)
	}
	new(WriteReservation).Release() // the zero value
}

func TestGroupCommit_SkipsWaitsAfterThreeMisses(t *testing.T) {
	t.Parallel()
	f := openQuiet(t)
	slow := f.ReserveWrite()
	missOnce := func() { // a wait that gains no write
		f.commits.maxDelay = time.Millisecond
		committed(t, "a write that has waited for maxDelay", f.submitWrite())
		f.commits.maxDelay = time.Hour
	}
	for range maxMisses - 1 {
		missOnce()
	}
	waiting := f.submitWrite()
	f.waitForWriter()
	reserved := f.ReserveWrite()
	gain := f.submitReserved(&reserved)
	slow.Release()
	committed(t, "a write whose wait gained a write", waiting)
	committed(t, "the reserved write", gain)
	slow = f.ReserveWrite()
	missOnce() // the first since the gain
	waiting = f.submitWrite()
	f.waitForWriter()
	mustWait(t, waiting)
	slow.Release()
	committed(t, "a write that waited after one miss", waiting) // which is the second miss

	slow = f.ReserveWrite()
	for range maxMisses - 2 {
		missOnce()
	}
	for range skipDelays {
		committed(t, "a write that skips the wait", f.submitWrite())
	}
	waiting = f.submitWrite()
	f.waitForWriter()
	mustWait(t, waiting)
	slow.Release()
	committed(t, "a write that waits again", waiting)
}

// mustWait fails the test if a write is committed that must wait for a reserved write. It
// can overlook a commit that comes a few milliseconds later.
func mustWait(t *testing.T, waiting <-chan *sql.Tx) {
	t.Helper()
	select {
	case <-waiting:
		t.Error("a write does not wait for a reserved write")
	case <-time.After(5 * time.Millisecond):
	}
}

func TestGroupCommit_CreatingAJobUsesItsReservation(t *testing.T) {
	t.Parallel()
	f := openQuiet(t)
	f.commits.maxDelay = time.Hour
	k, _ := f.key(f.account().ID)
	j := policy.Job{Backend: "b", ID: "j", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{t.Context(), nil}, {t.Context(), ErrJobExists}, {gone, context.Canceled}} {
		reserved := f.ReserveWrite()
		if err := f.CreateReservedJob(c.ctx, &reserved, j); !errors.Is(err, c.want) {
			t.Errorf("creating the job: %v, want %v", err, c.want)
		}
		reserved.Release()
		if n := f.commits.reserved.Load(); n != 0 {
			t.Errorf("%d reservations are left, want none", n)
		}
	}
}

func TestGroupCommit_ClosingDoesNotWaitForReservations(t *testing.T) {
	t.Parallel()
	f := openQuiet(t)
	f.commits.maxDelay = time.Hour
	reserved := f.ReserveWrite()
	defer reserved.Release()
	waiting := f.submitWrite()
	f.waitForWriter()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	committed(t, "the write under way", waiting)
}
