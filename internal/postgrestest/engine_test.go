package postgrestest

import (
	"fmt"
	"strings"
	"testing"
)

// ended is what a test does whose end is recorded.
type ended struct {
	testing.TB
	how string
}

func (*ended) Helper() {}
func (e *ended) Fatalf(format string, a ...any) {
	e.how = "fails: " + fmt.Sprintf(format, a...)
	panic(e)
}

func (e *ended) Skipf(format string, a ...any) {
	e.how = "is left out: " + fmt.Sprintf(format, a...)
	panic(e)
}

func TestOfSQLite_LeavesOutATestOnlyWithPostgreSQL(t *testing.T) { //nolint:paralleltest // sets the environment
	for engine, want := range map[string]string{
		"":           "",
		"sqlite":     "",
		"postgres":   "is left out: of SQLite: a full disk",
		"postgresql": "fails: SPEECHGATE_TEST_ENGINE=postgresql: want sqlite or postgres",
	} {
		t.Setenv(engineEnv, engine)
		var got ended
		func() {
			defer func() { _ = recover() }()
			OfSQLite(&got, "a full disk")
		}()
		if got.how != want {
			t.Errorf("with %q, a test %s, want that it %s", engine, got.how, want)
		}
	}
}

func TestNewPlace_IsOfTheChosenEngine(t *testing.T) { //nolint:paralleltest // sets the environment
	for engine, prefix := range map[string]string{"": "/", "postgres": "postgres://"} {
		t.Setenv(engineEnv, engine)
		if one, other := NewPlace(t), NewPlace(t); !strings.HasPrefix(one, prefix) || one == other {
			t.Errorf("with %q, the places are %s and %s", engine, one, other)
		}
	}
}
