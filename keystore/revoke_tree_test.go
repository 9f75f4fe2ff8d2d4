package keystore

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// Many children are marked in many transactions, so that other writes can run in between.
func TestRevokeTree_InBatches(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	var last policy.Secret
	for range 2*treeBatch + 1 {
		_, last = f.child(root)
	}
	if _, n, err := f.RevokeTree(t.Context(), start, operator, root.ID, ""); err != nil || n != 2*treeBatch+1 {
		t.Errorf("%d children, %v", n, err)
	}
	if f.find(last).Key().RevokedAt != start {
		t.Error("the last child goes on")
	}
	wantWhole(t, f.verify(nil), 2+2*treeBatch+1+2+2*treeBatch+1)
}

// issueMany issues n children of an issuer, like one that it issues first. It is faster
// than to issue each.
func (f fixture) issueMany(path string, issuer policy.Key, n int) (first policy.Key, secret policy.Secret) {
	f.t.Helper()
	first, secret = f.child(issuer)
	mustExec(f.t, rawDB(f.t, path), `WITH RECURSIVE numbers (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
		INSERT INTO api_keys (id, account_id, digest, prefix, origin, label, allow, issuable, issuer_id, created_at, expires_at)
		SELECT 'key_' || n, account_id, `+randomDigest(path)+`, prefix, origin, label, allow, issuable, issuer_id, created_at, expires_at
		FROM api_keys, numbers WHERE id = $2`, n-1, first.ID)
	return first, secret
}

// If a batch fails, all keys have ended nevertheless. The error says how many are marked,
// and a second call marks the others.
func TestRevokeTree_ABatchFails(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	root, rootSecret := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	_, secret := f.issueMany(path, root, 2*treeBatch)
	db := rawDB(t, path)
	// The first batch is root and treeBatch children.
	mend := trigger(t, path, `BEFORE INSERT ON audit`, `(SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NOT NULL) > 1 + 500`, fails)
	_, n, err := f.RevokeTree(t.Context(), start, operator, root.ID, "leaked")
	want := "key " + root.ID + " and all keys that it issued are revoked, and 500 of these are marked so, others are not: do it again: "
	if wantIs(t, err, ErrUnavailable); n != 0 || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "no more") {
		t.Errorf("got %d, %v; want %q", n, err, want)
	}
	marked := func() int {
		return count(t, db, `SELECT COUNT(*) FROM api_keys WHERE issuer_id = $1 AND revoked_at = $2 AND revoked_reason = $3`,
			root.ID, start, "issued by "+root.ID+": leaked")
	}
	if got := marked(); got != treeBatch {
		t.Errorf("%d children are marked, want the first batch of %d", got, treeBatch)
	}
	var last string
	if err := db.QueryRow(`SELECT id FROM api_keys WHERE issuer_id = $1 AND revoked_at IS NULL`, root.ID).Scan(&last); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"the key": root.ID, "a child without a mark": last} {
		if k, err := f.Key(t.Context(), id); err != nil || k.RevokedAt != start {
			t.Errorf("%s is %+v, %v; want it revoked at %s", name, k, err, start)
		}
	}
	for name, secret := range map[string]policy.Secret{"the key": rootSecret, "a child": secret} {
		if got := f.find(secret).Key().RevokedAt; got != start {
			t.Errorf("%s is found as revoked at %s, want %s", name, got, start)
		}
	}

	mend()
	// The children keep the instant at which they ended.
	if _, n, err := f.RevokeTree(t.Context(), start+1, operator, root.ID, "leaked"); err != nil || n != treeBatch {
		t.Errorf("again: %d children, %v; want the other %d", n, err, treeBatch)
	}
	if got := marked(); got != 2*treeBatch {
		t.Errorf("then %d children are marked, want all %d", got, 2*treeBatch)
	}
	if c := f.verify(nil); c.Fault != "" {
		t.Errorf("the audit trail: %s", c.Fault)
	}
}

