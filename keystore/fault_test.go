package keystore

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// operation is a call of a store, and the tables without which it must fail.
type operation struct {
	tables string // separated by spaces
	call   func() error
}

// reads returns every call that reads.
func (f fixture) reads(key policy.Key, secret, password policy.Secret, serviceID string) map[string]operation {
	ctx := f.t.Context()
	second := func(_ any, err error) error { return err }
	third := func(_, _ any, err error) error { return err }
	return map[string]operation{
		"Account":       {"accounts", func() error { return second(f.Account(ctx, key.AccountID)) }},
		"Accounts":      {"accounts", func() error { return third(f.Accounts(ctx, AccountList{Limit: 1})) }},
		"AccountsNamed": {"accounts", func() error { return second(f.AccountsNamed(ctx, "Example K.K.")) }},
		"FindService":   {"accounts", func() error { return second(f.FindService(ctx, start, serviceID, password)) }},
		"Key":           {"accounts api_keys last_uses", func() error { return second(f.Key(ctx, key.ID)) }},
		"Keys":          {"accounts api_keys last_uses", func() error { return third(f.Keys(ctx, KeyList{Limit: 1})) }},
		"FindKey":       {"accounts api_keys last_uses", func() error { return second(f.FindKey(ctx, secret)) }},
		"LiveKeys":      {"api_keys", func() error { return second(f.LiveKeys(ctx, key.AccountID, start, 9)) }},
		"Job":           {"jobs", func() error { return second(f.Job(ctx, "amivoice", "j")) }},
		"Jobs":          {"jobs", func() error { return third(f.Jobs(ctx, JobList{Limit: 1})) }},
		"JobsByID":      {"jobs", func() error { return second(f.JobsByID(ctx, "j")) }},
		"FindJob":       {"jobs", func() error { return second(f.FindJob(ctx, "amivoice", "j")) }},
		"FindJobFor":    {"jobs", func() error { return second(f.FindJobFor(ctx, key.AccountID, "amivoice", "j")) }},
		"JobAccounts":   {"jobs", func() error { return second(f.JobAccounts(ctx, "amivoice", []string{"j"})) }},
		"Audit":         {"audit", func() error { return third(f.Audit(ctx, AuditList{Limit: 1})) }},
		"VerifyAudit":   {"accounts audit meta", func() error { return second(f.VerifyAudit(ctx, nil)) }},
		"Summary":       {"accounts api_keys", func() error { return second(f.Summary(ctx)) }},
		"Backup": {"accounts api_keys audit feed jobs", func() error {
			return second(f.Backup(ctx, filepath.Join(f.t.TempDir(), "backup.db")))
		}},
		"PlanImport": {"accounts api_keys dead_digests", func() error {
			return second(f.ImportKeys(ctx, start, operator, Import{AccountID: key.AccountID, Expires: policy.Never(), Secrets: secrets("planned"), DryRun: true}))
		}},
	}
}

