package keystore

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

// makeVersion1 makes a file as the program of schema version 1 did, with an
// account and a key for each secret.
func makeVersion1(t *testing.T, path string, digests ...digest) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	initial, err := os.ReadFile("internal/sqlite/migrations/00001_initial.sql")
	if err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, path)
	mustExec(t, db, string(initial))
	mustExec(t, db, `CREATE TABLE schema_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))`)
	mustExec(t, db, `INSERT INTO schema_version (version_id, is_applied) VALUES (0, 1), (1, 1)`)
	mustExec(t, db, `INSERT INTO accounts (id, name, service_id, spw_digest, created_at) VALUES ('acc_1', 'Old', 'svc_1', x'00', $1)`, start)
	for i, d := range digests {
		mustExec(t, db, `INSERT INTO api_keys (id, account_id, digest, prefix, origin, label, allow, issuable, created_at, expires_at, revoked_at)
			VALUES ($1, 'acc_1', $2, 'sgk_1', 'console', 'old', '["192.0.2.1"]', 0, $3, NULL, NULL)`, fmt.Sprintf("key_%d", i+1), d[:], start)
		mustExec(t, db, `INSERT INTO jobs (backend, id, dialect, account_id, key_id, client, created_at, state, ended_at)
			VALUES ('b', $1, 'amivoice', 'acc_1', $2, '192.0.2.1', $3, 'completed', $4)`, fmt.Sprintf("job_%d", i+1), fmt.Sprintf("key_%d", i+1), start, start+1)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestUpgrade_FromVersion1(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "versions of the schema before PostgreSQL")
	path := newPath(t)
	secret, other := policy.NewSecret("one"), policy.NewSecret("two")
	plain := newHasher(policy.Secret{})
	makeVersion1(t, path, plain.secret(secret), plain.secret(other))
	mustExec(t, rawDB(t, path), `UPDATE api_keys SET last_used_at = $1 WHERE id = 'key_1'`, start+2)

	// Also by the command line, and by several at once.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, _, err := tryStore(path, commandLine)
			if err == nil {
				err = s.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	f := openStore(t, path)
	r := f.find(secret)
	if r == nil {
		t.Fatal("a key was lost")
	}
	if k := r.Key(); k.ID != "key_1" || k.Status(start) != "active" || !k.RevokeFrom.IsZero() || k.Allow.String() != "192.0.2.1" || k.LastUsedAt != start+2 {
		t.Errorf("the key is now %+v", k)
	}
	if k, err := f.Key(t.Context(), "key_1"); err != nil || k.Label != "old" || k.LastUsedAt != start+2 {
		t.Errorf("the key is now %+v, %v", k, err)
	}
	want := policy.Job{
		Backend: "b", ID: "job_1", Dialect: "amivoice", AccountID: "acc_1", KeyID: "key_1", Client: netip.MustParseAddr("192.0.2.1"),
		CreatedAt: start, State: policy.JobCompleted, EndedAt: start + 1,
	}
	if j, err := f.FindJob(t.Context(), "b", "job_1"); err != nil || j != want {
		t.Errorf("the job is now %+v, %v", j, err)
	}
	if k, err := f.Key(t.Context(), "key_2"); err != nil || !k.LastUsedAt.IsZero() {
		t.Errorf("the key that was never used was last used at %s, %v", k.LastUsedAt, err)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM schema_version WHERE version_id = 2`); n != 1 {
		t.Errorf("the schema was upgraded %d times", n)
	}
	if a, err := f.Account(t.Context(), "acc_1"); err != nil || a.Status() != "open" || a.PreviousServiceID != "" || !a.PreviousUntil.IsZero() {
		t.Errorf("the account is now %+v, %v", a, err)
	}
	_, err1 := f.SuspendAccount(t.Context(), start, operator, "acc_1", "why")
	suspended := f.find(secret).Key()
	_, err2 := f.ResumeAccount(t.Context(), start, operator, "acc_1")
	if err1 != nil || err2 != nil || suspended.Status(start) != "suspended" {
		t.Errorf("suspension does not work in the upgraded file: %v, %v", err1, err2)
	}
	if k := f.find(secret).Key(); !k.Limits.None() || !k.AccountLimits.None() {
		t.Errorf("the key has the limits %q, its account %q", k.Limits, k.AccountLimits)
	}
	if a, err := f.LimitAccount(t.Context(), start, operator, "acc_1", limitChange(t, "requests=60/m")); err != nil || f.find(secret).Key().AccountLimits != a.Limits {
		t.Errorf("limits do not work in the upgraded file: %v", err)
	}
	rotation, err := f.RotateKey(t.Context(), start, operator, "key_1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f.mint(aToken("key_2", "ek_1"))
	if f.ownerOf("b", "ek_1") != "key_2" {
		t.Error("tokens do not work in the upgraded file")
	}
	if f.find(rotation.Secret) == nil || f.find(secret).Key().RevokeFrom != start.Add(time.Hour) || f.find(other).Key().RevokeFrom != 0 {
		t.Error("rotation does not work in the upgraded file")
	}
}

// A server of schema version 1 may go on running on the upgraded file. The tables that it
// reads and writes are still there.
func TestUpgrade_Version1GoesOn(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "versions of the schema before PostgreSQL")
	path := newPath(t)
	makeVersion1(t, path, digest{1})
	db := rawDB(t, path)
	old, err := db.Prepare(`SELECT id FROM api_keys WHERE digest = $1 AND revoked_at IS NULL`)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	f := openStore(t, path)
	var id string
	d := digest{1}
	if err := old.QueryRow(d[:]).Scan(&id); err != nil || id != "key_1" {
		t.Errorf("key %q, %v", id, err)
	}
	mustExec(t, db, `INSERT INTO api_keys (id, account_id, digest, prefix, origin, label, allow, issuable, created_at) VALUES ('key_9', 'acc_1', x'09', '', 'console', '', '[]', 0, 1)`)
	mustExec(t, db, `INSERT INTO jobs (backend, id, dialect, account_id, key_id, client, created_at, state) VALUES ('b', 'job_1', '', 'acc_1', 'key_9', '', 1, '')
		ON CONFLICT (backend, id) DO NOTHING`)
	for _, at := range []policy.Time{2, 5, 3} {
		mustExec(t, db, `UPDATE api_keys SET last_used_at = $1 WHERE id = 'key_1'`, at)
	}
	if k, err := f.Key(t.Context(), "key_1"); err != nil || k.LastUsedAt != 5 {
		t.Errorf("what it notes of uses is not seen: %s, %v", k.LastUsedAt, err)
	}
}

// A file of schema version 8 gets a table of tokens, and keeps all its records.
func TestUpgrade_FromVersion8(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "versions of the schema before PostgreSQL")
	path := newPath(t)
	f := openStore(t, path)
	k, secret := f.key(f.account().ID)
	job := f.job(k, "j1")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, path)
	// All that versions 9 to 20 have added.
	mustExec(t, db, `ALTER TABLE jobs DROP COLUMN upstream_key`)
	for _, index := range []string{"audit_account", "api_keys_label", "last_uses_at", "api_keys_revoke_from", "api_keys_created", "api_keys_account_created", "accounts_created"} {
		mustExec(t, db, `DROP INDEX `+index)
	}
	for _, table := range []string{"console_users", "console_recovery", "console_sessions", "console_passkeys", "tokens", "usage_totals", "usage_hours", "usage_days", "usage_kinds", "usage_scopes", "usage_journal", "usage_fold"} {
		mustExec(t, db, `DROP TABLE `+table)
	}
	for _, table := range []string{"accounts", "api_keys"} {
		mustExec(t, db, `ALTER TABLE `+table+` DROP COLUMN limits`)
	}
	mustExec(t, db, `DELETE FROM schema_version WHERE version_id >= 9`)
	if n := count(t, db, `SELECT MAX(version_id) FROM schema_version`); n != 8 {
		t.Fatalf("the file has schema version %d, want 8", n)
	}
	f = openStore(t, path)
	if n := count(t, db, `SELECT MAX(version_id) FROM schema_version`); n != engine.SchemaVersion {
		t.Errorf("the file has schema version %d, want %d", n, engine.SchemaVersion)
	}
	if r := f.find(secret); r == nil || r.Key().ID != k.ID {
		t.Error("the key was lost")
	}
	if j, err := f.FindJob(t.Context(), "amivoice", "j1"); err != nil || j != job {
		t.Errorf("the job is now %+v, %v", j, err)
	}
	f.mint(aToken(k.ID, "ek_1"))
	if f.ownerOf("b", "ek_1") != k.ID {
		t.Error("tokens do not work in the upgraded file")
	}
	f.CountUsage(start, &UsageOf{KeyID: k.ID, AccountID: k.AccountID}, UsageCounts{Requests: 1})
	if f.usage.flush(t.Context()); f.sumOf(UsageList{}).Requests != 1 {
		t.Error("usage is not counted in the upgraded file")
	}
	if _, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorAccount, k.AccountID); err != nil {
		t.Errorf("no one can be invited to the console: %v", err)
	}
	if c := f.verify(nil); c.Fault != "" {
		t.Errorf("the audit trail: %s", c.Fault)
	}
}

// A file of schema version 16 takes from the audit trail when users have signed in last.
func TestUpgrade_FromVersion16(t *testing.T) {
	t.Parallel()
	path := newFile(t, "versions of the schema before PostgreSQL")
	f := openStore(t, path)
	wantLast := f.wantSignIns()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, path)
	for _, column := range []string{"signed_in_at", "issuer", "subject"} {
		mustExec(t, db, `ALTER TABLE console_users DROP COLUMN `+column)
	}
	mustExec(t, db, `DROP TABLE console_passkeys`) // of version 19
	mustExec(t, db, `ALTER TABLE console_users DROP COLUMN handle`)
	mustExec(t, db, `DROP INDEX audit_account`) // of version 20
	mustExec(t, db, `DELETE FROM schema_version WHERE version_id >= 17`)
	wantLast(openStore(t, path))
}

// A file of schema version 19 sorts its labels by an index of version 20 after the upgrade.
func TestUpgrade_FromVersion19(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "an index of SQLite")
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	for _, label := range []string{"b", "A", "a", "B", "é"} {
		f.key(a.ID, func(n *NewKey) { n.Label = label })
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, path)
	mustExec(t, db, `DROP INDEX audit_account`)
	mustExec(t, db, `DROP INDEX api_keys_label`)
	mustExec(t, db, `CREATE INDEX api_keys_label ON api_keys (account_id, label COLLATE NOCASE)`)
	mustExec(t, db, `DELETE FROM schema_version WHERE version_id >= 20`)
	f = openStore(t, path)
	if n := count(t, db, `SELECT COUNT(*) FROM sqlite_master WHERE name = 'api_keys_label' AND sql LIKE '%lower(label)%'`); n != 1 {
		t.Error("the index of labels is that of version 19")
	}
	page, _, err := f.Keys(t.Context(), KeyList{AccountID: a.ID, Order: OrderLabel})
	if got := namesOf(page, func(k policy.Key) string { return k.Label }); err != nil || !slices.Equal(got, []string{"A", "a", "b", "B", "é"}) {
		t.Errorf("the labels are %q, %v", got, err)
	}
}

func TestKeepPepper_AddsNone(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	keep := func(c *Config) { c.KeepPepper = true }
	f := openStore(t, path)
	_, secret := f.key(f.account().ID)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s, _, err := tryStore(path, commandLine, keep, withPepper("salt of the earth"))
	if err == nil {
		_ = s.Close()
		t.Fatal("it was opened")
	}
	if msg := err.Error(); !strings.Contains(msg, f.cfg.name) || !strings.Contains(msg, "has no pepper yet") || !strings.Contains(msg, "start the server") || strings.Contains(msg, "salt") {
		t.Errorf("error %q", msg)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM meta WHERE name = 'pepper_check'`); n != 0 {
		t.Error("the pepper was added")
	}
	if openStore(t, path, commandLine, keep).find(secret) == nil {
		t.Error("the key is not found without a pepper")
	}
	peppered := openStore(t, path, withPepper("salt of the earth"))
	if err := peppered.Close(); err != nil {
		t.Fatal(err)
	}
	if openStore(t, path, commandLine, keep, withPepper("salt of the earth")).find(secret) == nil {
		t.Error("the key is not found with the pepper that is there")
	}
}
