package credential

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Servers accept a query of a megabyte. Its cost in time must be linear: 16 times the bytes take some 16
// times the time, and would take 256 times the time if the cost were quadratic.
func TestR19_AHugeQueryIsEditedInLinearTime(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	edit := func(piece string, size int) time.Duration {
		query := strings.Repeat(piece, size/len(piece))
		begun := threadTime(t)
		r := upload(query, "audio/wav", "RIFF")
		if f, _, fault := find(t, r, testMaxHead); fault == nil {
			f.Rewrite(r, replace)
		}
		MaskURI("/v1/recognize?"+query, api.Places)
		return threadTime(t) - begun
	}
	for _, piece := range []string{"u=K&", "&", ";", "d=authorization=K&", ";d=", "=", "?u", "%3Fd%3D"} {
		const size, times = 16 << 10, 16
		small, large := edit(piece, size), edit(piece, times*size)
		for try := 0; large > 4*times*small && try < 10; try++ { // the garbage collector can disturb a measurement
			small, large = min(small, edit(piece, size)), min(large, edit(piece, times*size))
		}
		if large > 4*times*small {
			t.Errorf("%q: %d KiB took %v, and %d KiB took %v", piece, size>>10, small, times*size>>10, large)
		}
	}
}

// threadTime returns the CPU time of this thread. Other programs have no influence on it.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Nano())
}
