//go:build unix

package options

import (
	"path/filepath"
	"syscall"
	"testing"
)

// Caddy can read a Caddyfile from a named pipe, once.
func TestParseBlock_DoesNotWaitForAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "Caddyfile")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if value, err := parseText(pipe, "value"); err != nil || value != "value" {
		t.Errorf("got %q, %v", value, err)
	}
}
