//go:build !linux

package keystore

// systemSleep is nil: whether the monotonic clock counts suspensions differs from
// system to system, so each leap of the wall clock counts as one, see [Clock].
func systemSleep() func() int64 { return nil }
