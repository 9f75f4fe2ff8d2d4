package keystore

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/speechgate/speechgate/internal/testutil"
)

func TestAudit_ChainOutlivesPruning(t *testing.T) {
	t.Parallel()
	f, path := trail(t, withPepper("salt"))
	old := f.verify(nil).Head
	later := start.Add(auditKept)
	if _, _, err := f.CreateAccount(t.Context(), later, operator, "Later"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to prune
		if err := f.Prune(t.Context(), later); err != nil {
			t.Fatal(err)
		}
		// The later entry, the entry about pruned keys, and the one about pruned entries.
		c := f.verify(&old)
		wantWhole(t, c, 3)
		if c.First != old.Seq+1 {
			t.Errorf("the trail begins with entry %d, want %d", c.First, old.Seq+1)
		}
	}
	kept := f.verify(nil).Head
	if err := f.Prune(t.Context(), later.Add(auditKept)); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, f.verify(&kept), 1)
	if _, err := f.VerifyAudit(t.Context(), &old); err == nil || !strings.Contains(err.Error(), "pruned since") {
		t.Errorf("a head of what is gone: %v", err)
	}
	// The head of the last pruned entry is known, and another one of its number is not.
	wantWhole(t, f.verify(&kept), 1)
	rewritten := AuditHead{Seq: kept.Seq, hash: old.hash}
	if c := f.verify(&rewritten); c.Entries != 0 || !strings.HasPrefix(c.Fault, fmt.Sprintf("entry %d is not the one", kept.Seq)) {
		t.Errorf("another head of the last pruned entry: %+v", c)
	}

	// Removing entries from the front is not taken for pruning.
	f.account()
	f.account()
	mustExec(t, rawDB(t, path), `DELETE FROM audit WHERE seq <= $1`, kept.Seq+1)
	if c := f.verify(nil); c.Fault == "" {
		t.Errorf("entries removed from the front: %+v", c)
	}
}

// An attacker who changes the times of entries, so that the store prunes them, is found
// out.
func TestAudit_PruningRemovesNoEvidence(t *testing.T) {
	t.Parallel()
	f, path := trail(t, withPepper("salt"))
	db := rawDB(t, path)
	mustExec(t, db, `CREATE TABLE saved AS SELECT * FROM audit`)
	mustExec(t, db, `UPDATE audit SET at = 0, detail = 'x' WHERE seq <= 3`)
	if err := f.Prune(t.Context(), start); err == nil || !strings.Contains(err.Error(), "not whole") {
		t.Errorf("pruning what was changed: %v", err)
	}
	if n := count(t, db, `SELECT COUNT(*) FROM audit`); n != 6 {
		t.Errorf("%d entries are left", n)
	}
	// A store does not prune entries before their time, and says the time of the last
	// one, so any other entry is a forgery.
	long := start.Add(-2 * auditKept).String()
	for _, detail := range []string{prunedUpTo + start.String(), prunedUpTo, prunedUpTo + "last year", "entries up to " + long, long} {
		mustExec(t, db, `DELETE FROM audit`)
		mustExec(t, db, `INSERT INTO audit SELECT * FROM saved`)
		err := f.write(t.Context(), func(tx *txn) error {
			head, err := headAt(tx.ctx, tx, "", 3)
			tx.audit(start, Actor{Kind: ActorStore}, actionAuditPrune, "", head.String(), detail)
			tx.exec(`DELETE FROM audit WHERE seq <= 3`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if c := f.verify(nil); c.Entries != 3 || !strings.Contains(c.Fault, "before their time") {
			t.Errorf("%q: got %+v", detail, c)
		}
	}
	// An entry about pruning must say what was pruned.
	mustExec(t, db, `UPDATE audit SET subject = 'nothing' WHERE action = $1`, actionAuditPrune)
	if c := f.verify(nil); c.Entries != 0 || !strings.HasPrefix(c.Fault, errPruneEntry.Error()) {
		t.Errorf("got %+v", c)
	}
}

// Entries are pruned in batches, oldest first, each with an entry about it.
func TestAudit_PrunesInBatches(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	err := f.write(t.Context(), func(tx *txn) error {
		for range auditBatch + 1 {
			tx.audit(start, operator, "test", "", "", "")
		}
		return tx.err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Prune(t.Context(), start.Add(auditKept)-1); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, f.verify(nil), auditBatch+1) // none is old enough
	if err := f.Prune(t.Context(), start.Add(auditKept)); err != nil {
		t.Fatal(err)
	}
	c := f.verify(nil)
	wantWhole(t, c, 2)
	if c.First != auditBatch+2 {
		t.Errorf("the trail begins with entry %d, want %d", c.First, auditBatch+2)
	}
}

// If the trail changes between its check and its pruning, nothing is pruned.
func TestAudit_PrunesOnlyWhatItHasChecked(t *testing.T) {
	t.Parallel()
	f, path := trail(t)
	release := f.hold()
	var wg sync.WaitGroup
	var prune, rewrite error
	wg.Go(func() {
		rewrite = f.write(t.Context(), func(tx *txn) error {
			tx.exec(`UPDATE audit SET hash = $1 WHERE seq = 5`, make([]byte, 32))
			return tx.err
		})
	})
	testutil.Eventually(t, "the write waits", func() bool { return len(f.commits.queue) == 1 })
	wg.Go(func() { _, prune = f.pruneAudit(t.Context(), start.Add(auditKept)) })
	testutil.Eventually(t, "the pruning waits", func() bool { return len(f.commits.queue) == 2 })
	release()
	wg.Wait()
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM audit`); prune != nil || rewrite != nil || n != 5 {
		t.Errorf("%d entries are left of 5: %v, %v", n, prune, rewrite)
	}
}
