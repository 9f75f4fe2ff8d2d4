package doctor

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // for the file of a replica

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// edgeSite returns an examination of a gateway with a replica that has one key, which a server has filled and left.
func edgeSite(t *testing.T, dsn string) *examination {
	t.Helper()
	cfg := keystore.Config{
		Postgres:     &keystore.Postgres{DSN: policy.NewSecret(dsn), Replica: filepath.Join(t.TempDir(), "replica"), AdmitJobs: true},
		MaxStaleness: time.Hour,
	}
	store, err := keystore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the replica is complete", func() bool { return store.Stats().Replica.Readable })
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.CommandLine = true
	e := &examination{Subject: Subject{Store: cfg, Now: time.Now}}
	e.checkKeystore(t.Context())
	if e.stored == nil || e.stored.Keys != 1 {
		t.Fatalf("the keystore has %+v; the findings are %+v", e.stored, e.found)
	}
	e.found = nil
	return e
}

// keyedDatabase returns a database with a keystore that has one key.
func keyedDatabase(t *testing.T) (dsn string) {
	t.Helper()
	dsn = postgrestest.Start(t).NewDatabase(t)
	store, err := keystore.Open(t.Context(), keystore.Config{Postgres: &keystore.Postgres{DSN: policy.NewSecret(dsn)}, CommandLine: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	now := keystore.SystemClock().Now()
	operator := keystore.Actor{Kind: "operator", ID: "test"}
	account, _, err := store.CreateAccount(t.Context(), now, operator, "Test")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.IssueKey(t.Context(), now, operator, keystore.NewKey{AccountID: account.ID, Origin: policy.OriginConsole, Expires: policy.Never()}); err != nil {
		t.Fatal(err)
	}
	return dsn
}

func (e *examination) replicaFile() string {
	return filepath.Join(e.Store.Postgres.Replica, "replica.db")
}

func TestDoctor_FindsWhatIsWrongWithAReplica(t *testing.T) {
	t.Parallel()
	dsn := keyedDatabase(t)
	change := func(statement string) func(*testing.T, *examination) {
		return func(t *testing.T, e *examination) {
			t.Helper()
			db, err := sql.Open("sqlite3", e.replicaFile())
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod := func(mode os.FileMode, name func(*examination) string) func(*testing.T, *examination) {
		return func(t *testing.T, e *examination) {
			t.Helper()
			if err := os.Chmod(name(e), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	directory := func(e *examination) string { return e.Store.Postgres.Replica }
	for name, test := range map[string]struct {
		fault func(*testing.T, *examination)
		level Level
		part  string
	}{
		"nothing": {func(*testing.T, *examination) {}, Pass, "The replica is complete, has 1 key, and was up to date "},
		"no replica yet": {func(t *testing.T, e *examination) {
			t.Helper()
			e.Store.Postgres.Replica = filepath.Join(t.TempDir(), "new", "replica")
		}, Skip, "There is no replica yet."},
		"no replica of a running server": {func(t *testing.T, e *examination) {
			t.Helper()
			e.Store.Postgres.Replica, e.Server = filepath.Join(t.TempDir(), "new", "replica"), &canaryServer{}
		}, Warn, "The server runs, and there is no replica."},
		"a short max_staleness":             {func(_ *testing.T, e *examination) { e.Store.MaxStaleness = 5 * time.Second }, Warn, "max_staleness is 5s"},
		"a replica that others can read":    {chmod(0o644, (*examination).replicaFile), Warn, "can read the file"},
		"a replica that others can write":   {chmod(0o666, (*examination).replicaFile), Fail, "can be written by all users"},
		"a directory that others can write": {chmod(0o777, directory), Fail, "/speechgate."},
		"a file in the place of the directory": {func(t *testing.T, e *examination) {
			t.Helper()
			e.Store.Postgres.Replica = e.replicaFile()
		}, Fail, "is not a directory"},
		"an old replica":                {change(`UPDATE position SET age = 7200000`), Warn, "it was last up to date 2h0m"},
		"a replica of another database": {change(`UPDATE position SET place = 'postgres://other.example.com/keys'`), Warn, "it is the copy of postgres://other.example.com/keys"},
		"a replica of another keystore": {change(`UPDATE position SET store_id = 'another'`), Warn, "It is the replica of another keystore."},
		"a replica that is filled":      {change(`UPDATE position SET phase = 1`), Warn, "which has 1 key: it is not complete."},
		"a replica that was disowned":   {change(`INSERT INTO news VALUES ('store', x'')`), Warn, "it lacks changes that concern all records"},
		"a replica of another version":  {change(`PRAGMA user_version = 1`), Warn, "it is no replica of this version"},
		"a clock that was set back":     {change(`UPDATE position SET seen_at = seen_at + 60000`), Warn, "the clock is behind the time"},
		"a damaged replica": {func(t *testing.T, e *examination) {
			t.Helper()
			if err := os.WriteFile(e.replicaFile(), []byte(strings.Repeat("text ", 2000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, Warn, "it is damaged"},
		"another pepper": {func(_ *testing.T, e *examination) { e.Store.Pepper = policy.NewSecret("0123456789abcdef") }, Warn, "its pepper is not the one"},
		"a running server that does not follow": {func(t *testing.T, e *examination) {
			t.Helper()
			change(`UPDATE position SET age = 120000`)(t, e)
			e.Server = &canaryServer{}
		}, Warn, "has not brought the replica up to date for 2m"},
		"a server without its database": {func(t *testing.T, e *examination) {
			t.Helper()
			change(`UPDATE position SET age = 120000`)(t, e)
			e.Server, e.stored = &canaryServer{}, nil
		}, Pass, "a server answers from it for another 5"},
		"more keys than the disk takes": {func(_ *testing.T, e *examination) { e.stored.Keys = 1 << 50 }, Warn, "The disk of the replica has "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := edgeSite(t, dsn)
			test.fault(t, e)
			before, _ := filepath.Glob(filepath.Join(e.Store.Postgres.Replica, "*"))
			e.checkReplica(t.Context())
			after, _ := filepath.Glob(filepath.Join(e.Store.Postgres.Replica, "*"))
			if !slices.Equal(before, after) {
				t.Errorf("the directory had %v, and has %v", before, after)
			}
			found := false
			for _, f := range e.found {
				switch {
				case f.Check == CheckReplica && f.Level == test.level && strings.Contains(f.Message, test.part):
					found = true
					if (f.Fix == nil) == (f.Level == Warn) {
						t.Errorf("the fix of %+v", f)
					}
				case f.Level == Warn, f.Level == Fail:
					t.Errorf("another finding: %+v", f)
				}
			}
			if !found {
				t.Errorf("want %s %q in %+v", test.level, test.part, e.found)
			}
		})
	}
}

// The jobs that wait at the site are counted, and what keeps them from the database is found.
func TestDoctor_LooksAtTheJobsThatWait(t *testing.T) {
	t.Parallel()
	e := edgeSite(t, keyedDatabase(t))
	insert := func(storeID, id, refused string) string {
		return `INSERT INTO jobs (store_id, backend, id, dialect, account_id, key_id, client, created_at, state, refused)
			VALUES ('` + storeID + `', 'amivoice', '` + id + `', 'amivoice', 'acc', 'key', '', 1, 'processing', '` + refused + `')`
	}
	path := filepath.Join(e.Store.Postgres.Replica, "jobs.db")
	find := func() []Finding {
		t.Helper()
		e.found = nil
		e.checkWaitingJobs(t.Context(), new(keystore.ReplicaCondition))
		return e.found
	}
	if found := find(); len(found) != 0 {
		t.Errorf("a site without such jobs: %+v", found)
	}
	run := func(statement string) {
		t.Helper()
		db, err := sql.Open("sqlite3", path)
		if err == nil {
			_, err = db.ExecContext(t.Context(), statement)
		}
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		what, statement string
		running         bool
		level           Level
		part            string
	}{
		{"a job waits", insert(e.stored.ID, "one", ""), false, Warn, "For the database wait 1 job of this site, and no server runs."},
		{"a server runs", insert(e.stored.ID, "two", ""), true, Pass, "For the database wait 2 jobs of this site."},
		{"a job was refused", insert(e.stored.ID, "three", "another job"), true, Warn, "The database does not take 1 job of this site"},
		{"a job of another keystore", insert("another", "four", ""), true, Warn, "For another keystore wait 1 job."},
		{"another version", `PRAGMA user_version = 1000`, true, Fail, "another version of this program has made it"},
	} {
		run(step.statement)
		e.Server = nil
		if step.running {
			e.Server = &canaryServer{}
		}
		if found := find(); !slices.ContainsFunc(found, func(f Finding) bool { return f.Level == step.level && strings.Contains(f.Message, step.part) }) {
			t.Errorf("%s: want %s %q in %+v", step.what, step.level, step.part, found)
		}
	}
}

// Only a keystore with a replica has the check.
func TestDoctor_LooksForNoReplicaOfOthers(t *testing.T) {
	t.Parallel()
	for _, cfg := range []keystore.Config{{}, {Postgres: &keystore.Postgres{}}} {
		e := examination{Subject: Subject{Store: cfg}}
		if e.checkReplica(context.Background()); len(e.found) != 0 {
			t.Errorf("%+v", e.found)
		}
	}
}
