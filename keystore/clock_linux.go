package keystore

import "golang.org/x/sys/unix"

// systemSleep returns what tells, in microseconds, how long the machine has been
// suspended since it was started: Go's monotonic clock is CLOCK_MONOTONIC, which
// stands still meanwhile, and CLOCK_BOOTTIME goes on (clock_gettime(2)). It is nil
// where the kernel does not tell.
func systemSleep() func() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return nil
	}
	read := func(id int32) (micros int64) {
		var ts unix.Timespec
		_ = unix.ClockGettime(id, &ts) // what has worked once works
		return ts.Nano() / 1000
	}
	return func() (slept int64) {
		// An interruption between the two readings would count as less sleep.
		for range 100 {
			boot := read(unix.CLOCK_BOOTTIME)
			slept = boot - read(unix.CLOCK_MONOTONIC)
			if read(unix.CLOCK_BOOTTIME)-boot < shortestSleep/2 {
				break
			}
		}
		return slept
	}
}
