package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// lines has the numbers of the changed lines of each Go file, by the file's path from
// the root of the repository. Tests are left out.
type lines map[string]map[int]bool

// in reports whether a file of the directory has changed.
func (l lines) in(dir string) bool {
	for file := range l {
		if path.Dir(file) == dir {
			return true
		}
	}
	return false
}

// changedLines returns the lines that have changed since a commit, also those that are
// not committed.
func changedLines(ctx context.Context, root, since string) (lines, error) {
	cmd := exec.CommandContext(ctx, "git", "diff", "--unified=0", "--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/", "--end-of-options", since, "--", "*.go") //nolint:gosec // the caller of the program names the commit
	cmd.Dir = root
	var errText bytes.Buffer
	cmd.Stderr = &errText
	diff, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git diff %s: %w: %s", since, err, bytes.TrimSpace(errText.Bytes()))
	}
	return parseDiff(string(diff))
}

// hunk matches the head of a hunk. The groups are the first line and the number of lines
// in the new file; without a number it is 1.
var hunk = regexp.MustCompile(`^@@ -[0-9,]+ \+([0-9]+)(?:,([0-9]+))? @@`)

// parseDiff reads the output of git diff with --unified=0.
func parseDiff(diff string) (lines, error) {
	all := lines{}
	var file string
	for line := range strings.Lines(diff) {
		if name, ok := strings.CutPrefix(line, "+++ "); ok {
			file = strings.TrimPrefix(strings.TrimSpace(name), "b/")
			continue
		}
		m := hunk.FindStringSubmatch(line)
		if m == nil || strings.HasSuffix(file, "_test.go") || file == "/dev/null" {
			continue
		}
		first, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, fmt.Errorf("hunk %q: %w", line, err)
		}
		count := 1
		if m[2] != "" {
			if count, err = strconv.Atoi(m[2]); err != nil {
				return nil, fmt.Errorf("hunk %q: %w", line, err)
			}
		}
		for i := range count {
			if all[file] == nil {
				all[file] = map[int]bool{}
			}
			all[file][first+i] = true
		}
	}
	return all, nil
}
