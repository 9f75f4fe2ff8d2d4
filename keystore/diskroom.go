package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// minFreeBytes is the disk space that is kept free for ending writes, in bytes.
	minFreeBytes = 16 << 20
	// ReserveBytes is the size of the reserve file, in bytes. Ending a key takes some
	// 50 KB, and SQLite's log mostly uses the same space again.
	ReserveBytes = 8 << 20

	reserveStep   = 1 << 20          // what the reserve gives up at a time
	reserveEvery  = time.Minute      // between two checks that the reserve is whole
	reserveSuffix = "-reserve"       // after the keystore's path
	fullFor       = 5 * time.Second  // how long a disk counts as full after a write found it full
	spaceUnknown  = int64(1<<63 - 1) // on systems that do not tell the free space
)

// errNoRoom says that the disk is full, or almost.
var errNoRoom = errors.New("the keystore's disk is full, and the rest of it is kept for revocations: free some space")

const noRoomRefuses = "the disk is full: jobs and keys are refused, and only revocations, deletions and closures are written"

// diskRoom keeps space on the keystore's disk for revocations: on a full disk, keys
// can still be revoked and deleted, and accounts closed.
//
//   - If less than minFree is free, only such ending writes are made. Other writes
//     are refused before they begin.
//   - The reserve is a file beside the keystore whose name ends in -reserve. It only
//     takes up space. If another program has filled the disk and an ending write
//     fails, the reserve gives up a part of its space, and the write runs again. A
//     server makes the reserve whole again when there is space.
type diskRoom struct {
	dir     string // the keystore's
	reserve string // path of the reserve
	size    int64  // of a whole reserve
	minFree int64
	mono    func() time.Duration
	log     *zap.Logger
	wrote   func(Written)          // see Config.Wrote
	free    func(dir string) int64 // tests change it
	full    error                  // what check returns
	refuses string                 // what the log says then

	fullUntil atomic.Int64 // on the monotonic clock, after a write found the disk full
	low       atomic.Bool  // the log says that the disk is full
}

// newDiskRoom returns the diskRoom of a store. The disk of a PostgreSQL database is another
// machine's: its space is unknown, and there is no reserve.
func newDiskRoom(cfg Config, mono func() time.Duration) *diskRoom {
	if cfg.Postgres != nil {
		return &diskRoom{mono: mono, log: cfg.Logger, wrote: cfg.Wrote, free: func(string) int64 { return spaceUnknown }, full: errNoRoom, refuses: noRoomRefuses}
	}
	return &diskRoom{
		dir:     filepath.Dir(cfg.Path),
		reserve: cfg.Path + reserveSuffix,
		size:    cfg.reserve,
		minFree: cfg.minFree,
		mono:    mono,
		log:     cfg.Logger,
		wrote:   cfg.Wrote,
		free:    freeSpace,
		full:    errNoRoom,
		refuses: noRoomRefuses,
	}
}

// CheckRoom returns an ErrUnavailable if a write that ends nothing, such as the record of a token,
// would fail: there is no space for it, or a database on another machine does not answer.
func (s *Store) CheckRoom() error {
	if err := s.answers(); err != nil {
		return err
	}
	return fault(s.room.check())
}

// check returns the error full if only ending writes may be made.
func (r *diskRoom) check() error {
	free := r.free(r.dir)
	full := int64(r.mono()) < r.fullUntil.Load()
	low := full || free < r.minFree
	if r.low.Swap(low) != low {
		if low {
			r.log.Error(r.refuses,
				zap.Int64("free_bytes", free), zap.Int64("kept_bytes", r.minFree), zap.Bool("a_write_failed", full))
		} else {
			r.log.Warn("the disk has room again", zap.Int64("free_bytes", free))
		}
	}
	if low {
		return r.full
	}
	return nil
}

// foundFull notes that a write has found the disk full. The disk then counts as full
// for a while, even if it has free space: a quota may be full.
func (r *diskRoom) foundFull() { r.fullUntil.Store(int64(r.mono() + fullFor)) }

// refuse returns the writes of a batch that may run. If there is no space, these are
// the ending writes, and the others get their error.
func (r *diskRoom) refuse(batch []*write) []*write {
	ends := func(w *write) bool { return w.ending }
	if !slices.ContainsFunc(batch, func(w *write) bool { return !ends(w) }) {
		return batch
	}
	err := r.check()
	if err == nil {
		return batch
	}
	return slices.DeleteFunc(batch, func(w *write) bool {
		if ends(w) || !w.claim() {
			return !ends(w)
		}
		r.wrote(Written{Failed: 1, Cause: WriteNoRoom})
		w.done <- fault(err)
		return true
	})
}

// give frees up to 1 MiB of the reserve, and reports whether it has freed any. It
// returns false if the reserve is missing or used up, or cannot be shortened.
func (r *diskRoom) give() bool {
	fi, err := os.Lstat(r.reserve)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() == 0 {
		return false
	}
	left := max(fi.Size()-reserveStep, 0)
	if err := os.Truncate(r.reserve, left); err != nil {
		return false
	}
	r.log.Warn("the disk is full: the reserve gives up room, so that something can be ended", zap.Int64("left_bytes", left))
	return true
}

// keepReserve makes the reserve whole, if the disk has enough space.
func (r *diskRoom) keepReserve() {
	if fi, err := os.Lstat(r.reserve); err == nil && (!fi.Mode().IsRegular() || fi.Size() >= r.size) {
		return
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if free := r.free(r.dir); free != spaceUnknown && free < r.minFree+2*r.size {
		return
	}
	if err := makeReserve(r.reserve, r.size); err != nil {
		_ = os.Remove(r.reserve)
		r.log.Warn("no room can be kept in reserve: on a full disk, revocations may fail", zap.Error(err))
	}
}

func makeReserve(path string, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	if err := allocate(f, size); err != nil {
		return fmt.Errorf("reserving %d bytes: %w", size, err)
	}
	return nil
}

// writeZeros fills the file with zeros up to size, for systems that cannot allocate
// space in another way.
func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, 1<<16)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}
