package wstest

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Key is the Sec-WebSocket-Key of every handshake here. Accept is the Sec-WebSocket-Accept
// of a server's correct answer. Both are the example of RFC 6455, section 1.3.
const (
	Key    = "dGhlIHNhbXBsZSBub25jZQ=="
	Accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// LibraryHandshake returns a handshake as the client libraries of AmiVoice send it: without
// Sec-WebSocket-Version. Each of headers is a whole line with its CRLF.
func LibraryHandshake(path, host string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nUser-Agent: Wrp/1.0.05 Python/3.11.7 (linux)\r\nHost: " + host + "\r\n" +
		"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: " + Key + "\r\n" + strings.Join(headers, "") + "\r\n"
}

// BrowserHandshake returns a handshake as a browser sends it.
func BrowserHandshake(path, host string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
		"Origin: http://localhost\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + Key + "\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
}

// Dial connects to a server. It sends a handshake and the first frames in one write. It
// does not read the answer to the handshake: call Upgraded for this.
func Dial(t testing.TB, addr, handshake string, first ...[]byte) *Peer {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := NewPeer(t, conn)
	p.Send(append([]byte(handshake), slices.Concat(first...)...))
	return p
}

// Upgraded reads the answer to the handshake, and returns p. The test fails if the answer
// is not a 101.
func (p *Peer) Upgraded() *Peer {
	p.t.Helper()
	resp, err := http.ReadResponse(p.Reader, nil) //nolint:bodyclose // a 101 has no body: what follows are frames
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		p.t.Fatalf("the handshake is answered by %v, %v", resp, err)
	}
	return p
}
