package sandbox

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

// The handshakes of the vendor's client libraries and of a browser, and the
// answer to both.
var (
	libraryShake = wstest.LibraryHandshake("/v1/", "127.0.0.1:18081")
	browserShake = wstest.BrowserHandshake("/v1/nolog/", "localhost")
)

const shaken = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Accept: " + wstest.Accept + "\r\n\r\n"

// feeds returns commands p with n bytes of audio each.
func feeds(audio []byte, n int) []byte {
	var out []byte
	for len(audio) > 0 {
		n := min(n, len(audio))
		out = append(out, wstest.RawBinary("p"+string(audio[:n]))...)
		audio = audio[n:]
	}
	return out
}

// client is a client of the sandbox.
type client struct {
	*wstest.Peer
	t testing.TB
}

// serveStreams serves a sandbox, and checks in the end that no request is running.
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

// dial sends a handshake and more bytes in one segment, and reads the answer to the
// handshake.
func dial(t testing.TB, addr, shake string, first ...[]byte) *client {
	t.Helper()
	p := &client{wstest.Dial(t, addr, shake, first...), t}
	p.Strict = true
	got := make([]byte, len(shaken))
	if _, err := io.ReadFull(p.Reader, got); err != nil || string(got) != shaken {
		t.Fatalf("error %v after %q", err, got)
	}
	return p
}

var anySession = regexp.MustCompile(`[0-9a-f]{24}`)

// events reads messages up to an answer to the command e, with the session's ID taken out.
func (p *client) events() []string {
	p.t.Helper()
	var out []string
	for {
		f := p.Next()
		if f.Opcode != wstest.OpText {
			p.t.Fatalf("got %v; want text", f)
		}
		message := anySession.ReplaceAllString(f.Payload, "ID")
		out = append(out, message)
		if message == "e" || strings.HasPrefix(message, "e ") {
			return out
		}
	}
}
