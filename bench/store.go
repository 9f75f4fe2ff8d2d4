//go:build linux

package main

import (
	"context"
	"errors"
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
	uuids   []string // the IDs of its jobs at AssemblyAI
	foreign []string // the IDs of jobs at AssemblyAI of another account
	account string
	job     policy.Job // like the jobs of the account
	issuer  string     // a key that may issue others
	victims []string   // the IDs of unused keys, which are revoked during a case
}

var operator = keystore.Actor{Kind: keystore.ActorOperator, ID: "bench"}

func now() policy.Time { return policy.At(time.Now()) }

// fill creates a keystore with this many keys. The fixture has the secrets of the first
// inUse keys.
func fill(ctx context.Context, dir string, all, inUse int, progress func(string, ...any)) (*fixture, error) {
	f := &fixture{path: filepath.Join(dir, fmt.Sprintf("keystore-%d.db", all))}
	store, err := f.create(ctx)
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
	f.job = policy.Job{Backend: "amivoice", Dialect: "amivoice", AccountID: f.account, KeyID: creator.ID, State: policy.JobProcessing}
	foreign, _, err := store.CreateAccount(ctx, now(), operator, "Another")
	if err != nil {
		return nil, err
	}
	stranger, _, err := store.IssueKey(ctx, now(), operator, keystore.NewKey{AccountID: foreign.ID, Origin: policy.OriginConsole, Expires: policy.Never()})
	if err != nil {
		return nil, err
	}
	for i := range jobCount {
		f.jobs = append(f.jobs, jobID(i))
		f.uuids = append(f.uuids, uuid(i))
	}
	for i := range listLength {
		f.foreign = append(f.foreign, uuid(jobCount+i))
	}
	return f, errors.Join(
		addJobs(ctx, store, policy.Job{Dialect: "amivoice", AccountID: f.account, KeyID: creator.ID}, f.jobs),
		addJobs(ctx, store, policy.Job{Dialect: "assemblyai", AccountID: f.account, KeyID: creator.ID}, f.uuids),
		addJobs(ctx, store, policy.Job{Dialect: "assemblyai", AccountID: foreign.ID, KeyID: stranger.ID}, f.foreign))
}

// create opens a new keystore. A case that runs again in one process replaces its keystore.
func (f *fixture) create(ctx context.Context) (*keystore.Store, error) {
	for _, end := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(f.path + end)
	}
	return f.open(ctx)
}

func (f *fixture) open(ctx context.Context) (*keystore.Store, error) {
	return keystore.Open(ctx, keystore.Config{Path: f.path, Clock: now, CommandLine: true})
}

// addJobs records jobs that are like job, with these IDs.
func addJobs(ctx context.Context, store *keystore.Store, job policy.Job, ids []string) error {
	job.Backend, job.CreatedAt, job.State = job.Dialect, now(), policy.JobProcessing
	var mu sync.Mutex
	var failed error
	var clients sync.WaitGroup
	for part := range 256 { // these keys share a transaction
		clients.Go(func() {
			for i := part; i < len(ids); i += 256 {
				job := job
				job.ID = ids[i]
				if err := store.CreateJob(ctx, job); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
		})
	}
	clients.Wait()
	return failed
}

// jobID returns an ID that the benchmark's backend never gives to a new job.
func jobID(i int) string { return fmt.Sprintf("bench%019d", i) }

// uuid returns an ID like those of AssemblyAI.
func uuid(i int) string { return fmt.Sprintf("5b3a%04x-1c9b-4f0e-8a57-6a1f%08x", i%65536, i) }

// fastRandom is a fast random source for keys that protect nothing.
type fastRandom struct{}

func (fastRandom) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(rand.Uint32()) //nolint:gosec // see above
	}
	return len(p), nil
}
