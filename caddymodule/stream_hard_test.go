package caddymodule_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// rawBackend answers the handshake of each connection with these bytes, and keeps the bytes that
// come after the handshake.
func rawBackend(t *testing.T, answer string) (addr string, got func() string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	seen := make(chan string, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				reader := bufio.NewReader(conn)
				if _, err := http.ReadRequest(reader); err != nil {
					return
				}
				_, _ = io.WriteString(conn, answer)
				rest, _ := io.ReadAll(reader)
				seen <- string(rest)
			}()
		}
	}()
	return listener.Addr().String(), func() string {
		var all strings.Builder
		for {
			select {
			case text := <-seen:
				all.WriteString(text)
			case <-time.After(100 * time.Millisecond):
				return all.String()
			}
		}
	}
}

const changes = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

// If a stream ends far in the future, the timer does not recheck it all the time.
func TestR14_AFarExpiryCausesNoRechecks(t *testing.T) {
	g := streamGateway(t, "on_expiry cut")
	_, secret := g.issue(keystore.NewKey{Expires: policy.ExpiresAt(253_402_300_799_999)})
	c := g.dialStream("").upgraded()
	c.start(secret)
	c.WantText("s")
	cpu := func() time.Duration {
		var use syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
			t.Fatal(err)
		}
		return time.Duration(use.Utime.Nano() + use.Stime.Nano())
	}
	before := cpu()
	time.Sleep(300 * time.Millisecond)
	if used := cpu() - before; used > 150*time.Millisecond {
		t.Errorf("an idle stream used %s of CPU within 300 ms", used)
	}
}
