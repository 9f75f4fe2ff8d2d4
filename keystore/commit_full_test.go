package keystore

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// fullEngine is an engine whose disk is full, according to some errors. It calls asked and
// busy when the store asks what an error means.
type fullEngine struct {
	engine.Engine

	full   func(error) bool
	locked error // counts as an error of a lock
	asked  func()
	busy   func()
}

func (e *fullEngine) Full(err error) bool {
	if e.asked != nil {
		e.asked()
	}
	return err != nil && e.full(err)
}

func (e *fullEngine) Busy(err error) bool {
	if e.busy != nil {
		e.busy()
	}
	return e.locked != nil && errors.Is(err, e.locked) || e.Engine.Busy(err)
}

var errDiskFull = errors.New("the disk is full, says the test")

// fullStore is a store of a command whose engine is a fullEngine, and which has a reserve
// of two steps. Only the test moves its clock.
func fullStore(t *testing.T, full func(error) bool) (fixture, *fullEngine) {
	t.Helper()
	f := openStore(t, newPath(t), commandLine, func(c *Config) { c.minFree, c.reserve = 1, 2*reserveStep })
	e := &fullEngine{Engine: f.engine, full: full}
	f.engine = e
	f.Store.mono = func() time.Duration { return time.Duration(f.mono.Load()) }
	f.room.mono = f.Store.mono
	f.room.free = func(string) int64 { return spaceUnknown }
	f.room.keepReserve()
	return f, e
}

// reserveLeft returns the size of the reserve.
func (f fixture) reserveLeft() int64 {
	f.t.Helper()
	fi, err := os.Stat(f.room.reserve)
	if err != nil {
		f.t.Fatal(err)
	}
	return fi.Size()
}

// scripted is a write whose runs have the results of a script, one after another.
type scripted struct {
	name   string
	ending bool
	script []error // errFatal breaks the transaction
	want   error   // nil: the write is done
	runs   int     // how often it must run
}

var errFatal = errors.New("the transaction breaks here")

// commitScripted commits the writes in one batch, and checks what becomes of each.
func (f fixture) commitScripted(writes []scripted) {
	f.t.Helper()
	batch := make([]*write, len(writes))
	runs := make([]int, len(writes))
	for i, s := range writes {
		batch[i] = &write{ending: s.ending, done: make(chan error, 2), run: func(t *txn) error {
			err := s.script[min(runs[i], len(s.script)-1)]
			runs[i]++
			if errors.Is(err, errFatal) {
				t.exec(`ROLLBACK`)
				return nil
			}
			t.exec(`INSERT INTO meta (name, value) VALUES ($1, '')`, s.name)
			return err
		}}
	}
	all := append([]*write{}, batch...)
	f.commits.commit(f.t.Context(), batch, false)
	db, err := f.database()
	if err != nil {
		f.t.Fatal(err)
	}
	for i, s := range writes {
		if len(all[i].done) != 1 {
			f.t.Fatalf("%s has %d results, want 1", s.name, len(all[i].done))
		}
		if err := <-all[i].done; !errors.Is(err, s.want) || s.want == nil && err != nil || errors.Is(s.want, ErrInvalid) && errors.Is(err, ErrUnavailable) {
			f.t.Errorf("%s: %v, want %v", s.name, err, s.want)
		}
		if runs[i] != s.runs {
			f.t.Errorf("%s ran %d times, want %d", s.name, runs[i], s.runs)
		}
		if written := count(f.t, db.reader, `SELECT COUNT(*) FROM meta WHERE name = $1`, s.name) == 1; written != (s.want == nil) {
			f.t.Errorf("%s is in the store: %t, and its result was %v", s.name, written, s.want)
		}
	}
}

// A write that ends something and finds the disk full runs again when the reserve has given
// space. The other writes of its batch run once.
func TestR22_AFullDiskStopsNoEnd(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a full disk")
	f, _ := fullStore(t, func(err error) bool { return errors.Is(err, errDiskFull) })
	f.commitScripted([]scripted{
		{"a job", false, []error{nil}, nil, 1},
		{"a job without space", false, []error{errDiskFull}, ErrUnavailable, 1},
		{"an end without space", true, []error{errDiskFull, nil}, nil, 2},
		{"an end with space", true, []error{nil}, nil, 1},
		{"an end that is refused", true, []error{refuse(ErrInvalid, "no")}, ErrInvalid, 1},
	})
	if left := f.reserveLeft(); left != reserveStep {
		t.Errorf("the reserve has %d bytes left, want %d", left, reserveStep)
	}
	wantIs(t, f.room.check(), errNoRoom) // a write has found the disk full
	f.advance(fullFor)
	f.commitScripted([]scripted{{"an end that needs more", true, []error{errDiskFull}, ErrUnavailable, 2}})
	if left := f.reserveLeft(); left != 0 {
		t.Errorf("the reserve has %d bytes left, and a write failed", left)
	}
}

