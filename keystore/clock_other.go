//go:build !linux

package keystore

// systemSleep returns nil: on these systems it is not known whether the monotonic clock
// counts suspensions, so each leap of the wall clock counts as one. See [Clock].
func systemSleep() func() int64 { return nil }
