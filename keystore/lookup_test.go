package keystore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// A lookup that read the record before a revocation and caches it afterwards must
// neither cache nor return it.
func TestR2_LookupOvertakenByRevocation(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.takeOverPolling() // a poll could drop the record once more
	key, secret := f.key(f.account().ID)
	reads := 0
	f.loaded = func() {
		if reads++; reads == 1 {
			if _, err := f.RevokeKey(t.Context(), start, operator, key.ID, "leaked"); err != nil {
				t.Error(err)
			}
		}
	}
	for range 2 { // the second time from the cache
		if r := f.find(secret); r == nil || r.Key().RevokedAt != start {
			t.Errorf("found %+v, want it revoked", r)
		}
	}
	if reads != 2 {
		t.Errorf("%d reads, want 2", reads)
	}
}

func TestR2_LookupFailsIfChangesNeverStop(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	_, secret := f.key(f.account().ID)
	f.loaded = func() { f.dropAll() }
	_, err := f.FindKey(t.Context(), secret)
	wantIs(t, err, ErrUnavailable)
}

// A lookup that read a file which is replaced meanwhile reads the new file.
func TestR2_LookupOvertakenByReplacement(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path, other := newPath(t), newPath(t)
	f := openStore(t, path)
	_, secret := f.key(f.account().ID)
	if err := openStore(t, other).Close(); err != nil {
		t.Fatal(err)
	}
	first := f.state.Load()
	var once sync.Once
	f.loaded = func() {
		once.Do(func() {
			replaceFile(t, other, path)
			testutil.Eventually(t, "the new file is open", func() bool {
				st := f.state.Load()
				return st != first && st.fault == nil
			})
		})
	}
	if r := f.find(secret); r != nil {
		t.Errorf("a key of the replaced file was found: %+v", r.Key())
	}
}