// If the disk is full for the whole transaction, all its ends run again, and nothing of the
// first transaction stays.
func TestR22_AFullDiskBreaksATransaction(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a full disk")
	broken := func(err error) bool { return strings.Contains(err.Error(), "no such savepoint") }
	refused := scripted{"an end that is refused", true, []error{refuse(ErrInvalid, "no")}, ErrInvalid, 2}
	f, _ := fullStore(t, broken)
	f.commitScripted([]scripted{
		{"a job", false, []error{nil}, ErrUnavailable, 1},
		refused,
		{"an end", true, []error{nil}, nil, 2},
		{"an end that breaks it", true, []error{errFatal, nil}, nil, 2},
	})
	// Without a reserve nothing runs again. A write that was refused stays refused.
	f, _ = fullStore(t, broken)
	if err := os.Remove(f.room.reserve); err != nil {
		t.Fatal(err)
	}
	refused.runs = 1
	f.commitScripted([]scripted{refused, {"an end", true, []error{nil}, ErrUnavailable, 1}, {"an end that breaks it", true, []error{errFatal}, ErrUnavailable, 1}})
	wantIs(t, f.room.check(), errNoRoom)
}

// Any other error gives up no space, and does not make the disk count as full.
func TestR22_OtherErrorsTakeNothingFromTheReserve(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a full disk")
	f, _ := fullStore(t, func(error) bool { return false })
	f.commitScripted([]scripted{
		{"an end", true, []error{nil}, ErrUnavailable, 1},
		{"an end that breaks it", true, []error{errFatal, nil}, ErrUnavailable, 1},
	})
	f.commitScripted([]scripted{{"an end that fails", true, []error{errors.New("no")}, ErrUnavailable, 1}})
	if left := f.reserveLeft(); left != 2*reserveStep {
		t.Errorf("the reserve has %d bytes left, want all", left)
	}
	if err := f.room.check(); err != nil {
		t.Errorf("the disk counts as full: %v", err)
	}
}

// A write waits for the lock of another process, up to lockWait.
func TestGroupCommit_WaitsForTheLock(t *testing.T) {
	t.Parallel()
	f, e := fullStore(t, func(error) bool { return false })
	var tries atomic.Int64
	e.busy = func() { tries.Add(1) }
	write := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() { done <- f.write(ctx, func(t *txn) error { return t.tryWrite() }) }()
		return done
	}
	tried := func() {
		t.Helper()
		before := tries.Load()
		testutil.Eventually(t, "the writer has tried again", func() bool { return tries.Load() > before+1 })
	}

	unlock := lockFromOutside(t, f.place)
	done := write(t.Context())
	tried()
	unlock()
	if err := <-done; err != nil {
		t.Errorf("after the other process: %v", err)
	}

	// The caller gives up, and so does the writer.
	unlock = lockFromOutside(t, f.place)
	ctx, cancel := context.WithCancel(t.Context())
	done = write(ctx)
	tried()
	cancel()
	wantIs(t, <-done, context.Canceled)
	done = write(t.Context())
	testutil.Eventually(t, "the writer takes the next write", func() bool { return len(f.commits.queue) == 0 })

	tried()
	f.advance(lockWait + time.Second)
	if err := <-done; !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "lock") {
		t.Errorf("after %s: %v", lockWait, err)
	}

	done = write(t.Context())
	tried()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	wantIs(t, <-done, ErrClosed)
	unlock()
}

// A write that runs again waits for the lock of another process too.
func TestGroupCommit_WaitsForTheLockWhenItRunsAgain(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a full disk")
	f, e := fullStore(t, func(err error) bool { return errors.Is(err, errDiskFull) })
	unlock := func() {}
	locked := false
	e.asked = func() {
		if !locked {
			locked, unlock = true, lockFromOutside(t, f.place)
		}
	}
	tries := 0
	e.busy = func() {
		if tries++; tries == 2 {
			unlock()
		}
	}
	f.commitScripted([]scripted{{"an end", true, []error{errDiskFull, nil}, nil, 2}})
	if tries < 2 {
		t.Errorf("%d tries while another process had the lock, want 2", tries)
	}
}

// Without space, only the writes that end something may run. The others get the error,
// except one whose caller has given up.
func TestDiskRoom_RefusesWhatEndsNothing(t *testing.T) {
	t.Parallel()
	var told []Written
	r := newDiskRoom(Config{
		Path: sqlitePath(t), minFree: 100, Logger: zap.NewNop(),
		Wrote: func(w Written) { told = append(told, w) },
	}, monotonic())
	asked, free := 0, int64(100)
	r.free = func(string) int64 { asked++; return free }
	fresh := func() (end, job, gone *write) {
		end, job, gone = &write{ending: true}, &write{}, &write{}
		for _, w := range []*write{end, job, gone} {
			w.done = make(chan error, 1)
		}
		gone.claim()
		return end, job, gone
	}
	end, job, gone := fresh()
	if got := r.refuse([]*write{end, job, gone}); len(got) != 3 {
		t.Errorf("with space %d may run, want all", len(got))
	}
	free, asked = 99, 0
	if got := r.refuse([]*write{end, end}); len(got) != 2 || asked != 0 {
		t.Errorf("of two ends %d may run, and the free space was read %d times", len(got), asked)
	}
	if got := r.refuse([]*write{job, end, gone}); len(got) != 1 || got[0] != end {
		t.Errorf("%v may run, want the end", got)
	}
	if len(job.done) != 1 || len(gone.done) != 0 || len(end.done) != 0 || end.claimed.Load() {
		t.Fatalf("%d results for the job, %d for the write without a caller, %d for the end", len(job.done), len(gone.done), len(end.done))
	}
	err := <-job.done
	wantIs(t, err, errNoRoom)
	wantIs(t, err, ErrUnavailable)
	if want := []Written{{Failed: 1, Cause: WriteNoRoom}}; !slices.Equal(told, want) {
		t.Errorf("Wrote was told %v, want %v", told, want)
	}
}
