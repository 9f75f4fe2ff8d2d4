package caddymodule

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

// rawBackend answers each connection's handshake with these bytes, and keeps what
// comes after it.
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

// Routes for errors get the request that the gate let through, and must not open
// the stream past its guard.
func TestStream_NoTunnelThroughErrorRoutes(t *testing.T) {
	fallback, got := rawBackend(t, changes+"\r\n")
	dead := freeAddr(t)
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey,
		site:    "reverse_proxy " + dead + "\nhandle_errors {\nreverse_proxy " + fallback + "\n}",
	})
	c := g.dialStream("", wsFrame(1, false, []byte("s 16K -a-general authorization=nobody"))...)
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("the handshake is answered by %v, %v", resp, err)
	}
	_ = c.conn.Close()
	if got := got(); got != "" {
		t.Errorf("the fallback got %q", got)
	}
}

func TestStream_AnswerToTheHandshakeTellsNoKey(t *testing.T) {
	backend, _ := rawBackend(t, changes+"Sec-WebSocket-Extensions: permessage-deflate\r\nX-Echo: a "+backendKey+"\r\nSet-Cookie: a=b\r\nX-Session-ID: 7\r\n\r\n")
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: "reverse_proxy " + backend})
	c := g.dialStream("Sec-WebSocket-Extensions: permessage-deflate\r\n")
	head, err := c.reader.ReadString('\n')
	for err == nil && !strings.HasSuffix(head, "\r\n\r\n") {
		var line string
		line, err = c.reader.ReadString('\n')
		head += line
	}
	if err != nil || !strings.Contains(head, "101") || !strings.Contains(head, "X-Session-ID: 7") {
		t.Errorf("%q, %v", head, err)
	}
	for _, leak := range []string{backendKey, "xtensions", "Cookie"} {
		if strings.Contains(head, leak) {
			t.Errorf("%q in %q", leak, head)
		}
	}
}

// A backend that never answers the handshake holds a stream no longer than the
// client may take to its first command, and a cut ends it at once.
func TestStream_UnansweredHandshakeEnds(t *testing.T) {
	silent, _ := rawBackend(t, "")
	for name, options := range map[string]string{"by time": "start_timeout 200ms", "by a cut": "start_timeout 1h"} {
		t.Run(name, func(t *testing.T) {
			g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey + "\n" + options, site: "reverse_proxy " + silent})
			c := g.dialStream("")
			eventually(t, func() bool { return len(streams.list()) == 1 })
			if name == "by a cut" {
				for _, s := range streams.find(func(*liveStream) bool { return true }) {
					s.cut(policy.Undecided, "")
				}
			}
			if resp, err := http.ReadResponse(c.reader, nil); err != nil || resp.StatusCode != http.StatusBadGateway {
				t.Errorf("the client gets %v, %v", resp, err)
			}
			eventually(t, func() bool { return len(streams.list()) == 0 })
		})
	}
}

// An end that is far away does not keep the clock busy.
func TestR14_FarEndsCostNothing(t *testing.T) {
	g := streamGateway(t, "on_expiry cut")
	_, secret := g.issue(keystore.NewKey{Expires: policy.ExpiresAt(253_402_300_799_999)})
	c := g.dialStream("").upgraded()
	c.start(secret)
	c.want("s")
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
