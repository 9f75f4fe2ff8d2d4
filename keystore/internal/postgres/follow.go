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
// number of the timeline that it writes, in hexadecimal. Each promotion of a standby begins a timeline,
// and a restart does not. No two servers have begun in the same microsecond.
//
// Two standbys can begin a timeline with the same number, if each was promoted apart from the other.
// A gateway that goes from one of them to the other does not notice that changes are undone.
const readServer = `SELECT pg_is_in_recovery(), CAST(pg_postmaster_start_time() AS TEXT),
	CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END`

// server is what readServer reads.
type server struct{ begun, timeline string }

// serverOf reads which server a pool leads to. It is an error if the server is a standby.
func serverOf(ctx context.Context, pool *sql.DB) (s server, err error) {
	var standby bool
	err = pool.QueryRowContext(ctx, readServer).Scan(&standby, &s.begun, &s.timeline)
	if err == nil && standby {
		err = errStandby
	}
	return s, err
}

// Follow implements [engine.Database]. It always reads: no server tells cheaply whether another
// connection has written.
func (d *database) Follow(ctx context.Context, read func(q engine.Querier, undone bool) error) error {
	begun := time.Now()
	now, err := serverOf(ctx, d.follow)
	if d.engine.Broken(err) {
		now, err = serverOf(ctx, d.follow) // on a new connection
	}
	switch {
	case errors.Is(err, errStandby):
		return err
	case err != nil:
		return connectError(err)
	}
	// Connections to a pooler do not lead to one server: the pooler leaves the old one.
	if d.server != "" && d.server != now.begun && !d.engine.pooler {
		d.engine.open.giveUpBefore(begun)
	}
	d.server = now.begun
	err = read(d.follow, d.timeline != now.timeline)
	if hasCode(err, codeNoTable) {
		return engine.NoStore("there is no keystore any more in the database " + d.engine.place.String())
	}
	if err == nil {
		d.timeline = now.timeline
	}
	return err
}

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
