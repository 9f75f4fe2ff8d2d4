package keystore

import (
	"database/sql"
	"testing"
	"time"
)

// transaction has a write wait for the writer; its transaction comes once that is
// committed.
func (f fixture) transaction() <-chan *sql.Tx {
	var tx *sql.Tx
	w := &write{run: func(t *txn) error { tx = t.Tx; return nil }, done: make(chan error, 1)}
	f.queue <- w
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
		if len(f.queue) == 0 {
			looks++
		}
		return looks == 3
	})
}

func TestGather_WritesShareTheTransactionOfThoseThatAreExpected(t *testing.T) {
	f := openStore(t, newPath(t))
	f.gatherIn = time.Hour
	coming := f.Expect()
	first := f.transaction()
	f.taken()
	second := f.transaction()
	f.taken()
	coming.Comes()
	third := f.transaction()
	tx := within(t, "the first", first)
	if within(t, "the second", second) != tx {
		t.Error("two writes have a transaction each, although a third was expected")
	}
	within(t, "the one that was expected", third)
	coming.Over() // also after it has come
	if n := f.coming.Load(); n != 0 {
		t.Errorf("%d writes are expected, and none will come", n)
	}
}

func TestGather_NobodyWaitsForWhatWillNotCome(t *testing.T) {
	f := openStore(t, newPath(t))
	f.gatherIn = time.Hour
	within(t, "what is not expected", f.transaction())
	for range 3 { // whatever the last one has left behind
		coming := f.Expect()
		waiting := f.transaction()
		f.taken()
		coming.Over()
		coming.Over()
		within(t, "what waited for a write that will not come", waiting)
	}
	new(Coming).Over() // of a request that writes nothing

	f.gatherIn = time.Millisecond
	slow := f.Expect()
	defer slow.Over()
	within(t, "what has waited long enough", f.transaction())
}

func TestGather_ClosingWaitsForNobody(t *testing.T) {
	f := openStore(t, newPath(t))
	f.gatherIn = time.Hour
	coming := f.Expect()
	defer coming.Over()
	waiting := f.transaction()
	f.taken()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	within(t, "what had begun before", waiting)
}
