package caddymodule_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/keystore"
)

// inlineWords are as many inline words as the documentation of the API allows in a command.
func inlineWords(n int) string {
	var words strings.Builder
	for i := range n {
		fmt.Fprintf(&words, "単語%d たんご%d|", i, i)
	}
	return `"` + strings.TrimSuffix(words.String(), "|") + `"`
}

// gorilla/websocket sends a message in fragments if it is longer than the write buffer. NextWriter
// also does so when its writer is flushed.
func TestStream_GorillaSendsFragments(t *testing.T) {
	g := streamGateway(t, "")
	_, key := g.issue(keystore.NewKey{})
	for name, test := range map[string]struct {
		buffer, words int
		compress      bool
	}{
		"2,500 words, 4 KiB":   {0, 2500, false},
		"of 32 bytes":          {32, 100, false},
		"compression offered":  {0, 1000, true},
		"in one frame":         {1 << 20, 2500, false},
		"no fragments at all ": {0, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			dialer := websocket.Dialer{WriteBufferSize: test.buffer, EnableCompression: test.compress, HandshakeTimeout: 5 * time.Second}
			conn, resp, err := dialer.DialContext(t.Context(), "ws://"+g.addr+"/v1/", nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			defer conn.Close()
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			ponged := false
			conn.SetPongHandler(func(string) error { ponged = true; return nil })
			if err := conn.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			write := func(kind int, message string) {
				t.Helper()
				if err := conn.WriteMessage(kind, []byte(message)); err != nil {
					t.Fatal(err)
				}
			}
			var events []string
			for range 2 {
				write(websocket.TextMessage, "s 16K -a-general authorization="+key+" profileWords="+inlineWords(test.words))
				write(websocket.BinaryMessage, "p"+string(sandbox.SpeechWAV()))
				write(websocket.TextMessage, "e")
			}
			for ends := 0; ends < 2; {
				kind, message, err := conn.ReadMessage()
				if err != nil || kind != websocket.TextMessage {
					t.Fatalf("after %q: %d %q, %v", events, kind, message, err)
				}
				events = append(events, string(message))
				if string(message) == "e" {
					ends++
				}
			}
			if all := strings.Join(events, "\n"); !ponged || !strings.HasPrefix(all, "s\n") || strings.Count(all, "\nA {") < 2 {
				t.Errorf("a Pong: %v, events %s", ponged, all)
			}
		})
	}
	if strings.Contains(g.backend.received(), key) {
		t.Error("the backend got the client's key")
	}
}
