package keystore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// inUse is a store with many cached keys. One third of them has a list of addresses.
type inUse struct {
	*Store
	secrets []policy.Secret // end to end in memory, in another order than the records
}

var client = netip.MustParseAddr("192.0.2.77")

// secretOf returns a random secret in the format of issued keys.
func secretOf(random *rand.Rand) policy.Secret {
	secret, err := policy.GenerateSecret(policy.KeyPrefix, source{random})
	if err != nil {
		panic(err)
	}
	return secret
}

type source struct{ *rand.Rand }

func (s source) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.Uint32())
	}
	return len(p), nil
}

// typicalKey returns key i of a store.
func typicalKey(tb testing.TB, i int) policy.Key {
	k := policy.Key{
		ID: fmt.Sprintf("key_%020d", i), AccountID: fmt.Sprintf("acc_%020d", i%1000), AccountOpen: true,
		Origin: policy.OriginAPI, CreatedAt: start, Expires: policy.ExpiresAt(start.Add(day)), LastUsedAt: start,
	}
	if i%3 == 0 {
		k.Allow = addrs(tb, "192.0.2.0/24")
	}
	return k
}

// fill puts n typical keys into a cache that holds them all.
func fill(tb testing.TB, n int) inUse {
	tb.Helper()
	s, _, err := tryStore(tb.TempDir()+"/k.db", func(c *Config) { c.CacheBytes = max(MinCacheBytes, int64(n)*600) })
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	random := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, n)
	for i := range texts {
		secret := secretOf(random)
		texts[i] = secret.Reveal()
		k := typicalKey(tb, i)
		d := s.hash.secret(secret)
		r, err := newRecord(&k, d)
		if err != nil {
			tb.Fatal(err)
		}
		s.cache.keys.Put(d, s.cache.keys.Generation(d), r.lastUsed, r.packed)
	}
	u := inUse{Store: s, secrets: make([]policy.Secret, n)}
	random.Shuffle(n, func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
	all := make([]byte, 0, n*len(texts[0]))
	for _, text := range texts {
		all = append(all, text...)
	}
	contiguous := string(all)
	for i := range u.secrets {
		u.secrets[i] = policy.NewSecret(contiguous[i*len(texts[0]):][:len(texts[0])])
	}
	return u
}

// decide does what a request needs, from its secret to the decision.
func (u *inUse) decide(secret policy.Secret, request *policy.Request) policy.Reason {
	var c Cached
	if u.Cached(&c, secret, "", ""); !c.KeyKnown {
		return policy.KeyUnknown
	}
	r := &c.Key
	key := r.Key()
	outcome := policy.Decide(start+1, &key, request, policy.Rules{})
	if outcome.Reason.OK() {
		u.NoteUse(r, start+1)
	}
	return outcome.Reason
}

// BenchmarkDecision decides on keys in random order. plain-map is the lower bound: a hash,
// and a lookup of the same records in a Go map.
func BenchmarkDecision(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			u := fill(b, n)
			request := &policy.Request{Operation: policy.Recognize, Client: client}
			b.Run("decision", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if reason := u.decide(u.secrets[i%n], request); reason != policy.Allowed {
						b.Fatal(reason)
					}
				}
			})
			plain := make(map[digest]*Record, n)
			for _, r := range cached(u.cache.keys) {
				plain[r.digest()] = &r
			}
			b.Run("plain-map", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					var buf [128]byte
					if plain[sha256.Sum256(append(buf[:0], u.secrets[i%n].Reveal()...))] == nil {
						b.Fatal("not in the map")
					}
				}
			})
		})
	}
}

func BenchmarkFindJob(b *testing.B) {
	s, _, err := tryStore(b.TempDir() + "/k.db")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	ids := make([]string, 100_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("%08x-1e2f-4a5b-8c9d-0123456789ab", i*2_654_435_761&0xffffffff)
		j := typicalJob(ids[i])
		d := jobDigest(j.Backend, j.ID)
		r, err := packJob(&j, d)
		if err != nil {
			b.Fatal(err)
		}
		s.cache.jobs.Put(d, s.cache.jobs.Generation(d), struct{}{}, string(r))
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if j, err := s.FindJob(context.Background(), "amivoice", ids[i%len(ids)]); err != nil || j.State != policy.JobProcessing {
			b.Fatal(j, err)
		}
	}
}

func typicalJob(id string) policy.Job {
	return policy.Job{
		Backend: "amivoice", ID: id, Dialect: "amivoice", AccountID: "acc_01234567890123456789", KeyID: "key_01234567890123456789",
		Client: client, CreatedAt: start, State: policy.JobProcessing,
	}
}

const keysOnDisk = 50_000

// fillFile makes a store with many keys in its database and few in its cache.
func fillFile(b *testing.B) inUse {
	b.Helper()
	s, _, err := tryStore(b.TempDir()+"/k.db", func(c *Config) { c.CacheBytes = MinCacheBytes })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	a, _, err := s.CreateAccount(b.Context(), start, operator, "benchmark")
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	u := inUse{s, make([]policy.Secret, keysOnDisk)}
	err = s.write(b.Context(), func(t *txn) error {
		for i := range u.secrets {
			u.secrets[i] = secretOf(random)
			k := typicalKey(b, 3*i+1)
			k.AccountID, k.Prefix = a.ID, "sgk_0000"
			if err := t.insertKey(k, s.hash.secret(u.secrets[i]), false); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return u
}

// BenchmarkFindKeyMiss finds keys that are not in the cache.
func BenchmarkFindKeyMiss(b *testing.B) {
	u := fillFile(b)
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			atOnce(b, clients, func() error {
				_, err := u.FindKey(context.Background(), u.secrets[rand.IntN(keysOnDisk)])
				return err
			})
		})
	}
}

// BenchmarkFindKeyUnknown looks up secrets that no key has: a new one each time, and one
// that the cache knows to be absent.
func BenchmarkFindKeyUnknown(b *testing.B) {
	u := fillFile(b)
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("fresh/clients=%d", clients), func(b *testing.B) {
			atOnce(b, clients, func() error {
				_, err := u.FindKey(context.Background(), policy.NewSecret(fmt.Sprintf("%x", rand.Uint64())))
				return ignore(err, ErrNotFound)
			})
		})
	}
	b.Run("known", func(b *testing.B) {
		unknown := policy.NewSecret("unknown")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := u.FindKey(context.Background(), unknown); ignore(err, ErrNotFound) != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCreateJob records jobs durably, for one client and for many at a time.
func BenchmarkCreateJob(b *testing.B) {
	u := fillFile(b)
	accounts, _, err := u.Accounts(b.Context(), AccountList{})
	if err != nil {
		b.Fatal(err)
	}
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			atOnce(b, clients, func() error {
				j := typicalJob(fmt.Sprintf("%016x", rand.Uint64()))
				j.AccountID, j.KeyID = accounts[0].ID, typicalKey(b, 3*rand.IntN(keysOnDisk)+1).ID
				return u.CreateJob(b.Context(), j)
			})
		})
	}
}

// atOnce runs many clients at once, which share b.N calls.
func atOnce(b *testing.B, clients int, call func() error) {
	b.Helper()
	b.ReportAllocs()
	var wg sync.WaitGroup
	b.ResetTimer()
	for c := range clients {
		wg.Go(func() {
			for i := c; i < b.N; i += clients {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
