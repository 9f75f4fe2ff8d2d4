//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// postgresCase is the name of the case that compares the engines.
const postgresCase = "postgres"

// needsServer reports whether a case needs a PostgreSQL server.
func needsServer(name string) bool {
	return name == postgresCase || name == issueCase || name == clusterCase || name == millionsCase || name == costsCase || name == replicaCase
}

// postgresql compares a gate whose keystore is in PostgreSQL with a gate on an SQLite file with the
// same records: the first figure of each row is SQLite's. The PostgreSQL server is on no core of its
// own.
func (s *suite) postgresql() error {
	f, one, other, err := s.bothEngines()
	if err != nil {
		return err
	}
	err = s.closed("poll, PostgreSQL", one, other, f.poll, smallConns, cpuAtMost(1.02), throughputAtLeast(0.98))
	if err != nil {
		return err
	}
	create := f.forms("/v2/recognitions", "u", 4<<10)
	if err := s.closed("create, PostgreSQL", one, other, create, 64, throughputAtLeast(0), cpuAtMost(0)); err != nil {
		return err
	}
	if err := s.issueOverHTTP(f, one, other); err != nil {
		return err
	}
	return s.recordJobs(f)
}

// settling is how long a gate runs after it was stopped for long. All its waits for the database have ended meanwhile, so it
// takes the database for silent until it has asked again.
const settling = 4 * time.Second

// bothEngines starts two gates with the same records, one on an SQLite file and one in PostgreSQL, and
// puts load on each.
func (s *suite) bothEngines() (f *fixture, inFile, inDatabase *proxy, err error) {
	f, inPostgres, err := s.inPostgres()
	if err != nil {
		return nil, nil, nil, err
	}
	sites := []site{gateSite(f), inPostgres}
	for i := range sites {
		sites[i].before += "\n\tspeechgate_issue {\n\t\tmax_rate 1000000\n\t}"
	}
	if inFile, inDatabase, err = s.both(sites[0], sites[1]); err != nil {
		return nil, nil, nil, err
	}
	proxies := []*proxy{inFile, inDatabase}
	for _, p := range proxies { // the warm-up of one stops the other, which would give up if it still opened its keystore
		if err := s.untilOpen(p); err != nil {
			return nil, nil, nil, err
		}
	}
	for _, p := range proxies {
		time.Sleep(settling)
		if err := s.untilOpen(p); err != nil {
			return nil, nil, nil, err
		}
		if err := s.warm(p, f); err != nil {
			return nil, nil, nil, err
		}
	}
	return f, inFile, inDatabase, nil
}

// untilOpen waits until a gate has opened its keystore.
func (s *suite) untilOpen(p *proxy) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, "http://"+p.admin+"/speechgate/health", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue // the admin endpoint does not listen yet
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("the %s proxy has not opened its keystore within 20 s", p.name)
}

// inPostgres returns a keystore in a file, and a site whose gate has the same records in the PostgreSQL
// database.
func (s *suite) inPostgres() (f *fixture, in site, err error) {
	if s.postgres == "" {
		return nil, site{}, errors.New("the case needs -postgres, the connection string of an empty database")
	}
	if f, err = s.small(); err == nil {
		in, err = s.moveToPostgres(f)
	}
	return f, in, err
}

// moveToPostgres copies the records of a fixture to the PostgreSQL database, and returns a site with
// it.
func (s *suite) moveToPostgres(f *fixture) (site, error) {
	s.progress("copying the keystore to PostgreSQL")
	store, err := f.open(s.ctx)
	if err != nil {
		return site{}, err
	}
	backup, err := store.Backup(s.ctx, filepath.Join(s.dir, "backup.db"))
	if err := errors.Join(err, store.Close()); err != nil {
		return site{}, err
	}
	if _, err := keystore.RestoreNew(s.ctx, s.postgresConfig(), now(), operator, backup.Path); err != nil {
		return site{}, err
	}
	gate := gateSite(f)
	gate.name, gate.global = "postgres", "speechgate {\n\t\tkeystore postgres \""+s.postgres+"\"\n\t}"
	return gate, nil
}

func (s *suite) postgresConfig() keystore.Config {
	return keystore.Config{Postgres: &keystore.Postgres{DSN: policy.NewSecret(s.postgres)}, Clock: now, CommandLine: true}
}

// callers is how many callers a keystore, or clients a gate, has at the same time. Each makes one call after the other.
const callers = 64

// recordJobs compares how fast both keystores record jobs durably, without a gate.
func (s *suite) recordJobs(f *fixture) error {
	return s.withoutGates(f, "jobs recorded by 64 callers, PostgreSQL", measure{name: "rate", unit: "jobs/s", target: 1.5},
		func(store *keystore.Store, caller, n int) error {
			reserved := store.ReserveWrite()
			defer reserved.Release()
			job := f.job
			job.ID, job.CreatedAt = fmt.Sprintf("run%d-%d-%d", s.runs, caller, n), now()
			return store.CreateReservedJob(s.ctx, &reserved, job)
		})
}

// withoutGates compares how fast the keystores of a fixture, in a file and in PostgreSQL, answer calls. call makes the
// n-th call of a caller. rate is the name of the measure.
func (s *suite) withoutGates(f *fixture, name string, rate measure, call func(store *keystore.Store, caller, n int) error) error {
	lite, err := f.open(s.ctx)
	if err != nil {
		return err
	}
	defer func() { _ = lite.Close() }()
	pg, err := keystore.Open(s.ctx, s.postgresConfig())
	if err != nil {
		return err
	}
	defer func() { _ = pg.Close() }()
	run := func(store *keystore.Store) func() (sample, error) {
		return func() (sample, error) {
			var all sync.WaitGroup
			var answered atomic.Int64
			errs := make([]error, callers)
			begun := time.Now()
			for i := range callers {
				all.Go(func() {
					for n := 0; time.Since(begun) < s.length; n++ {
						if errs[i] = call(store, i, n); errs[i] != nil {
							return
						}
						answered.Add(1)
					}
				})
			}
			all.Wait()
			s.runs++
			return sample{rate.name: float64(answered.Load()) / time.Since(begun).Seconds()}, errors.Join(errs...)
		}
	}
	return s.compare(name, s.pairs, run(lite), run(pg), rate)
}
