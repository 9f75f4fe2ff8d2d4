package keystore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// newRoom returns a diskRoom in an empty directory, with free bytes free.
func newRoom(t *testing.T, cfg Config, free *int64) *diskRoom {
	t.Helper()
	cfg.Path = sqlitePath(t)
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	r := newDiskRoom(cfg, func() time.Duration { return 0 })
	r.free = func(string) int64 { return *free }
	return r
}

// The log says once that the disk is full, and once that it has room again.
func TestDiskRoom_LogsEachChangeOnce(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	free := int64(1000)
	r := newRoom(t, Config{minFree: 1000, Logger: zap.New(core)}, &free)
	for _, c := range []struct {
		free       int64
		want       error
		full, room int
	}{{1000, nil, 0, 0}, {999, errNoRoom, 1, 0}, {0, errNoRoom, 1, 0}, {1000, nil, 1, 1}, {2000, nil, 1, 1}, {5, errNoRoom, 2, 1}} {
		free = c.free
		if err := r.check(); !errors.Is(err, c.want) {
			t.Errorf("%d bytes free: %v, want %v", free, err, c.want)
		}
		full, room := logs.FilterMessageSnippet("the disk is full").Len(), logs.FilterMessageSnippet("has room again").Len()
		if full != c.full || room != c.room {
			t.Errorf("%d bytes free: the log says %d times that it is full and %d times that it has room, want %d and %d", free, full, room, c.full, c.room)
		}
	}
}

// The reserve gives up space in steps, to its last byte, and only if it is a file.
func TestDiskRoom_GivesTheReserveInSteps(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	var free int64
	r := newRoom(t, Config{Logger: zap.New(core)}, &free)
	left := func() int64 {
		fi, err := os.Lstat(r.reserve)
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	if r.give() {
		t.Error("a reserve that does not exist gives space")
	}
	if err := os.Mkdir(r.reserve, 0o700); err != nil {
		t.Fatal(err)
	}
	if r.give() {
		t.Error("a directory gives space")
	}
	if err := errors.Join(os.Remove(r.reserve), os.WriteFile(r.reserve, nil, 0o600), os.Truncate(r.reserve, reserveStep+5)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{5, 0} {
		if !r.give() || left() != want {
			t.Errorf("%d bytes are left, want %d", left(), want)
		}
	}
	if r.give() {
		t.Error("an empty reserve gives space")
	}
	if n := logs.FilterMessageSnippet("the reserve gives up room").Len(); n != 2 {
		t.Errorf("the log says %d times that the reserve gives up room, want 2", n)
	}
}

// The reserve is made if it fits twice beside the space that is kept free. What is not a
// file, and a reserve that is whole, stays as it is.
func TestDiskRoom_MakesTheReserveIfItFits(t *testing.T) {
	t.Parallel()
	const size = 3 * 4096
	free := int64(1000 + 2*size - 1)
	r := newRoom(t, Config{minFree: 1000, reserve: size}, &free)
	if r.keepReserve(); !missing(r.reserve) {
		t.Error("a reserve was made without enough space")
	}
	free++
	r.keepReserve()
	if fi, err := os.Lstat(r.reserve); err != nil || fi.Size() != size || fi.Mode() != 0o600 {
		t.Fatalf("the reserve is %v, %v; want a file of %d bytes", fi, err, size)
	}
	if err := os.Truncate(r.reserve, size+1); err != nil {
		t.Fatal(err)
	}
	r.keepReserve()
	if fi, err := os.Lstat(r.reserve); err != nil || fi.Size() != size+1 {
		t.Errorf("a larger reserve is now %v, %v", fi, err)
	}
	if err := os.Truncate(r.reserve, size-1); err != nil {
		t.Fatal(err)
	}
	r.keepReserve()
	if fi, err := os.Lstat(r.reserve); err != nil || fi.Size() != size {
		t.Errorf("a reserve that had given up space is now %v, %v", fi, err)
	}
	target := filepath.Join(t.TempDir(), "target")
	if err := errors.Join(os.Remove(r.reserve), os.Symlink(target, r.reserve)); err != nil {
		t.Fatal(err)
	}
	if r.keepReserve(); !missing(target) {
		t.Error("a file was made through a link")
	}
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}

func TestFreeSpace_OfADirectoryThatDoesNotExist(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if free := freeSpace(dir); free <= 0 {
		t.Errorf("%d bytes are free", free)
	}
	if free := freeSpace(filepath.Join(dir, "nowhere")); free != spaceUnknown {
		t.Errorf("%d bytes are free where nothing is, want that nothing is known", free)
	}
}

func TestWriteZeros_WritesAsMuchAsIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 1 << 16, 1<<16 + 1, 1 << 17} {
		path := filepath.Join(t.TempDir(), "zeros")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writeZeros(f, int64(size)), f.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, make([]byte, size)) {
			t.Errorf("%d bytes, %v; want %d zeros", len(got), err, size)
		}
	}
	reading, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reading.Close() }()
	if err := writeZeros(reading, 1); err == nil {
		t.Error("a file that cannot be written has no error")
	}
}

// A store that is closed, or has lost its file, has no room for a job.
func TestCheckRoom_OfAStoreThatIsClosed(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	if err := f.CheckRoom(); err != nil {
		t.Errorf("open: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantIs(t, f.CheckRoom(), ErrClosed)
}
