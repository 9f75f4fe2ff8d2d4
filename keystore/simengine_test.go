package keystore

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// simEngine is the engine of a gateway in a simulation. It does what package postgres does, with the
// scripted server in the place of PostgreSQL.
type simEngine struct{ gateway *simGateway }

// Open implements [engine.Engine].
func (e simEngine) Open(ctx context.Context, setup engine.Setup) (engine.Database, error) {
	g := e.gateway
	d := &simDatabase{engine: e, reader: g.pool(simReader), follow: g.pool(simFollow), writer: g.pool(simWriter)}
	err := d.reader.QueryRowContext(ctx, simTimeline).Scan(&d.timeline)
	begun := time.Now()
	if err == nil {
		err = setup.Prepare(ctx, d)
	}
	if err != nil {
		_ = d.Close() // err says more
		return nil, err
	}
	g.word.Store(&simSpan{begun, time.Now()})
	d.listener = &simListener{gateway: g, wake: make(chan struct{}, 1), done: make(chan struct{})}
	ctx, d.listener.cancel = context.WithCancel(context.WithoutCancel(ctx))
	g.listener.Store(d.listener)
	go d.listener.run(ctx)
	return d, nil
}

// CheckAccess implements [engine.Engine].
func (simEngine) CheckAccess() (readable []string, err error) { return nil, nil }

// Busy implements [engine.Engine].
func (simEngine) Busy(err error) bool { return errors.Is(err, errSimBusy) }

// Broken implements [engine.Engine].
func (simEngine) Broken(err error) bool { return errors.Is(err, errSimCut) }

// Unreachable implements [engine.Engine].
func (simEngine) Refused(error) bool { return false }

func (simEngine) Unreachable(err error) bool {
	return errors.Is(err, errSimCut) || errors.Is(err, errSimRefused) || errors.Is(err, errSimSilent) || errors.Is(err, context.DeadlineExceeded)
}

// Full implements [engine.Engine].
func (simEngine) Full(error) bool { return false }

// Unstorable implements [engine.Engine].
func (simEngine) Unstorable(error) bool { return false }

// Advise implements [engine.Engine].
func (simEngine) Advise(err error) error { return err }

// Schema implements [engine.Engine].
func (simEngine) Schema(ctx context.Context, q engine.Querier) (engine.Schema, error) {
	return sqlite.ReadSchema(ctx, q)
}

// Beside implements [engine.Engine]. A simulation writes nothing that may run beside other transactions.
func (simEngine) Beside() int { return 0 }

// Text implements [engine.Engine]. The content of the server is SQLite's.
func (simEngine) Text(query string) string { return query }

// simDatabase is the open database of a gateway.
type simDatabase struct {
	engine.Database // nil: a simulation makes no backup

	engine                 simEngine
	reader, follow, writer *sql.DB
	timeline               int64 // of the server
	listener               *simListener
}

// Begin implements [engine.Database].
func (d *simDatabase) Begin(ctx context.Context, _ engine.Mode) (*sql.Tx, error) {
	return d.writer.BeginTx(ctx, nil)
}

// Send implements [engine.Database].
func (*simDatabase) Send(ctx context.Context, tx *sql.Tx, statements []engine.Statement) error {
	return engine.RunEach(ctx, tx, statements)
}

// Commit implements [engine.Database].
func (*simDatabase) Commit(ctx context.Context, tx *sql.Tx, statements ...engine.Statement) error {
	if err := engine.RunEach(ctx, tx, statements); err != nil {
		_ = tx.Rollback() // err says more
		return err
	}
	return tx.Commit()
}

// Mark implements [engine.Database]. A simulation counts no usage.
func (*simDatabase) Mark() (name, committed string) { return "", "" }

// Reader implements [engine.Database].
func (d *simDatabase) Reader() *sql.DB { return d.reader }

// Lists implements [engine.Database].
func (d *simDatabase) Lists() *sql.DB { return d.reader }

// Search implements [engine.Database].
func (*simDatabase) Search(context.Context, time.Duration, func(engine.Querier) error) (done bool, err error) {
	return false, nil
}

// Follow implements [engine.Database], as package postgres does.
func (d *simDatabase) Follow(ctx context.Context, read func(q engine.Querier, undone bool) error) error {
	var timeline int64
	begun := time.Now()
	ask := func() error { return d.follow.QueryRowContext(ctx, simTimeline).Scan(&timeline) }
	err := ask()
	if d.engine.Broken(err) {
		err = ask() // on a new connection
	}
	if err != nil {
		return err
	}
	if err = read(d.follow, timeline != d.timeline); err == nil {
		d.timeline = timeline
		d.engine.gateway.word.Store(&simSpan{begun, begun})
	}
	d.engine.gateway.noteFeed(err)
	return err
}

// Timeline implements [engine.Database].
func (d *simDatabase) Timeline() string { return strconv.FormatInt(d.timeline, 10) }

// Wake implements [engine.Database].
func (d *simDatabase) Wake() <-chan struct{} { return d.listener.wake }

// Period implements [engine.Database].
func (d *simDatabase) Period() time.Duration {
	if d.listener.hears.Load() {
		return time.Second
	}
	return 100 * time.Millisecond
}

// Made implements [engine.Database].
func (*simDatabase) Made() bool { return false }

// Retire implements [engine.Database].
func (d *simDatabase) Retire(context.Context, error) { _ = d.Close() }

// Close implements [engine.Database].
func (d *simDatabase) Close() error {
	if d.listener != nil {
		d.listener.cancel()
		<-d.listener.done
	}
	return errors.Join(d.reader.Close(), d.follow.Close(), d.writer.Close())
}

// simListener waits for notifications, as the listener of package postgres does: it asks every five
// seconds whether they come, and connects again later and later.
type simListener struct {
	gateway *simGateway
	wake    chan struct{}
	hears   atomic.Bool
	cancel  context.CancelFunc
	done    chan struct{}
}

func (l *simListener) run(ctx context.Context) {
	defer close(l.done)
	rng := l.gateway.newRand("backoff")
	backoff := 100 * time.Millisecond
	for ctx.Err() == nil {
		if l.listen(ctx) {
			backoff = 100 * time.Millisecond
		}
		l.hears.Store(false)
		wait := backoff/2 + time.Duration(rng.Int64N(int64(backoff/2)))
		backoff = min(2*backoff, 5*time.Second)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// listen listens on one connection until it fails, and reports whether it has heard anything.
func (l *simListener) listen(ctx context.Context) (heard bool) {
	conn, err := simConnector{l.gateway, simListen}.dial(ctx)
	if err != nil {
		return false
	}
	defer conn.kill()
	for {
		if conn.roundTrip(ctx, nil) != nil || l.gateway.deaf {
			return heard
		}
		heard = true
		l.hears.Store(true)
		l.notify()
		select {
		case <-ctx.Done():
		case <-conn.dead:
			return heard
		case <-time.After(5 * time.Second):
		}
	}
}

// notify wakes the follower.
func (l *simListener) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