// If the caller gives up before the children are marked, they have ended nevertheless.
func TestRevokeTree_TheCallerGivesUp(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	_, secret := f.child(root)
	f.takeOverPolling() // so that nothing else calls the watcher
	ctx, cancel := context.WithCancel(t.Context())
	defer f.Watch(f.find(secret), cancel)() // the first transaction ends the child
	_, _, err := f.RevokeTree(ctx, start, operator, root.ID, "")
	if wantIs(t, err, context.Canceled); err == nil || !strings.Contains(err.Error(), "0 of these are marked so, others are not") {
		t.Errorf("got %v", err)
	}
	if got := f.find(secret).Key().RevokedAt; got != start {
		t.Errorf("the child is revoked at %s, want %s", got, start)
	}
}

// Without space on the disk, every key ends, and counts. The log says which are not
// marked.
func TestRevokeTree_WithoutRoomEndsWithoutMarks(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a full disk")
	path := newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, logTo(&logs))
	a := f.account()
	root, _ := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	_, secret := f.child(root)
	r, err := f.RotateKey(t.Context(), start, operator, root.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, newer := f.child(r.New)
	revoked, _ := f.child(r.New)
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	expired, _ := f.child(r.New)
	mustExec(t, rawDB(t, path), `UPDATE api_keys SET expires_at = $1 WHERE id = $2`, start.Add(-uploadTime), expired.ID)
	f.takeOverPolling() // nothing else looks for room
	f.room.free = func(string) int64 { return 0 }
	_, n, err := f.RevokeTree(t.Context(), start+1, operator, r.New.ID, "")
	if err != nil || n != 2 {
		t.Fatalf("%d children, %v; want those that could still be used: 2", n, err)
	}
	for name, secret := range map[string]policy.Secret{"of the key": newer, "of its predecessor": secret} {
		if got := f.find(secret).Key().RevokedAt; got != start+1 {
			t.Errorf("a child %s is revoked at %s, want %s", name, got, start+1)
		}
	}
	if entries := actions(t, f, a.ID, actionKeyRevoke); len(entries) != 2 {
		t.Errorf("%d entries of revocations, want those of the key and of the child before", len(entries))
	}
	told := map[string]any{}
	for _, e := range logs.FilterMessageSnippet("keys have ended with their issuer and are not marked so").All() {
		told[e.ContextMap()["issuer_id"].(string)] = e.ContextMap()["keys"]
	}
	if len(told) != 2 || told[root.ID] != int64(1) || told[r.New.ID] != int64(1) {
		t.Errorf("the log has %v, want one key of each issuer", told)
	}
}

// If the disk becomes full while the children are marked, all of them have ended and count,
// and the log says how many have no mark.
func TestRevokeTree_TheDiskBecomesFull(t *testing.T) {
	t.Parallel()
	var logs *observer.ObservedLogs
	f := openStore(t, newPath(t), commandLine, logTo(&logs))
	f.engine = &fullEngine{Engine: f.engine, full: func(err error) bool { return strings.Contains(err.Error(), "no more") }}
	root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	child, _ := f.child(root)
	_, _ = f.child(root)
	trigger(t, f.place, `BEFORE INSERT ON audit`, `NEW.subject = '`+child.ID+`'`, fails)
	if _, n, err := f.RevokeTree(t.Context(), start, operator, root.ID, ""); err != nil || n != 2 {
		t.Errorf("%d children, %v; want 2", n, err)
	}
	if k, err := f.Key(t.Context(), child.ID); err != nil || k.RevokedAt != start {
		t.Errorf("the child is %+v, %v; want it revoked", k, err)
	}
	lines := logs.FilterMessageSnippet("are not marked so").All()
	if len(lines) != 1 || lines[0].ContextMap()["keys"] != int64(2) {
		t.Errorf("the log says %v", lines)
	}
}
