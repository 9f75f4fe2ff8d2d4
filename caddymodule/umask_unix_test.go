//go:build unix

package caddymodule_test

import "syscall"

// A keystore in a directory that the group can write is refused. t.TempDir makes directories with
// the mode that the umask allows.
func init() { syscall.Umask(0o022) }
