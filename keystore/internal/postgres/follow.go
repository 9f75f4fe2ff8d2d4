package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

const (
	pollDeaf  = 100 * time.Millisecond // between two looks at the feed, if notifications do not come
	pollHeard = time.Second            // if they come
)

var errStandby = errors.New("the server is a standby, whose data can be old: want the primary server")

// readServer reads what tells servers apart: whether the server is a standby, when it has begun, and the
// timeline that it writes: the number in hexadecimal, and the name that a gateway has given it. Each
// promotion of a standby begins a timeline, and a restart does not. No two servers have begun in the same
// microsecond.
const readServer = `SELECT standby, begun, number, COALESCE((SELECT value FROM meta WHERE name = 'timeline ' || number), '')
	FROM (SELECT pg_is_in_recovery() AS standby, CAST(pg_postmaster_start_time() AS TEXT) AS begun,
		CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS number) AS server`

// nameTimeline gives the timeline with the number $1 a name, if it has none and the server writes it. The
// name is a row. Two standbys that were promoted apart can write timelines with the same number, but neither
// has a row that was written at the other after its promotion. Backups and copies of a keystore leave the row
// out: the timelines of another server have the same numbers. A dump by pg_dump has the row.
//
// The row waits for no disk and no standby. If a crash loses it, the timeline gets another name, and the
// gateways drop their records once more.
const nameTimeline = `INSERT INTO meta (name, value) SELECT 'timeline ' || CAST($1 AS TEXT), CAST(gen_random_uuid() AS TEXT)
	WHERE set_config('synchronous_commit', 'off', TRUE) = 'off' AND check_program($2)
		AND substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) = CAST($1 AS TEXT) ON CONFLICT (name) DO NOTHING`

// nameLimit is how long it may take to give a timeline a name.
const nameLimit = 500 * time.Millisecond

// server is what readServer reads.
type server struct{ begun, number, name string }

// timeline identifies the timeline that the server writes. Without a name, a restart is taken for another
// timeline: this is safe, but costs the records in the cache.
func (s server) timeline() string {
	if s.name == "" {
		return s.number + " since " + s.begun
	}
	return s.number + " " + s.name
}

// serverOf reads which server a pool leads to. It is an error if the server is a standby.
func serverOf(ctx context.Context, pool *sql.DB) (s server, err error) {
	var standby bool
	err = pool.QueryRowContext(ctx, readServer).Scan(&standby, &s.begun, &s.number, &s.name)
	if err == nil && standby {
		err = errStandby
	}
	return s, err
}

// named returns what a server is after its timeline has got a name. The command line gives none: it is no
// reader for long.
func (d *database) named(ctx context.Context, pool *sql.DB, s server) (server, error) {
	if s.name != "" || d.engine.commandLine {
		return s, nil
	}
	naming, cancel := context.WithTimeout(ctx, nameLimit)
	defer cancel()
	_, err := d.reports.ExecContext(naming, nameTimeline, s.number, engine.SchemaVersion)
	if d.engine.Broken(err) {
		_, err = d.reports.ExecContext(naming, nameTimeline, s.number, engine.SchemaVersion) // on a new connection
	}
	if err != nil {
		return s, nil // such as of a full disk: the timeline has no name until the next poll
	}
	return serverOf(ctx, pool)
}

// Follow implements [engine.Database]. It always reads: no server tells cheaply whether another
// connection has written.
func (d *database) Follow(ctx context.Context, read func(q engine.Querier, undone bool) error) error {
	begun := time.Now()
	now, err := serverOf(ctx, d.follow)
	if d.engine.Broken(err) {
		now, err = serverOf(ctx, d.follow) // on a new connection
	}
	if err != nil {
		return d.followError(err)
	}
	// Connections to a pooler do not lead to one server: the pooler leaves the old one.
	if d.server != "" && d.server != now.begun && !d.engine.pooler {
		d.engine.open.giveUpBefore(begun)
	}
	d.server = now.begun
	if now, err = d.named(ctx, d.follow, now); err != nil {
		return d.followError(err)
	}
	err = read(d.follow, d.timeline != now.timeline())
	if hasCode(err, codeNoTable) {
		return d.followError(err)
	}
	if err == nil {
		d.timeline = now.timeline()
	}
	return err
}

// followError returns what Follow says of an error of serverOf.
func (d *database) followError(err error) error {
	switch {
	case errors.Is(err, errStandby):
		return err
	case hasCode(err, codeNoTable):
		return engine.NoStore("there is no keystore any more in the database " + d.engine.place.String())
	}
	return connectError(err)
}

// Timeline implements [engine.Database].
func (d *database) Timeline() string { return d.timeline }

// Wake implements [engine.Database].
func (d *database) Wake() <-chan struct{} {
	if d.listener == nil {
		return nil
	}
	return d.listener.wake
}

// Period implements [engine.Database].
func (d *database) Period() time.Duration {
	if d.listener != nil && d.listener.hears.Load() {
		return pollHeard
	}
	return pollDeaf
}