func TestR2_NegativeEntriesFallOnIssue(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	secret, err := policy.GenerateSecret(policy.KeyPrefix, &counting{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // from the database, from the cache
		if f.find(secret) != nil {
			t.Fatal("found before it was issued")
		}
	}
	d := f.hash.secret(secret)
	err = f.write(t.Context(), func(tx *txn) error {
		k := policy.Key{ID: "key_x", AccountID: a.ID, Origin: policy.OriginInitial, Expires: policy.Never(), CreatedAt: start}
		if err := tx.insertKey(k, d, false); err != nil {
			return err
		}
		return tx.changed(start, changedKey, d[:])
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.find(secret) == nil {
		t.Error("not found after it was issued")
	}
}

// counting is a reader of the bytes 1, 2, 3 and so on.
type counting struct{ n byte }

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		c.n++
		p[i] = c.n
	}
	return len(p), nil
}

func TestFindKey_CachedAllocatesNothing(t *testing.T) { //nolint:paralleltest // measures allocations
	for _, pepper := range []string{"", "pepper"} {
		f := openStore(t, newPath(t), withPepper(pepper))
		k, secret := f.key(f.account().ID, func(k *NewKey) { k.Allow = addrs(t, "192.0.2.0/24,2001:db8::/32") })
		f.job(k, "j")
		f.find(secret)
		request := &policy.Request{Operation: policy.Recognize, Client: client}
		r := f.find(secret)
		for name, call := range map[string]func() error{
			"CheckSecret": func() error { return policy.CheckSecret(secret) },
			"Key, Decide": func() error {
				key := r.Key()
				if d := policy.Decide(start, &key, request, policy.Rules{}); d.Reason != policy.Allowed {
					return errors.New(d.Reason.String())
				}
				return nil
			},
			"FindKey":            func() error { _, err := f.FindKey(t.Context(), secret); return err },
			"FindKey, unknown":   func() error { _, err := f.FindKey(t.Context(), policy.Secret{}); return ignore(err, ErrNotFound) },
			"FindJob":            func() error { _, err := f.FindJob(t.Context(), "amivoice", "j"); return err },
			"SetJobState, known": func() error { return f.SetJobState(t.Context(), "amivoice", "j", policy.JobUnseen, start) },
			"NoteUse, this minute": func() error {
				found, err := f.FindKey(t.Context(), secret)
				f.NoteUse(&found, start)
				return err
			},
		} {
			if err := call(); err != nil {
				t.Fatal(err)
			}
			allocs := testing.AllocsPerRun(1000, func() {
				if err := call(); err != nil {
					t.Fatal(err)
				}
			})
			if allocs != 0 && !raceEnabled {
				t.Errorf("pepper %q: %s allocates %v times", pepper, name, allocs)
			}
		}
	}
}

// A lookup that misses the cache prepares no statement. Preparing would take longer than
// running the statement, and allocate twice as much.
func TestFindKey_MissPreparesNothing(t *testing.T) { //nolint:paralleltest // measures allocations
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	f := openStore(t, newPath(t), commandLine)
	_, secret := f.key(f.account().ID)
	d := f.hash.secret(secret)
	plan, err := query(t.Context(), f.Store, func(row scanner) (detail string, err error) {
		var ignored int
		err = row.Scan(&ignored, &ignored, &ignored, &detail)
		return detail, err
	}, `EXPLAIN QUERY PLAN `+keyByDigest, d[:])
	if all := strings.Join(plan, "; "); err != nil || !strings.Contains(all, "digest=?") || strings.Contains(all, "SCAN k") || strings.Contains(all, "SCAN a") {
		t.Errorf("the plan is %q, %v", all, err)
	}
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := f.FindKey(context.Background(), secret); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 45 && !raceEnabled {
		t.Errorf("a miss allocates %v times", allocs)
	}
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// A lookup goes on when its caller goes away: its error would count as a failure of the store.
func TestFindKey_GoesOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	_, secret := f.key(f.account().ID)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := f.FindKey(gone, secret); err != nil || !r.Found() {
		t.Errorf("%+v, %v; want the key", r, err)
	}
}

// Damaged records take no connection away from other lookups.
func TestR17_ADamagedRecordKeepsNoConnection(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	f.key(f.account().ID)
	mustExec(t, rawDB(t, path), `UPDATE api_keys SET origin = 'gift'`)
	if _, _, err := f.Keys(t.Context(), KeyList{}); err == nil {
		t.Fatal("a damaged record is a record")
	}
	db, err := f.database()
	if err != nil {
		t.Fatal(err)
	}
	if n := db.reader.Stats().InUse; n != 0 {
		t.Errorf("%d connections are in use, want none", n)
	}
}

// PostgreSQL stores no text with a zero byte, or that is not UTF-8. A name with such bytes belongs to
// no record, and is no failure of the store.
func TestUnstorableTexts_AreUnknown(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Postgres: &Postgres{DSN: policy.NewSecret(postgrestest.Start(t).NewDatabase(t))}, Clock: func() policy.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, text := range []string{"a\x00b", "\xff", "日\xe6"} {
		_, err := s.FindJob(t.Context(), "amivoice", text)
		wantIs(t, err, ErrNotFound)
		_, err = s.FindService(t.Context(), start, text, policy.NewSecret("a password"))
		wantIs(t, err, ErrNotFound)
		_, err = s.FindConsoleUser(t.Context(), text)
		wantIs(t, err, ErrNotFound)
		_, err = s.Key(t.Context(), text)
		wantIs(t, err, ErrNotFound)
		if n, err := s.LiveKeys(t.Context(), text, start, 9); n != 0 || err != nil {
			t.Errorf("%q has %d keys, %v", text, n, err)
		}
		_, _, err = s.CreateAccount(t.Context(), start, operator, text)
		wantIs(t, err, ErrInvalid)
		wantIs(t, s.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: text, CreatedAt: start}), ErrInvalid)
	}
}
