package keystore

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// fillForCopy makes records of all kinds.
func fillForCopy(f fixture) (k policy.Key, secret policy.Secret) {
	f.t.Helper()
	ctx := f.t.Context()
	a := f.account()
	k, secret = f.key(a.ID, func(n *NewKey) { n.Label, n.Issuable = "日本語 'label'", true })
	child, _ := f.key(a.ID, func(n *NewKey) { n.Issuer, n.Origin = k.ID, policy.OriginAPI })
	f.job(k, "job-1")
	f.job(child, "job-2")
	if _, err := f.RevokeKey(ctx, start, operator, child.ID, "leaked"); err != nil {
		f.t.Fatal(err)
	}
	err := f.RecordToken(ctx, new(WriteReservation), NewToken{Backend: "b", Secret: policy.NewSecret("ek_1"), KeyID: k.ID, CreatedAt: start, ExpiresAt: start.Add(time.Hour)})
	if err != nil {
		f.t.Fatal(err)
	}
	if r := f.find(secret); r != nil {
		f.NoteUse(r, start)
		f.uses.flush(ctx, 0)
	}
	return k, secret
}

// direction is a pair of engines.
type direction struct {
	name     string
	from, to func(t *testing.T, server *postgrestest.Server) func(*Config)
}

func toFile(t *testing.T, _ *postgrestest.Server) func(*Config) {
	t.Helper()
	return inPlace(sqlitePath(t))
}

func toDatabase(t *testing.T, server *postgrestest.Server) func(*Config) {
	t.Helper()
	return inPostgres(server.NewDatabase(t))
}

var directions = []direction{
	{"file to database", toFile, toDatabase},
	{"database to file", toDatabase, toFile},
	{"database to database", toDatabase, toDatabase},
}

func eachDirection(t *testing.T, test func(t *testing.T, from, to func(*Config))) {
	t.Helper()
	server := postgrestest.Start(t)
	for _, d := range directions {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			test(t, d.from(t, server), d.to(t, server))
		})
	}
}

func configOf(options ...func(*Config)) Config {
	cfg := Config{Clock: func() policy.Time { return start }}
	for _, o := range options {
		o(&cfg)
	}
	return cfg
}

// rawOf opens the database of a store as another program does.
func rawOf(t *testing.T, place func(*Config)) *sql.DB {
	t.Helper()
	cfg := configOf(place)
	if cfg.Postgres != nil {
		return rawDB(t, cfg.Postgres.DSN.Reveal())
	}
	return rawDB(t, cfg.Path)
}

