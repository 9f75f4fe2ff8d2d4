package keystore

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		writeForEver(path)
	}
	if paths := os.Getenv(restorerEnv); paths != "" {
		restoreForEver(paths)
	}
	if places := os.Getenv(copierEnv); places != "" {
		copyOnce(places)
	}
	if path := os.Getenv(counterEnv); path != "" {
		countForEver(path)
	}
	if path := os.Getenv(folderEnv); path != "" {
		foldForEver(path)
	}
	if place := os.Getenv(admitterEnv); place != "" {
		admitForEver(place)
	}
	if path := os.Getenv(openerEnv); path != "" {
		openAsNobody(path)
	}
	flag.Parse()
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		// Each input makes stores and restores them. The nightly tests have 1,000 inputs. A database of
		// PostgreSQL takes longer to make than a file.
		inputs := "40"
		if os.Getenv("SPEECHGATE_TEST_ENGINE") == "postgres" {
			inputs = "10"
		}
		_ = checks.Value.Set(inputs)
	}
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		// Many tests wait for a server that starts, stops or is silent.
		_ = parallel.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0)))
	}
	goleak.VerifyTestMain(m)
}

var operator = Actor{Kind: ActorOperator, ID: "root", From: netip.MustParseAddr("192.0.2.1")}

// start is the time at which the tests' clocks begin.
const start policy.Time = 1_800_000_000_000

const day = 24 * time.Hour

// fixture is a store with clocks that the test moves.
type fixture struct {
	*Store
	t     *testing.T
	mono  *atomic.Int64
	place string // as newPath returns it; empty if an option says where the store is
}

func (f fixture) advance(d time.Duration) { f.mono.Add(int64(d)) }

// takeOverPolling ends the background work, so that the test polls by itself.
func (f fixture) takeOverPolling() {
	f.stop()
	f.background.Wait()
}

// waitForPoll waits until a poll of the background work has begun and succeeded after
// this call.
func (f fixture) waitForPoll() {
	f.t.Helper()
	for range 2 { // the first one may have begun before
		last := f.feed.until.Load()
		testutil.Eventually(f.t, "a poll succeeds", func() bool { return f.feed.until.Load() != last })
	}
}

// openStore opens the store at a place of newPath, and closes it when the test ends.
func openStore(t *testing.T, path string, options ...func(*Config)) fixture {
	t.Helper()
	s, mono, err := tryStore(path, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return fixture{s, t, mono, path}
}

func tryStore(path string, options ...func(*Config)) (*Store, *atomic.Int64, error) {
	cfg := Config{Clock: func() policy.Time { return start }}
	inPlace(path)(&cfg)
	for _, o := range options {
		o(&cfg)
	}
	mono := new(atomic.Int64)
	running := monotonic()
	s, err := open(context.Background(), cfg, func() time.Duration { return running() + time.Duration(mono.Load()) })
	return s, mono, err
}

func commandLine(c *Config) { c.CommandLine = true }

func withPepper(pepper string) func(*Config) {
	return func(c *Config) { c.Pepper = policy.NewSecret(pepper) }
}

func logTo(logs **observer.ObservedLogs) func(*Config) {
	return func(c *Config) {
		core, l := observer.New(zapcore.InfoLevel)
		c.Logger, *logs = zap.New(core), l
	}
}

func (f fixture) account() policy.Account {
	f.t.Helper()
	a, _, err := f.CreateAccount(f.t.Context(), start, operator, "Example K.K.")
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func (f fixture) key(accountID string, edit ...func(*NewKey)) (policy.Key, policy.Secret) {
	f.t.Helper()
	k := NewKey{AccountID: accountID, Origin: policy.OriginConsole, Expires: policy.ExpiresAt(start.Add(time.Hour))}
	for _, e := range edit {
		e(&k)
	}
	key, secret, err := f.IssueKey(f.t.Context(), start, operator, k)
	if err != nil {
		f.t.Fatal(err)
	}
	return key, secret
}

func (f fixture) job(k policy.Key, id string) policy.Job {
	f.t.Helper()
	j := policy.Job{Backend: "amivoice", ID: id, Dialect: "amivoice", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start, Client: netip.MustParseAddr("2001:db8::1")}
	if err := f.CreateJob(f.t.Context(), j); err != nil {
		f.t.Fatal(err)
	}
	return j
}

// find returns the record of the key with this secret; nil if the store has no such key.
func (f fixture) find(secret policy.Secret) *Record {
	f.t.Helper()
	r, err := f.FindKey(f.t.Context(), secret)
	if err != nil && !errors.Is(err, ErrNotFound) {
		f.t.Fatal(err)
	}
	if !r.Found() {
		return nil
	}
	return &r
}

// cached returns the records of a cache. It uses a DropIf that drops none.
func cached(c *recordcache.Cache[policy.Time]) (all []Record) {
	c.DropIf(func(lastUsed *policy.Time, packed string) bool {
		all = append(all, Record{*lastUsed, packed})
		return false
	})
	return all
}

func statusOf(r *Record, now policy.Time) string {
	k := r.Key()
	return k.Status(now)
}

// vacuumInto copies the store at the path from into a new file.
func vacuumInto(t *testing.T, from, to string) {
	t.Helper()
	mustExec(t, rawDB(t, from), `VACUUM INTO $1`, to)
}

func mustExec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func count(t *testing.T, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want one that is %q", err, target)
	}
}
