package keystore

import "golang.org/x/sys/unix"

// systemSleep returns a function that returns, in microseconds, how long the machine
// was suspended since its start. Go's monotonic clock is CLOCK_MONOTONIC, which stops
// during a suspension. CLOCK_BOOTTIME goes on (clock_gettime(2)). systemSleep returns
// nil if the kernel has no CLOCK_BOOTTIME.
func systemSleep() func() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return nil
	}
	read := func(id int32) (micros int64) {
		var ts unix.Timespec
		_ = unix.ClockGettime(id, &ts) // it has worked before
		return ts.Nano() / 1000
	}
	return func() (slept int64) {
		// If the process is interrupted between the two readings, the result is too
		// small. So the readings are repeated until they are close together.
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
