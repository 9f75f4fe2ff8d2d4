package caddymodule_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/admin"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// connections returns how many connections the backend has had.
func (b *backend) connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.recorded)
}

// streams returns the live streams.
func (g *gateway) streams() []livestream.Snapshot { return g.live.List() }

// wantNoStreams waits until there are no live streams.
func (g *gateway) wantNoStreams(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { return len(g.streams()) == 0 })
}

// cutStreams cuts the streams that match, like an operator.
func (g *gateway) cutStreams(match func(*livestream.Snapshot) bool) {
	g.live.CutIf(match)
}

func TestR21_NoConnectionToTheBackendWithoutAKey(t *testing.T) {
	g := streamGateway(t, "start_timeout 300ms\nmax_early_frames 3")
	_, expired := g.expired()
	_, good := g.issue(keystore.NewKey{})
	for name, test := range map[string]struct {
		do   func(*streamClient)
		told string
	}{
		"nothing":        {func(*streamClient) {}, "e timeout occurred"},
		"an unknown key": {func(c *streamClient) { c.start("nobody") }, refusedStart},
		"an expired key": {func(c *streamClient) { c.start(expired) }, refusedStart},
		"no key":         {func(c *streamClient) { c.text("s 16K -a-general") }, refusedStart},
		"no command":     {func(c *streamClient) { c.text("hello") }, unreadableStart},
		"audio":          {func(c *streamClient) { _ = c.audio([]byte("x")) }, cutStream},
		"a command in part": {func(c *streamClient) {
			_, _ = c.Write(wstest.RawText("s 16K authorization=" + good)[:20])
		}, "e timeout occurred"},
		"too many Pongs": {func(c *streamClient) {
			_, _ = c.Write(bytes.Repeat(wstest.Raw(wstest.Fin|wstest.OpPong, wstest.Mask(), 0, nil), 4))
		}, unreadableStart},
		"a client that leaves": {func(c *streamClient) { _ = c.Close() }, ""},
		"a Close": {func(c *streamClient) {
			_, _ = c.Write(wstest.Raw(wstest.Fin|wstest.OpClose, wstest.Mask(), 0, []byte{3, 232}))
		}, "a Close"},
	} {
		t.Run(name, func(t *testing.T) {
			c := g.dialStream("").upgraded()
			test.do(c)
			switch test.told {
			case "":
			case "a Close":
				c.WantOpcode(wstest.OpClose)
			default:
				c.WantText(test.told)
			}
			_ = c.Close()
			g.wantNoStreams(t)
			if n := g.backend.connections(); n != 0 {
				t.Errorf("the backend has had %d connections", n)
			}
		})
	}
	lines := 0
	for line := range strings.Lines(g.log()) {
		if strings.Contains(line, "no start command came within start_timeout") {
			lines++
			if !strings.Contains(line, `"reason":"request_malformed"`) {
				t.Errorf("it is logged as %s", line)
			}
		}
	}
	if lines != 2 {
		t.Errorf("%d streams without a command are logged", lines)
	}
	// The gate answers a Ping itself, and does not forward it.
	c := g.dialStream("").upgraded()
	_, _ = c.Write(wstest.Raw(wstest.Fin|wstest.OpPing, wstest.Mask(), 0, []byte("x")))
	c.WantOpcode(wstest.OpPong)
	c.start(good)
	c.WantText("s")
	if got := g.backend.received(); g.backend.connections() != 1 || !strings.HasSuffix(got, "\r\n\r\n"+string(wstest.RawText("s 16K -a-general authorization="+backendKey))) {
		t.Errorf("the backend has had %d connections, and got %q", g.backend.connections(), got)
	}
}

// If there is no backend, the handshake is answered nevertheless. The start command gets the error
// message of the API.
func TestR21_ABackendThatIsDead(t *testing.T) {
	fallback, got := rawBackend(t, changes+"\r\n")
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey + "\nmax_streams 1",
		// Error routes must not open the stream without its guard.
		site: "reverse_proxy " + freeAddr(t) + "\nhandle_errors {\nreverse_proxy " + fallback + "\n}",
	})
	_, key := g.issue(keystore.NewKey{})
	for range 2 { // the place of the first is free again
		c := g.dialStream("").upgraded()
		c.start(key)
		if err := c.audio([]byte("at once")); err != nil {
			t.Fatal(err)
		}
		c.WantText(failedStart)
		c.WantOpcode(wstest.OpClose)
		c.wantEnd()
		g.wantNoStreams(t)
	}
	if got := got(); got != "" {
		t.Errorf("the fallback got %q", got)
	}
	if text := g.log(); !strings.Contains(text, `"level":"error"`) || !strings.Contains(text, "the backend does not open a stream") || strings.Contains(text, backendKey) || strings.Contains(text, key) {
		t.Error("the log does not say what is wrong, or has a key")
	}
}

