package caddymodule_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// usageOf returns the usage of a key by operation and reason.
func (g *gateway) usageOf(key policy.Key) map[string]keystore.UsageCounts {
	g.t.Helper()
	sums := make(map[string]keystore.UsageCounts)
	for _, group := range []keystore.UsageGroup{keystore.UsageByOperation, keystore.UsageByReason} {
		err := g.keys.Usage(context.Background(), keystore.UsageList{AccountID: key.AccountID, KeyID: key.ID, Group: group}, func(u *keystore.Usage) error {
			sums[u.Operation+u.Reason] = u.UsageCounts
			return nil
		})
		if err != nil {
			g.t.Fatal(err)
		}
	}
	return sums
}

// oneSecond is a WAV file with one second of silence, at 16 kHz.
func oneSecond() string {
	var b bytes.Buffer
	b.WriteString("RIFF\xff\xff\xff\xffWAVEfmt ")
	for _, v := range []any{uint32(16), uint16(1), uint16(1), uint32(16000), uint32(32000), uint16(2), uint16(16)} {
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	b.WriteString("data\x00\x7d\x00\x00")
	b.Write(make([]byte, 32000))
	return b.String()
}

func TestUsage_RequestsAndAudio(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	g.backend.respond(sandbox.NewAmiVoice(sandbox.Config{Key: backendKey}).ServeHTTP)
	key, secret := g.issue(keystore.NewKey{})
	other, otherSecret := g.issue(keystore.NewKey{})
	wav, raw := oneSecond(), string(make([]byte, 16000)) // half a second
	u := [2]string{"u", secret}
	for name, request := range map[string]string{
		"a WAV file": g.form("/v1/recognize", u, [2]string{"d", "-a-general"}, [2]string{"c", "16K"}, [2]string{"a", wav}),
		"raw audio":  g.form("/v1/recognize", u, [2]string{"c", "lsb16k"}, [2]string{"d", "-a-general"}, [2]string{"a", raw}),
		"a query": "POST /v1/recognize?d=-a-general&c=LSB16K&u=" + secret + " HTTP/1.1\r\nHost: " + g.addr +
			"\r\nContent-Length: 16000\r\nConnection: close\r\n\r\n" + raw,
		"a job": g.form("/v2/recognitions", u, [2]string{"d", "-a-general"}, [2]string{"c", "16K"}, [2]string{"a", wav}),
	} {
		if answer := g.send(request); answer.status != http.StatusOK {
			t.Errorf("%s: status %d, %s", name, answer.status, answer.body)
		}
	}
	if answer := g.poll("unknown", secret); answer.status != http.StatusNotFound {
		t.Errorf("status %d", answer.status)
	}
	g.revoke(other)
	eventually(t, func() bool { return g.poll("unknown", otherSecret).status == http.StatusUnauthorized })

	g.stop() // it writes what it has counted
	size := int64(len(wav))
	got := g.usageOf(key)
	for name, want := range map[string]keystore.UsageCounts{
		"recognize":   {Requests: 3, AudioBytes: size + 32000, AudioTime: 2 * time.Second},
		"create_job":  {Requests: 1, AudioBytes: size, AudioTime: time.Second},
		"read_job":    {Requests: 1, Refused: 1},
		"allowed":     {Requests: 4, AudioBytes: 2*size + 32000, AudioTime: 3 * time.Second},
		"job_unknown": {Requests: 1, Refused: 1},
	} {
		if got[name] != want {
			t.Errorf("%s: %+v, want %+v", name, got[name], want)
		}
	}
	if len(got) != 5 {
		t.Errorf("%d sums, want 5: %v", len(got), got)
	}
	if got := g.usageOf(other)["key_revoked"]; got.Requests == 0 || got.Requests != got.Refused {
		t.Errorf("of the revoked key: %+v", got)
	}
}

// A body that is JSON has the URL of its audio. Every other body is audio, whatever is behind the
// media type.
func TestUsage_JSONHasNoAudio(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "")
	g.backend.respondText(http.StatusOK, "{}")
	want := map[string]int64{
		"application/json": 0, "Application/JSON; charset=utf-8": 0, "application/problem+json": 0,
		"audio/wav": 3, "audio/wav; of=json": 3, "audio/jsonish": 3,
	}
	keys := make(map[string]policy.Key)
	for contentType := range want {
		key, secret := g.issue(keystore.NewKey{})
		keys[contentType] = key
		answer := g.send("POST /v1/listen HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\nAuthorization: Token " + secret +
			"\r\nContent-Type: " + contentType + "\r\nContent-Length: 3\r\n\r\nabc")
		if answer.status != http.StatusOK {
			t.Fatalf("%s: status %d, %s", contentType, answer.status, answer.body)
		}
	}
	g.stop() // it writes what it has counted
	for contentType, size := range want {
		if got := g.usageOf(keys[contentType])["recognize"]; got.Requests != 1 || got.AudioBytes != size {
			t.Errorf("%s: %d requests and %d bytes of audio, want 1 and %d", contentType, got.Requests, got.AudioBytes, size)
		}
	}
}