// writes returns every call that writes. Each can succeed once.
func (f fixture) writes() map[string]operation {
	ctx := f.t.Context()
	second := func(_ any, err error) error { return err }
	third := func(_, _ any, err error) error { return err }
	must := func(_ any, err error) {
		if err != nil {
			f.t.Fatal(err)
		}
	}
	a, closing, suspending, suspended := f.account(), f.account(), f.account(), f.account()
	must(f.SuspendAccount(ctx, start, operator, suspended.ID, ""))
	issuable := func(k *NewKey) { k.Issuable = true }
	keys := map[string]policy.Key{}
	for _, name := range []string{"delete", "revoke", "suspend", "resume", "rename", "rotate", "rotate at once", "issue", "tree"} {
		keys[name], _ = f.key(a.ID, issuable)
	}
	must(f.SuspendKey(ctx, start, operator, keys["resume"].ID, ""))
	f.child(keys["tree"])
	f.job(keys["issue"], "seen")
	const audited, announced = "audit meta ", "accounts audit feed meta "
	return map[string]operation{
		"CreateAccount": {announced, func() error { return third(f.CreateAccount(ctx, start, operator, "New")) }},
		"ImportAccount": {announced, func() error {
			return second(f.ImportAccount(ctx, start, operator, "Old", "old", policy.NewSecret("password")))
		}},
		"RotateAccount":  {announced, func() error { return third(f.RotateAccount(ctx, start, operator, a.ID, 0)) }},
		"CloseAccount":   {announced, func() error { return second(f.CloseAccount(ctx, start, operator, closing.ID)) }},
		"SuspendAccount": {announced, func() error { return second(f.SuspendAccount(ctx, start, operator, suspending.ID, "")) }},
		"ResumeAccount":  {announced, func() error { return second(f.ResumeAccount(ctx, start, operator, suspended.ID)) }},
		"RenameAccount":  {audited + "accounts", func() error { return second(f.RenameAccount(ctx, start, operator, a.ID, "Other")) }},
		"IssueKey": {announced + "api_keys", func() error {
			return third(f.IssueKey(ctx, start, operator, NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Issuer: keys["issue"].ID, Expires: policy.Never()}))
		}},
		"DeleteKey":      {announced + "api_keys", func() error { return second(f.DeleteKey(ctx, start, operator, keys["delete"].ID)) }},
		"RevokeKey":      {announced + "api_keys", func() error { return second(f.RevokeKey(ctx, start, operator, keys["revoke"].ID, "")) }},
		"SuspendKey":     {announced + "api_keys", func() error { return second(f.SuspendKey(ctx, start, operator, keys["suspend"].ID, "")) }},
		"ResumeKey":      {announced + "api_keys", func() error { return second(f.ResumeKey(ctx, start, operator, keys["resume"].ID)) }},
		"RenameKey":      {audited + "accounts api_keys", func() error { return second(f.RenameKey(ctx, start, operator, keys["rename"].ID, "other")) }},
		"RotateKey":      {announced + "api_keys", func() error { return second(f.RotateKey(ctx, start, operator, keys["rotate"].ID, time.Hour)) }},
		"RotateKey by 0": {announced + "api_keys", func() error { return second(f.RotateKey(ctx, start, operator, keys["rotate at once"].ID, 0)) }},
		"RevokeTree":     {announced + "api_keys", func() error { return third(f.RevokeTree(ctx, start, operator, keys["tree"].ID, "")) }},
		"ImportKeys": {announced + "api_keys dead_digests", func() error {
			return second(f.ImportKeys(ctx, start, operator, Import{AccountID: a.ID, Expires: policy.Never(), Secrets: secrets("imported")}))
		}},
		"CreateJob": {"jobs", func() error {
			return f.CreateJob(ctx, policy.Job{Backend: "b", ID: "new", AccountID: a.ID, KeyID: keys["issue"].ID, CreatedAt: start})
		}},
		"SetJobState": {"feed jobs", func() error { return f.SetJobState(ctx, "amivoice", "seen", policy.JobCompleted, start) }},
		"NoteCut":     {audited, func() error { return f.NoteCut(ctx, start, operator, a.ID, a.ID, 1) }},
		"Check":       {"meta", func() error { return f.Check(ctx) }},
	}
}

// wantFault wants an ErrUnavailable. Every other answer would say that an account, a key or a
// job is there, or is not there.
func wantFault(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) {
		t.Errorf("%s: %v, want an ErrUnavailable", what, err)
	}
}

// letTablesGo lets tables get another name, and the tables that refer to them keep theirs.
func letTablesGo(t *testing.T, path string, db *sql.DB) {
	t.Helper()
	if isPostgres(path) {
		return // which keeps no names
	}
	for _, setting := range []string{`legacy_alter_table = ON`, `foreign_keys = OFF`, `synchronous = OFF`} {
		mustExec(t, db, `PRAGMA `+setting)
	}
}

