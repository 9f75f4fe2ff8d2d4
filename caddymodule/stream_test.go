package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// The messages to clients: the key is refused, the command cannot be read, the backend opens no
// stream, and the stream is cut.
const (
	refusedStart    = "s received illegal service authorization"
	unreadableStart = "s received unreadable request"
	failedStart     = "s can't connect to recognizer server"
	cutStream       = "p can't feed audio data to recognizer server"
)

// streamGateway returns a gateway with an upstream key, in front of a sandbox.
func streamGateway(t *testing.T, options string) *gateway {
	t.Helper()
	g := newGateway(t, "upstream_key "+backendKey+"\n"+options)
	g.backend.respond(sandbox.NewAmiVoice(sandbox.Config{Key: backendKey}).ServeHTTP)
	return g
}

func TestStream_RecognizesToTheFinalResult(t *testing.T) {
	g := streamGateway(t, "")
	_, key := g.issue(keystore.NewKey{})
	for name, mask := range map[string][]byte{"unmasked": nil, "masked": wstest.Mask()} {
		t.Run(name, func(t *testing.T) {
			command := []byte("s 16K -a-general profileWords=\"x authorization=FAKE\" authorization=" + key + " resultUpdatedInterval=500")
			c := g.dialStream("", wstest.Raw(wstest.Fin|wstest.OpText, mask, 0, command)...).upgraded()
			c.Masked = mask != nil
			c.WantText("s")
			c.wav()
			c.text("e")
			events := strings.Join(c.Until("e"), "\n")
			if !strings.Contains(events, "\nA {") || !strings.Contains(events, "S ") || !strings.Contains(events, "of 16000 Hz") {
				t.Errorf("events %s", events)
			}
			got := g.backend.received()
			if strings.Contains(got, key) || !strings.Contains(got, "FAKE") && mask == nil {
				t.Error("the backend got the client's key, or another command")
			}
			if head, _, _ := strings.Cut(got, "\r\n\r\n"); strings.Contains(head, "Extensions") || strings.Contains(head, "Cookie") {
				t.Errorf("the handshake went on as %q", head)
			}
		})
	}
}

func TestStream_EveryStartIsChecked(t *testing.T) {
	g := streamGateway(t, "")
	_, first := g.issue(keystore.NewKey{})
	_, second := g.issue(keystore.NewKey{AccountID: g.newAccount("Other").ID})
	_, expired := g.expired()
	c := g.dialStream("").upgraded()
	for _, key := range []string{first, second} {
		c.start(key)
		c.WantText("s")
		c.wav()
		c.text("e")
		c.Until("e")
	}
	g.backend.received()
	c.start(expired)
	c.WantText(refusedStart)
	c.WantEndOrReset()
	if got := g.backend.received(); strings.Contains(got, "authorization") {
		t.Errorf("after the refusal the backend got %q", got)
	}
}

