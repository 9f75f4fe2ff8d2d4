package keystoretest

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Many writes at once, some of them announced, are all durable when their calls
// return: another store finds each of them.
func testGroupCommitReservedWritesAreDurable(t *testing.T, place Place) {
	cfg := place(t)
	f := openStore(t, cfg)
	k, _ := f.key(f.account().ID)
	const writers = 64
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			job := policy.Job{Backend: "b", ID: strconv.Itoa(i), AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start}
			var err error
			if i%2 == 0 {
				reserved := f.ReserveWrite()
				defer reserved.Release()
				err = f.CreateReservedJob(t.Context(), &reserved, job)
			} else {
				err = f.CreateJob(t.Context(), job)
			}
			if err != nil {
				t.Errorf("job %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	beside := openStore(t, cfg, commandLine)
	for i := range writers {
		if _, err := beside.FindJob(t.Context(), "b", strconv.Itoa(i)); err != nil {
			t.Errorf("job %d: %v", i, err)
		}
	}
}

// A reservation that is released, or used for a write that fails, does not keep other
// writes waiting.
func testGroupCommitAReleasedReservationDelaysNoOne(t *testing.T, place Place) {
	f := openStore(t, place(t))
	k, _ := f.key(f.account().ID)
	job := policy.Job{Backend: "b", ID: "j", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start}
	for _, want := range []error{nil, keystore.ErrJobExists} {
		reserved := f.ReserveWrite()
		if err := f.CreateReservedJob(t.Context(), &reserved, job); want == nil && err != nil {
			t.Fatal(err)
		} else if want != nil {
			wantIs(t, err, want)
		}
		reserved.Release()
		reserved.Release()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.job(k, "next")
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a write waits for a reservation that was released")
	}
}

// After Close, every call fails with ErrClosed.
func testCloseIsFinal(t *testing.T, place Place) {
	f := openStore(t, place(t))
	k, secret := f.key(f.account().ID)
	f.find(secret)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := f.FindKey(t.Context(), secret)
	wantIs(t, err, keystore.ErrClosed)
	_, err = f.FindJob(t.Context(), "b", "j")
	wantIs(t, err, keystore.ErrClosed)
	_, err = f.Key(t.Context(), k.ID)
	wantIs(t, err, keystore.ErrClosed)
	_, err = f.RevokeKey(t.Context(), start, operator, k.ID, "")
	wantIs(t, err, keystore.ErrClosed)
	if err := f.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}
