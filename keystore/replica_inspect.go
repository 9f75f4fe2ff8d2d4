package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// ReplicaKeyBytes is how many bytes of the disk a replica needs for a key, with some to spare for addresses and limits.
const ReplicaKeyBytes = 300

// ReplicaLogBytes is how many bytes of the disk a replica needs for the log of SQLite, at most.
const ReplicaLogBytes = 32 << 20

// ReplicaCondition is what InspectReplica finds out about a replica.
type ReplicaCondition struct {
	Path     string        // of its file
	Readable []string      // its files that users other than its owner can read
	Free     int64         // bytes that are free on its disk; negative if the system does not tell
	Bytes    int64         // of its file, with the file of SQLite's log
	Missing  bool          // there is no file yet; the fields below are then empty
	StoreID  string        // of the store whose copy it is; empty if nothing was copied
	Complete bool          // all records were copied
	Keys     int64         // how many keys it has
	Age      time.Duration // since it was last known to have all changes; 0 if this cannot be known
	// Unusable says why no store whose database cannot be reached can begin with the replica; nil if a store can.
	Unusable error
}

// InspectReplica looks at the replica of a store, also while a server uses it, and changes nothing.
// cfg.Postgres.Replica must not be empty. The error is that of Open for a directory that cannot be used.
func InspectReplica(ctx context.Context, cfg Config) (c ReplicaCondition, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return c, err
	}
	file, err := sqlite.InspectReplica(cfg.Postgres.Replica)
	if err != nil {
		return c, fault(fmt.Errorf("replica %s: %w", cfg.Postgres.Replica, err))
	}
	c.Path, c.Readable, c.Bytes = file.Path, file.Readable, file.Bytes
	if c.Free = freeSpace(file.Dir); c.Free == spaceUnknown {
		c.Free = -1
	}
	db, err := file.Open(ctx)
	if c.Missing = errors.Is(err, fs.ErrNotExist); c.Missing {
		return c, nil
	}
	if err != nil {
		c.Unusable = err
		return c, nil
	}
	defer func() { _ = db.Close() }() // it has read only
	at, err := readReplicaPosition(ctx, db)
	if err == nil {
		err = db.QueryRowContext(ctx, `SELECT COUNT(*) FROM api_keys`).Scan(&c.Keys)
	}
	var changes []change
	if err == nil {
		changes, err = readReplicaNews(ctx, db)
	}
	if err != nil {
		c.Unusable = err
		return c, nil
	}
	c.StoreID, c.Complete = at.storeID, at.storeID != "" && at.phase == filled
	if c.Complete {
		c.Age = max(time.Duration(at.age)*time.Millisecond+elapsed(at.seen, cfg.Clock()), 0)
	}
	var news replicaNews
	if len(changes) > 0 {
		news.add(changes)
	}
	if _, c.Unusable = at.trusted(&cfg, newHasher(cfg.Pepper), cfg.Clock()); c.Unusable == nil && news.concernsAll() {
		c.Unusable = errLacksAll
	}
	return c, nil
}
