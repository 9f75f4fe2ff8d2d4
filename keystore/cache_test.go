package keystore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func TestCache_SimilarDigestsAreApart(t *testing.T) {
	c := newCache[string](100, 100)
	base := digest{1, 2, 3, 31: 9}
	first, last := base, base
	first[0]++
	last[31]++
	value := "base"
	c.put(base, c.generation(base), &value)
	c.put(last, c.generation(last), nil)
	if v, ok := c.get(base); !ok || v != &value {
		t.Errorf("base: %v, %t", v, ok)
	}
	if v, ok := c.get(last); !ok || v != nil {
		t.Errorf("known absence: %v, %t", v, ok)
	}
	if v, ok := c.get(first); ok || v != nil {
		t.Errorf("never put: %v, %t", v, ok)
	}
}

func TestCache_GenerationRule(t *testing.T) {
	value := "v"
	for name, invalidate := range map[string]func(*cache[string], digest){
		"drop":                    func(c *cache[string], d digest) { c.drop(d) },
		"dropAll":                 func(c *cache[string], _ digest) { c.dropAll() },
		"dropIf, matching or not": func(c *cache[string], _ digest) { c.dropIf(func(*string) bool { return false }) },
	} {
		c, d := newCache[string](100, 100), digest{7}
		old := c.generation(d)
		invalidate(c, d)
		if c.put(d, old, &value) {
			t.Errorf("%s: what was read before it was put", name)
		}
		if _, ok := c.get(d); ok {
			t.Errorf("%s: what was read before it is in the cache", name)
		}
		if !c.put(d, c.generation(d), &value) {
			t.Errorf("%s: what was read after it was refused", name)
		}
	}
	c := newCache[string](100, 0)
	c.put(digest{3}, 0, &value)
	c.dropIf(func(v *string) bool { return *v != value })
	if _, ok := c.get(digest{3}); !ok {
		t.Error("dropIf dropped what does not match")
	}
	c.dropIf(func(v *string) bool { return *v == value })
	if _, ok := c.get(digest{3}); ok {
		t.Error("dropIf kept what matches")
	}
	g := c.generation(digest{1})
	c.drop(digest{2})
	if !c.put(digest{1}, g, &value) {
		t.Error("a change to another group made a lookup read again")
	}
}

func TestCache_UnknownKeysPushNoRecordOut(t *testing.T) {
	c := newCache[int](100, 100)
	for i := range 50 {
		d := digest{byte(i)}
		c.put(d, c.generation(d), &i)
	}
	for i := range 10_000 {
		d := digest{1: 1, 2: byte(i), 3: byte(i >> 8)}
		c.put(d, c.generation(d), nil)
	}
	for i := range 50 {
		if v, ok := c.get(digest{byte(i)}); !ok || *v != i {
			t.Fatalf("record %d was pushed out", i)
		}
	}
	c.absent.CleanUp()
	if n := c.absent.EstimatedSize(); n > 100 {
		t.Errorf("%d absences are kept, more than 100", n)
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
		if r := f.find(secret); r == nil || r.Key.RevokedAt != start {
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
		t.Errorf("a key of the replaced file was found: %+v", r.Key)
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
		if err := tx.insertKey(k, d); err != nil {
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
				t.Errorf("%d characters like the key's found key %s", len(other), r.Key.ID)
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
					if before && r.Key.RevokedAt.IsZero() {
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
		if r := f.find(s.secret); r.Key.RevokedAt.IsZero() {
			t.Error("a revoked key survived in the cache")
		}
	}
}

func TestFindKey_CachedAllocatesNothing(t *testing.T) {
	for _, pepper := range []string{"", "pepper"} {
		f := openStore(t, newPath(t), withPepper(pepper))
		k, secret := f.key(f.account().ID)
		f.job(k, "j")
		f.find(secret)
		for name, call := range map[string]func() error{
			"FindKey":              func() error { _, err := f.FindKey(t.Context(), secret); return err },
			"FindKey, unknown":     func() error { _, err := f.FindKey(t.Context(), policy.Secret{}); return ignore(err, ErrNotFound) },
			"FindJob":              func() error { _, err := f.FindJob(t.Context(), "amivoice", "j"); return err },
			"SetJobState, known":   func() error { return f.SetJobState(t.Context(), "amivoice", "j", policy.JobUnseen, start) },
			"NoteUse, this minute": func() error { f.NoteUse(f.find(secret), start); return nil },
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

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

func BenchmarkFindKey(b *testing.B) {
	for _, pepper := range []string{"", "pepper"} {
		for _, n := range []int{1, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("pepper=%t/keys=%d", pepper != "", n), func(b *testing.B) {
				s, _, err := tryStore(b.TempDir()+"/k.db", withPepper(pepper), func(c *Config) { c.CacheSize = 2 * n })
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = s.Close() }()
				db, _ := s.database()
				secrets := make([]policy.Secret, n)
				for i := range secrets {
					secrets[i] = policy.NewSecret(fmt.Sprintf("sgk_%032d123456", i))
					d := s.hash.secret(secrets[i])
					db.keys.put(d, db.keys.generation(d), &Record{})
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := s.FindKey(b.Context(), secrets[i%n]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
