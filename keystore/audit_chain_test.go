package keystore

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// trail makes a store with some entries in its audit trail.
func trail(t *testing.T, options ...func(*Config)) (f fixture, path string) {
	path = newPath(t)
	f = openStore(t, path, options...)
	a := f.account()
	for range 3 {
		f.key(a.ID)
	}
	if _, err := f.CloseAccount(t.Context(), start, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	return f, path
}

// verify checks the trail.
func (f fixture) verify(kept *AuditHead) AuditCheck {
	f.t.Helper()
	c, err := f.VerifyAudit(f.t.Context(), kept)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func wantWhole(t *testing.T, c AuditCheck, entries int) {
	t.Helper()
	if c.Fault != "" || c.Entries != entries || c.Head.Seq != c.First+int64(entries)-1 {
		t.Errorf("got %+v, want %d whole entries", c, entries)
	}
}

func TestAudit_IsChained(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]func(*Config){"plain": nil, "peppered": {withPepper("salt")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, path := trail(t, options...)
			entries := 5 + len(options) // with a pepper, one more entry
			c := f.verify(nil)
			wantWhole(t, c, entries)
			wantWhole(t, f.verify(&c.Head), entries)
			f.account()
			wantWhole(t, f.verify(&c.Head), entries+1)

			db := rawDB(t, path)
			// The same bytes elsewhere, or another byte anywhere, or the next entry's place.
			for _, column := range []string{"at", "actor_from", "actor_kind", "actor_id", "action", "account_id", "subject", "detail", "hash"} {
				for seq := 1; seq <= entries; seq++ {
					edit := fmt.Sprintf(`UPDATE audit SET %s = %s WHERE seq = %d`, column, map[bool]string{true: "at + 1", false: column + " || 'x'"}[column == "at"], seq)
					switch column {
					case "actor_from":
						edit = fmt.Sprintf(`UPDATE audit SET actor_from = '192.0.2.77' WHERE seq = %d`, seq)
					case "hash":
						edit = fmt.Sprintf(`UPDATE audit SET hash = x'00' WHERE seq = %d`, seq)
					}
					mustExec(t, db, `CREATE TABLE saved AS SELECT * FROM audit`)
					mustExec(t, db, edit)
					c := f.verify(nil)
					if c.Entries != seq-1 || !strings.HasPrefix(c.Fault, fmt.Sprintf("entry %d (", seq)) || !strings.Contains(c.Fault, "was changed") {
						t.Errorf("after %s: %+v", edit, c)
					}
					mustExec(t, db, `DELETE FROM audit`)
					mustExec(t, db, `INSERT INTO audit SELECT * FROM saved`)
					mustExec(t, db, `DROP TABLE saved`)
				}
			}
			wantWhole(t, f.verify(nil), entries+1)

			kept := f.verify(nil).Head
			for seq := entries; seq > 0; seq-- {
				mustExec(t, db, `DELETE FROM audit WHERE seq = $1`, seq)
				if c := f.verify(nil); c.Entries != seq-1 || !strings.Contains(c.Fault, fmt.Sprintf("entry %d was removed", seq)) {
					t.Errorf("after removing entry %d: %+v", seq, c)
				}
			}
			// Only a head that was noted shows that entries were cut off at the end.
			mustExec(t, db, `DELETE FROM audit`)
			if c := f.verify(nil); !strings.HasPrefix(c.Fault, "every entry was removed") {
				t.Errorf("an empty trail, though there are accounts: %+v", c)
			}
			want := fmt.Sprintf("entry 1 was removed, with all up to %d that the head stands for: the trail ends before it", kept.Seq)
			if c := f.verify(&kept); c.Fault != want {
				t.Errorf("an empty trail fits the head: %+v", c)
			}
		})
	}
}

