package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

const (
	pollDeaf  = 100 * time.Millisecond // between two looks at the feed, if notifications do not come
	pollHeard = time.Second            // if they come
)

var errStandby = errors.New("the server is a standby, whose data can be old: want the primary server")

// Follow implements [engine.Database]. It always reads: no server tells cheaply whether another
// connection has written.
func (d *database) Follow(ctx context.Context, read func(engine.Querier) error) error {
	begun := time.Now()
	var standby bool
	var server string // no two servers have begun in the same microsecond
	look := func() error {
		return d.follow.QueryRowContext(ctx, `SELECT pg_is_in_recovery(), CAST(pg_postmaster_start_time() AS TEXT)`).Scan(&standby, &server)
	}
	err := look()
	if d.engine.Broken(err) {
		err = look() // on a new connection
	}
	if err != nil {
		return connectError(err)
	}
	if standby {
		return errStandby
	}
	// Connections to a pooler do not lead to one server: the pooler leaves the old one.
	if d.server != "" && d.server != server && !d.engine.pooler {
		d.engine.open.giveUpBefore(begun)
	}
	d.server = server
	err = read(d.follow)
	if hasCode(err, codeNoTable) {
		return engine.NoStore("there is no keystore any more in the database " + d.engine.place.String())
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
