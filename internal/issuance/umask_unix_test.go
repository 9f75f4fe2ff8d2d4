//go:build unix

package issuance

import "syscall"

// The keystore refuses a directory that its group can write. The umask says whether
// t.TempDir makes such a directory.
func init() { syscall.Umask(0o022) }
