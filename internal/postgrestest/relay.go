package postgrestest

import (
	"context"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// Relay is a TCP proxy in front of a server, whose network a test breaks.
type Relay struct {
	DSN    string       // through the relay
	Dialed atomic.Int64 // connections that clients have made

	listener net.Listener

	mu     sync.Mutex
	flow   *sync.Cond // waits until the relay is not stalled, or closed
	target string     // host and port of the server
	stall  bool       // all bytes wait, in both directions
	mute   bool       // the answers of the server are lost
	refuse bool       // new connections are closed at once
	closed bool
	open   map[net.Conn]bool
	copies sync.WaitGroup
}

// NewRelay starts a relay in front of the server of a connection string. The relay ends with the test.
func NewRelay(t testing.TB, dsn string) *Relay {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{target: u.Host, listener: listener, open: make(map[net.Conn]bool)}
	r.flow = sync.NewCond(&r.mu)
	u.Host = listener.Addr().String()
	r.DSN = u.String()
	r.copies.Go(func() { r.serve(t.Context()) })
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		r.BreakAll()
		r.copies.Wait()
	})
	return r
}

func (r *Relay) serve(ctx context.Context) {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return // the test has ended
		}
		r.Dialed.Add(1)
		r.copies.Go(func() { r.connect(ctx, client) })
	}
}

func (r *Relay) connect(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	r.mu.Lock()
	refused := r.refuse || r.closed
	if !refused {
		r.open[client], r.open[server] = true, true
	}
	r.mu.Unlock()
	if refused {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { r.copy(server, client, false) })
	both.Go(func() { r.copy(client, server, true) })
	both.Wait()
	r.mu.Lock()
	delete(r.open, client)
	delete(r.open, server)
	r.mu.Unlock()
}

// copy passes bytes on until one side closes.
func (r *Relay) copy(to, from net.Conn, answers bool) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		r.mu.Lock()
		for r.stall && !r.closed {
			r.flow.Wait()
		}
		lost := answers && r.mute
		r.mu.Unlock()
		if n > 0 && !lost {
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}

// SetStall makes all bytes wait, or lets them pass again.
func (r *Relay) SetStall(stall bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stall = stall
	r.flow.Broadcast()
}

// SetMute makes the answers of the server be lost, or lets them pass again.
func (r *Relay) SetMute(mute bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mute = mute
}

// SetRefuse makes the relay close new connections at once, or accept them again.
func (r *Relay) SetRefuse(refuse bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = refuse
}

// SetTarget makes new connections lead to another server, given as host and port.
func (r *Relay) SetTarget(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// BreakAll closes all connections.
func (r *Relay) BreakAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		_ = conn.Close()
	}
	r.flow.Broadcast()
}
