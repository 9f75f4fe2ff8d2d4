package keystore

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The system tells how long the machine was suspended: by how much the clock that counts
// suspensions is ahead of the one that does not.
func TestSystemSleep_IsTheDifferenceOfTheClocks(t *testing.T) {
	t.Parallel()
	slept := systemSleep()
	if slept == nil {
		t.Fatal("the system does not tell it")
	}
	read := func(id int32) int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(id, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano() / 1000
	}
	mono := read(unix.CLOCK_MONOTONIC)
	got := slept()
	most := read(unix.CLOCK_BOOTTIME) - mono // too large by the time of this test
	boot := read(unix.CLOCK_BOOTTIME)
	least := boot - read(unix.CLOCK_MONOTONIC) - shortestSleep
	if got < least || got > most {
		t.Errorf("%d microseconds, want from %d to %d", got, least, most)
	}
}
