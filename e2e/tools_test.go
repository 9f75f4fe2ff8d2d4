package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool finds a program that a test needs. Where all of the checks are to be made,
// which CI says, it must be there.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s on the PATH, and with CI set there must be", strings.Join(names, " or "))
	}
	t.Skipf("there is no %s on the PATH", strings.Join(names, " or "))
	return ""
}

// javaCommand runs a Java source file. The flags leave out the second compiler and the
// parallel collector, which cost a short program more than they give it.
func javaCommand(t *testing.T, source string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(tool(t, "java"), append([]string{
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", filepath.Join("testdata", "clients", source),
	}, args...)...)
}

// clientFile is a file that lasts as long as the test.
func clientFile(t *testing.T, name, content string) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

func stderrOf(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output returns it so
		return exit.Stderr
	}
	return nil
}
