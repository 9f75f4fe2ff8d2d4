package caddymodule_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

// The clients and the backend here are those of the dialects whose handshakes have a key.

// newDialectGateway starts Caddy with a gate that speaks a dialect and has these further options.
func newDialectGateway(t *testing.T, dialect, options string) *gateway {
	t.Helper()
	return newGatewayWith(t, &gateway{dialect: dialect, options: "upstream_key " + backendKey + "\n" + options})
}

// ask sends a request with this key in Authorization, and with a JSON body if it is not empty.
func (g *gateway) ask(method, target, authorization, body string, lines ...string) reply {
	g.t.Helper()
	head := method + " " + target + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\n"
	if authorization != "" {
		head += "Authorization: " + authorization + "\r\n"
	}
	for _, line := range lines {
		head += line + "\r\n"
	}
	if body != "" {
		head += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return g.send(head + "\r\n" + body)
}

// keyedHandshake returns the handshake of a client with these lines in its header.
func (g *gateway) keyedHandshake(path string, lines ...string) string {
	var header strings.Builder
	for _, line := range lines {
		header.WriteString(line + "\r\n")
	}
	return "GET " + path + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + wstest.Key +
		"\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" + header.String() + "\r\n"
}

// dialKeyed opens a stream with these lines in the header of its handshake. It returns the header of the
// answer too.
func (g *gateway) dialKeyed(t *testing.T, path string, lines ...string) (*wstest.Peer, http.Header) {
	t.Helper()
	c := wstest.Dial(t, g.addr, g.keyedHandshake(path, lines...))
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake is answered by %v, %v", resp, err)
	}
	return c, resp.Header
}

// wantLast wants a last message that has all these parts, a Close frame with this code, and the end.
func wantLast(t *testing.T, c *wstest.Peer, code uint16, parts ...string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	f := c.Next()
	for _, part := range parts {
		if !strings.Contains(f.Payload, part) {
			t.Errorf("the client gets %s, want %s in it", f, part)
		}
	}
	if strings.Contains(f.Payload, "{request_id}") {
		t.Errorf("the client gets %s, which has no ID", f)
	}
	c.WantClose(code)
}

// realtime makes the backend open each stream with this subprotocol, and pass each connection to serve.
func (b *backend) realtime(t *testing.T, subprotocol string, serve func(*wstest.Peer)) {
	t.Helper()
	b.respond(func(w http.ResponseWriter, _ *http.Request) {
		// The connection leaves the server before the client reads the 101: the
		// server closes the connections that it still has when the test ends.
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		header := make(http.Header)
		header.Set("Connection", "Upgrade")
		header.Set("Upgrade", "websocket")
		header.Set("Sec-WebSocket-Accept", wstest.Accept)
		header.Set("Sec-WebSocket-Extensions", "permessage-deflate") // which the gate did not offer
		if subprotocol != "" {
			header.Set("Sec-WebSocket-Protocol", subprotocol)
		}
		peer := wstest.NewPeer(t, conn)
		_, _ = brw.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
		_ = header.Write(brw)
		_, _ = brw.WriteString("\r\n")
		_ = brw.Flush()
		go func() {
			defer conn.Close()
			serve(peer)
		}()
	})
}

// silence opens a stream, and says nothing.
func silence(p *wstest.Peer) { _, _ = io.Copy(io.Discard, p.Reader) }

// say opens a stream with a message, and says nothing more.
func say(message string) func(*wstest.Peer) {
	return func(p *wstest.Peer) {
		p.SendText(message)
		silence(p)
	}
}

// echo opens a stream with a message, and sends each text message back.
func echo(message string) func(*wstest.Peer) {
	return func(p *wstest.Peer) {
		p.SendText(message)
		for {
			f, err := p.ReadFrame()
			if err != nil || f.Opcode != wstest.OpText {
				return
			}
			p.SendText("echo " + f.Payload)
		}
	}
}
