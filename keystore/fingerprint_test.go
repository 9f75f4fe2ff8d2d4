package keystore

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

func upstreamSecrets(texts ...string) (keys []policy.Secret) {
	for _, text := range texts {
		keys = append(keys, policy.NewSecret(text))
	}
	return keys
}

// jobUnder records a job that an upstream key created.
func (f fixture) jobUnder(k policy.Key, id string, under policy.Fingerprint) policy.Job {
	f.t.Helper()
	j := policy.Job{Backend: "b", ID: id, Dialect: "amivoice", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start, UpstreamKey: under}
	if err := f.CreateJob(f.t.Context(), j); err != nil {
		f.t.Fatal(err)
	}
	return j
}

func TestFingerprints_TellKeysBackendsStoresAndPeppersApart(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, other := openStore(t, path), openStore(t, newPath(t), withPepper("0123456789abcdef"))
	keys := upstreamSecrets("upstream-key-one", "upstream-key-two")
	prints := f.Fingerprints(nil, "b", keys)
	seen := make(map[policy.Fingerprint]bool)
	for _, p := range []*Fingerprints{prints, f.Fingerprints(nil, "c", keys), other.Fingerprints(nil, "b", keys)} {
		for i := range keys {
			if p.Of(i) == 0 || seen[p.Of(i)] || p.Index(p.Of(i)) != i {
				t.Errorf("key %d has the fingerprint %q", i, p.Of(i))
			}
			seen[p.Of(i)] = true
		}
	}
	if again := f.Fingerprints(prints, "b", keys); again != prints {
		t.Error("fingerprints that are right were made again")
	}
	if prints.Of(-1) != 0 || prints.Of(2) != 0 || prints.Index(0) != -1 || prints.Index(prints.Of(0)+1) != -1 {
		t.Error("a key that is not there has a fingerprint")
	}
	if same := openStore(t, path, commandLine).Fingerprints(prints, "b", keys); same == prints || !slices.Equal(same.of, prints.of) {
		t.Error("another process has other fingerprints")
	}
	var none *Fingerprints
	if none.Of(0) != 0 || none.Index(1) != -1 {
		t.Error("no fingerprints have a key")
	}
	if text := policy.Fingerprint(0xab).String(); text != "000000ab" || policy.Fingerprint(0).String() != "" {
		t.Errorf("a fingerprint is written as %q", text)
	}
}

// Another store in the place of the first has other fingerprints. While there is no store, those from
// before are the best that is known.
func TestFingerprints_FollowTheStore(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	keys := upstreamSecrets("upstream-key-one")
	prints, st := f.Fingerprints(nil, "b", keys), f.state.Load()
	f.state.Store(&state{fault: ErrClosed})
	if f.Fingerprints(prints, "b", keys) != prints || f.Fingerprints(nil, "b", keys) != nil {
		t.Error("there are fingerprints without a store")
	}
	moved := *st.db
	moved.id = "ks_another"
	f.state.Store(&state{db: &moved})
	if again := f.Fingerprints(prints, "b", keys); again.Of(0) == prints.Of(0) {
		t.Error("two stores have one fingerprint")
	}
	f.state.Store(st)
}

func TestUpgrade_FromVersion15(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "versions of the schema before PostgreSQL")
	path := newPath(t)
	f := openStore(t, path)
	k, _ := f.key(f.account().ID)
	job := f.job(k, "j1")
	f.mint(aToken(k.ID, "ek_1"))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, path)
	for _, table := range []string{"jobs", "tokens"} {
		mustExec(t, db, `ALTER TABLE `+table+` DROP COLUMN upstream_key`)
	}
	for _, column := range []string{"signed_in_at", "issuer", "subject"} {
		mustExec(t, db, `ALTER TABLE console_users DROP COLUMN `+column)
	}
	mustExec(t, db, `DROP TABLE console_passkeys`) // of version 19
	mustExec(t, db, `ALTER TABLE console_users DROP COLUMN handle`)
	mustExec(t, db, `DROP INDEX audit_account`) // of version 20
	mustExec(t, db, `DELETE FROM schema_version WHERE version_id >= 16`)
	f = openStore(t, path)
	if n := count(t, db, `SELECT MAX(version_id) FROM schema_version`); n != engine.SchemaVersion {
		t.Errorf("the file has schema version %d, want %d", n, engine.SchemaVersion)
	}
	if j, err := f.FindJob(t.Context(), "amivoice", "j1"); err != nil || j != job || j.UpstreamKey != 0 {
		t.Errorf("the job is now %+v, %v", j, err)
	}
	if token, _, err := f.FindToken(t.Context(), "b", policy.NewSecret("ek_1")); err != nil || token.UpstreamKey != 0 {
		t.Errorf("the token is now %+v, %v", token, err)
	}
	want := f.jobUnder(k, "j2", 7)
	if j, err := f.FindJob(t.Context(), "b", "j2"); err != nil || j != want {
		t.Errorf("a new job is %+v, %v", j, err)
	}
}

