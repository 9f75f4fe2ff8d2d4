package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

const (
	feedChannel = "speechgate_feed" // the trigger of the migrations notifies it

	probeEvery   = 5 * time.Second // between two probes of a connection on which nothing comes
	probeWait    = 2 * time.Second // how long a probe may take
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

var (
	errDeaf    = errors.New("LISTEN is accepted, and no notification comes: a pooler in transaction mode is in between")
	errNoReply = errors.New("the connection that waits for notifications does not answer")
)

// listener waits for notifications of the change feed. It has a connection of its own.
//
// A pooler in transaction mode accepts LISTEN, and the notifications go to a connection of
// another client. So the listener notifies itself on a channel that only it knows, when it has
// connected and then every probeEvery. While no probe comes back, hears is false. Where a probe has come
// back once, there is no such pooler: a later probe is lost with the connection.
type listener struct {
	place   Place
	cfg     *pgx.ConnConfig
	sender  *sql.DB // sends the probes
	log     *zap.Logger
	channel string // of the probes
	wake    chan struct{}
	hears   atomic.Bool
	heard   bool // a probe has come back

	cancel context.CancelFunc
	done   chan struct{}
}

// newListener returns a listener that has not begun.
func (d *database) newListener() *listener {
	l := &listener{
		place: d.engine.place, cfg: d.engine.place.direct.Copy(), sender: d.follow, log: d.engine.log,
		channel: "speechgate_probe_" + rand.Text(), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	l.cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	l.cfg.DialFunc = d.engine.dialer(d.engine.place.direct)
	return l
}

// startListening starts the listener, and waits until it hears or has failed once.
func (d *database) startListening(ctx context.Context) {
	l := d.newListener()
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	tried := make(chan struct{})
	go l.run(ctx, tried)
	<-tried
	d.listener = l
}

// stop ends the listener.
func (l *listener) stop() {
	l.cancel()
	<-l.done
}

// run connects, again and again. It closes tried when the first connection hears or has failed.
func (l *listener) run(ctx context.Context, tried chan struct{}) {
	defer close(l.done)
	told := false // the log says that no notifications come
	backoff := firstBackoff
	heard := func() {
		l.hears.Store(true)
		l.notify() // for what was missed
		backoff = firstBackoff
		if told {
			l.log.Info("notifications of the change feed come again")
			told = false
		}
		if tried != nil {
			close(tried)
			tried = nil
		}
	}
	for ctx.Err() == nil {
		err := l.listen(ctx, heard)
		l.hears.Store(false)
		if ctx.Err() == nil && !told {
			l.log.Warn("no notifications of the change feed come: the feed is read every 100 ms instead", zap.Error(connectError(err)))
			told = true
		}
		if tried != nil {
			close(tried)
			tried = nil
		}
		// The half at random: the gateways of a server that comes back do not come at once.
		wait := backoff/2 + mathrand.N(backoff/2) //nolint:gosec // not a secret
		backoff = min(2*backoff, maxBackoff)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// listen listens on one connection until it fails.
func (l *listener) listen(ctx context.Context, heard func()) error {
	conn, err := l.place.connect(connecting(ctx), l.cfg)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeWait)
		defer cancel()
		_ = conn.Close(closing) // it has written nothing
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+feedChannel+`; LISTEN "`+l.channel+`"`, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	for {
		if err := l.probe(ctx, conn); err != nil {
			return err
		}
		l.heard = true
		heard()
		for until := time.Now().Add(probeEvery); ; {
			waiting, cancel := context.WithDeadline(ctx, until)
			n, err := conn.WaitForNotification(waiting)
			cancel()
			if err != nil {
				if ctx.Err() != nil || !time.Now().After(until) || conn.IsClosed() {
					return err
				}
				break // time for a probe
			}
			if n.Channel == feedChannel {
				l.notify()
			}
		}
	}
}

// probe makes sure that notifications come. Another connection sends the probe: on one connection,
// the notification would come with the answer, also behind a pooler.
func (l *listener) probe(ctx context.Context, conn *pgx.Conn) error {
	waiting, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	if _, err := l.sender.ExecContext(waiting, `SELECT pg_notify($1, '')`, l.channel); err != nil {
		return err
	}
	for {
		n, err := conn.WaitForNotification(waiting)
		if err != nil {
			switch silent := ctx.Err() == nil && waiting.Err() != nil; {
			case silent && l.heard:
				return errNoReply
			case silent:
				return errDeaf
			}
			return fmt.Errorf("waiting for a notification: %w", err)
		}
		if n.Channel == l.channel {
			return nil
		}
		l.notify()
	}
}

// notify wakes the reader of the feed.
func (l *listener) notify() {
	select {
	case l.wake <- struct{}{}:
	default: // it is to wake already
	}
}
