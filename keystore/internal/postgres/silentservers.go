package postgres

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// silentDial is how long connecting to a server may take that was silent before, if the connection string
// names several servers.
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
		if silent := errors.Is(ctx.Err(), context.DeadlineExceeded); err == nil || silent || ctx.Err() == nil {
			r.note(address, err != nil && silent) // a caller that goes away says nothing about the server
		}
		return conn, err
	}
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
