//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// costsCase is the name of the case that measures what one PostgreSQL server pays for each gateway.
const costsCase = "database-costs"

const (
	costKeys    = 20_000
	costClients = 64 // callers at the same time
	costChanges = 50
	costPause   = 200 * time.Millisecond // between two changes
	costSubject = 10                     // subjects with limits in each report
	costUsed    = 96                     // keys of a gateway in four seconds: their usage is one row of the journal
	costUses    = 4000
	costWriters = 20              // gateways that write usage
	costTime    = 4 * time.Second // of a step that has no number
	costIdle    = 15 * time.Second
	costUsage   = 4 * time.Second  // between two writes of usage
	costLast    = 20 * time.Second // until all last uses are written
	costMisses  = 5                // keys that a gateway looks up in a second, in the sum
	costHourly  = 55 * time.Second // until all gateways have done their hourly work, which begins after a minute
	costSettle  = 6 * time.Second  // after which gateways that were opened are idle
)

// costs measures the costs of one server.
type costs struct {
	*suite

	meter   *serverMeter
	config  keystore.Config // of a gateway
	account string
	keys    []policy.Secret
	job     policy.Job
	idle    serverUse // in a second, with the gateways that are open
	miss    float64   // µs of the server for a key that is not in the cache
	create  float64   // for a job that is alone in its transaction
	used    float64   // for the usage of costUsed keys
	fold    float64   // for a key whose usage is added up from the journal
	took    atomic.Int64
	commits atomic.Int64
	made    atomic.Int64 // jobs
}

