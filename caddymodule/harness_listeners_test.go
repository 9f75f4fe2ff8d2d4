package caddymodule_test

import (
	"context"
	"net"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() { caddy.RegisterModule(trackedListeners{}) }

// trackedListeners is a listener wrapper of the test servers. It notes which listeners are open.
//
// Caddy closes the listener of a stopped configuration a moment after caddy.Load returns. The old and
// the new listener share the port until then, so a new connection can reach the old listener, whose
// end resets the connection.
type trackedListeners struct {
	config context.Context // of the configuration
}

// CaddyModule returns the wrapper's module information.
func (trackedListeners) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.tracked", New: func() caddy.Module { return new(trackedListeners) }}
}

// Provision notes the context of the configuration. Caddy cancels it when the configuration stops.
func (w *trackedListeners) Provision(ctx caddy.Context) error {
	w.config = ctx
	return nil
}

// UnmarshalCaddyfile reads the name of the wrapper, which has no options.
func (*trackedListeners) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

// WrapListener notes the listener until it is closed.
func (w *trackedListeners) WrapListener(l net.Listener) net.Listener {
	tracked := &trackedListener{Listener: l, config: w.config, closed: make(chan struct{})}
	openListeners.Store(tracked, nil)
	return tracked
}

// openListeners has the open listeners of this process, each a *trackedListener.
var openListeners sync.Map

type trackedListener struct {
	net.Listener
	config context.Context
	once   sync.Once
	closed chan struct{}
}

func (l *trackedListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() {
		openListeners.Delete(l)
		close(l.closed)
	})
	return err
}

// waitForStoppedListeners returns when each listener of a stopped configuration is closed.
func waitForStoppedListeners() {
	openListeners.Range(func(key, _ any) bool {
		if l := key.(*trackedListener); l.config.Err() != nil {
			<-l.closed
		}
		return true
	})
}