func mustCopy(t *testing.T, f fixture, to Config) Copied {
	t.Helper()
	c, err := f.CopyTo(t.Context(), to, CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rowsOf(c Copied, table string) int64 {
	i := slices.IndexFunc(c.Tables, func(t CopiedTable) bool { return t.Name == table })
	return c.Tables[i].Rows
}

func TestCopyTo_HasEveryRecordAndGoesOn(t *testing.T) {
	t.Parallel()
	eachDirection(t, func(t *testing.T, from, to func(*Config)) {
		f := openStore(t, "", from, commandLine, withPepper("0123456789abcdef"))
		k, secret := fillForCopy(f)
		var told []CopyProgress
		c, err := f.CopyTo(t.Context(), configOf(to), CopyOptions{Progress: func(p CopyProgress) { told = append(told, p) }})
		if err != nil {
			t.Fatal(err)
		}
		if rowsOf(c, "api_keys") != 2 || rowsOf(c, "jobs") != 2 || rowsOf(c, "tokens") != 1 || c.Kept != 0 || c.Changed {
			t.Errorf("copied %+v", c)
		}
		if want := 2 * len(c.Tables); len(told) != want {
			t.Errorf("told %d times of the progress, want %d: %v", len(told), want, told)
		}
		g := openStore(t, "", to, commandLine, withPepper("0123456789abcdef"), func(c *Config) { c.MustExist, c.KeepPepper = true, true })
		if r := g.find(secret); r == nil || statusOf(r, start) != keyActive {
			t.Error("the copy does not find the key")
		}
		want, err1 := f.Key(t.Context(), k.ID)
		got, err2 := g.Key(t.Context(), k.ID)
		if err := errors.Join(err1, err2); err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || want.LastUsedAt != start {
			t.Errorf("the copy has the key %+v, want %+v (%v)", got, want, err)
		}
		check, err := g.VerifyAudit(t.Context(), &c.Head)
		if err != nil || check.Fault != "" {
			t.Errorf("the audit trail of the copy: %v %s", err, check.Fault)
		}
		if a, b := f.state.Load().db.id, g.state.Load().db.id; a != b || a != c.StoreID {
			t.Errorf("the copy has the ID %s, want %s", b, a)
		}
		// The numbers of the feed and of the trail go on, and none is used twice.
		for _, s := range []fixture{f, g} {
			if _, err := s.RenameKey(t.Context(), start, operator, k.ID, "new"); err != nil {
				t.Fatal(err)
			}
		}
		before, err1 := readCopyPosition(t.Context(), f.state.Load().db.reader)
		after, err2 := readCopyPosition(t.Context(), g.state.Load().db.reader)
		if err := errors.Join(err1, err2); err != nil || after != before {
			t.Errorf("after one change on each side the copy is at %v, want %v (%v)", after, before, err)
		}
		g.job(k, "job-3")
	})
}

func TestCopyTo_FailsIfTheTargetHasAStore(t *testing.T) {
	t.Parallel()
	eachDirection(t, func(t *testing.T, from, to func(*Config)) {
		f := openStore(t, "", from, commandLine)
		fillForCopy(f)
		openStore(t, "", to, commandLine)
		_, err := f.CopyTo(t.Context(), configOf(to), CopyOptions{})
		wantIs(t, err, ErrInvalid)
	})
}

func TestCopyTo_RefusesAFileForAFile(t *testing.T) {
	t.Parallel()
	f := openStore(t, newFile(t, "a file for a file"), commandLine)
	_, err := f.CopyTo(t.Context(), bareConfig(sqlitePath(t)), CopyOptions{})
	wantIs(t, err, ErrInvalid)
}

// A store that has changed since the snapshot is not copied, unless the caller wants the snapshot.
// The next copy has the change, and keeps what is the same.
func TestCopyTo_NoticesChanges(t *testing.T) {
	t.Parallel()
	eachDirection(t, func(t *testing.T, from, to func(*Config)) {
		f := openStore(t, "", from, commandLine)
		k, _ := fillForCopy(f)
		jobs := 0
		changing := func(p CopyProgress) {
			if p.Table == "usage_hours" && !p.Compared {
				jobs++
				f.job(k, fmt.Sprint("late-", jobs))
			}
		}
		_, err := f.CopyTo(t.Context(), configOf(to), CopyOptions{Progress: changing})
		wantIs(t, err, ErrInvalid)
		if err == nil || !strings.Contains(err.Error(), "has changed since the copy began") {
			t.Errorf("error %v", err)
		}
		if _, _, err := tryStore("", to, commandLine, func(c *Config) { c.MustExist = true }); !errors.Is(err, ErrNoStore) {
			t.Errorf("opening the unfinished copy: %v, want no store", err)
		}
		c, err := f.CopyTo(t.Context(), configOf(to), CopyOptions{Snapshot: true, Progress: changing})
		if err != nil || !c.Changed || rowsOf(c, "jobs") != 3 {
			t.Errorf("copied %+v, %v; want the first of the late jobs", c, err)
		}
		if c.Kept < 7 {
			t.Errorf("kept %d rows of the first copy, want those of the first tables", c.Kept)
		}
	})
}

// An unfinished copy in a database is no store, and no server makes one there.
func TestCopyTo_LetsNobodyUseAnUnfinishedCopy(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	to := inPostgres(server.NewDatabase(t))
	f := openStore(t, newPath(t), commandLine)
	k, _ := fillForCopy(f)
	other := openStore(t, newPath(t), commandLine)
	tried := false
	_, err := f.CopyTo(t.Context(), configOf(to), CopyOptions{Progress: func(p CopyProgress) {
		if tried || p.Table != "jobs" {
			return
		}
		tried = true
		if _, _, err := tryStore("", to); err == nil || !strings.Contains(err.Error(), "unfinished copy of the keystore "+f.state.Load().db.id) {
			t.Errorf("a server opens the unfinished copy: %v", err)
		}
		for name, s := range map[string]fixture{"the same": f, "another": other} {
			if _, err := s.CopyTo(t.Context(), configOf(to), CopyOptions{}); err == nil || !strings.Contains(err.Error(), "another process is copying") {
				t.Errorf("%s store is copied at the same time: %v", name, err)
			}
		}
		f.job(k, "late") // so that the copy does not finish
	}})
	wantIs(t, err, ErrInvalid)
	_, err = other.CopyTo(t.Context(), configOf(to), CopyOptions{})
	if err == nil || !strings.Contains(err.Error(), "unfinished copy of another keystore") {
		t.Errorf("another store is copied there: %v", err)
	}
	mustCopy(t, f, configOf(to))
}

// The comparison finds a row of the copy that is damaged, missing or too many, and names it without
// the values. The copy is then no store.
func TestCopyTo_FindsADamagedRow(t *testing.T) {
	t.Parallel()
	for _, damage := range []struct{ name, query, want string }{
		{"changed", `UPDATE api_keys SET label = 'other', digest = digest || digest WHERE issuable`, "the table api_keys: the row id key_"},
		{"missing", `DELETE FROM jobs WHERE id = 'job-1'`, "the table jobs: the row id job-1, backend amivoice"},
		{"too many", `INSERT INTO meta (name, value) VALUES ('x', 'secret-value')`, "the table meta: the row name x is in the copy only"},
		{"digest", `DELETE FROM tokens`, "the table tokens: the row digest "},
	} {
		t.Run(damage.name, func(t *testing.T) {
			t.Parallel()
			eachDirection(t, func(t *testing.T, from, to func(*Config)) {
				f := openStore(t, "", from, commandLine)
				fillForCopy(f)
				id := f.state.Load().db.id
				unfinished := configOf(to)
				place := to
				if unfinished.Postgres == nil {
					place = func(c *Config) { c.Path = unfinished.Path + ".copy-" + id }
				}
				_, err := f.CopyTo(t.Context(), configOf(to), CopyOptions{Progress: func(p CopyProgress) {
					if p.Table == "last_uses" && !p.Compared { // the last table
						query := damage.query
						if configOf(to).Postgres == nil {
							query = strings.ReplaceAll(query, "digest || digest", "CAST(digest || digest AS BLOB)")
						}
						db := rawOf(t, place)
						mustExec(t, db, query)
						_ = db.Close() // the copy must be the only one that uses a file when it closes it
					}
				}})
				if err == nil || !strings.Contains(err.Error(), damage.want) || strings.Contains(err.Error(), "secret-value") {
					t.Errorf("error %v, want %q", err, damage.want)
				}
				if _, _, err := tryStore("", to, commandLine, func(c *Config) { c.MustExist = true }); !errors.Is(err, ErrNoStore) {
					t.Errorf("opening the damaged copy: %v, want no store", err)
				}
				// The next copy mends the row.
				mustCopy(t, f, configOf(to))
			})
		})
	}
}

// A text that PostgreSQL cannot store is an error that names the row.
func TestCopyTo_NamesARowThatPostgreSQLCannotStore(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	path := newFile(t, "a text that is not UTF-8")
	f := openStore(t, path, commandLine)
	k, _ := fillForCopy(f)
	mustExec(t, rawDB(t, path), `UPDATE api_keys SET label = CAST(X'ff' AS TEXT) WHERE id = $1`, k.ID)
	_, err := f.CopyTo(t.Context(), configOf(inPostgres(server.NewDatabase(t))), CopyOptions{})
	if err == nil || !strings.Contains(err.Error(), "the row id "+k.ID+" has a text in the column label") {
		t.Errorf("error %v", err)
	}
}

// A trail that is not whole is not copied.
func TestCopyTo_VerifiesTheAuditTrail(t *testing.T) {
	t.Parallel()
	eachDirection(t, func(t *testing.T, from, to func(*Config)) {
		f := openStore(t, "", from, commandLine)
		fillForCopy(f)
		mustExec(t, rawOf(t, from), `UPDATE audit SET detail = 'nothing' WHERE seq = 2`)
		_, err := f.CopyTo(t.Context(), configOf(to), CopyOptions{})
		wantIs(t, err, ErrInvalid)
		if err == nil || !strings.Contains(err.Error(), "entry 2") {
			t.Errorf("error %v", err)
		}
	})
}

// A file that the copy is filled in has no other file beside it when it is whole.
func TestCopyTo_LeavesOneFile(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	f := openStore(t, "", inPostgres(server.NewDatabase(t)), commandLine)
	fillForCopy(f)
	path := sqlitePath(t)
	mustCopy(t, f, bareConfig(path))
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("files %v, %v: want the keystore only", entries, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the copy has the mode %v, %v: want 0600", fi.Mode(), err)
	}
}

// A backup of either engine becomes a new store of the other, and a restore that was interrupted can
// be repeated.
func TestRestoreNew_TakesABackupOfTheOtherEngine(t *testing.T) {
	t.Parallel()
	eachDirection(t, func(t *testing.T, from, to func(*Config)) {
		f := openStore(t, "", from, commandLine)
		_, secret := fillForCopy(f)
		b := f.backup()
		r, err := RestoreNew(t.Context(), configOf(to, commandLine), later, operator, b.Path)
		if err != nil || r.Keys.Restored != 2 || r.Jobs.Restored != 2 {
			t.Fatalf("restored %+v, %v", r, err)
		}
		g := openStore(t, "", to, commandLine, func(c *Config) { c.MustExist = true })
		if s := g.status(secret, later); s != keyActive {
			t.Errorf("the key is %q", s)
		}
		wantWhole(t, g.verify(nil), int(b.Head.Seq)+1)
		_, err = RestoreNew(t.Context(), configOf(to, commandLine), later, operator, b.Path)
		wantIs(t, err, ErrInvalid)
	})
}

// The names of timelines stay with their server: another one has timelines with the same numbers.
func TestCopyTo_LeavesTheNamesOfTimelines(t *testing.T) {
	t.Parallel()
	eachDirection(t, func(t *testing.T, from, to func(*Config)) {
		f := openStore(t, "", from, commandLine)
		fillForCopy(f)
		raw := rawOf(t, from)
		mustExec(t, raw, `INSERT INTO meta (name, value) VALUES ('timeline 000000FF', 'of the first server')`)
		all := count(t, raw, `SELECT COUNT(*) FROM meta WHERE name NOT LIKE 'timeline %'`)
		c := mustCopy(t, f, configOf(to))
		if n := count(t, rawOf(t, to), `SELECT COUNT(*) FROM meta WHERE name LIKE 'timeline %'`); n != 0 || rowsOf(c, "meta") != int64(all) {
			t.Errorf("the copy has %d names of timelines, and %d rows in the table meta; want none, and %d", n, rowsOf(c, "meta"), all)
		}
	})
}

// A backup has the names of timelines no more than a copy has.
func TestRestoreNew_LeavesTheNamesOfTimelines(t *testing.T) {
	t.Parallel()
	eachDirection(t, func(t *testing.T, from, to func(*Config)) {
		f := openStore(t, "", from, commandLine)
		mustExec(t, rawOf(t, from), `INSERT INTO meta (name, value) VALUES ('timeline 000000FF', 'of the first server')`)
		if _, err := RestoreNew(t.Context(), configOf(to, commandLine), later, operator, f.backup().Path); err != nil {
			t.Fatal(err)
		}
		if n := count(t, rawOf(t, to), `SELECT COUNT(*) FROM meta WHERE name LIKE 'timeline %'`); n != 0 {
			t.Errorf("the restored keystore has %d names of timelines, want none", n)
		}
	})
}
