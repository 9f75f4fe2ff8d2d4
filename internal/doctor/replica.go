package doctor

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
)

const (
	// shortStaleness is a max_staleness under which checkReplica warns: a restart of a database can take as long.
	shortStaleness = time.Minute
	// followsWithin is how old the replica of a running server can be.
	followsWithin = time.Minute
)

// checkReplica checks the replica of an edge site. A keystore without a replica has no such check.
func (e *examination) checkReplica(ctx context.Context) {
	if e.StoreError != nil || e.Store.Postgres == nil || e.Store.Postgres.Replica == "" {
		return
	}
	e.checkStaleness()
	c, err := keystore.InspectReplica(ctx, e.Store)
	if err != nil {
		e.add(CheckReplica, Fail, e.Store.Postgres.Replica, sentence(err.Error()), "")
		return
	}
	for _, name := range c.Readable {
		e.add(CheckReplica, Warn, name, "Users other than the owner can read the file, which holds addresses and digests of keys.", "chmod 600 "+name)
	}
	e.checkReplicaDisk(&c)
	e.checkReplicaUsers(usersOf(c.Path), &c)
	e.checkReplicaState(&c)
	e.checkWaitingJobs(ctx, &c)
}

// checkWaitingJobs checks the jobs that were created at this site while the database was away.
func (e *examination) checkWaitingJobs(ctx context.Context, c *keystore.ReplicaCondition) {
	storeID := c.StoreID
	if e.stored != nil {
		storeID = e.stored.ID
	}
	jobs, err := keystore.InspectWaitingJobs(ctx, e.Store, storeID)
	if err != nil {
		e.add(CheckReplica, Fail, e.Store.Postgres.Replica, sentence(err.Error()), "")
		return
	}
	for _, name := range jobs.Readable {
		e.add(CheckReplica, Warn, name, "Users other than the owner can read the file, which holds jobs and addresses.", "chmod 600 "+name)
	}
	if jobs.Refused > 0 {
		e.add(CheckReplica, Warn, jobs.Path, fmt.Sprintf("The database does not take %s of this site, so nobody finds the records.", words.Count(jobs.Refused, "job")),
			`sqlite3 `+jobs.Path+` "SELECT refused, backend, id, account_id FROM jobs WHERE refused <> ''" shows the reasons.`)
	}
	if jobs.Foreign > 0 {
		e.add(CheckReplica, Warn, jobs.Path, fmt.Sprintf("For another keystore wait %s.", words.Count(jobs.Foreign, "job")), "Configure that keystore with this directory: its server sends the jobs on.")
	}
	switch {
	case jobs.Waiting > 0 && e.Server == nil:
		e.add(CheckReplica, Warn, jobs.Path, fmt.Sprintf("For the database wait %s of this site, and no server runs.", words.Count(jobs.Waiting, "job")), "Start the server: it sends the jobs on.")
	case jobs.Waiting > 0:
		e.add(CheckReplica, Pass, jobs.Path, fmt.Sprintf("For the database wait %s of this site. The server sends the jobs on when the database answers.", words.Count(jobs.Waiting, "job")), "")
	}
}

// checkStaleness checks for how long a replica bridges a failure of the database.
func (e *examination) checkStaleness() {
	if staleness := e.staleness(); staleness < shortStaleness {
		e.add(CheckReplica, Warn, "max_staleness", fmt.Sprintf("max_staleness is %s: a gateway that cannot reach the database answers from its replica for so long only.", staleness),
			"Set max_staleness to the longest failure of the database that this site must bridge, such as 1h. For as long, keys that were revoked elsewhere are accepted here.")
	}
}

// staleness returns max_staleness.
func (e *examination) staleness() time.Duration {
	return cmp.Or(e.Store.MaxStaleness, keystore.DefaultMaxStaleness)
}

func (e *examination) checkReplicaDisk(c *keystore.ReplicaCondition) {
	if e.stored == nil || c.Free < 0 {
		return
	}
	const mib = 1 << 20
	need := int64(e.stored.Keys)*keystore.ReplicaKeyBytes + keystore.ReplicaLogBytes - c.Bytes
	if c.Free < need {
		e.add(CheckReplica, Warn, c.Path, fmt.Sprintf("The disk of the replica has %d MiB left, and a replica of %s needs up to %d MiB more.", c.Free/mib, words.Count(e.stored.Keys, "key"), need/mib),
			"Free some space, or name a directory on a larger disk.")
	}
}

// checkReplicaUsers checks that one process uses the replica.
func (e *examination) checkReplicaUsers(processes []string, c *keystore.ReplicaCondition) {
	if len(processes) > 1 {
		e.add(CheckReplica, Warn, c.Path, "Several processes use this replica: "+strings.Join(processes, ", ")+". One of them writes it, and the others go on without.",
			"Give each gateway a directory of its own.")
	}
}

func (e *examination) checkReplicaState(c *keystore.ReplicaCondition) {
	old := c.Age.Round(time.Second)
	switch {
	case c.Missing && e.Server == nil:
		e.add(CheckReplica, Skip, c.Path, "There is no replica yet. A server makes and fills it when it starts.", "")
	case c.Missing:
		e.add(CheckReplica, Warn, c.Path, "The server runs, and there is no replica.", "Load this configuration with caddy reload. If the server runs it already, its log has the reason.")
	case c.StoreID != "" && e.stored != nil && c.StoreID != e.stored.ID:
		e.add(CheckReplica, Warn, c.Path, "It is the replica of another keystore. The next start of a server renames it, and fills a new one.",
			"If another gateway uses it, name another directory.")
	case c.Unusable != nil:
		e.add(CheckReplica, Warn, c.Path, fmt.Sprintf("While the database cannot be reached, no server starts with the replica, which has %s: %s.", words.Count(int(c.Keys), "key"), c.Unusable),
			"Let the server run while it can reach the database: it fills the replica, or brings it up to date. The metric replica_readable is 1 then.")
	case e.Server != nil && e.stored != nil && c.Age > followsWithin:
		e.add(CheckReplica, Warn, c.Path, fmt.Sprintf("The server runs, and has not brought the replica up to date for %s.", old), "The log of the server has the reason, such as a full disk.")
	default:
		e.add(CheckReplica, Pass, c.Path, fmt.Sprintf("The replica is complete, has %s, and was up to date %s ago. While the database does not answer, a server answers from it for another %s.",
			words.Count(int(c.Keys), "key"), old, (e.staleness()-old).Round(time.Second)), "")
	}
}
