package postgres

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// relay is a TCP proxy in front of a server, whose network a test breaks.
type relay struct {
	dsn      string // through the relay
	target   string
	listener net.Listener
	dialed   atomic.Int64 // connections that clients have made

	mu     sync.Mutex
	flow   *sync.Cond // waits until the relay is not stalled, or closed
	stall  bool       // all bytes wait, in both directions
	refuse bool       // new connections are closed at once
	closed bool
	open   map[net.Conn]bool
	copies sync.WaitGroup
}

// newRelay starts a relay in front of the server of a connection string.
func newRelay(t *testing.T, dsn string) *relay {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{target: u.Host, listener: listener, open: make(map[net.Conn]bool)}
	r.flow = sync.NewCond(&r.mu)
	u.Host = listener.Addr().String()
	r.dsn = u.String()
	r.copies.Go(r.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		r.breakAll()
		r.copies.Wait()
	})
	return r
}

func (r *relay) serve() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return // the test has ended
		}
		r.dialed.Add(1)
		r.copies.Go(func() { r.connect(client) })
	}
}

func (r *relay) connect(client net.Conn) {
	defer client.Close()
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
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
	both.Go(func() { r.copy(server, client) })
	both.Go(func() { r.copy(client, server) })
	both.Wait()
	r.mu.Lock()
	delete(r.open, client)
	delete(r.open, server)
	r.mu.Unlock()
}

// copy passes bytes on until one side closes.
func (r *relay) copy(to, from net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		r.mu.Lock()
		for r.stall && !r.closed {
			r.flow.Wait()
		}
		r.mu.Unlock()
		if n > 0 {
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

// setStall makes all bytes wait, or lets them pass again.
func (r *relay) setStall(stall bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stall = stall
	r.flow.Broadcast()
}

// setRefuse makes the relay close new connections at once, or accept them again.
func (r *relay) setRefuse(refuse bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = refuse
}

// setTarget makes new connections lead to another server.
func (r *relay) setTarget(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// breakAll closes all connections.
func (r *relay) breakAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		_ = conn.Close()
	}
	r.flow.Broadcast()
}
