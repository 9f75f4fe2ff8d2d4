package keystore

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// fillDisk writes a file until the disk is full to the last byte.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, io.ErrShortWrite) {
			t.Fatal(err)
		}
	}
}

// fullDisk is a server's store on a disk that its clients have filled.
type fullDisk struct {
	fixture

	dir, junk string
	logs      *observer.ObservedLogs
	issuer    policy.Key
	children  []policy.Key
	secrets   []policy.Secret
}

func fillThroughIssuing(t *testing.T, dir string) *fullDisk {
	f := &fullDisk{dir: dir, junk: filepath.Join(dir, "junk")}
	f.fixture = openStore(t, filepath.Join(dir, "store", "keystore.db"), logTo(&f.logs), func(c *Config) { c.minFree, c.reserve = 4<<20, 2<<20 })
	testutil.Eventually(t, "the reserve is there", func() bool {
		fi, err := os.Stat(f.cfg.Path + reserveSuffix)
		return err == nil && fi.Size() == 2<<20 && fi.Mode().Perm() == 0o600
	})
	f.issuer, _ = f.key(f.account().ID, func(k *NewKey) { k.Issuable, k.Expires = true, policy.Never() })
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				k := NewKey{AccountID: f.issuer.AccountID, Origin: policy.OriginAPI, Issuer: f.issuer.ID, Expires: policy.ExpiresAt(start.Add(time.Hour))}
				key, secret, err := f.IssueKey(t.Context(), start, Actor{Kind: ActorKey, ID: f.issuer.ID}, k)
				if err != nil {
					if !errors.Is(err, ErrUnavailable) || !errors.Is(err, errNoRoom) {
						t.Errorf("issuing on a full disk: %v", err)
					}
					return
				}
				mu.Lock()
				f.children, f.secrets = append(f.children, key), append(f.secrets, secret)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return f
}

func TestR22_EndingWorksOnAFullDisk(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a full disk")
	dir := testutil.SmallDisk(t, 24<<20)
	if dir == "" {
		return
	}
	// Records from before the disk is full.
	path := filepath.Join(dir, "store", "keystore.db")
	var deleted, revoked policy.Key
	var closing policy.Account
	{
		early := openStore(t, path, commandLine)
		closing = early.account()
		deleted, _ = early.key(closing.ID)
		revoked, _ = early.key(closing.ID)
		if err := early.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f := fillThroughIssuing(t, dir)
	if free := freeSpace(dir); free < 3<<20 {
		t.Errorf("issuing left %d bytes", free)
	}
	t.Logf("%d keys were issued", len(f.children))
	job := policy.Job{Backend: "b", ID: "late", AccountID: f.issuer.AccountID, KeyID: f.issuer.ID, CreatedAt: start}
	if err := f.CreateJob(t.Context(), job); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a job on a full disk: %v", err)
	}
	if err := f.CheckRoom(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("before a job is created: %v", err)
	}

	fillDisk(t, f.junk) // another program takes the rest
	if _, err := f.DeleteKey(t.Context(), start, operator, deleted.ID); err != nil {
		t.Errorf("deleting: %v", err)
	}
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, "leaked"); err != nil {
		t.Errorf("revoking: %v", err)
	}
	for i := range 300 {
		if _, err := f.RevokeKey(t.Context(), start, operator, f.children[i].ID, "leaked"); err != nil {
			t.Fatalf("revoking key %d: %v", i, err)
		}
	}
	if k := f.find(f.secrets[0]).Key(); k.RevokedAt != start {
		t.Errorf("the key is %+v", k)
	}
	// A command opens the store on the full disk beside the server.
	beside := openStore(t, path, commandLine)
	if _, err := beside.CloseAccount(t.Context(), start, operator, closing.ID); err != nil {
		t.Errorf("closing an account by a command: %v", err)
	}
	if _, n, err := beside.RevokeTree(t.Context(), start, operator, f.issuer.ID, "broken into"); err != nil || n != len(f.children)-300 {
		t.Errorf("revoking all that was issued: %d keys, %v", n, err)
	}
	testutil.Eventually(t, "the server knows", func() bool {
		for i := range f.secrets {
			if r := f.find(f.secrets[i]); r == nil || statusOf(r, start) != "revoked" {
				return false
			}
		}
		return true
	})
	last := f.children[len(f.children)-1]
	if k, err := beside.Key(t.Context(), last.ID); err != nil || k.RevokedAt != start {
		t.Errorf("a key that is not marked: %+v, %v", k, err)
	}
	if f.logs.FilterMessageSnippet("the disk is full: jobs and keys are refused").Len() == 0 {
		t.Error("the log does not say that the disk is full")
	}

	// The disk is still full when the server is started again.
	if err := errors.Join(beside.Close(), f.Close()); err != nil {
		t.Logf("closing on a full disk: %v", err)
	}
	fillDisk(t, filepath.Join(dir, "more"))
	f.fixture = openStore(t, path, func(c *Config) { c.minFree, c.reserve = 4<<20, 2<<20 })
	if a, err := f.Account(t.Context(), closing.ID); err != nil || a.Open() {
		t.Errorf("the account after a restart: %+v, %v", a, err)
	}
	if c := f.verify(nil); c.Fault != "" {
		t.Errorf("the audit trail: %s", c.Fault)
	}

	// There is room again.
	for _, name := range []string{f.junk, filepath.Join(dir, "more")} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	f.advance(fullFor)
	if free := freeSpace(dir); free < 8<<20 {
		t.Fatalf("only %d bytes are free", free)
	}
	if err := f.CreateJob(t.Context(), job); err != nil {
		t.Errorf("a job when there is room again: %v", err)
	}
	f.room.keepReserve()
	if fi, err := os.Stat(path + reserveSuffix); err != nil || fi.Size() != 2<<20 {
		t.Errorf("the reserve is not whole again: %v, %v", fi, err)
	}
}

// After a write has found the disk full, it counts as full for fullFor, even if it has free
// space: a quota may be full.
func TestDiskRoom_IsFullForAWhileAfterAFailedWrite(t *testing.T) {
	t.Parallel()
	var now time.Duration
	r := newDiskRoom(Config{Path: sqlitePath(t), minFree: 1, Logger: zap.NewNop()}, func() time.Duration { return now })
	r.free = func(string) int64 { return 1 << 40 }
	if err := r.check(); err != nil {
		t.Fatalf("before: %v", err)
	}
	r.foundFull()
	for now = 0; now < fullFor; now += fullFor / 5 {
		if err := r.check(); !errors.Is(err, errNoRoom) {
			t.Errorf("%s after the write: %v, want %v", now, err, errNoRoom)
		}
	}
	if now = fullFor; r.check() != nil {
		t.Errorf("%s after the write, the disk still counts as full", now)
	}
}

// A reserve that cannot be made whole is removed: a part of it would only take space.
func TestDiskRoom_LeavesNoHalfMadeReserve(t *testing.T) {
	t.Parallel()
	dir := testutil.SmallDisk(t, 1<<20)
	if dir == "" {
		return
	}
	core, logs := observer.New(zap.WarnLevel)
	r := newDiskRoom(Config{Path: filepath.Join(dir, "keystore.db"), reserve: 2 << 20, Logger: zap.New(core)}, monotonic())
	r.free = func(string) int64 { return spaceUnknown } // as on systems that do not tell it
	if err := os.WriteFile(r.reserve, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	r.keepReserve()
	if _, err := os.Lstat(r.reserve); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part of the reserve is there: %v", err)
	}
	if n := logs.FilterMessageSnippet("no room can be kept in reserve").Len(); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
}
