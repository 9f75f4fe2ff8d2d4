package stream_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/wstest"
)

// In TestTheSandboxTakesWhatGoesOn, the backend is the sandbox, which has a parser of its
// own. It accepts the upstream key only.
func TestTheSandboxTakesWhatGoesOn(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(sandbox.NewAmiVoice(sandbox.Config{Key: upstreamKey}))
	defer backend.Close()
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := &rig{t: t, done: make(chan struct{})}
		// The sandbox sends nothing before it gets a command.
		back := wstest.Dial(t, backend.Listener.Addr().String(), wstest.LibraryHandshake("/v1/", "x")).Upgraded()
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		inner, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		r.guard = r.config().guard()
		r.proxy(inner, back.Conn, brw)
	}))
	defer gate.Close()

	open := func(first ...[]byte) *rig {
		client := wstest.Dial(t, gate.Listener.Addr().String(), wstest.LibraryHandshake("/v1/", "x"), first...)
		return &rig{t: t, client: client.Upgraded()}
	}
	// events reads up to the answer to e.
	events := func(c *rig) (all []string) {
		for {
			f, err := c.client.ReadFrame()
			if err != nil {
				t.Fatalf("%v after %q", err, all)
			}
			if all = append(all, f.Payload); f.Payload == "e" || strings.HasPrefix(f.Payload, "e ") {
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
			c := open(wstest.Raw(0x81, mask, 0, []byte(command)))
			for range 2 {
				c.wantClient(wstest.Text("s"))
				for speech := sandbox.SpeechWAV(); len(speech) > 0; {
					n := min(4096, len(speech))
					c.send(wstest.Raw(0x82, mask, 0, append([]byte("p"), speech[:n]...)))
					speech = speech[n:]
				}
				c.send(wstest.Raw(0x81, mask, 0, []byte("e")))
				if all := events(c); all[len(all)-1] != "e" || len(all) < 10 {
					t.Errorf("%s: told %q", name, all)
				}
				c.send(wstest.Raw(0x81, mask, 0, []byte(command)))
			}
			c.wantClient(wstest.Text("s"))
			c.client.Close()
		}
	}
	c := open(wstest.RawText("s 16K -a-general authorization=" + upstreamKey))
	c.wantClient(wstest.Text(denied))
	// In fragments of more than 64 KiB, as a browser sends them.
	c = open(wstest.RawText(startText))
	c.wantClient(wstest.Text("s"))
	speech := sandbox.SpeechWAV()
	at := min(len(speech)/2, 65536)
	c.send(wstest.Raw(0x02, mask, 0, append([]byte("p"), speech[:at]...)), wstest.Raw(0x80, mask, 0, speech[at:]), wstest.RawText("e"))
	if all := events(c); all[len(all)-1] != "e" || len(all) < 10 {
		t.Errorf("in pieces: told %q", all)
	}
}