func TestStream_RefusesEveryReason(t *testing.T) {
	g := streamGateway(t, "")
	_, key := g.issue(keystore.NewKey{})
	_, expired := g.expired()
	_, bound := g.issue(keystore.NewKey{Allow: g.allow("203.0.113.0/24")})
	gone, revoked := g.issue(keystore.NewKey{})
	if _, err := g.keys.RevokeKey(t.Context(), now(), operator, gone.ID, ""); err != nil {
		t.Fatal(err)
	}
	thrown, deleted := g.issue(keystore.NewKey{})
	if _, err := g.keys.DeleteKey(t.Context(), now(), operator, thrown.ID); err != nil {
		t.Fatal(err)
	}
	closed := g.newAccount("Closed")
	_, closedKey := g.issue(keystore.NewKey{AccountID: closed.ID})
	if _, err := g.keys.CloseAccount(t.Context(), now(), operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	for reason, command := range map[string]string{
		"key_unknown":          "s 16K -a-general authorization=nobody",
		"key_expired":          "s 16K -a-general authorization=" + expired,
		"address_refused":      "s 16K -a-general authorization=" + bound,
		"key_revoked":          "s 16K -a-general authorization=" + revoked,
		"key_deleted":          "s 16K -a-general authorization=" + deleted,
		"account_closed":       "s 16K -a-general authorization=" + closedKey,
		"credential_missing":   "s 16K -a-general",
		"credential_ambiguous": "s 16K -a-general authorization=" + key + " authorization=" + key,
		"credential_malformed": "s 16K -a-general authorization=" + key + "x",
	} {
		t.Run(reason, func(t *testing.T) {
			g.backend.received()
			c := g.dialStream("").upgraded()
			c.text("%s", command)
			c.WantText(refusedStart)
			c.wantEnd()
			_, after, _ := strings.Cut(g.backend.received(), "\r\n\r\n")
			if strings.Contains(after, "s 16K") {
				t.Errorf("the backend got %q", after)
			}
			eventually(t, func() bool { return strings.Contains(g.log(), `"reason":"`+reason+`","operation":"stream"`) })
		})
	}
	// A key that is bound to this address is good.
	c := g.dialStream("X-Forwarded-For: 203.0.113.5\r\n").upgraded()
	c.start(bound)
	c.WantText("s")
}

func TestR14_LiveStreamsAreCut(t *testing.T) {
	for name, end := range map[string]func(*gateway, policy.Key) error{
		"revoked": func(g *gateway, k policy.Key) error {
			_, err := g.keys.RevokeKey(g.t.Context(), now(), operator, k.ID, "")
			return err
		},
		"deleted": func(g *gateway, k policy.Key) error {
			_, err := g.keys.DeleteKey(g.t.Context(), now(), operator, k.ID)
			return err
		},
		"suspended": func(g *gateway, k policy.Key) error {
			_, err := g.keys.SuspendKey(g.t.Context(), now(), operator, k.ID, "")
			return err
		},
		"account suspended": func(g *gateway, k policy.Key) error {
			_, err := g.keys.SuspendAccount(g.t.Context(), now(), operator, k.AccountID, "")
			return err
		},
		"account closed": func(g *gateway, k policy.Key) error {
			_, err := g.keys.CloseAccount(g.t.Context(), now(), operator, k.AccountID)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := streamGateway(t, "")
			account := g.newAccount("Ends")
			key, secret := g.issue(keystore.NewKey{AccountID: account.ID})
			_, other := g.issue(keystore.NewKey{})
			c, idle, bystander := g.dialStream("").upgraded(), g.dialStream("").upgraded(), g.dialStream("").upgraded()
			c.start(secret)
			c.WantText("s")
			idle.start(secret)
			idle.WantText("s")
			idle.text("e")
			idle.WantText("e")
			bystander.start(other)
			bystander.WantText("s")
			if err := c.audio(sandbox.SpeechWAV()[:4096]); err != nil {
				t.Fatal(err)
			}
			// Another process writes the change, like the command line.
			if err := end(g, key); err != nil {
				t.Fatal(err)
			}
			c.Until("p can't feed audio data to recognizer server")
			c.wantEnd()
			idle.WantText("p can't feed audio data to recognizer server")
			idle.wantEnd()
			if err := bystander.audio(sandbox.SpeechWAV()); err != nil {
				t.Error(err)
			}
			bystander.text("e")
			bystander.Until("e")
			eventually(t, func() bool { return len(g.streams()) == 1 })
			_ = bystander.Close()
			eventually(t, func() bool { return len(g.streams()) == 0 })
		})
	}
}

func TestR14_OnExpiry(t *testing.T) {
	for mode, cut := range map[string]bool{"": false, "on_expiry finish": false, "on_expiry cut": true} {
		t.Run(mode, func(t *testing.T) {
			g := streamGateway(t, mode)
			var c *streamClient
			var secret string
			g.inTime(func(brief string, _ policy.Time) bool {
				secret = brief
				c = g.dialStream("").upgraded()
				c.start(secret)
				return c.Next() == wstest.Text("s")
			})
			if cut {
				c.WantText("p can't feed audio data to recognizer server")
				c.wantEnd()
				return
			}
			holdsSoon(t, "the key has expired", func() bool { return g.poll("j", secret).status == http.StatusUnauthorized })
			c.wav()
			c.text("e")
			c.Until("e")
			// The next start command is decided on its own.
			c.start(secret)
			c.WantText(refusedStart)
		})
	}
}

func TestStream_MaxStreams(t *testing.T) {
	g := streamGateway(t, "max_streams 2 3\nmax_pending_streams 3")
	account := g.newAccount("Busy")
	_, one := g.issue(keystore.NewKey{AccountID: account.ID})
	_, two := g.issue(keystore.NewKey{AccountID: account.ID})
	begin := func(key, want string) *streamClient {
		t.Helper()
		c := g.dialStream("").upgraded()
		c.start(key)
		c.WantText(want)
		return c
	}
	const full = "s can't connect to recognizer server"
	running := []*streamClient{begin(one, "s"), begin(one, "s")}
	begin(one, full)
	running = append(running, begin(two, "s"))
	begin(two, full)
	for _, c := range running {
		_ = c.Close()
	}
	eventually(t, func() bool { return len(g.streams()) == 0 })

	for range 3 {
		g.dialStream("").upgraded()
	}
	c := g.dialStream("")
	if resp, err := http.ReadResponse(c.Reader, nil); err != nil || resp.StatusCode == http.StatusSwitchingProtocols {
		t.Errorf("a fourth that waits: %v, %v", resp, err)
	}
	g.dialStream("X-Forwarded-For: 203.0.113.5\r\n").upgraded()
	if n := strings.Count(g.log(), `"msg":"refused","reason":"stream_limit"`); n != 3 {
		t.Errorf("%d refusals for stream_limit, want 3:\n%s", n, g.log())
	}
}

