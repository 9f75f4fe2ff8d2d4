package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// usersOf returns the processes that have a file open, except this one. A user sees its own processes only, and root
// sees all.
func usersOf(path string) (processes []string) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*") // the pattern is valid
	for _, file := range files {
		pid := strings.Split(file, "/")[2]
		if target, err := os.Readlink(file); err != nil || target != path || pid == strconv.Itoa(os.Getpid()) {
			continue
		}
		if name := processName(pid); !slices.Contains(processes, name) {
			processes = append(processes, name)
		}
	}
	return processes
}

// processName returns a process in the form "name (process 123)".
func processName(pid string) string {
	name, _ := os.ReadFile("/proc/" + pid + "/comm") //nolint:gosec // a path of the kernel
	return strings.TrimSpace(string(name)) + " (process " + pid + ")"
}
