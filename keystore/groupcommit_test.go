package keystore

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// transaction has a write wait for the writer; its transaction comes once that is
// committed.
func (f fixture) transaction() <-chan *sql.Tx { return f.transactionAs(new(Reservation)) }

// transactionAs has one wait that was expected.
func (f fixture) transactionAs(coming *Reservation) <-chan *sql.Tx {
	var tx *sql.Tx
	w := &write{run: func(t *txn) error { tx = t.Tx; return nil }, reserved: coming.commits != nil, done: make(chan error, 1)}
	coming.commits = nil
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

func within(t *testing.T, what string, done <-chan *sql.Tx) *sql.Tx {
	t.Helper()
	select {
	case tx := <-done:
		return tx
	case <-time.After(10 * time.Second):
		t.Fatalf("%s is not committed", what)
		return nil
	}
}

// taken waits until the writer has the writes that were begun and, unless the machine
// is very busy, waits for more.
func (f fixture) taken() {
	f.t.Helper()
	looks := 0
	waitFor(f.t, 10*time.Second, "the writer has what waits", func() bool {
		if len(f.commits.queue) == 0 {
			looks++
		}
		return looks == 3
	})
}

func TestGroupCommit_WritesShareTheTransactionOfThoseThatAreExpected(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.commits.maxDelay = time.Hour
	coming := f.ReserveWrite()
	first := f.transaction()
	f.taken()
	second := f.transaction()
	f.taken()
	third := f.transactionAs(&coming)
	tx := within(t, "the first", first)
	if within(t, "the second", second) != tx {
		t.Error("two writes have a transaction each, although a third was expected")
	}
	if within(t, "the one that was expected", third) != tx {
		t.Error("what was expected has a transaction of its own")
	}
	coming.Release() // also after it has come
	if n := f.commits.reserved.Load(); n != 0 {
		t.Errorf("%d writes are expected, and none will come", n)
	}
}

func TestGroupCommit_NobodyWaitsForWhatWillNotCome(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.commits.maxDelay = time.Hour
	within(t, "what is not expected", f.transaction())
	for range maxMisses { // whatever the last one has left behind
		coming := f.ReserveWrite()
		waiting := f.transaction()
		f.taken()
		coming.Release()
		coming.Release()
		within(t, "what waited for a write that will not come", waiting)
	}
	new(Reservation).Release() // of a request that writes nothing
}

func TestGroupCommit_FewWaitInVain(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	slow := f.ReserveWrite()
	inVainOnce := func() {
		f.commits.maxDelay = time.Millisecond
		within(t, "what has waited long enough", f.transaction())
		f.commits.maxDelay = time.Hour
	}
	for range maxMisses - 1 {
		inVainOnce()
	}
	waiting := f.transaction()
	f.taken()
	coming := f.ReserveWrite()
	expected := f.transactionAs(&coming)
	slow.Release()
	within(t, "what has not waited in vain", waiting)
	within(t, "what was expected", expected)
	slow = f.ReserveWrite()
	inVainOnce() // the first since
	waiting = f.transaction()
	f.taken()
	mustWait(t, waiting)
	slow.Release()
	within(t, "what waited, since few have in vain", waiting) // as it has, too

	slow = f.ReserveWrite()
	for range maxMisses - 2 {
		inVainOnce()
	}
	for range skipDelays {
		within(t, "what comes where some have waited in vain", f.transaction())
	}
	waiting = f.transaction()
	f.taken()
	mustWait(t, waiting)
	slow.Release()
	within(t, "what waited again", waiting)
}

// mustWait looks whether a write that the writer has is still waiting. Where that is
// wrong it can be overlooked, in the moment before the write is done.
func mustWait(t *testing.T, waiting <-chan *sql.Tx) {
	t.Helper()
	select {
	case <-waiting:
		t.Error("nothing waits any more for a write that is expected")
	case <-time.After(5 * time.Millisecond):
	}
}

func TestGroupCommit_AJobThatWasExpectedIsExpectedNoMore(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.commits.maxDelay = time.Hour
	k, _ := f.key(f.account().ID)
	j := policy.Job{Backend: "b", ID: "j", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{t.Context(), nil}, {t.Context(), ErrJobExists}, {gone, context.Canceled}} {
		coming := f.ReserveWrite()
		if err := f.CreateReservedJob(c.ctx, &coming, j); !errors.Is(err, c.want) {
			t.Errorf("creating the job: %v, want %v", err, c.want)
		}
		coming.Release()
		if n := f.commits.reserved.Load(); n != 0 {
			t.Errorf("%d writes are expected, and none will come", n)
		}
	}
}

func TestGroupCommit_ClosingWaitsForNobody(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.commits.maxDelay = time.Hour
	coming := f.ReserveWrite()
	defer coming.Release()
	waiting := f.transaction()
	f.taken()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	within(t, "what had begun before", waiting)
}
