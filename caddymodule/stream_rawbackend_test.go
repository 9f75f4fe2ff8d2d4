package caddymodule_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// rawBackend answers the handshake of each connection with these bytes, and keeps the bytes that
// come after the handshake. got waits until every connection has ended, and returns these bytes. Call
// got once, when no more connections are made.
func rawBackend(t *testing.T, answer string) (addr string, got func() string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var (
		conns sync.WaitGroup
		mu    sync.Mutex
		all   strings.Builder
		last  = make(chan struct{})
	)
	serve := func(conn net.Conn) {
		defer conn.Close()
		reader := bufio.NewReader(conn)
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		if r.URL.Path == "/last" {
			close(last)
			return
		}
		_, _ = io.WriteString(conn, answer)
		rest, _ := io.ReadAll(reader)
		mu.Lock()
		defer mu.Unlock()
		all.Write(rest)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { serve(conn) })
		}
	}()
	return listener.Addr().String(), func() string {
		t.Helper()
		// Connections are accepted in order. When this one is served, all others are accepted.
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /last HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-last
		conns.Wait()
		return all.String()
	}
}

const changes = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
