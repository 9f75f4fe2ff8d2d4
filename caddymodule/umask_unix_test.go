//go:build unix

package caddymodule_test

import "syscall"

// A keystore in a directory that its group can write is refused, and t.TempDir
// goes by the umask.
func init() { syscall.Umask(0o022) }
