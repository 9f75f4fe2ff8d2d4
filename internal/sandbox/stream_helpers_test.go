package sandbox

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// libraryShake is a handshake as the vendor's client libraries send it, with
// the key and the answer to it that are RFC 6455's example.
const (
	libraryShake = "GET /v1/ HTTP/1.1\r\nUser-Agent: Wrp/1.0.05 Python/3.11.7 (linux)\r\nHost: 127.0.0.1:18081\r\n" +
		"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	browserShake = "GET /v1/nolog/ HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
		"Origin: http://localhost\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
	shaken = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// rawFrame renders a frame, masked if there is a mask, with a length of 7, 16 or
// 64 bits or, if bits is 0, of as many as it needs.
func rawFrame(head byte, mask []byte, bits int, payload []byte) []byte {
	n := len(payload)
	if bits == 0 {
		bits = 64
		if n < 126 {
			bits = 7
		} else if n < 1<<16 {
			bits = 16
		}
	}
	masked := byte(0)
	if mask != nil {
		masked = 0x80
	}
	var out []byte
	switch bits {
	case 7:
		out = []byte{head, masked | byte(n)}
	case 16:
		out = binary.BigEndian.AppendUint16([]byte{head, masked | 126}, uint16(n))
	default:
		out = binary.BigEndian.AppendUint64([]byte{head, masked | 127}, uint64(n))
	}
	out = append(out, mask...)
	for i, b := range payload {
		if mask != nil {
			b ^= mask[i%4]
		}
		out = append(out, b)
	}
	return out
}

// text and binary are messages as the vendor's libraries send them.
func text(s string) []byte        { return rawFrame(0x81, nil, 0, []byte(s)) }
func binaryFrame(p []byte) []byte { return rawFrame(0x82, nil, 0, p) }

// feeds cuts audio into commands p of n bytes.
func feeds(audio []byte, n int) []byte {
	var out []byte
	for len(audio) > 0 {
		n := min(n, len(audio))
		out = append(out, binaryFrame(append([]byte("p"), audio[:n]...))...)
		audio = audio[n:]
	}
	return out
}

// peer is a client on a socket of its own.
type peer struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// serveStreams serves a sandbox, and in the end holds that no request is left.
func serveStreams(t testing.TB, cfg Config) (addr string) {
	t.Helper()
	h := NewAmiVoice(cfg)
	var running sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		left := make(chan struct{})
		go func() { running.Wait(); close(left) }()
		select {
		case <-left:
		case <-time.After(20 * time.Second):
			t.Error("a stream outlived its client")
		}
	})
	return server.Listener.Addr().String()
}

// dial sends a handshake and what else there is in one segment, and reads the
// answer to the handshake.
func dial(t testing.TB, addr, shake string, first ...[]byte) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, conn: conn, r: bufio.NewReader(conn)}
	out := []byte(shake)
	for _, f := range first {
		out = append(out, f...)
	}
	p.send(out)
	got := make([]byte, len(shaken))
	if _, err := io.ReadFull(p.r, got); err != nil || string(got) != shaken {
		t.Fatalf("error %v after %q", err, got)
	}
	return p
}

func (p *peer) send(frames ...[]byte) {
	p.t.Helper()
	for _, f := range frames {
		if _, err := p.conn.Write(f); err != nil {
			p.t.Fatal(err)
		}
	}
}

// frame reads one frame, which must be final and unmasked, and have the
// shortest length that does.
func (p *peer) frame() (opcode byte, payload []byte) {
	p.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(p.r, head); err != nil {
		p.t.Fatal(err)
	}
	size := uint64(head[1])
	if size == 126 || size == 127 {
		length := make([]byte, 2+6*(size-126))
		if _, err := io.ReadFull(p.r, length); err != nil {
			p.t.Fatal(err)
		}
		size = 0
		for _, b := range length {
			size = size<<8 | uint64(b)
		}
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(p.r, payload); err != nil {
		p.t.Fatal(err)
	}
	if rendered := rawFrame(head[0], nil, 0, payload); head[0]&0xF0 != 0x80 || head[1] != rendered[1] {
		p.t.Fatalf("frame begins % x, want it final, unmasked and no longer than it needs", head)
	}
	return head[0] & 0x0F, payload
}

// want reads text messages, one for each that is wanted.
func (p *peer) want(messages ...string) {
	p.t.Helper()
	for _, message := range messages {
		if opcode, payload := p.frame(); opcode != 1 || string(payload) != message {
			p.t.Fatalf("got opcode %d, %q; want the text %q", opcode, payload, message)
		}
	}
}

// wantClose reads a Close frame with that code, and the end of the connection.
func (p *peer) wantClose(code uint16) {
	p.t.Helper()
	opcode, payload := p.frame()
	if opcode != 8 || len(payload) < 2 || binary.BigEndian.Uint16(payload) != code {
		p.t.Fatalf("got opcode %d, %q; want a Close of %d", opcode, payload, code)
	}
	if rest, err := io.ReadAll(p.r); err != nil || len(rest) > 0 {
		p.t.Fatalf("%q and error %v after the Close", rest, err)
	}
}

var anySession = regexp.MustCompile(`[0-9a-f]{24}`)

// events reads messages up to an answer to the command e, with the session's ID taken out.
func (p *peer) events() []string {
	p.t.Helper()
	var out []string
	for {
		opcode, payload := p.frame()
		if opcode != 1 {
			p.t.Fatalf("got opcode %d, %q; want text", opcode, payload)
		}
		message := anySession.ReplaceAllString(string(payload), "ID")
		out = append(out, message)
		if message == "e" || strings.HasPrefix(message, "e ") {
			return out
		}
	}
}