// A request whose upstream key the backend refuses is one request, and is refused.
func TestUsage_RefusedUpstreamKey(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	g.backend.respond(sandbox.NewAmiVoice(sandbox.Config{Key: "another-key-of-the-backend"}).ServeHTTP)
	key, secret := g.issue(keystore.NewKey{})
	g.send(g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"d", "-a-general"}, [2]string{"c", "16K"}, [2]string{"a", oneSecond()}))
	g.stop() // it writes what it has counted
	got := g.usageOf(key)
	if c := got["recognize"]; c.Requests != 1 || c.Refused != 1 {
		t.Errorf("%+v, want one request, which is refused", c)
	}
	if c := got["upstream_refused"]; c.Requests != 0 || c.Refused != 1 {
		t.Errorf("upstream_refused: %+v", c)
	}
}

// Each session of a stream belongs to the key of its start command.
func TestUsage_Streams(t *testing.T) {
	g := streamGateway(t, "")
	key, secret := g.issue(keystore.NewKey{})
	next, nextSecret := g.issue(keystore.NewKey{AccountID: g.newAccount("Other").ID})
	c := g.dialStream("").upgraded()
	half := make([]byte, 16000)
	c.text("s LSB16K -a-general authorization=%s", secret)
	c.WantText("s")
	for range 3 {
		if err := c.audio(half); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond) // the stream lasts
	c.text("e")
	c.Until("e")
	c.text("s 16K -a-general authorization=%s", nextSecret)
	c.WantText("s")
	if err := c.audio([]byte(oneSecond())); err != nil {
		t.Fatal(err)
	}
	c.text("e")
	c.Until("e")
	_ = c.Close()
	g.wantNoStreams(t)
	g.stop() // it writes what it has counted
	first := g.usageOf(key)["stream"]
	if first.Requests != 1 || first.AudioBytes != 48000 || first.AudioTime != 1500*time.Millisecond || first.StreamTime < 50*time.Millisecond {
		t.Errorf("of the first session: %+v", first)
	}
	second := g.usageOf(next)["stream"]
	if second.Requests != 1 || second.AudioBytes != int64(len(oneSecond())) || second.AudioTime != 0 {
		t.Errorf("of the second session: %+v", second)
	}
}

// The format of a stream whose key is in its handshake is in the query.
func TestUsage_KeyedStream(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "")
	g.backend.respond(sandbox.NewDeepgram(sandbox.Config{Key: backendKey}).ServeHTTP)
	key, secret := g.issue(keystore.NewKey{})
	c, _ := g.dialKeyed(t, "/v1/listen?encoding=linear16&sample_rate=16000", "Authorization: Token "+secret)
	for range 4 {
		if err := c.SendBinary(make([]byte, 8000)); err != nil {
			t.Fatal(err)
		}
	}
	c.SendText(`{"type":"CloseStream"}`)
	eventually(t, func() bool { return len(g.streams()) == 0 })
	g.stop() // it writes what it has counted
	if got := g.usageOf(key)["stream"]; got.Requests != 1 || got.AudioBytes != 32000 || got.AudioTime != time.Second {
		t.Errorf("%+v, want one second of audio", got)
	}
}

// What a server has counted is written while it runs.
func TestUsage_IsWrittenWithinFiveSeconds(t *testing.T) {
	g := newGateway(t, "")
	key, secret := g.issue(keystore.NewKey{})
	begun := time.Now()
	g.poll("unknown", secret)
	eventually(t, func() bool {
		var sum keystore.UsageCounts
		err := g.keys.Usage(context.Background(), keystore.UsageList{AccountID: key.AccountID}, func(u *keystore.Usage) error {
			sum = u.UsageCounts
			return nil
		})
		return err == nil && sum.Requests == 1
	})
	if took := time.Since(begun); took > 5*time.Second && os.Getenv("SPEECHGATE_NIGHTLY") == "" {
		t.Errorf("it took %s", took)
	}
}
