package keystore

import (
	"fmt"
	"strings"
	"testing"
)

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
		{Actor: Actor{Kind: ActorStore}, Action: actionPepperAdd}:     true,
		{Actor: Actor{Kind: ActorOperator}, Action: actionPepperAdd}:  false,
		{Actor: Actor{Kind: ActorStore}, Action: actionAccountCreate}: false,
	} {
		if got := e.addsPepper(); got != want {
			t.Errorf("%+v: %t", e, got)
		}
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