// Each read that fails says so, whichever table it cannot read.
func TestR17_AFailedReadIsNoAnswer(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	a, password, err := f.CreateAccount(t.Context(), start, operator, "Example K.K.")
	if err != nil {
		t.Fatal(err)
	}
	key, secret := f.key(a.ID)
	f.job(key, "j")
	reads := f.reads(key, secret, password, a.ServiceID)
	db := rawDB(t, path)
	letTablesGo(t, path, db)
	for _, table := range []string{"accounts", "api_keys", "audit", "dead_digests", "feed", "jobs", "last_uses", "meta"} {
		mustExec(t, db, `ALTER TABLE `+table+` RENAME TO away`)
		for name, read := range reads {
			if strings.Contains(" "+read.tables+" ", " "+table+" ") {
				wantFault(t, name+" without "+table, read.call())
			}
		}
		mustExec(t, db, `ALTER TABLE away RENAME TO `+table)
	}
	for name, read := range reads {
		if err := read.call(); err != nil {
			t.Errorf("%s of a whole store: %v", name, err)
		}
	}
}

// A write that cannot read what it must check, or cannot add its entry to the audit trail or
// to the change feed, does nothing, and says so. The same call then succeeds.
func TestR17_AFailedWriteDoesNothing(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	writes := f.writes()
	db := rawDB(t, path)
	letTablesGo(t, path, db)
	before := f.contents(db)
	for _, table := range []string{"accounts", "api_keys", "audit", "dead_digests", "feed", "jobs", "meta"} {
		mustExec(t, db, `ALTER TABLE `+table+` RENAME TO away`)
		for name, write := range writes {
			if strings.Contains(" "+write.tables+" ", " "+table+" ") {
				wantFault(t, name+" without "+table, write.call())
			}
		}
		mustExec(t, db, `ALTER TABLE away RENAME TO `+table)
	}
	for _, table := range []string{"audit", "feed"} {
		mend := trigger(t, path, `BEFORE INSERT ON `+table, `TRUE`, fails)
		for name, write := range writes {
			if strings.Contains(" "+write.tables+" ", " "+table+" ") {
				wantFault(t, name+" without an entry in "+table, write.call())
			}
		}
		mend()
	}
	if after := f.contents(db); after != before {
		t.Errorf("a failed write has changed the store:\n%s\nbefore:\n%s", after, before)
	}
	for name, write := range writes {
		err := write.call()
		after := f.contents(db)
		if err != nil || name != "Check" && after == before {
			t.Errorf("%s with a whole store: %v; it has changed something: %t", name, err, after != before)
		}
		if entries := strings.Count(after, "\naudit ") - strings.Count(before, "\naudit "); (entries > 0) != strings.Contains(write.tables, "audit") {
			t.Errorf("%s has made %d entries in the audit trail", name, entries)
		}
		before = after
	}
	if c := f.verify(nil); c.Fault != "" {
		t.Errorf("the audit trail: %s", c.Fault)
	}
}

// contents returns all that a write can change, as a text.
func (f fixture) contents(db *sql.DB) string {
	f.t.Helper()
	var all strings.Builder
	for _, table := range []string{"accounts", "api_keys", "audit", "feed", "jobs"} {
		lines, err := queryRows(f.t.Context(), db, func(row scanner) (string, error) {
			columns, err := row.(*sql.Rows).Columns()
			if err != nil {
				return "", err
			}
			values := make([]any, len(columns))
			dest := make([]any, len(columns))
			for i := range values {
				dest[i] = &values[i]
			}
			err = row.Scan(dest...)
			return fmt.Sprintln(table, values), err
		}, `SELECT * FROM `+table)
		if err != nil {
			f.t.Fatal(err)
		}
		slices.Sort(lines)
		all.WriteString(strings.Join(lines, ""))
	}
	return all.String()
}
