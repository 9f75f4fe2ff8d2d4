package keystore

import (
	"fmt"
	"strings"
	"testing"
	"time"
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
						edit = fmt.Sprintf(`UPDATE audit SET hash = substr(hash, 2) WHERE seq = %d`, seq)
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
