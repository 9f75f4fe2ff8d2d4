package postgres

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// silentDial is how long connecting to a server may take that was silent before, and how long its first
// answer may take, if the connection string names several servers.
const silentDial = 500 * time.Millisecond

// silentServers remembers the servers that do not answer. A connection string can name several servers, which
// are tried in their order. If the first one is fenced, it never answers: a lookup would wait for it until
// the lookup's time is over, and never come to the server that has taken its place.
type silentServers struct {
	mu     sync.Mutex
	silent map[string]bool // by address
}

// several reports whether a configuration leads to several servers.
func several(cfg *pgx.ConnConfig) bool {
	for _, w := range waysOf(cfg) {
		if w.host != cfg.Host || w.port != cfg.Port {
			return true
		}
	}
	return false
}

// hurry returns a dial function that waits little for servers which were silent.
func (r *silentServers) hurry(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := ctx.Err(); err != nil {
			return nil, err // says nothing about the server
		}
		if r.wasSilent(address) {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, silentDial)
			defer cancel()
		}
		conn, err := dial(ctx, network, address)
		if err == nil {
			return &greeting{Conn: conn, servers: r, address: address, begun: time.Now(), hurried: r.wasSilent(address)}, nil
		}
		if silent := errors.Is(ctx.Err(), context.DeadlineExceeded); silent || ctx.Err() == nil {
			r.note(address, silent) // a caller that goes away says nothing about the server
		}
		return nil, err
	}
}

// greeting is a connection that notes whether the server answers. A server that has stopped, or a proxy
// in front of it, can accept connections and then be silent.
type greeting struct {
	net.Conn

	servers *silentServers
	address string
	begun   time.Time
	hurried bool        // the server was silent before
	heard   atomic.Bool // the server has answered
}

// Read implements [net.Conn].
func (g *greeting) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	switch {
	case g.heard.Load():
	case n > 0:
		g.heard.Store(true)
		g.servers.note(g.address, false)
	case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(g.begun) >= silentDial: // otherwise the caller goes away
		g.servers.note(g.address, true)
	}
	return n, err
}

// SetReadDeadline implements [net.Conn].
func (g *greeting) SetReadDeadline(t time.Time) error { return g.Conn.SetReadDeadline(g.hurry(t)) }

// SetDeadline implements [net.Conn].
func (g *greeting) SetDeadline(t time.Time) error {
	return errors.Join(g.SetReadDeadline(t), g.SetWriteDeadline(t))
}

// hurry returns the deadline of a read: an earlier one if the server was silent before.
func (g *greeting) hurry(t time.Time) time.Time {
	first := g.begun.Add(silentDial)
	if !g.hurried || g.heard.Load() || !t.IsZero() && t.Before(first) {
		return t
	}
	return first
}

func (r *silentServers) wasSilent(address string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent[address]
}

func (r *silentServers) note(address string, silent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !silent {
		delete(r.silent, address)
		return
	}
	if r.silent == nil {
		r.silent = make(map[string]bool)
	}
	r.silent[address] = true
}
