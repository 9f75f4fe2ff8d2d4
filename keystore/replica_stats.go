package keystore

import (
	"context"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// ReplicaStats says how the replica of a store works at one instant: see [Postgres.Replica].
type ReplicaStats struct {
	// Readable says that lookups can read the replica while the database cannot be asked: it is complete, not older
	// than Config.MaxStaleness, and lacks no change that concerns all records.
	Readable bool
	// Serving says that records come from the replica, because the database is away.
	Serving bool
	// Filling says that this store fills the replica, which is not complete yet.
	Filling bool
	// Age is the time since the replica was last known to have all changes, or -1 if it is not complete, or if
	// another store writes it.
	Age time.Duration
	// Keys is how many keys the replica has. It is counted every 10 seconds while the replica is filled, and every
	// minute afterwards, or less often: counting takes up to 1 % of the time.
	Keys int64
	// Bytes is the size of its file, with the file of SQLite's log. It is 0 if the file is not open.
	Bytes int64
}

// How often the keys of a replica are counted.
const (
	countEvery        = time.Minute
	countWhileFilling = 10 * time.Second
	countShare        = 100 // the pause after a count that took one second, in seconds, at least
)

// stats returns the current ReplicaStats. It takes some microseconds.
func (r *replica) stats() *ReplicaStats {
	if r == nil {
		return nil
	}
	stats := &ReplicaStats{Readable: r.store.readsReplica(), Filling: r.filling.Load(), Age: -1, Keys: r.keys.Load()}
	stats.Serving = stats.Readable && r.serving()
	if c := r.copied.Load(); c != nil {
		stats.Age = max(r.ageOf(c), 0)
	}
	if file := r.file.Load(); file != nil {
		stats.Bytes = file.Size()
	}
	return stats
}

// ageOf returns the time since the instant of a copy, by the clock that has gone further: the monotonic one stands
// while the machine is suspended.
func (r *replica) ageOf(c *replicaCopy) time.Duration {
	return max(r.store.mono()-c.at, elapsed(c.clock, r.store.cfg.Clock()))
}

// measure notes how far the file is, for stats. Only the goroutine calls it. A count that fails is left out: the step
// that reads or writes the file next tells why.
func (r *replica) measure(ctx context.Context) {
	r.filling.Store(r.at.owner == r.owner && r.at.storeID != "" && r.at.phase != filled)
	file := r.file.Load()
	if file == nil {
		r.keys.Store(0)
		r.counted = 0
		return
	}
	pause := countEvery
	if r.filling.Load() {
		pause = countWhileFilling
	}
	if r.counted == 0 || r.store.mono()-r.counted >= max(pause, countShare*r.counting) {
		_ = r.count(ctx, file)
	}
}

// count counts the keys of the file. It reads an index.
func (r *replica) count(ctx context.Context, file *sqlite.Replica) error {
	begun := time.Now()
	var n int64
	err := file.Reader().QueryRowContext(ctx, `SELECT COUNT(*) FROM api_keys`).Scan(&n)
	r.counted, r.counting = r.store.mono(), time.Since(begun)
	if err != nil {
		return &fileError{file.Advise(err)}
	}
	r.keys.Store(n)
	return nil
}
