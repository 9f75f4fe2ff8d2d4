package speechgate_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// inFiles are the tests that say that a keystore is an SQLite file, and why they do not take its place from
// internal/storetest, or in the package keystore from newPath.
var inFiles = map[string]string{
	"internal/doctor/patient_test.go": "the doctor examines files here, and servers in e2e",
	"internal/manage/example_test.go": "an example in the documentation",
	"keystore/commit_full_test.go":    "the reserve of a disk, without a store",
	"keystore/contract_test.go":       "it runs on each engine",
	"keystore/copy_test.go":           "it copies from each engine to the other",
	"keystore/diskroom_linux_test.go": "the reserve of a disk, without a store",
	"keystore/diskroom_test.go":       "the reserve of a disk, without a store",
	"keystore/engines_test.go":        "it makes the places",
	"keystore/example_test.go":        "an example in the documentation",
	"keystore/feed_test.go":           "the defaults of a configuration, without a store",
	"keystore/simchange_test.go":      "the rows of the simulated server",
}

// aFile finds a keystore in an SQLite file: its configuration in Go or in a Caddyfile, or the function
// of the package keystore that makes its path.
var aFile = regexp.MustCompile(`\bConfig\{[^}]*\bPath:|keystore sqlite |\bsqlitePath\(`)

// A test that takes the place of its keystore from the test's engine runs on SQLite and on PostgreSQL.
func TestTestsDoNotChooseTheEngine(t *testing.T) {
	t.Parallel()
	unused := map[string]bool{}
	for path := range inFiles {
		unused[path] = true
	}
	for _, root := range []string{"caddymodule", "internal", "keystore"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			at := aFile.FindIndex(text)
			if at == nil {
				return nil
			}
			delete(unused, path)
			if inFiles[path] == "" {
				t.Errorf("%s:%d: the keystore is an SQLite file: want storetest.New(t).Config(), or in the package keystore newPath(t)", path, 1+strings.Count(string(text[:at[0]]), "\n"))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for path := range unused {
		t.Errorf("%s is listed, and names no SQLite file", path)
	}
}