// An attacker who can write the file, and does not have the pepper, rewrites the trail.
func TestAudit_ForgedWithoutThePepper(t *testing.T) {
	t.Parallel()
	forge := func(t *testing.T, path string, from int64, hash hasher) {
		t.Helper()
		db := rawDB(t, path)
		mustExec(t, db, `UPDATE audit SET detail = 'nothing' WHERE seq = $1`, from)
		entries, err := queryRows(t.Context(), db, scanAudit, `SELECT `+auditColumns+` FROM audit WHERE seq >= $1 ORDER BY seq`, from)
		if err != nil {
			t.Fatal(err)
		}
		var head AuditHead
		var before []byte
		if from > 1 {
			if err := db.QueryRow(`SELECT seq, hash FROM audit WHERE seq = $1`, from-1).Scan(&head.Seq, &before); err != nil {
				t.Fatal(err)
			}
			copy(head.hash[:], before)
		} else {
			var id string
			if err := db.QueryRow(`SELECT value FROM meta WHERE name = 'store_id'`).Scan(&id); err != nil {
				t.Fatal(err)
			}
			head = firstHead(id)
		}
		for i := range entries {
			head = head.next(hash, &entries[i])
			mustExec(t, db, `UPDATE audit SET hash = $1 WHERE seq = $2`, head.hash[:], head.Seq)
		}
	}
	t.Run("peppered", func(t *testing.T) {
		t.Parallel()
		f, path := trail(t, withPepper("salt"))
		for seq := int64(6); seq > 0; seq-- {
			forge(t, path, seq, hasher{})
			if c := f.verify(nil); c.Entries != int(seq)-1 || !strings.Contains(c.Fault, fmt.Sprintf("entry %d ", seq)) {
				t.Errorf("forged from %d on: %+v", seq, c)
			}
		}
		f.account() // a new entry does not repair the chain
		if c := f.verify(nil); c.Entries != 0 || c.Fault == "" {
			t.Errorf("the store has sealed what was forged: %+v", c)
		}
		mustExec(t, rawDB(t, path), `DELETE FROM audit WHERE action = $1`, actionPepperAdd)
		if c := f.verify(nil); c.Fault == "" {
			t.Error("a trail without its pepper's entry is taken for whole")
		}
	})
	t.Run("pepper added later", func(t *testing.T) {
		t.Parallel()
		f, path := trail(t)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = openStore(t, path, withPepper("salt"))
		wantWhole(t, f.verify(nil), 6)
		forge(t, path, 2, hasher{})
		if c := f.verify(nil); c.Entries != 5 || !strings.Contains(c.Fault, "entry 6 ") {
			t.Errorf("what the pepper sealed was forged unseen: %+v", c)
		}
	})
	t.Run("without a pepper only a kept head shows it", func(t *testing.T) {
		t.Parallel()
		f, path := trail(t)
		kept := f.verify(nil).Head
		forge(t, path, 2, hasher{})
		wantWhole(t, f.verify(nil), 5)
		if c := f.verify(&kept); !strings.Contains(c.Fault, "entry 5 is not the one") {
			t.Errorf("got %+v", c)
		}
	})
}

