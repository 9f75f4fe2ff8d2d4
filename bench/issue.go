//go:build linux

package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// issueCase is the name of the case that compares how fast keys are issued in PostgreSQL and in SQLite.
const issueCase = "postgres-issue"

// issuing compares how fast keys are issued with both engines, over HTTP and without, and measures which
// process needs the processor for it.
func (s *suite) issuing() error {
	f, one, other, err := s.bothEngines()
	if err != nil {
		return err
	}
	if err := s.issueOverHTTP(f, one, other); err != nil {
		return err
	}
	if err := s.profiles("issue", []*proxy{one, other}, func(p *proxy) error {
		_, err := s.issueAt(p, f, profileTime)
		return err
	}); err != nil {
		return err
	}
	s.stopAll()
	return s.issueAlone(f)
}

// issueOverHTTP compares how fast two gates issue keys: the first on a file, the other in PostgreSQL.
func (s *suite) issueOverHTTP(f *fixture, one, other *proxy) (err error) {
	server := new(serverMeter)
	if server.db, err = pgx.Connect(s.ctx, s.postgres); err != nil {
		return errors.New("-postgres: the server cannot be reached") // the error has the user
	}
	defer server.end(s.ctx)
	if err := server.findProcesses(s.ctx); err != nil {
		return err
	}
	s.loop.waits = true // the server, which has no core of its own, needs the one of the clients
	defer func() { s.loop.waits = false }()
	run := func(p *proxy) func() (sample, error) {
		return func() (sample, error) {
			before, err := server.cpu()
			if err != nil {
				return nil, err
			}
			own, err := ownTime()
			if err != nil {
				return nil, err
			}
			r, err := s.issueAt(p, f, s.length)
			if err != nil {
				return nil, err
			}
			ownAfter, err := ownTime()
			if err != nil {
				return nil, err
			}
			after, err := server.cpu()
			n := float64(r.requests)
			return sample{
				"throughput": r.perSecond(), "CPU per request": r.cpuEach(),
				"CPU of the clients": (ownAfter - own) / n, "CPU of the server": (after - before) / n,
			}, err
		}
	}
	return s.compare("issue over HTTP, 64 connections, PostgreSQL", s.pairs, run(one), run(other),
		measure{name: "throughput", unit: "keys/s", target: 5000, absolute: true}, cpuAtMost(0),
		measure{name: "CPU of the clients", unit: "µs"}, measure{name: "CPU of the server", unit: "µs"})
}

// issueAt issues keys at a gate.
func (s *suite) issueAt(p *proxy, f *fixture, length time.Duration) (*result, error) {
	return s.play(p, plan{conns: callers, next: f.issued(0), classes: []class{answered, {status: http.StatusOK}}, length: length})
}

// issueAlone compares how fast both keystores issue keys, without a gate.
func (s *suite) issueAlone(f *fixture) error {
	return s.withoutGates(f, "keys issued by 64 callers, PostgreSQL", measure{name: "rate", unit: "keys/s"},
		func(store *keystore.Store, _, _ int) error {
			at := now()
			_, _, err := store.IssueKey(s.ctx, at, operator, keystore.NewKey{
				AccountID: f.job.AccountID, Origin: policy.OriginAPI, Expires: policy.ExpiresAt(at.Add(time.Minute)), Issuer: f.job.KeyID,
			})
			return err
		})
}