func TestR21_ABackendThatOpensNoStream(t *testing.T) {
	g := streamGateway(t, "")
	_, key := g.issue(keystore.NewKey{})
	for _, status := range []int{200, 302, 401, 404, 426, 500} {
		g.backend.respond(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://backend.example/"+backendKey)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "the backend's own words "+backendKey)
		})
		g.backend.received()
		c := g.dialStream("", wstest.RawText("s 16K x authorization="+key)...).upgraded()
		c.WantText(failedStart)
		c.WantOpcode(wstest.OpClose)
		c.wantEnd()
		if strings.Contains(g.backend.received(), "authorization") {
			t.Error("a frame reached the backend")
		}
		if want := fmt.Sprintf(`the backend does not open a stream","status":%d`, status); !strings.Contains(g.log(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
	g.wantNoStreams(t)
	if strings.Contains(g.log(), backendKey) {
		t.Error("the log has the backend's key")
	}
}

// A cut ends a stream before the time of a silent backend is over. The client then gets the text of the
// cut, and not the text of a backend that is silent.
func TestR21_ACutDuringTheHandshakeWithTheBackend(t *testing.T) {
	silent, _ := rawBackend(t, "")
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: "reverse_proxy " + silent})
	key, secret := g.issue(keystore.NewKey{})
	for name, end := range map[string]func(){
		"a cut":        func() { g.cutStreams(func(*livestream.Snapshot) bool { return true }) },
		"a revocation": func() { g.revoke(key) },
	} {
		t.Run(name, func(t *testing.T) {
			c := g.dialStream("").upgraded()
			c.start(secret)
			eventually(t, func() bool { all := g.streams(); return len(all) == 1 && !all[0].Accepted.IsZero() })
			end()
			c.WantText(cutStream)
			_ = c.Close()
			g.wantNoStreams(t)
		})
		if name == "a revocation" {
			_, secret = g.issue(keystore.NewKey{})
		}
	}
}

func (g *gateway) revoke(key policy.Key) {
	g.t.Helper()
	if _, err := g.keys.RevokeKey(g.t.Context(), now(), operator, key.ID, ""); err != nil {
		g.t.Fatal(err)
	}
}

// A stream can wait for its first command while the configuration is reloaded. It is listed and cut
// like any other, and does not go to the backend of the old configuration.
func TestR21_WaitingStreamsAreListedAndCut(t *testing.T) {
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: "reverse_proxy {backend} {\nstream_close_delay 1h\n}"})
	g.backend.respond(sandbox.NewAmiVoice(sandbox.Config{Key: backendKey}).ServeHTTP)
	key, secret := g.issue(keystore.NewKey{})
	c, cut := g.dialStream("").upgraded(), g.dialStream("").upgraded()
	eventually(t, func() bool { return len(g.streams()) == 2 })
	g.options += "\nmax_head 32KiB"
	g.load()
	if all := g.streams(); len(all) != 2 || all[0].Owner.KeyID != "" || !all[0].Accepted.IsZero() || all[0].Client.String() != "127.0.0.1" {
		t.Errorf("they are listed as %+v", all)
	}
	second := g.streams()[1].ID
	g.cutStreams(func(s *livestream.Snapshot) bool { return s.ID == second })
	cut.WantText(cutStream)
	c.start(secret)
	c.WantText("s can't connect to recognizer server")
	c.wantEnd()
	if sent := g.backend.received(); sent != "" {
		t.Errorf("the backend got %q", sent)
	}
	c = g.dialStream("").upgraded()
	c.start(secret)
	c.WantText("s")
	c.wav()
	c.text("e")
	c.Until("e")
	g.revoke(key)
	c.Until(cutStream)
	c.wantEnd()
	t.Run("they end with the server", func(t *testing.T) {
		c := g.dialStream("").upgraded()
		begun := time.Now()
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > soon { // less than the minute of start_timeout
			t.Errorf("the server waits %s for a stream that has shown no key", took)
		}
		_ = c.Close()
		g.wantNoStreams(t)
	})
}