func TestAudit_ChainedOnUpgrade(t *testing.T) {
	t.Parallel()
	for name, pepper := range map[string]string{"plain": "", "peppered": "salt"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			makeVersion1(t, path)
			db := rawDB(t, path)
			for i, action := range []string{"account_create", actionPepperAdd, "account_close"} {
				kind := ActorOperator
				if action == actionPepperAdd {
					if pepper == "" {
						continue
					}
					kind = actorStore
				}
				mustExec(t, db, `INSERT INTO audit (seq, at, actor_kind, actor_id, actor_from, action, account_id, subject, detail)
					VALUES ($1, 1, $2, 'root', '', $3, '', '', '')`, i+1, kind, action)
			}
			if pepper != "" {
				var id string
				if err := db.QueryRow(`SELECT value FROM meta WHERE name = 'store_id'`).Scan(&id); err != nil {
					t.Fatal(err)
				}
				mustExec(t, db, `INSERT INTO meta (name, value) VALUES ('pepper_check', $1)`, newHasher(policy.NewSecret(pepper)).check(id))
				if _, _, err := tryStore(path, withPepper("another")); err == nil {
					t.Fatal("upgraded with the wrong pepper")
				}
				if n := count(t, db, `SELECT MAX(version_id) FROM schema_version`); n > 2 {
					t.Fatalf("the schema is of version %d, with the wrong pepper", n)
				}
			} else {
				mustExec(t, db, `UPDATE audit SET seq = 2 WHERE seq = 3`)
			}
			f := openStore(t, path, withPepper(pepper))
			want := 2
			if pepper != "" {
				want = 3
			}
			want++ // the entry about the new hashes
			wantWhole(t, f.verify(nil), want)
			f.account()
			wantWhole(t, f.verify(nil), want+1)
			if e := actions(t, f, "", actionAuditChain); len(e) != 1 || e[0].Subject != fmt.Sprint(want-1) {
				t.Errorf("entries about the upgrade: %v", e)
			}
			mustExec(t, db, `UPDATE audit SET actor_id = 'nobody' WHERE seq = 1`)
			if c := f.verify(nil); c.Entries != 0 || c.Fault == "" {
				t.Errorf("a change before the upgrade's end: %+v", c)
			}
		})
	}
}

// A write that fails takes its entries out of the chain again.
func TestAudit_FailedWriteLeavesNoLink(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	for i := range 20 {
		err := f.write(t.Context(), func(tx *txn) error {
			tx.audit(start, operator, "test", a.ID, fmt.Sprint(i), "")
			if i%3 == 0 {
				return refuse(ErrInvalid, "no")
			}
			return tx.err
		})
		if (err != nil) != (i%3 == 0) {
			t.Fatal(err)
		}
	}
	wantWhole(t, f.verify(nil), 1+13)
}

// Two different entries never have the same hash, even if their texts joined are the same.
func TestAuditHead_KeepsFieldsApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		entry := func(label string) AuditEntry {
			from := rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::1")})
			text := rapid.SampledFrom([]string{"", "a", "b", "ab", "aab", "\x01a"})
			return AuditEntry{
				At: policy.Time(rapid.Int64Range(0, 1).Draw(t, label)), Action: text.Draw(t, label), AccountID: text.Draw(t, label),
				Actor:   Actor{Kind: text.Draw(t, label), ID: text.Draw(t, label), From: from.Draw(t, label)},
				Subject: text.Draw(t, label), Detail: text.Draw(t, label),
			}
		}
		one, other := entry("one"), entry("other")
		head := firstHead("store")
		if same := head.next(hasher{}, &one) == head.next(hasher{}, &other); same != (one == other) {
			t.Fatalf("%+v and %+v: same hash %t", one, other, same)
		}
	})
}

func TestParseAuditHead(t *testing.T) {
	t.Parallel()
	head := AuditHead{Seq: 42, hash: firstHead("store").hash}
	for _, head := range []AuditHead{head, firstHead("store")} {
		if again, err := ParseAuditHead(head.String()); err != nil || again != head {
			t.Errorf("got %v, %v", again, err)
		}
	}
	for _, text := range []string{"", "42", "42:", "42:00", ":" + strings.Repeat("0", 64), "-1:" + strings.Repeat("0", 64), head.String() + "0", "x" + head.String(), head.String()[:66]} {
		if _, err := ParseAuditHead(text); err == nil || !strings.Contains(err.Error(), "want a number, a colon") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

func TestAudit_VerifyReadsOneState(t *testing.T) {
	t.Parallel()
	f, _ := trail(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			f.account()
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(time.Millisecond):
		}
		if c := f.verify(nil); c.Fault != "" {
			t.Error(c.Fault)
		}
	}
}

// An entry that cannot be read was changed.
func TestAudit_FindsAnUnreadableEntry(t *testing.T) {
	t.Parallel()
	f, path := trail(t)
	mustExec(t, rawDB(t, path), `UPDATE audit SET actor_from = 'nowhere' WHERE seq = 3`)
	if c := f.verify(nil); c.Entries != 2 || !strings.HasPrefix(c.Fault, "entry 3 was changed: ") {
		t.Errorf("got %+v", c)
	}
}

// A changed entry is the fault, also if a head was noted of an entry behind it.
func TestAudit_NamesTheFirstFault(t *testing.T) {
	t.Parallel()
	f, path := trail(t)
	kept := f.verify(nil).Head
	db := rawDB(t, path)
	mustExec(t, db, `UPDATE audit SET detail = 'x' WHERE seq = 2`)
	mustExec(t, db, `DELETE FROM audit WHERE seq >= 4`)
	if c := f.verify(&kept); c.Entries != 1 || !strings.HasPrefix(c.Fault, "entry 2 (") {
		t.Errorf("got %+v", c)
	}
}

// A store with a pepper has an entry about it, even if it has nothing else.
func TestAudit_MissesTheEntryAboutThePepper(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, withPepper("salt"))
	wantWhole(t, f.verify(nil), 1)
	mustExec(t, rawDB(t, path), `DELETE FROM audit`)
	if c := f.verify(nil); c.Fault != "the entry about the pepper was removed" {
		t.Errorf("got %+v", c)
	}
}

