//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/speechgate/speechgate/keystore"
)

// replicaCase is the name of the case that measures the replica of an edge site.
const replicaCase = "replica"

const (
	replicaTimes  = 10     // times the keys in use that the database has
	replicaRate   = 50     // revocations a second
	replicaMissed = 20_000 // changes while the gateway is stopped
)

// replicas measures what a replica costs a gateway, which is a store of this process, and the PostgreSQL server, which is
// on no core of its own: to fill it, to follow changes, which the first figure is without, and to catch up.
func (s *suite) replicas() error {
	if s.postgres == "" {
		return errors.New("the case needs -postgres, the connection string of an empty database")
	}
	c := &costs{suite: s}
	var err error
	if c.meter, _, err = meterServer(s.ctx, s.postgres); err != nil {
		return err
	}
	defer c.meter.end(s.ctx)
	c.config = s.postgresConfig()
	c.config.CommandLine = false
	err = c.with(func(store *keystore.Store) error {
		account, _, err := store.CreateAccount(s.ctx, now(), operator, "Bench")
		c.account = account.ID
		return err
	})
	if err != nil {
		return err
	}
	stored := replicaTimes * s.keys
	if err := s.storeKeys(&fixture{account: c.account}, stored); err != nil {
		return err
	}
	name := fmt.Sprintf("a replica of %d keys", stored)
	for _, step := range []func(name string) error{c.fillReplica, c.followWithReplica, c.catchUp} {
		if err := step(name); err != nil {
			return err
		}
	}
	return nil
}

// withReplica lets the gateway have a replica.
func (c *costs) withReplica() keystore.Config {
	cfg, database := c.config, *c.config.Postgres
	database.Replica = filepath.Join(c.dir, "replica")
	cfg.Postgres, cfg.MaxStaleness = &database, time.Hour
	return cfg
}

// untilFollowed waits until the replica has all that was committed before this call.
func (c *costs) untilFollowed(what string, store *keystore.Store) (stats keystore.ReplicaStats, err error) {
	begun := time.Now()
	for {
		stats = *store.Stats().Replica
		if stats.Readable && stats.Age < time.Since(begun) {
			return stats, nil
		}
		c.progress("%s: %d keys", what, stats.Keys)
		if err := c.wait(5 * time.Millisecond); err != nil {
			return stats, err
		}
	}
}

// ownTime returns the processor time of this process, in µs.
func ownTime() (float64, error) {
	var use unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &use)
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e3, err
}

// spent measures what do costs, and adds rows with it, for each of the units that do returns.
func (c *costs) spent(name, unit string, do func() (units int64, err error)) error {
	before, err := c.meter.read(c.ctx)
	if err != nil {
		return err
	}
	own, err := ownTime()
	if err != nil {
		return err
	}
	units, err := do()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	ownAfter, err := ownTime()
	if err != nil {
		return err
	}
	after, err := c.meter.read(c.ctx)
	if err != nil {
		return err
	}
	n := float64(units)
	for _, r := range []row{
		{Measure: "how fast", Unit: unit + "s a second", Gate: n / after.at.Sub(before.at).Seconds()},
		{Measure: "CPU of the gateway for each " + unit, Unit: "µs", Gate: (ownAfter - own) / n},
		{Measure: "CPU of the server for each " + unit, Unit: "µs", Gate: (after.cpu - before.cpu) / n},
	} {
		r.Case, r.Pairs = name, 1
		c.rows = append(c.rows, r)
	}
	return nil
}

func (c *costs) fillReplica(name string) error {
	store, err := keystore.Open(c.ctx, c.withReplica())
	if err != nil {
		return err
	}
	var stats keystore.ReplicaStats
	err = c.spent(name+" is filled", "key", func() (int64, error) {
		stats, err = c.untilFollowed(name, store)
		return stats.Keys, err
	})
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	file, err := os.Stat(filepath.Join(c.dir, "replica", "replica.db"))
	if err != nil {
		return err
	}
	c.rows = append(c.rows, row{Case: name, Measure: "size of the file", Unit: "bytes for each key", Gate: float64(file.Size()) / float64(stats.Keys), Pairs: 1})
	return nil
}

// followWithReplica compares gateways that hear of revocations, without a replica and with one. Their processor time
// includes that of the store that revokes.
func (c *costs) followWithReplica(name string) error {
	db, err := pgx.Connect(c.ctx, c.postgres)
	if err != nil {
		return errors.New("-postgres: the server cannot be reached") // the error has the user
	}
	defer func() { _ = db.Close(context.WithoutCancel(c.ctx)) }()
	pairs := max(2, c.pairs/8)
	need := 2 * int(replicaRate*c.length.Seconds()*5) * (pairs + 1)
	rows, err := db.Query(c.ctx, `SELECT id FROM api_keys WHERE revoked_at IS NULL AND expires_at IS NULL ORDER BY rowid DESC LIMIT $1`, need)
	if err != nil {
		return err
	}
	victims, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	writer, err := keystore.Open(c.ctx, c.config)
	if err != nil {
		return err
	}
	defer func() { _ = writer.Close() }() // it has written all
	run := func(cfg keystore.Config) func() (sample, error) {
		return func() (_ sample, err error) {
			store, err := keystore.Open(c.ctx, cfg)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			if cfg.Postgres.Replica != "" {
				if _, err := c.untilFollowed(name, store); err != nil {
					return nil, err
				}
			}
			before, err := c.meter.read(c.ctx)
			if err != nil {
				return nil, err
			}
			own, err := ownTime()
			if err != nil {
				return nil, err
			}
			stop := revoke(c.ctx, writer, victims, replicaRate)
			err = c.wait(4 * c.length)
			revoked, failed := stop()
			victims = victims[revoked:]
			if err = errors.Join(err, failed); err != nil {
				return nil, err
			}
			if took := time.Since(before.at).Seconds(); float64(revoked) < 0.9*replicaRate*took {
				return nil, fmt.Errorf("%d keys were revoked in %.1f s, where %d a second should be", revoked, took, replicaRate)
			}
			ownAfter, err := ownTime()
			if err != nil {
				return nil, err
			}
			after, err := c.meter.read(c.ctx)
			n := float64(revoked)
			return sample{"CPU of the gateway": (ownAfter - own) / n, "CPU of the server": (after.cpu - before.cpu) / n}, err
		}
	}
	return c.compare(fmt.Sprintf("%s follows %d revocations a second", name, replicaRate), pairs, run(c.config), run(c.withReplica()),
		measure{name: "CPU of the gateway", unit: "µs for each"}, measure{name: "CPU of the server", unit: "µs for each"})
}

// catchUp measures a gateway that starts after many keys have changed.
func (c *costs) catchUp(name string) error {
	db, err := pgx.Connect(c.ctx, c.postgres)
	if err != nil {
		return errors.New("-postgres: the server cannot be reached") // the error has the user
	}
	defer func() { _ = db.Close(context.WithoutCancel(c.ctx)) }()
	if _, err := db.Exec(c.ctx, `INSERT INTO feed (at, kind, ref) SELECT $1, 'key', digest FROM api_keys ORDER BY digest LIMIT $2`, int64(now()), replicaMissed); err != nil {
		return err
	}
	store, err := keystore.Open(c.ctx, c.withReplica())
	if err != nil {
		return err
	}
	err = c.spent(fmt.Sprintf("%s catches up on %d changes", name, replicaMissed), "change", func() (int64, error) {
		_, err := c.untilFollowed(name, store)
		return replicaMissed, err
	})
	return errors.Join(err, store.Close())
}
