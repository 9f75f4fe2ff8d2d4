package caddymodule_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// backend is a server that records every byte that it gets.
type backend struct {
	listener net.Listener
	answer   atomic.Pointer[http.HandlerFunc]
	server   *http.Server
	forget   atomic.Bool // do not record any more

	mu       sync.Mutex
	recorded []*bytes.Buffer // by connection
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{listener: listener}
	b.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"results":[],"text":"hello","code":"","message":""}`+"\r\n")
	})
	b.server = &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*b.answer.Load())(w, r) }),
	}
	go func() { _ = b.server.Serve(recordingListener{listener, b}) }()
	t.Cleanup(func() { _ = b.server.Close() })
	return b
}

func (b *backend) addr() string { return b.listener.Addr().String() }

// respond sets the handler that answers from now on.
func (b *backend) respond(h http.HandlerFunc) { b.answer.Store(&h) }

// respondText makes the backend answer every request with this status and body.
func (b *backend) respondText(status int, body string) {
	b.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// received returns every byte that has come since the last call.
func (b *backend) received() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all strings.Builder
	for _, conn := range b.recorded {
		all.Write(conn.Bytes())
		conn.Reset()
	}
	return all.String()
}

type recordingListener struct {
	net.Listener
	b *backend
}

func (l recordingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	buf := new(bytes.Buffer)
	l.b.mu.Lock()
	l.b.recorded = append(l.b.recorded, buf)
	l.b.mu.Unlock()
	return &recordingConn{Conn: conn, b: l.b, buf: buf}, nil
}

type recordingConn struct {
	net.Conn
	b   *backend
	buf *bytes.Buffer
}

func (c *recordingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.b.forget.Load() {
		c.b.mu.Lock()
		c.buf.Write(p[:n])
		c.b.mu.Unlock()
	}
	return n, err
}
