//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const jobCount = 10_000

// fixture is a keystore, and the secrets of keys in it.
type fixture struct {
	path    string
	keys    []string // the secrets of the keys in use
	jobs    []string // the IDs of jobs of the keys' account
	account string
	issuer  string   // a key that may issue others
	victims []string // the IDs of unused keys, which are revoked during a case
}

var operator = keystore.Actor{Kind: keystore.ActorOperator, ID: "bench"}

func now() policy.Time { return policy.At(time.Now()) }

// fill creates a keystore with this many keys. The fixture has the secrets of the first
// inUse keys.
func fill(ctx context.Context, dir string, all, inUse int, progress func(string, ...any)) (*fixture, error) {
	f := &fixture{path: filepath.Join(dir, fmt.Sprintf("keystore-%d.db", all))}
	for _, end := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(f.path + end)
	}
	store, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }() //nolint:contextcheck // Close needs no context
	account, _, err := store.CreateAccount(ctx, now(), operator, "Bench")
	if err != nil {
		return nil, err
	}
	f.account = account.ID
	creator, issuer, err := store.IssueKey(ctx, now(), operator, keystore.NewKey{
		AccountID: account.ID, Origin: policy.OriginConsole, Expires: policy.Never(), Issuable: true,
	})
	if err != nil {
		return nil, err
	}
	f.issuer = issuer.Reveal()
	for made := 0; made < all; {
		batch := make([]policy.Secret, min(20_000, all-made))
		for i := range batch {
			if batch[i], err = policy.GenerateSecret(policy.KeyPrefix, fastRandom{}); err != nil {
				return nil, err
			}
			if len(f.keys) < inUse {
				f.keys = append(f.keys, batch[i].Reveal())
			}
		}
		imported, err := store.ImportKeys(ctx, now(), operator, keystore.Import{AccountID: account.ID, Expires: policy.Never(), Secrets: batch})
		if err != nil {
			return nil, err
		}
		for i := len(imported) - 1; i >= 0 && made+i >= inUse; i-- {
			f.victims = append(f.victims, imported[i].Key.ID)
		}
		made += len(batch)
		progress("filling a keystore: %d of %d keys", made, all)
	}
	err = f.addJobs(ctx, store, creator)
	return f, err
}

func (f *fixture) open(ctx context.Context) (*keystore.Store, error) {
	return keystore.Open(ctx, keystore.Config{Path: f.path, Clock: now, CommandLine: true})
}

func (f *fixture) addJobs(ctx context.Context, store *keystore.Store, creator policy.Key) error {
	var mu sync.Mutex
	var failed error
	var clients sync.WaitGroup
	for part := range 256 { // these keys share a transaction
		clients.Go(func() {
			for i := part; i < jobCount; i += 256 {
				err := store.CreateJob(ctx, policy.Job{
					Backend: "amivoice", ID: jobID(i), Dialect: "amivoice", AccountID: f.account, KeyID: creator.ID, CreatedAt: now(), State: policy.JobProcessing,
				})
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
		})
	}
	clients.Wait()
	for i := range jobCount {
		f.jobs = append(f.jobs, jobID(i))
	}
	return failed
}

// jobID returns an ID that the benchmark's backend never gives to a new job.
func jobID(i int) string { return fmt.Sprintf("bench%019d", i) }

// fastRandom is a fast random source for keys that protect nothing.
type fastRandom struct{}

func (fastRandom) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(rand.Uint32()) //nolint:gosec // see above
	}
	return len(p), nil
}
