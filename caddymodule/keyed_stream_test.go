package caddymodule_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// These tests are about streams whose key is in their handshake, in any dialect.

// realtime is the path of OpenAI's streams, which stand for those of every dialect here.
const realtime = "/v1/realtime?intent=transcription"

// openKeyed opens a stream with this key in its header.
func (g *gateway) openKeyed(t *testing.T, secret string) *wstest.Peer {
	t.Helper()
	c, _ := g.dialKeyed(t, realtime, "Authorization: Bearer "+secret)
	return c
}

func TestR14_AKeyedHandshakeIsCutBeforeTheBackendAnswers(t *testing.T) {
	silent, _ := rawBackend(t, "")
	g := newGatewayWith(t, &gateway{dialect: "openai", options: "upstream_key " + backendKey, site: "reverse_proxy " + silent})
	for name, end := range map[string]func(policy.Key){
		"a cut":        func(policy.Key) { g.cutStreams(func(*livestream.Snapshot) bool { return true }) },
		"a revocation": g.revoke,
	} {
		t.Run(name, func(t *testing.T) {
			key, secret := g.issue(keystore.NewKey{})
			c := wstest.Dial(t, g.addr, g.keyedHandshake(realtime, "Authorization: Bearer "+secret))
			eventually(t, func() bool { all := g.streams(); return len(all) == 1 && all[0].Owner.KeyID == key.ID })
			end(key)
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if got := readReply(t, c.Conn); got.status != http.StatusUnauthorized || !strings.Contains(got.body, `"code":"invalid_api_key"`) {
				t.Errorf("status %d, %s", got.status, got.body)
			}
			g.wantNoStreams(t)
		})
	}
	eventually(t, func() bool { return strings.Count(g.log(), `"msg":"stream cut"`) == 2 })
	if text := g.log(); strings.Contains(text, backendKey) {
		t.Error("the log has the key")
	}
}

func TestStream_MaxStreamsCountsKeyedStreams(t *testing.T) {
	g := newDialectGateway(t, "openai", "max_streams 1 2")
	g.backend.realtime(t, "", silence)
	_, one := g.issue(keystore.NewKey{})
	_, two := g.issue(keystore.NewKey{})
	_, three := g.issue(keystore.NewKey{})
	first := g.openKeyed(t, one)
	full := func(secret string) {
		t.Helper()
		c := g.openKeyed(t, secret)
		wantLast(t, c, 1008, `"code":"rate_limit_exceeded"`)
		eventually(t, func() bool { return len(g.streams()) <= 2 })
	}
	full(one)
	second := g.openKeyed(t, two)
	full(three)
	_ = first.Close()
	eventually(t, func() bool { return len(g.streams()) == 1 })
	third := g.openKeyed(t, one)
	eventually(t, func() bool { return len(g.streams()) == 2 })
	_, _ = second.Close(), third.Close()
	g.wantNoStreams(t)
	if n := strings.Count(g.log(), `"msg":"refused","reason":"stream_limit"`); n != 2 {
		t.Errorf("%d refusals for stream_limit, want 2", n)
	}
}

func TestR22_AKeyedStreamOutlivesAReloadAndCanBeCut(t *testing.T) {
	g := newGatewayWith(t, &gateway{dialect: "openai", options: "upstream_key " + backendKey, site: "reverse_proxy {backend} {\nstream_close_delay 1h\n}"})
	g.backend.realtime(t, "", echo("{}"))
	key, secret := g.issue(keystore.NewKey{})
	c := g.openKeyed(t, secret)
	c.WantText("{}")
	g.options += "\nmax_head 32KiB"
	g.load()
	c.Send(wstest.Raw(wstest.Fin|wstest.OpText, wstest.Mask(), 0, []byte("after the reload")))
	c.WantText("echo after the reload")
	if all := g.streams(); len(all) != 1 || all[0].Owner.KeyID != key.ID || all[0].Accepted.IsZero() {
		t.Errorf("it is listed as %+v", all)
	}
	g.revoke(key)
	wantLast(t, c, 1008, "may not be used any more")
	g.wantNoStreams(t)
}

