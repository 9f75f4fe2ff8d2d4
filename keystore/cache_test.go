package keystore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// item is what the tests of the cache keep in it.
type item struct{ value int }

const someBytes = 1 << 20 // for every item and absence of a test

// put files an item, or the absence of one.
func (i *item) put(c *cache[item], d digest) bool { return c.put(d, c.generation(d), i, string(d[:])) }

// look says what the cache knows.
func look(c *cache[item], d digest) string {
	switch v, _, known := c.get(d); known {
	case present:
		return fmt.Sprint(v.value)
	case absent:
		return "absent"
	}
	return "unknown"
}

func TestCache_SimilarDigestsAreApart(t *testing.T) {
	base := digest{1, 2, 3, 31: 9}
	first, last := base, base
	first[0]++
	last[31]++
	c := newCache[item](someBytes, someBytes)
	(&item{1}).put(c, base)
	(*item)(nil).put(c, last)
	for d, want := range map[digest]string{base: "1", last: "absent", first: "unknown"} {
		if got := look(c, d); got != want {
			t.Errorf("%x: %s, want %s", d, got, want)
		}
	}
	// These are filed under one name.
	(&item{2}).put(c, last)
	if got := look(c, last) + look(c, base); got != "21" {
		t.Errorf("last and base: %s", got)
	}
	c.drop(base)
	if got := look(c, last) + look(c, base); got != "2unknown" {
		t.Errorf("last, and base, which was dropped: %s", got)
	}
}

func TestCache_GenerationRule(t *testing.T) {
	d := digest{7}
	value := &item{1}
	for name, invalidate := range map[string]func(*cache[item]){
		"drop":                    func(c *cache[item]) { c.drop(d) },
		"dropAll":                 func(c *cache[item]) { c.dropAll() },
		"dropIf, matching or not": func(c *cache[item]) { c.dropIf(func(*item, string) bool { return false }) },
	} {
		c := newCache[item](someBytes, someBytes)
		old := c.generation(d)
		invalidate(c)
		if c.put(d, old, value, string(d[:])) {
			t.Errorf("%s: what was read before it was put", name)
		}
		if look(c, d) != "unknown" {
			t.Errorf("%s: what was read before it is in the cache", name)
		}
		if c.put(d, old, nil, "") || look(c, d) != "unknown" {
			t.Errorf("%s: an absence that was read before it was put", name)
		}
		if !value.put(c, d) {
			t.Errorf("%s: what was read after it was refused", name)
		}
	}
	c := newCache[item](someBytes, 0)
	value.put(c, d)
	c.dropIf(func(v *item, _ string) bool { return *v != *value })
	if look(c, d) != "1" {
		t.Error("dropIf dropped what does not match")
	}
	c.dropIf(func(v *item, _ string) bool { return *v == *value })
	if look(c, d) != "unknown" {
		t.Error("dropIf kept what matches")
	}
	overtaken := 0
	for first := range 256 {
		g := c.generation(d)
		c.drop(digest{byte(first), 1})
		if !c.put(d, g, value, string(d[:])) {
			overtaken++
		}
	}
	if overtaken != 1 {
		t.Errorf("changes to %d of 256 keys made a lookup of another read again, want 1", overtaken)
	}
}

func TestCache_UnknownKeysPushNoRecordOut(t *testing.T) {
	const bytes = 1 << 20
	c := newCache[item](bytes, bytes)
	for i := range 50 {
		d := digest{byte(i)}
		(&item{i}).put(c, d)
	}
	for i := range 100_000 {
		(*item)(nil).put(c, digest{0: byte(i), 1: byte(i >> 8), 2: byte(i >> 16), 3: 1})
	}
	var absences int64
	for i := range c.shards {
		absences += c.shards[i].absent.taken
	}
	if absences > bytes || absences < bytes/2 {
		t.Errorf("absences take %d bytes of %d", absences, bytes)
	}
	for i := range 50 {
		if got := look(c, digest{byte(i)}); got != fmt.Sprint(i) {
			t.Fatalf("record %d: %s", i, got)
		}
	}
}

// A lookup that read the record before a revocation, and is only now about to
// cache it, must neither cache nor return it.
func TestR2_LookupOvertakenByRevocation(t *testing.T) {
	f := openStore(t, newPath(t))
	key, secret := f.key(f.account().ID)
	reads := 0
	f.loaded = func() {
		if reads++; reads == 1 {
			if _, err := f.RevokeKey(t.Context(), start, operator, key.ID, "leaked"); err != nil {
				t.Error(err)
			}
		}
	}
	for range 2 { // the second answer is the cache's
		if r := f.find(secret); r == nil || r.Key().RevokedAt != start {
			t.Errorf("found %+v, want it revoked", r)
		}
	}
	if reads != 2 {
		t.Errorf("%d reads, want 2", reads)
	}
}

func TestR2_LookupOvertakenForEverFails(t *testing.T) {
	f := openStore(t, newPath(t))
	_, secret := f.key(f.account().ID)
	db, _ := f.database()
	f.loaded = func() { db.dropCaches() }
	_, err := f.FindKey(t.Context(), secret)
	wantIs(t, err, ErrUnavailable)
}

// A lookup that read from a file which was replaced meanwhile reads the new one.
func TestR2_LookupOvertakenByReplacement(t *testing.T) {
	path, other := newPath(t), newPath(t)
	f := openStore(t, path)
	_, secret := f.key(f.account().ID)
	if err := openStore(t, other).Close(); err != nil {
		t.Fatal(err)
	}
	first := f.state.Load()
	var once sync.Once
	f.loaded = func() {
		once.Do(func() {
			replaceFile(t, other, path)
			waitFor(t, time.Second, "the new file is open", func() bool {
				st := f.state.Load()
				return st != first && st.fault == nil
			})
		})
	}
	if r := f.find(secret); r != nil {
		t.Errorf("a key of the replaced file was found: %+v", r.Key())
	}
}

