package keystore

import (
	"context"
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

// On a disk that is full, keys can still be revoked and deleted, and accounts
// closed. Two things keep room for that:
//
//   - Below MinFreeBytes of free space, only such writes are made. Others are
//     refused before they begin.
//   - A file beside the keystore, whose name ends in -reserve, takes ReserveBytes
//     of the disk. Where such a write finds the disk full, because something else
//     has filled it, the file gives up a part of its room, and the write is made
//     again. A server makes the file whole again when there is room.
const (
	// MinFreeBytes is the free space below which only writes that end something are
	// made.
	MinFreeBytes = 16 << 20
	// ReserveBytes is the size of the reserve. Ending a key takes some 50 KB, which
	// SQLite's log mostly uses again.
	ReserveBytes = 8 << 20

	reserveStep   = 1 << 20          // what the reserve gives up at a time
	reserveEvery  = time.Minute      // between two looks whether it is whole
	reserveSuffix = "-reserve"       // behind the keystore's path
	fullTrusted   = 5 * time.Second  // how long a disk counts as full after a write found it so
	spaceUnknown  = int64(1<<63 - 1) // where the system does not tell
)

// errNoRoom says that the disk is as good as full.
var errNoRoom = errors.New("the keystore's disk is full, and the rest of it is kept for revocations: free some space")

// room is what a store knows of its disk.
type room struct {
	free      func(dir string) int64 // tests change it
	fullUntil atomic.Int64           // on the monotonic clock: a write found the disk full
	low       atomic.Bool            // as it was logged last
}

// CheckRoom says whether there is room for a write that ends nothing, such as the
// record of a job that is still to be created. The error is an ErrUnavailable.
func (s *Store) CheckRoom() error {
	if _, err := s.database(); err != nil {
		return err
	}
	return fault(s.checkRoom())
}

func (s *Store) checkRoom() error {
	free := s.room.free(filepath.Dir(s.cfg.Path))
	full := int64(s.mono()) < s.room.fullUntil.Load()
	low := full || free < s.cfg.MinFree
	if s.room.low.Swap(low) != low {
		if low {
			s.log.Error("the disk is full: jobs and keys are refused, and only revocations, deletions and closures are written",
				zap.Int64("free_bytes", free), zap.Int64("kept_bytes", s.cfg.MinFree), zap.Bool("a_write_failed", full))
		} else {
			s.log.Warn("the disk has room again", zap.Int64("free_bytes", free))
		}
	}
	if low {
		return errNoRoom
	}
	return nil
}

// refuseForRoom answers the writes of a batch that end nothing, if there is no room
// for them, and returns the others.
func (s *Store) refuseForRoom(batch []*write) []*write {
	ends := func(w *write) bool { return w.ending }
	if !slices.ContainsFunc(batch, func(w *write) bool { return !ends(w) }) {
		return batch
	}
	err := s.checkRoom()
	if err == nil {
		return batch
	}
	return slices.DeleteFunc(batch, func(w *write) bool {
		if ends(w) || !w.take() {
			return !ends(w)
		}
		w.done <- fault(err)
		return true
	})
}

// giveRoom has the reserve give up a part of its room, and reports whether it had
// any.
func (s *Store) giveRoom() bool {
	path := s.cfg.Path + reserveSuffix
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() == 0 {
		return false
	}
	left := max(fi.Size()-reserveStep, 0)
	if err := os.Truncate(path, left); err != nil {
		return false
	}
	s.log.Warn("the disk is full: the reserve gives up room, so that something can be ended", zap.Int64("left_bytes", left))
	return true
}

// keepReserve makes the reserve whole, if there is room for it.
func (s *Store) keepReserve(context.Context) {
	path := s.cfg.Path + reserveSuffix
	if fi, err := os.Lstat(path); err == nil && (!fi.Mode().IsRegular() || fi.Size() >= s.cfg.Reserve) {
		return
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if free := s.room.free(filepath.Dir(path)); free != spaceUnknown && free < s.cfg.MinFree+2*s.cfg.Reserve {
		return
	}
	if err := makeReserve(path, s.cfg.Reserve); err != nil {
		_ = os.Remove(path) // half a reserve would count as room that is taken
		s.log.Warn("no room can be kept in reserve: on a full disk, revocations may fail", zap.Error(err))
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

// writeZeros writes zeros to the end of the file, for systems that cannot allocate.
func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, 1<<16)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}