// A fingerprint comes back from the database and from the cache.
func TestFingerprints_AreInTheRecords(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	k, _ := f.key(f.account().ID)
	want := f.jobUnder(k, "j", 0xfedcba98)
	token := aToken(k.ID, "ek_1")
	token.UpstreamKey = 0xfedcba98
	f.mint(token)
	for range 2 {
		if j, err := f.FindJob(t.Context(), "b", "j"); err != nil || j != want {
			t.Errorf("the job is %+v, %v", j, err)
		}
		if found, _, err := f.FindToken(t.Context(), "b", token.Secret); err != nil || found.UpstreamKey != token.UpstreamKey {
			t.Errorf("the token is %+v, %v", found, err)
		}
	}
	if err := f.SetJobState(t.Context(), "b", "j", policy.JobQueued, start); err != nil {
		t.Fatal(err)
	}
	if j, err := f.FindJob(t.Context(), "b", "j"); err != nil || j.UpstreamKey != want.UpstreamKey {
		t.Errorf("after a change of its state the job is %+v, %v", j, err)
	}
}

// The database without the pepper does not show whether a guess at the upstream key is right. The
// fingerprints from before the pepper are sealed with it.
func TestPepper_SealsFingerprints(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	keys := upstreamSecrets("upstream-key-one", "upstream-key-two")
	f := openStore(t, path)
	k, _ := f.key(f.account().ID)
	plain := f.Fingerprints(nil, "b", keys)
	f.jobUnder(k, "j0", 0)
	f.jobUnder(k, "j1", plain.Of(0))
	f.jobUnder(k, "j2", plain.Of(1))
	token := aToken(k.ID, "ek_1")
	token.UpstreamKey = plain.Of(1)
	f.mint(token)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openStore(t, path, withPepper("0123456789abcdef"))
	sealed := f.Fingerprints(nil, "b", keys)
	for i := range keys {
		if sealed.Of(i) == plain.Of(i) || sealed.Index(plain.Of(i)) >= 0 {
			t.Errorf("key %d has the same fingerprint with a pepper", i)
		}
	}
	for id, want := range map[string]policy.Fingerprint{"j0": 0, "j1": sealed.Of(0), "j2": sealed.Of(1)} {
		if j, err := f.FindJob(t.Context(), "b", id); err != nil || j.UpstreamKey != want {
			t.Errorf("job %s has the fingerprint %q, want %q, %v", id, j.UpstreamKey, want, err)
		}
	}
	if found, _, err := f.FindToken(t.Context(), "b", token.Secret); err != nil || found.UpstreamKey != sealed.Of(1) {
		t.Errorf("the token is %+v, %v", found, err)
	}
}

// A restore brings the fingerprints of jobs back, also from a backup of before the pepper.
func TestRestore_BringsFingerprintsBack(t *testing.T) {
	t.Parallel()
	path, copied := newPath(t), filepath.Join(t.TempDir(), "backup.db")
	keys := upstreamSecrets("upstream-key-one")
	f := openStore(t, path)
	k, _ := f.key(f.account().ID)
	f.jobUnder(k, "j", f.Fingerprints(nil, "b", keys).Of(0))
	if _, err := f.Backup(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openStore(t, path, withPepper("0123456789abcdef"))
	mustExec(t, rawDB(t, path), `DELETE FROM jobs`)
	if _, err := f.Restore(t.Context(), start, operator, copied); err != nil {
		t.Fatal(err)
	}
	if j, err := f.FindJob(t.Context(), "b", "j"); err != nil || j.UpstreamKey != f.Fingerprints(nil, "b", keys).Of(0) {
		t.Errorf("the job is %+v, %v", j, err)
	}
}

func TestUpstreamKeyNeeds_CountsWhatHasNotEnded(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	k, _ := f.key(f.account().ID)
	needs := func(now policy.Time) string {
		t.Helper()
		all, err := f.UpstreamKeyNeeds(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, n := range all {
			lines = append(lines, fmt.Sprintf("%s %d: %d jobs at %d, %d tokens", n.Backend, n.Fingerprint, n.Jobs, n.LastJob, n.Tokens))
		}
		return strings.Join(lines, "; ")
	}
	if got := needs(start); got != "" {
		t.Errorf("an empty store needs %s", got)
	}
	states := append([]policy.JobState{}, policy.JobStates()...)
	for i, state := range states {
		id := fmt.Sprint("j", i)
		f.jobUnder(k, id, 7)
		if err := f.SetJobState(t.Context(), "b", id, state, start); err != nil {
			t.Fatal(err)
		}
	}
	f.jobUnder(k, "old", 0)
	late := policy.Job{Backend: "c", ID: "late", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start.Add(time.Hour), UpstreamKey: 7}
	if err := f.CreateJob(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	token := aToken(k.ID, "ek_1")
	token.UpstreamKey = 7
	f.mint(token)
	token = aToken(k.ID, "ek_2")
	token.UpstreamKey = 8
	f.mint(token)
	want := fmt.Sprintf("b 0: 1 jobs at %[1]d, 0 tokens; b 7: 4 jobs at %[1]d, %%d tokens%%s; c 7: 1 jobs at %[2]d, 0 tokens", start, late.CreatedAt)
	if got := needs(start); got != fmt.Sprintf(want, 1, "; b 8: 0 jobs at 0, 1 tokens") {
		t.Errorf("the store needs %s", got)
	}
	if got := needs(token.ExpiresAt); got != fmt.Sprintf(want, 0, "") {
		t.Errorf("after the tokens have expired, the store needs %s", got)
	}
}