func TestR2_NegativeEntriesFallOnIssue(t *testing.T) {
	f := openStore(t, newPath(t))
	a := f.account()
	secret, err := policy.GenerateSecret(policy.KeyPrefix, &counting{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // from the database, from the cache
		if f.find(secret) != nil {
			t.Fatal("found before it was issued")
		}
	}
	d := f.hash.secret(secret)
	err = f.write(t.Context(), func(tx *txn) error {
		k := policy.Key{ID: "key_x", AccountID: a.ID, Origin: policy.OriginInitial, Expires: policy.Never(), CreatedAt: start}
		if err := tx.insertKey(k, d, false); err != nil {
			return err
		}
		return tx.changed(start, changedKey, d[:])
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.find(secret) == nil {
		t.Error("not found after it was issued")
	}
}

// counting is a source of bytes that are all in use, and known.
type counting struct{ n byte }

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		c.n++
		p[i] = c.n
	}
	return len(p), nil
}

func TestR2_SimilarSecretsDoNotCrossHit(t *testing.T) {
	f := openStore(t, newPath(t))
	_, secret := f.key(f.account().ID)
	f.find(secret)
	text := secret.Reveal()
	for _, other := range []string{text[:len(text)-1], text + "x", "x" + text, text[:len(text)-1] + "~", "~" + text[1:], text + "\x00", ""} {
		for range 2 {
			if r := f.find(policy.NewSecret(other)); r != nil {
				t.Errorf("%d characters like the key's found key %s", len(other), r.Key().ID)
			}
		}
	}
}

// Whoever asks after a revocation has returned sees it, whatever goes on.
func TestR2_RevokedKeyNeverSurvives(t *testing.T) {
	f := openStore(t, newPath(t))
	a := f.account()
	type subject struct {
		id      string
		secret  policy.Secret
		revoked atomic.Bool
	}
	subjects := make([]*subject, 64)
	for i := range subjects {
		k, secret := f.key(a.ID)
		subjects[i] = &subject{id: k.ID, secret: secret}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				for _, s := range subjects {
					before := s.revoked.Load()
					r, err := f.FindKey(t.Context(), s.secret)
					if err != nil {
						t.Error(err)
						return
					}
					if before && r.Key().RevokedAt.IsZero() {
						t.Error("a revoked key was found unrevoked")
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i, s := range subjects {
		if i%8 == 0 {
			f.key(a.ID) // issuing goes on
		}
		if _, err := f.RevokeKey(t.Context(), start, operator, s.id, ""); err != nil {
			t.Error(err)
		}
		s.revoked.Store(true)
	}
	close(done)
	wg.Wait()
	for _, s := range subjects {
		if r := f.find(s.secret); r.Key().RevokedAt.IsZero() {
			t.Error("a revoked key survived in the cache")
		}
	}
}

func TestFindKey_CachedAllocatesNothing(t *testing.T) {
	for _, pepper := range []string{"", "pepper"} {
		f := openStore(t, newPath(t), withPepper(pepper))
		k, secret := f.key(f.account().ID, func(k *NewKey) { k.Allow = addrs(t, "192.0.2.0/24,2001:db8::/32") })
		f.job(k, "j")
		f.find(secret)
		request := &policy.Request{Operation: policy.Recognize, Client: client}
		r := f.find(secret)
		for name, call := range map[string]func() error{
			"CheckSecret": func() error { return policy.CheckSecret(secret) },
			"Key, Decide": func() error {
				key := r.Key()
				if d := policy.Decide(start, &key, request, policy.Rules{}); d.Reason != policy.Allowed {
					return errors.New(d.Reason.String())
				}
				return nil
			},
			"FindKey":            func() error { _, err := f.FindKey(t.Context(), secret); return err },
			"FindKey, unknown":   func() error { _, err := f.FindKey(t.Context(), policy.Secret{}); return ignore(err, ErrNotFound) },
			"FindJob":            func() error { _, err := f.FindJob(t.Context(), "amivoice", "j"); return err },
			"SetJobState, known": func() error { return f.SetJobState(t.Context(), "amivoice", "j", policy.JobUnseen, start) },
			"NoteUse, this minute": func() error {
				found, err := f.FindKey(t.Context(), secret)
				f.NoteUse(&found, start)
				return err
			},
		} {
			if err := call(); err != nil {
				t.Fatal(err)
			}
			allocs := testing.AllocsPerRun(1000, func() {
				if err := call(); err != nil {
					t.Fatal(err)
				}
			})
			if allocs != 0 && !raceEnabled {
				t.Errorf("pepper %q: %s allocates %v times", pepper, name, allocs)
			}
		}
	}
}

// A lookup that misses prepares no statement: that would take longer than to run
// it, and allocate twice as much.
func TestFindKey_MissPreparesNothing(t *testing.T) {
	f := openStore(t, newPath(t), commandLine)
	_, secret := f.key(f.account().ID)
	d := f.hash.secret(secret)
	plan, err := query(t.Context(), f.Store, func(row scanner) (detail string, err error) {
		var ignored int
		err = row.Scan(&ignored, &ignored, &ignored, &detail)
		return detail, err
	}, `EXPLAIN QUERY PLAN `+keyByDigest, d[:])
	if all := strings.Join(plan, "; "); err != nil || !strings.Contains(all, "digest=?") || strings.Contains(all, "SCAN k") || strings.Contains(all, "SCAN a") {
		t.Errorf("the plan is %q, %v", all, err)
	}
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := f.FindKey(context.Background(), secret); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 45 && !raceEnabled {
		t.Errorf("a miss allocates %v times", allocs)
	}
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}
