//go:build !linux

package keystore

// systemSleep returns nil: on these systems it is not known whether the monotonic clock
// goes on while the machine is suspended. So Clock treats each forward leap of the wall
// clock as a suspension. See [Clock].
func systemSleep() func() int64 { return nil }