// Only the store's own entry about the pepper begins the hashes with the pepper.
func TestAudit_OnlyTheStoreAddsAPepper(t *testing.T) {
	t.Parallel()
	for e, want := range map[*AuditEntry]bool{
		{Actor: Actor{Kind: actorStore}, Action: actionPepperAdd}:     true,
		{Actor: Actor{Kind: ActorOperator}, Action: actionPepperAdd}:  false,
		{Actor: Actor{Kind: actorStore}, Action: actionAccountCreate}: false,
	} {
		if got := e.addsPepper(); got != want {
			t.Errorf("%+v: %t", e, got)
		}
	}
}

// The number of an entry is a part of its hash.
func TestAuditHead_HashesTheNumber(t *testing.T) {
	t.Parallel()
	var e AuditEntry
	one := AuditHead{Seq: 1}.next(hasher{}, &e)
	two := AuditHead{Seq: 2}.next(hasher{}, &e)
	if one.Seq != 2 || two.Seq != 3 || one.hash == two.hash {
		t.Errorf("got %s and %s", one, two)
	}
}

// A process that was opened before the pepper was added writes no entry without it.
func TestAudit_NoEntryUnderAnotherPepper(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	k, _ := f.key(f.account().ID)
	peppered := openStore(t, path, withPepper("salt"))
	if _, err := f.RevokeKey(t.Context(), start, operator, k.ID, ""); err == nil {
		t.Error("an entry was written without the pepper")
	}
	if _, err := peppered.RevokeKey(t.Context(), start, operator, k.ID, ""); err != nil {
		t.Error(err)
	}
	wantWhole(t, peppered.verify(nil), 4)
	mustExec(t, rawDB(t, path), `DELETE FROM audit WHERE seq = 3`)
	if c := peppered.verify(nil); c.Fault == "" {
		t.Error("the entry about the pepper is gone, and not missed")
	}
}

// An upgrade gives a hash to each entry under its own number, also behind a gap.
func TestAudit_ChainedOnUpgradeBehindAGap(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	makeVersion1(t, path)
	db := rawDB(t, path)
	for _, seq := range []int{1, 4, 5} {
		mustExec(t, db, `INSERT INTO audit (seq, at, actor_kind, actor_id, actor_from, action, account_id, subject, detail)
			VALUES ($1, 1, 'operator', 'root', '', 'account_create', '', '', '')`, seq)
	}
	f := openStore(t, path)
	if n := count(t, db, `SELECT COUNT(*) FROM audit WHERE length(hash) <> 32`); n != 0 {
		t.Errorf("%d entries have no hash", n)
	}
	if c := f.verify(nil); c.Entries != 1 || c.Fault != "entry 2 was removed: entry 4 comes next" {
		t.Errorf("the trail is %+v", c)
	}
}
