package caddymodule_test

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/wstest"
)

// streamClient is a client like AmiVoice's libraries: its handshake has no version, its frames have
// no masks, and each message is one frame.
type streamClient struct {
	*wstest.Peer
	t *testing.T
}

// handshake returns the handshake of a client of g.
func (g *gateway) handshake(headers ...string) string {
	return wstest.LibraryHandshake("/v1/", g.addr, headers...)
}

// dialStream opens a connection, and sends more bytes in the same segment as the handshake.
func (g *gateway) dialStream(headers string, early ...byte) *streamClient {
	g.t.Helper()
	return &streamClient{wstest.Dial(g.t, g.addr, g.handshake(headers), early), g.t}
}

// upgraded reads the answer to the handshake, which must change protocols.
func (c *streamClient) upgraded() *streamClient {
	c.t.Helper()
	c.Upgraded()
	return c
}

// wantEnd closes the client's half of the connection, as a client does after a final message, and reads the
// end of the connection. Otherwise the gate would wait 600 ms for the client.
func (c *streamClient) wantEnd() {
	c.t.Helper()
	_ = c.Conn.(*net.TCPConn).CloseWrite() // an error says that the connection has ended
	c.WantEndOrReset()
}

func (c *streamClient) text(format string, args ...any) {
	c.t.Helper()
	c.SendText(fmt.Sprintf(format, args...))
}

func (c *streamClient) start(key string) {
	c.t.Helper()
	c.text("s 16K -a-general authorization=%s", key)
}

func (c *streamClient) audio(p []byte) error { return c.SendBinary(append([]byte{'p'}, p...)) }

// wav sends a recording like the libraries.
func (c *streamClient) wav() {
	c.t.Helper()
	for piece := range slices.Chunk(sandbox.SpeechWAV(), 4096) {
		if err := c.audio(piece); err != nil {
			c.t.Fatal(err)
		}
	}
}
