package stream_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/stream"
)

// TestTheSandboxTakesWhatGoesOn has a backend with a parser of its own judge
// what goes on to it: it takes the upstream key and no other.
func TestTheSandboxTakesWhatGoesOn(t *testing.T) {
	backend := httptest.NewServer(sandbox.NewAmiVoice(sandbox.Config{Key: upstreamKey}))
	defer backend.Close()
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := &rig{t: t, done: make(chan struct{})}
		back, err := net.Dial("tcp", backend.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := io.WriteString(back, "GET /v1/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"); err != nil {
			t.Error(err)
		}
		// The sandbox says nothing before a command, so there is nothing behind the head.
		resp, err := http.ReadResponse(bufio.NewReader(back), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("%v, %v", resp, err)
			return
		}
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		inner, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		r.guard = stream.New(r.config())
		r.proxy(inner, back.(*net.TCPConn), brw)
	}))
	defer gate.Close()

	open := func(first ...[]byte) *rig {
		conn, err := net.Dial("tcp", gate.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		c := &rig{t: t, client: conn, fromC: bufio.NewReader(conn)}
		out := []byte("GET /v1/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		for _, f := range first {
			out = append(out, f...)
		}
		c.send(out)
		if resp, err := http.ReadResponse(c.fromC, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", resp, err)
		}
		return c
	}
	// events reads up to the answer to e.
	events := func(c *rig) (all []string) {
		for {
			f, err := readFrame(c.fromC)
			if err != nil {
				t.Fatalf("%v after %q", err, all)
			}
			if all = append(all, f.payload); f.payload == "e" || strings.HasPrefix(f.payload, "e ") {
				return all
			}
		}
	}
	for name, command := range map[string]string{
		"plain":      "s 16K -a-general authorization=" + clientKey,
		"first":      "s 16K -a-general authorization=" + clientKey + " profileId=:x",
		"quoted key": `s 16K -a-general authorization="` + clientKey + `"`,
		"decoy":      `s 16K -a-general profileWords="x authorization=FAKE" authorization=` + clientKey,
		"doubled":    `s 16K -a-general profileWords="say ""hi"" authorization=FAKE" authorization=` + clientKey + ` x=""`,
		"Japanese":   `s 16K -a-general authorization=` + clientKey + ` profileWords="音声 おんせい|認識　にんしき"`,
		"extension":  `s 16K -a-general extension={"a":"b"} authorization=` + clientKey,
	} {
		for _, mask := range [][]byte{nil, mask} {
			c := open(rawFrame(0x81, mask, 0, []byte(command)))
			for range 2 {
				c.wantClient(textOf("s"))
				for speech := sandbox.SpeechWAV(); len(speech) > 0; {
					n := min(4096, len(speech))
					c.send(rawFrame(0x82, mask, 0, append([]byte("p"), speech[:n]...)))
					speech = speech[n:]
				}
				c.send(rawFrame(0x81, mask, 0, []byte("e")))
				if all := events(c); all[len(all)-1] != "e" || len(all) < 10 {
					t.Errorf("%s: told %q", name, all)
				}
				c.send(rawFrame(0x81, mask, 0, []byte(command)))
			}
			c.wantClient(textOf("s"))
			c.client.Close()
		}
	}
	c := open(text("s 16K -a-general authorization=" + upstreamKey))
	c.wantClient(textOf(denied))
	// In pieces of more than 64 KiB, as a browser sends them.
	c = open(text(startText))
	c.wantClient(textOf("s"))
	speech := sandbox.SpeechWAV()
	at := min(len(speech)/2, 65536)
	c.send(rawFrame(0x02, mask, 0, append([]byte("p"), speech[:at]...)), rawFrame(0x80, mask, 0, speech[at:]), text("e"))
	if all := events(c); all[len(all)-1] != "e" || len(all) < 10 {
		t.Errorf("in pieces: told %q", all)
	}
}