// The backend's answer to the handshake is shown to no client, and is not logged.
func TestR18_TheBackendsHandshakeIsNotShown(t *testing.T) {
	backend, got := rawBackend(t, changes+"Sec-WebSocket-Extensions: permessage-deflate\r\nX-Echo: a "+backendKey+"\r\nSet-Cookie: a=b\r\nX-Session-ID: 7\r\n\r\n")
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: "reverse_proxy " + backend})
	_, key := g.issue(keystore.NewKey{})
	c := g.dialStream("Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a\r\n")
	var head strings.Builder
	for {
		line, err := c.Reader.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if head.WriteString(line); line == "\r\n" {
			break
		}
	}
	text := head.String()
	for _, want := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in %q", want, text)
		}
	}
	c.start(key)
	c.text("e")
	eventually(t, func() bool { return strings.Contains(g.log(), "upgrading connection") })
	_ = c.Close()
	got()
	eventually(t, func() bool { return strings.Contains(g.log(), `"msg":"handled request"`) })
	if strings.Contains(g.log(), backendKey) {
		t.Error("the log has the backend's key")
	}
	for _, leak := range []string{"Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Set-Cookie", "X-Echo"} {
		if strings.Contains(text, leak) {
			t.Errorf("%q is told", leak)
		}
	}
}

func TestStream_Versions(t *testing.T) {
	g := streamGateway(t, "")
	g.dialStream("Sec-WebSocket-Version: 13\r\n").upgraded()
	g.dialStream("").upgraded()
	got := g.send(g.handshake("Sec-WebSocket-Version: 7\r\n"))
	if got.status != http.StatusBadRequest || got.header.Get("Sec-Websocket-Version") != "13" {
		t.Errorf("version 7 is answered by %+v", got)
	}
}

func TestR16_ARefusedUpstreamKeyOnAStream(t *testing.T) {
	g := streamGateway(t, "")
	g.backend.respond(sandbox.NewAmiVoice(sandbox.Config{Key: "another"}).ServeHTTP)
	_, key := g.issue(keystore.NewKey{})
	before := counted(t, policy.Stream, policy.UpstreamRefused)
	for range 3 {
		c := g.dialStream("").upgraded()
		c.start(key)
		c.WantText(failedStart)
		_ = c.Close()
	}
	g.wantNoStreams(t) // a stream ends after its report
	if n := counted(t, policy.Stream, policy.UpstreamRefused) - before; n != 3 {
		t.Errorf("%v decisions are counted", n)
	}
	errors := 0
	for line := range strings.Lines(g.log()) {
		if strings.Contains(line, "upstream key refused") && strings.Contains(line, `"level":"error"`) {
			errors++
		}
	}
	if errors != 1 {
		t.Errorf("%d errors are logged within a minute, want 1", errors)
	}
}

// A reload to another storage, or one that fails, leaves the live streams under control.
func TestR22_StreamsOutliveAReloadToAnotherStorage(t *testing.T) {
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey + "\nmax_streams 1", site: "reverse_proxy {backend} {\nstream_close_delay 1h\n}"})
	g.backend.respond(sandbox.NewAmiVoice(sandbox.Config{Key: backendKey}).ServeHTTP)
	key, secret := g.issue(keystore.NewKey{})
	first := g.dialStream("").upgraded()
	first.start(secret)
	first.WantText("s")
	for name, reload := range map[string]func(string) error{
		"fails":    func(config string) error { return loadCaddyfile(strings.Replace(config, backendKey, "none", 1)) },
		"succeeds": loadCaddyfile,
	} {
		err := reload(strings.Replace(g.config(), "/storage", "/another-storage-that-"+name, 1))
		if (err != nil) != (name == "fails") {
			t.Fatalf("a reload that %s: %v", name, err)
		}
		holdsSoon(t, "after a reload that "+name+", the stream is listed, and no other", func() bool {
			all := listed(t)
			return len(all) == 1 && all[0]["key_id"] == key.ID
		})
		second := g.dialStream("").upgraded()
		second.start(secret)
		second.WantText("s can't connect to recognizer server")
		second.wantEnd()
	}
	if status, answer := askAdmin(t, http.MethodPost, admin.CutPath, `{"key_id":"`+key.ID+`"}`); status != http.StatusOK || answer != `{"cut":1}` {
		t.Errorf("status %d, %s", status, answer)
	}
	first.WantText(cutStream)
	first.WantEndOrReset()
}
