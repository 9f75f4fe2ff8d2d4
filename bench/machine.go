//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machineFacts describes the machine.
func machineFacts(dir string) (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", err
	}
	cpu, err := procField("/proc/cpuinfo", "model name")
	if err != nil {
		return "", err
	}
	memory, err := procField("/proc/meminfo", "MemTotal")
	if err != nil {
		return "", err
	}
	sync, err := syncTime(dir)
	if err != nil {
		return "", err
	}
	caddy := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/mattn/go-sqlite3" {
				caddy = dep.Version
			}
		}
	}
	return fmt.Sprintf(`| | |
|---|---|
| Processor | %s, %d cores; the proxy has one of them |
| Memory | %s |
| System | Linux %s, %s |
| Go | %s |
| SQLite driver | %s |
| Writing 4 KiB durably (fdatasync) | %s, median of 100 |
`, cpu, runtime.NumCPU(), memory, unix.ByteSliceToString(uts.Release[:]), runtime.GOARCH, runtime.Version(), caddy, sync.Round(time.Microsecond)), nil
}

func procField(file, name string) (string, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the files are above
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(text) {
		if key, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "unknown", nil
}

// syncTime returns how long an fsync takes.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync")) //nolint:gosec // the caller of the program names the directory
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	var times []float64
	for range 100 {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		begun := time.Now()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(begun)))
	}
	return time.Duration(median(times)), nil
}