func TestStream_MaxStreamTime(t *testing.T) {
	g := streamGateway(t, "max_stream_time 500ms")
	_, secret := g.issue(keystore.NewKey{})
	begun := time.Now()
	c := g.dialStream("", wstest.RawText("s 16K -a-general authorization="+secret)...).upgraded()
	c.Until(cutStream)
	if took := time.Since(begun); took < 499*time.Millisecond { // the gateway counts whole milliseconds
		t.Errorf("it is cut after %s", took)
	}
	c.wantEnd()
	holdsSoon(t, "the log says why", func() bool {
		return strings.Count(g.log(), `"msg":"stream cut","reason":"stream_too_long"`) == 1
	})
}

func TestStream_NeedsACompleteHandshake(t *testing.T) {
	g := streamGateway(t, "")
	for name, request := range map[string]string{
		"h2c":             "GET /v1/ HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"a mixed list":    "GET /v1/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket, h2c\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"two upgrades":    "GET /v1/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nUpgrade: h2c\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"without a key":   "GET /v1/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
		"by POST":         "POST /v1/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n\r\n",
		"with a body":     "GET /v1/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 3\r\n\r\nabc",
		"more to drop":    "GET /v1/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade, authorization\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"HTTP/1.0":        "GET /v1/ HTTP/1.0\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"no upgrade":      "GET /v1/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"on another path": "GET /v1/recognize HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"below the path":  "GET /v1/x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"CONNECT":         "CONNECT /v1/ HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"two keys differ": "GET /v1/?u=a&u=b HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g.backend.received()
			got := g.send(strings.Replace(request, "Host: h", "Host: "+g.addr, 1))
			if got.status == http.StatusSwitchingProtocols || got.status == http.StatusOK && !strings.Contains(got.body, "illegal") {
				t.Errorf("status %d %q", got.status, got.body)
			}
			if got := g.backend.received(); got != "" {
				t.Errorf("the backend got %q", got)
			}
		})
	}
}

func TestStream_HandshakeGoesUpstreamWithoutCredentials(t *testing.T) {
	g := streamGateway(t, "")
	_, key := g.issue(keystore.NewKey{})
	request := strings.Replace(g.handshake("Authorization: Bearer "+key+"\r\nCookie: a=b\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Version: 13\r\n"),
		"/v1/ ", "/v1/?u="+key+"&x=1 ", 1)
	c := &streamClient{wstest.Dial(t, g.addr, request), t}
	c.upgraded().start(key)
	c.WantText("s")
	got := g.backend.received()
	for _, leak := range []string{key, "Cookie", "Authorization", "permessage"} {
		if strings.Contains(got, leak) {
			t.Errorf("the backend got %q in %q", leak, got)
		}
	}
	if !strings.Contains(got, "GET /v1/?x=1 ") || !strings.Contains(got, "Upgrade: websocket") {
		t.Errorf("the backend got %q", got)
	}
	if strings.Contains(g.log(), key) {
		t.Error("the log has the key")
	}
}

func TestStream_SurvivesAReloadAndCanBeCut(t *testing.T) {
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: "reverse_proxy {backend} {\nstream_close_delay 1h\n}"})
	g.backend.respond(sandbox.NewAmiVoice(sandbox.Config{Key: backendKey}).ServeHTTP)
	key, secret := g.issue(keystore.NewKey{})
	c := g.dialStream("").upgraded()
	c.start(secret)
	c.WantText("s")
	g.options += "\nmax_head 32KiB"
	g.load()
	c.wav()
	c.text("e")
	c.Until("e")
	c.start(secret)
	c.WantText("s")
	if _, err := g.keys.RevokeKey(t.Context(), now(), operator, key.ID, ""); err != nil {
		t.Fatal(err)
	}
	c.WantText("p can't feed audio data to recognizer server")
	c.wantEnd()
}

func TestStream_GoesOnIfTheStoreFails(t *testing.T) {
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, global: "max_staleness 1s"})
	g.backend.respond(sandbox.NewAmiVoice(sandbox.Config{Key: backendKey}).ServeHTTP)
	_, secret := g.issue(keystore.NewKey{})
	c := g.dialStream("").upgraded()
	c.start(secret)
	c.WantText("s")
	g.place.Spoil(t)
	eventually(t, func() bool { return !serverStore(t).Stats().Open }) // the key in the cache counts no longer
	// The accepted stream goes on; new streams are refused.
	c.wav()
	c.text("e")
	c.Until("e")
	late := g.dialStream("").upgraded()
	late.start(secret)
	late.WantText("s can't connect to recognizer server")
	late.wantEnd()
}
