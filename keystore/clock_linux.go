package keystore

import "golang.org/x/sys/unix"

// systemSleep returns what tells, in microseconds, how long the machine has been
// suspended since it was started: Go's monotonic clock is CLOCK_MONOTONIC, which
// stands still meanwhile, and CLOCK_BOOTTIME goes on (clock_gettime(2)). It is nil
// where the kernel does not tell.
func systemSleep() func() int64 {
	read := func(id int32) (micros int64, ok bool) {
		var ts unix.Timespec
		err := unix.ClockGettime(id, &ts)
		return ts.Nano() / 1000, err == nil
	}
	if _, ok := read(unix.CLOCK_BOOTTIME); !ok {
		return nil
	}
	return func() (slept int64) {
		// An interruption between the two readings would count as less sleep.
		for range 100 {
			boot, _ := read(unix.CLOCK_BOOTTIME)
			mono, _ := read(unix.CLOCK_MONOTONIC)
			slept = boot - mono
			if again, _ := read(unix.CLOCK_BOOTTIME); again-boot < shortestSleep/2 {
				break
			}
		}
		return slept
	}
}