// databaseCosts measures what the server pays for each thing that gateways ask of it: processor time of all
// its processes, transactions, and bytes of its log and of the network. The gateways are open stores of this
// process.
func (s *suite) databaseCosts() error {
	if s.postgres == "" {
		return errors.New("the case needs -postgres, the connection string of an empty database")
	}
	c := &costs{suite: s}
	var through string
	var err error
	if c.meter, through, err = meterServer(s.ctx, s.postgres); err != nil {
		return err
	}
	defer c.meter.end(s.ctx)
	c.config = keystore.Config{
		Postgres: &keystore.Postgres{DSN: policy.NewSecret(through)}, CacheBytes: keystore.MinCacheBytes,
		Wrote: func(w keystore.Written) {
			c.took.Add(int64(w.Took))
			c.commits.Add(1)
		},
	}
	for _, step := range []func() error{c.fill, c.connecting, c.lookups, c.writes, c.usage, c.many} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// open opens a gateway.
func (c *costs) open() (*keystore.Store, error) { return keystore.Open(c.ctx, c.config) }

// with opens a gateway for some time.
func (c *costs) with(do func(*keystore.Store) error) error {
	store, err := c.open()
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

// fill makes the records.
func (c *costs) fill() error {
	c.progress("filling the database with %d keys", costKeys)
	for range costKeys {
		secret, err := policy.GenerateSecret(policy.KeyPrefix, fastRandom{})
		if err != nil {
			return err
		}
		c.keys = append(c.keys, secret)
	}
	return c.with(func(store *keystore.Store) error {
		account, _, err := store.CreateAccount(c.ctx, now(), operator, "Bench")
		if err != nil {
			return err
		}
		c.account = account.ID
		imported, err := store.ImportKeys(c.ctx, now(), operator, keystore.Import{AccountID: account.ID, Expires: policy.Never(), Secrets: c.keys})
		if err != nil {
			return err
		}
		c.job = policy.Job{Backend: "bench", Dialect: "amivoice", AccountID: account.ID, KeyID: imported[0].Key.ID, State: policy.JobProcessing}
		_, err = c.meter.db.Exec(c.ctx, `ANALYZE`)
		return err
	})
}

// cost measures what the server uses while do runs, and divides it by the number of units that do returns.
// It returns the µs of the server for a unit, without those that the open gateways need anyway.
func (c *costs) cost(name, unit string, do func() (units int, err error)) (cpu float64, err error) {
	c.progress("%s", name)
	c.took.Store(0)
	c.commits.Store(0)
	before, err := c.meter.read(c.ctx)
	if err != nil {
		return 0, err
	}
	units, err := do()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	after, err := c.meter.read(c.ctx)
	if err != nil {
		return 0, err
	}
	took, n := after.at.Sub(before.at).Seconds(), float64(units)
	add := func(measure, of string, value float64) {
		c.rows = append(c.rows, row{Case: name, Measure: measure, Unit: of, Gate: value, Pairs: 1})
	}
	each := func(of func(serverUse) float64) float64 { return (of(after) - of(before) - of(c.idle)*took) / n }
	cpu = each(func(u serverUse) float64 { return u.cpu })
	add("CPU of the server for each "+unit, "µs", cpu)
	add("exchanges", "for each "+unit, each(func(u serverUse) float64 { return u.exchanges }))
	add("on the network", "bytes for each "+unit, each(func(u serverUse) float64 { return u.network }))
	add("in the log", "bytes for each "+unit, each(func(u serverUse) float64 { return u.log }))
	add("how often", unit+"s a second", n/took)
	if commits := c.commits.Load(); commits > 0 {
		add("a transaction that writes takes", "ms", float64(c.took.Load())/1e6/float64(commits))
	}
	return cpu, nil
}

// connecting measures new connections, and the start of a gateway.
func (c *costs) connecting() error {
	_, err := c.cost("a connection", "connection", func() (int, error) {
		const n = 200
		for range n {
			conn, err := pgx.Connect(c.ctx, c.config.Postgres.DSN.Reveal())
			if err != nil {
				return 0, errors.New("the server cannot be reached")
			}
			if err := conn.Close(c.ctx); err != nil {
				return 0, err
			}
		}
		return n, nil
	})
	if err != nil {
		return err
	}
	_, err = c.cost("start and end of a gateway", "start", func() (int, error) {
		const n = 20
		for range n {
			if err := c.with(func(*keystore.Store) error { return nil }); err != nil {
				return 0, err
			}
		}
		return n, nil
	})
	return err
}

// each calls do for the numbers below n, from several callers.
func each(callers, n int, do func(i int) error) error {
	var next atomic.Int64
	return together(callers, func(int) error {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			if err := do(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// lookups measures keys that the cache does not have.
func (c *costs) lookups() error {
	return c.with(func(store *keystore.Store) (err error) {
		c.miss, err = c.cost("a key that is not in the cache", "key", func() (int, error) {
			return len(c.keys), each(costClients, len(c.keys), func(i int) error {
				_, err := store.FindKey(c.ctx, c.keys[i])
				return err
			})
		})
		if err != nil {
			return err
		}
		_, err = c.cost("a secret that is no key", "secret", func() (int, error) {
			return len(c.keys), each(costClients, len(c.keys), func(int) error { return c.findNothing(store) })
		})
		return err
	})
}

// findNothing looks up a secret that is no key.
func (c *costs) findNothing(store *keystore.Store) error {
	secret, err := policy.GenerateSecret(policy.KeyPrefix, fastRandom{})
	if err != nil {
		return err
	}
	if _, err = store.FindKey(c.ctx, secret); errors.Is(err, keystore.ErrNotFound) {
		return nil
	}
	return fmt.Errorf("an unknown key: %w", err)
}

// writes measures jobs, keys and changes, from one caller and from many.
func (c *costs) writes() error {
	return c.with(func(store *keystore.Store) error {
		for _, callers := range []int{costClients, 1} {
			var err error
			if c.create, err = c.cost(fmt.Sprintf("a new job, callers: %d", callers), "job", func() (int, error) {
				return c.repeat(callers, func() error { return c.createJob(store) })
			}); err != nil {
				return err
			}
			if _, err = c.cost(fmt.Sprintf("a new key, callers: %d", callers), "key", func() (int, error) {
				return c.repeat(callers, func() error {
					_, _, err := store.IssueKey(c.ctx, now(), operator, keystore.NewKey{AccountID: c.account, Origin: policy.OriginConsole, Expires: policy.Never()})
					return err
				})
			}); err != nil {
				return err
			}
		}
		_, err := c.cost("news of ended keys, which a gateway with a handler of events asks for each second", "question", func() (int, error) {
			return c.repeat(1, func() error {
				_, err := store.TakeEndedKeys(c.ctx, now())
				return err
			})
		})
		return err
	})
}

func (c *costs) createJob(store *keystore.Store) error {
	reserved := store.ReserveWrite()
	defer reserved.Release()
	job := c.job
	job.ID, job.CreatedAt = fmt.Sprintf("job-%d", c.made.Add(1)), now()
	return store.CreateReservedJob(c.ctx, &reserved, job)
}

// repeat calls do from several callers for some time, and returns how often.
func (c *costs) repeat(callers int, do func() error) (int, error) {
	var n atomic.Int64
	end := time.Now().Add(costTime)
	err := together(callers, func(int) error {
		for time.Now().Before(end) {
			if err := do(); err != nil {
				return err
			}
			n.Add(1)
		}
		return nil
	})
	return int(n.Load()), err
}

// usage measures what the writes of usage and last uses cost, which a gateway makes every few seconds.
func (c *costs) usage() error {
	records, err := c.records(costUses)
	if err != nil {
		return err
	}
	stores := make([]*keystore.Store, costWriters)
	for i := range stores {
		if stores[i], err = c.open(); err != nil {
			return err
		}
		defer func() { _ = stores[i].Close() }() // it has written all
	}
	store := stores[0]
	if err := c.findIdle(); err != nil {
		return err
	}
	defer func() { c.idle = serverUse{} }()
	for _, keys := range []int{1, costUses, costUsed} {
		c.used, err = c.cost(fmt.Sprintf("usage of %d keys in %s", keys, costUsage), "write", func() (int, error) {
			const n = 2
			for range n {
				for _, s := range stores {
					c.countUsage(s, records[:keys])
				}
				if err := c.wait(costUsage); err != nil {
					return 0, err
				}
			}
			return n * len(stores), nil
		})
		if err != nil {
			return err
		}
	}
	c.fold, err = c.cost(fmt.Sprintf("usage of %d keys, added up from the journal", costUses), "key", func() (int, error) {
		return costUses, c.addUp(store)
	})
	if err != nil {
		return err
	}
	_, err = c.cost("a last use", "use", func() (int, error) {
		for i := range records {
			store.NoteUse(&records[i], now())
		}
		return costUses, c.wait(costLast)
	})
	return err
}

// findIdle measures what the gateways need that are open and idle.
func (c *costs) findIdle() error {
	c.idle = serverUse{}
	if err := c.wait(costSettle); err != nil {
		return err
	}
	c.progress("idle gateways")
	before, err := c.meter.read(c.ctx)
	if err == nil {
		err = c.wait(costIdle)
	}
	if err != nil {
		return err
	}
	after, err := c.meter.read(c.ctx)
	took := after.at.Sub(before.at).Seconds()
	c.idle = serverUse{
		cpu: (after.cpu - before.cpu) / took, exchanges: (after.exchanges - before.exchanges) / took,
		network: (after.network - before.network) / took, log: (after.log - before.log) / took,
	}
	return err
}

// records looks up keys.
func (c *costs) records(n int) (all []keystore.Record, err error) {
	all = make([]keystore.Record, n)
	err = c.with(func(store *keystore.Store) error {
		return each(costClients, n, func(i int) (err error) {
			all[i], err = store.FindKey(c.ctx, c.keys[i])
			return err
		})
	})
	return all, err
}

// countUsage counts a request of each key.
func (c *costs) countUsage(store *keystore.Store, records []keystore.Record) {
	for i := range records {
		key := records[i].Key()
		store.CountUsage(now(), &keystore.UsageOf{KeyID: key.ID, AccountID: key.AccountID, Backend: "bench", Operation: policy.Recognize}, keystore.UsageCounts{Requests: 1})
	}
}

// addUp adds the journal up to the tables of usage, as each reader of usage does.
func (c *costs) addUp(store *keystore.Store) error {
	return store.Usage(c.ctx, keystore.UsageList{AccountID: c.account}, func(*keystore.Usage) error { return nil })
}

func (c *costs) wait(d time.Duration) error {
	select {
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	case <-time.After(d):
		return nil
	}
}