func TestR14_OnExpiryOfAKeyedStream(t *testing.T) {
	for mode, cut := range map[string]bool{"on_expiry finish": false, "on_expiry cut": true} {
		t.Run(mode, func(t *testing.T) {
			g := newDialectGateway(t, "openai", mode)
			g.backend.realtime(t, "", echo("{}"))
			var c *wstest.Peer
			var secret string
			g.inTime(func(brief string, _ policy.Time) bool {
				secret = brief
				c = g.openKeyed(t, secret)
				return c.Next() == wstest.Text("{}")
			})
			if cut {
				wantLast(t, c, 1008, "may not be used any more")
				g.wantNoStreams(t)
				return
			}
			holdsSoon(t, "the key has expired", func() bool {
				return g.request("GET /v1/models", "Authorization: Bearer "+secret+"\r\n").status == http.StatusUnauthorized
			})
			c.Send(wstest.Raw(wstest.Fin|wstest.OpText, wstest.Mask(), 0, []byte("on")))
			c.WantText("echo on")
		})
	}
}

func TestStream_MaxStreamTimeOfAKeyedStream(t *testing.T) {
	g := newDialectGateway(t, "openai", "max_stream_time 500ms")
	g.backend.realtime(t, "", silence)
	_, secret := g.issue(keystore.NewKey{})
	begun := time.Now()
	c := g.openKeyed(t, secret)
	wantLast(t, c, 1008, "may not be used any more")
	if took := time.Since(begun); took < 499*time.Millisecond { // the gateway counts whole milliseconds
		t.Errorf("it is cut after %s", took)
	}
}

// The handlers in front of the gate, and error routes, see no key of a handshake: neither the
// client's nor the backend's.
func TestR18_NoHandlerSeesTheKeyOfAHandshake(t *testing.T) {
	const shown = `"{http.request.header.Authorization}|{http.request.header.Sec-WebSocket-Protocol}|{http.request.uri}"`
	dead := freeAddr(t)
	for name, test := range map[string]struct{ options, site string }{
		"a stream":        {"", "header >X-Seen " + shown + "\nreverse_proxy {backend}"},
		"the gate's 502":  {"", "header >X-Seen " + shown + "\nreverse_proxy " + dead},
		"an error route":  {"backend_errors caddy", "handle_errors {\nheader X-Seen " + shown + "\nrespond \"{http.request.orig_uri}\" 502\n}\nreverse_proxy " + dead},
		"a later handler": {"backend_errors caddy", "handle_errors {\nheader X-Seen " + shown + "\nrespond \"{http.error.message}\" 502\n}\nerror \"no {http.request.header.Authorization} {http.request.header.Sec-WebSocket-Protocol} {http.request.orig_uri}\" 502"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatewayWith(t, &gateway{dialect: "openai", options: "upstream_key " + backendKey + "\n" + test.options, site: test.site})
			g.backend.realtime(t, "realtime", silence)
			_, secret := g.issue(keystore.NewKey{})
			c := wstest.Dial(t, g.addr, g.keyedHandshake(realtime+"&key="+secret, "Authorization: Bearer "+secret, "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key."+secret))
			resp, err := http.ReadResponse(c.Reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			if (resp.StatusCode == http.StatusSwitchingProtocols) != (name == "a stream") || name != "a stream" && resp.StatusCode != http.StatusBadGateway {
				t.Errorf("status %d", resp.StatusCode)
			}
			if resp.StatusCode == http.StatusBadGateway {
				defer resp.Body.Close()
				if body, _ := io.ReadAll(resp.Body); strings.Contains(string(body), secret) || strings.Contains(string(body), backendKey) {
					t.Errorf("the body is %q", body)
				}
			}
			seen := resp.Header.Get("X-Seen")
			if strings.Count(seen, "REDACTED") < 2 || strings.Contains(seen, secret) || strings.Contains(seen, backendKey) {
				t.Errorf("the handler sees %q", seen)
			}
			if text := g.log(); strings.Contains(text, secret) || strings.Contains(text, backendKey) {
				t.Error("the log has a key")
			}
		})
	}
}
