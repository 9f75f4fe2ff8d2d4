package postgrestest

import (
	"os"
	"path/filepath"
	"testing"
)

// engineEnv is the environment variable that says where the keystores of the suites are: sqlite, the
// default, or postgres.
const engineEnv = "SPEECHGATE_TEST_ENGINE"

// Chosen reports whether the keystores of the suites are PostgreSQL databases: the environment variable
// SPEECHGATE_TEST_ENGINE is postgres. It fails the test if the variable has an unknown value.
func Chosen(t testing.TB) bool {
	t.Helper()
	switch engine := os.Getenv(engineEnv); engine {
	case "", "sqlite":
		return false
	case "postgres":
		return true
	default:
		t.Fatalf("%s=%s: want sqlite or postgres", engineEnv, engine)
		return false
	}
}

// NewPlace returns the place of a new keystore, in the form of --keystore: the path of a file in a
// temporary directory, which has still to be made, or if PostgreSQL is [Chosen], the URL of an empty
// database on the shared server.
func NewPlace(t testing.TB) string {
	t.Helper()
	if Chosen(t) {
		return Start(t).NewDatabase(t)
	}
	return filepath.Join(t.TempDir(), "store", "keystore.db")
}

// OfSQLite begins a test that is about SQLite. If PostgreSQL is [Chosen], the test is left out. What is a
// few words, such as "a full disk". .ci/run compares the tests that are left out with .ci/of-sqlite.
func OfSQLite(t testing.TB, what string) {
	t.Helper()
	if Chosen(t) {
		t.Skipf("of SQLite: %s", what)
	}
}
