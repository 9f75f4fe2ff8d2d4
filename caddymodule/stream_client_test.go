package caddymodule_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
)

// wsClient is a client as the vendor's libraries are: no version in the
// handshake, no masks, one frame one message.
type wsClient struct {
	t      *testing.T
	conn   net.Conn
	reader *bufio.Reader
	masked bool
}

const wsHandshake = "GET /v1/ HTTP/1.1\r\nHost: %s\r\nUser-Agent: Wrp/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"

// dialStream opens a connection, with bytes in the same segment as the handshake.
func (g *gateway) dialStream(headers string, early ...byte) *wsClient {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &wsClient{t: g.t, conn: conn, reader: bufio.NewReader(conn)}
	if _, err := conn.Write(append(fmt.Appendf(nil, wsHandshake, g.addr, headers), early...)); err != nil {
		g.t.Fatal(err)
	}
	return c
}

// upgraded reads the answer to the handshake, which must change protocols.
func (c *wsClient) upgraded() *wsClient {
	c.t.Helper()
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		c.t.Fatalf("the handshake is answered by %v, %v", resp, err)
	}
	return c
}

func wsFrame(opcode byte, masked bool, payload []byte) []byte {
	frame := []byte{0x80 | opcode}
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		frame = append(frame, bit|byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, bit|126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, bit|127), uint64(n))
	}
	if !masked {
		return append(frame, payload...)
	}
	mask := []byte{1, 2, 3, 4}
	frame = append(frame, mask...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	return frame
}

func (c *wsClient) text(format string, args ...any) {
	c.t.Helper()
	if _, err := c.conn.Write(wsFrame(1, c.masked, fmt.Appendf(nil, format, args...))); err != nil {
		c.t.Fatal(err)
	}
}

func (c *wsClient) start(key string) { c.t.Helper(); c.text("s 16K -a-general authorization=%s", key) }

func (c *wsClient) audio(p []byte) error {
	_, err := c.conn.Write(wsFrame(2, c.masked, append([]byte{'p'}, p...)))
	return err
}

// wav sends a recording as the libraries do.
func (c *wsClient) wav() {
	c.t.Helper()
	for wav := sandbox.SpeechWAV(); len(wav) > 0; {
		n := min(4096, len(wav))
		if err := c.audio(wav[:n]); err != nil {
			c.t.Fatal(err)
		}
		wav = wav[n:]
	}
}

// read returns the next message, a control frame's as its opcode.
func (c *wsClient) read() (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.reader, head[:]); err != nil {
		return "", err
	}
	n := uint64(head[1] & 0x7f)
	switch n {
	case 126:
		var long [2]byte
		if _, err := io.ReadFull(c.reader, long[:]); err != nil {
			return "", err
		}
		n = uint64(binary.BigEndian.Uint16(long[:]))
	case 127:
		var long [8]byte
		if _, err := io.ReadFull(c.reader, long[:]); err != nil {
			return "", err
		}
		n = binary.BigEndian.Uint64(long[:])
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(c.reader, payload); err != nil {
		return "", err
	}
	if opcode := head[0] & 0xf; head[0] != 0x81 {
		return fmt.Sprintf("opcode %d", opcode), nil
	}
	return string(payload), nil
}

func (c *wsClient) want(message string) {
	c.t.Helper()
	if got, err := c.read(); err != nil || got != message {
		c.t.Fatalf("got %q, %v; want %q", got, err, message)
	}
}

// until reads messages up to this one, and returns them.
func (c *wsClient) until(message string) (before []string) {
	c.t.Helper()
	for {
		got, err := c.read()
		if err != nil {
			c.t.Fatalf("%v, after %q; want %q", err, before, message)
		}
		if got == message {
			return before
		}
		before = append(before, got)
	}
}

// ends checks that the connection closes, after nothing but a Close frame.
func (c *wsClient) ends() {
	c.t.Helper()
	got, err := c.read()
	if err == nil && got == "opcode 8" {
		got, err = c.read()
	}
	if !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		c.t.Errorf("the connection goes on with %q, %v", got, err)
	}
}
