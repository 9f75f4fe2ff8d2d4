//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// clusterCase is the name of the case with several gateways, which needs a PostgreSQL server.
const clusterCase = "cluster"

const (
	gateways        = 3
	clusterClients  = 8                     // of each gateway
	clusterPause    = 10 * time.Millisecond // of a client between two polls
	clusterChanges  = 1000
	clusterProbe    = time.Millisecond // between two tries whether a change counts
	clusterTime     = 10 * time.Second // of the watch before a restart, and after it
	clusterPatience = 30 * time.Second
)

// gatewayGroup is several gateways with one database, under load.
type gatewayGroup struct {
	*suite
	*fixture

	proxies []*proxy
	client  *http.Client
	load    atomic.Bool  // the clients send polls
	polls   atomic.Int64 // that were answered with 200
	failed  atomic.Int64 // that were answered with another status
}

// cluster measures how fast a change counts at several gateways with one database, while clients poll
// at all of them. With -restart, it also measures what a restart of the server costs.
func (s *suite) cluster() error {
	f, inPostgres, err := s.inPostgres()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(s.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	backend := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"status":"started"}`)) // the gate reports a client that is gone
	})}
	go func() { _ = backend.Serve(listener) }()
	defer func() { _ = backend.Close() }()
	g := &gatewayGroup{suite: s, fixture: f, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}}
	for range gateways {
		p, err := s.start(inPostgres, listener.Addr().String())
		if err == nil {
			err = s.untilOpen(p)
		}
		if err != nil {
			return err
		}
		g.proxies = append(g.proxies, p)
	}
	if err := g.warmUp(); err != nil {
		return err
	}
	stop := g.startLoad()
	defer stop()
	if err := g.propagation(); err != nil || s.restart == "" {
		return err
	}
	return g.restarted()
}

// ask polls a job at a gateway, and returns the status.
func (g *gatewayGroup) ask(p *proxy, job, key string) (int, error) {
	req, err := http.NewRequestWithContext(g.ctx, http.MethodGet, "http://"+p.addr+"/v2/recognitions/"+job, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// warmUp lets each gateway look up all keys in use, and all jobs.
func (g *gatewayGroup) warmUp() error {
	polls := max(len(g.fixture.keys), len(g.jobs))
	for i, p := range g.proxies {
		var next atomic.Int64
		err := together(clusterClients, func(int) error {
			for n := int(next.Add(1)) - 1; n < polls; n = int(next.Add(1)) - 1 {
				if n%1000 == 0 {
					g.progress("warming up gateway %d: %d of %d keys", i+1, n, polls)
				}
				status, err := g.ask(p, g.jobs[n%len(g.jobs)], g.fixture.keys[n%len(g.fixture.keys)])
				if err != nil {
					return err
				}
				if status != http.StatusOK {
					return fmt.Errorf("warming up: a gateway answers %d, want 200", status)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// together calls do n times at once, and returns all errors.
func together(n int, do func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// startLoad lets clients poll at all gateways until stop is called.
func (g *gatewayGroup) startLoad() (stop func()) {
	g.load.Store(true)
	var all sync.WaitGroup
	for _, p := range g.proxies {
		for range clusterClients {
			all.Go(func() {
				for g.load.Load() {
					if status, err := g.ask(p, pick(g.jobs), pick(g.fixture.keys)); err == nil && status == http.StatusOK {
						g.polls.Add(1)
					} else {
						g.failed.Add(1)
					}
					time.Sleep(clusterPause)
				}
			})
		}
	}
	return func() {
		g.load.Store(false)
		all.Wait()
	}
}

// propagation makes changes one after another, and measures after what time each counts at each
// gateway, since the change was acknowledged.
func (g *gatewayGroup) propagation() error {
	store, err := keystore.Open(g.ctx, g.postgresConfig())
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	var issued, ended []float64
	begun, before := time.Now(), g.polls.Load()
	for i := range clusterChanges / 2 {
		g.progress("change %d of %d", 2*i, clusterChanges)
		accountID := g.account
		closes := i%10 == 0 // the account, in place of the key
		if closes {
			a, _, err := store.CreateAccount(g.ctx, now(), operator, fmt.Sprintf("Bench %d", i))
			if err != nil {
				return err
			}
			accountID = a.ID
		}
		key, secret, err := store.IssueKey(g.ctx, now(), operator, keystore.NewKey{AccountID: accountID, Origin: policy.OriginConsole, Expires: policy.Never()})
		if err != nil {
			return err
		}
		took, err := g.until(secret, func(status int) bool {
			return status == http.StatusOK || closes && status == http.StatusNotFound // a job of another account
		})
		if err != nil {
			return fmt.Errorf("a new key: %w", err)
		}
		issued = append(issued, took...)
		if closes {
			_, err = store.CloseAccount(g.ctx, now(), operator, accountID)
		} else {
			_, err = store.RevokeKey(g.ctx, now(), operator, key.ID, "")
		}
		if err != nil {
			return err
		}
		if took, err = g.until(secret, func(status int) bool { return status == http.StatusUnauthorized }); err != nil {
			return fmt.Errorf("a key that has ended: %w", err)
		}
		ended = append(ended, took...)
	}
	name := fmt.Sprintf("%d changes, %d gateways, %.0f polls/s", clusterChanges, gateways, float64(g.polls.Load()-before)/time.Since(begun).Seconds())
	for what, times := range map[string][]float64{"a new key counts": issued, "a revocation or closure counts": ended} {
		slices.Sort(times)
		for _, p := range []struct {
			name   string
			of     float64
			target float64
		}{{"median", 0.5, 0}, {"p99", 0.99, 250}, {"longest", 1, 0}} {
			at := min(len(times)-1, int(p.of*float64(len(times))))
			g.rows = append(g.rows, row{Case: name, Measure: what + ", " + p.name, Unit: "ms", Gate: times[at], Pairs: 1, Target: p.target, AtMost: true, Absolute: true})
		}
	}
	return nil
}

// until returns after what time, in milliseconds, each gateway answers to a key as is wanted.
func (g *gatewayGroup) until(key policy.Secret, wanted func(status int) bool) ([]float64, error) {
	begun, times := time.Now(), make([]float64, len(g.proxies))
	err := together(len(g.proxies), func(i int) error {
		for {
			status, err := g.ask(g.proxies[i], g.jobs[0], key.Reveal())
			if err != nil {
				return err
			}
			if times[i] = float64(time.Since(begun).Microseconds()) / 1000; wanted(status) {
				return nil
			}
			if time.Since(begun) > clusterPatience {
				return fmt.Errorf("gateway %d answers %d after %s", i+1, status, clusterPatience)
			}
			time.Sleep(clusterProbe)
		}
	})
	return times, err
}

// restarted measures what a restart of the server costs: how long no unknown key can be looked up, how
// many polls with known keys fail, and how many transactions the server has afterwards.
func (g *gatewayGroup) restarted() error {
	g.progress("the rate of transactions before the restart")
	steady, err := g.transactions()
	if err != nil {
		return err
	}
	g.progress("restarting the server")
	failed, begun := g.failed.Load(), time.Now()
	if out, err := exec.CommandContext(g.ctx, "sh", "-c", g.restart).CombinedOutput(); err != nil { //nolint:gosec // the caller of the program names it
		return fmt.Errorf("-restart: %w: %s", err, out)
	}
	down := time.Since(begun)
	unknown, err := policy.GenerateSecret(policy.KeyPrefix, fastRandom{})
	if err != nil {
		return err
	}
	back, err := g.until(unknown, func(status int) bool { return status == http.StatusUnauthorized })
	if err != nil {
		return fmt.Errorf("after the restart: %w", err)
	}
	after, err := g.transactions()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("restart of the server, %d gateways, %d keys in use at each", gateways, len(g.fixture.keys))
	g.rows = append(g.rows,
		row{Case: name, Measure: "the command takes", Unit: "s", Gate: down.Seconds(), Pairs: 1},
		row{Case: name, Measure: "then unknown keys can be looked up after", Unit: "s", Gate: slices.Max(back) / 1000, Pairs: 1, Target: 5, AtMost: true, Absolute: true},
		row{Case: name, Measure: "polls that fail", Unit: "polls", Gate: float64(g.failed.Load() - failed), Pairs: 1},
		row{Case: name, Measure: "transactions before", Unit: "a second", Gate: steady, Pairs: 1},
		row{Case: name, Measure: "transactions afterwards", Unit: "times those before", Gate: after / steady, Pairs: 1, Target: 3, AtMost: true, Absolute: true})
	return nil
}

// transactions returns how many transactions the database has in a second, over some time.
func (g *gatewayGroup) transactions() (float64, error) {
	db, err := pgx.Connect(g.ctx, g.postgres)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(g.ctx)) }()
	read := func() (n float64, err error) {
		err = db.QueryRow(g.ctx, `SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()`).Scan(&n)
		return n, err
	}
	begun := time.Now()
	before, err := read()
	if err != nil {
		return 0, err
	}
	select {
	case <-g.ctx.Done():
		return 0, context.Cause(g.ctx)
	case <-time.After(clusterTime):
	}
	after, err := read()
	return (after - before) / time.Since(begun).Seconds(), err
}
