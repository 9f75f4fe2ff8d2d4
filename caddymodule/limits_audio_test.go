package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// recognizeSeconds sends so many seconds of audio in the format LSB16K.
func (g *gateway) recognizeSeconds(secret string, seconds int) reply {
	g.t.Helper()
	return g.send(g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"d", "-a-general"}, [2]string{"c", "LSB16K"}, [2]string{"a", strings.Repeat("a", seconds*32_000)}))
}

func TestR20_AudioOfAKey(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	for limit, word := range map[string]string{"audio=3s/d": "audio", "audio-total=3s": "audio-total"} {
		key, secret := g.limitedKey(limit)
		g.recordJob("job-"+word, key, now())
		for range 2 {
			if got := g.recognizeSeconds(secret, 2); got.status != http.StatusOK {
				t.Fatalf("%s: the first requests got %d %q", limit, got.status, got.body)
			}
		}
		// What was used is known a second later.
		var got reply
		eventually(t, func() bool { got = g.recognizeSeconds(secret, 0); return got.status != http.StatusOK })
		wantTooMany(t, got, 1, 60)
		wantTooMany(t, g.recognizeSeconds(secret, 1), 1, 60)
		g.backend.respondText(http.StatusOK, `{"status":"processing"}`)
		if got := g.poll("job-"+word, secret); got.status != http.StatusOK {
			t.Errorf("%s: a poll got %d", limit, got.status)
		}
		if !strings.Contains(g.log(), `"limit":"`+word+`"`) || !strings.Contains(g.log(), `"detail":"the key's limit `+limit+` is used up"`) {
			t.Errorf("%s: the log does not say which limit it was", limit)
		}
		today, total, err := serverStore(t).AudioUsed(t.Context(), now(), policy.Identity{KeyID: key.ID, AccountID: key.AccountID})
		if err != nil || today != 4*time.Second || total != 4*time.Second {
			t.Errorf("%s: the key has used %s, in all %s, %v", limit, today, total, err)
		}
	}
}

func TestR20_AStreamIsCutWhenItsAudioIsUsedUp(t *testing.T) {
	g := streamGateway(t, "")
	_, secret := g.limitedKey("audio=2s/d")
	c := g.dialStream("").upgraded()
	c.text("s LSB16K -a-general authorization=%s", secret)
	c.WantText("s")
	begun := time.Now()
	for range 3 {
		if err := c.audio(make([]byte, 32_000)); err != nil {
			t.Fatal(err)
		}
	}
	c.Until(cutStream)
	if took := time.Since(begun); took > 12*time.Second {
		t.Errorf("the stream was cut after %s", took)
	}
	eventually(t, func() bool { // the client sees the cut before the log has it
		return strings.Contains(g.log(), `"msg":"stream cut","reason":"limit_reached","limit":"audio"`)
	})
	again := g.dialStream("").upgraded()
	again.start(secret)
	again.WantText(failedStart)
	again.WantEndOrReset()
}

// The keys of an account use its audio together, so that a key with the right to issue keys cannot
// get more by issuing them.
func TestR20_AudioOfAnAccount(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, one := g.issue(keystore.NewKey{})
	_, two := g.limitedKey("requests=100/m")
	g.limitAccount(one, "audio=3s/d")
	for _, secret := range []string{one, two} {
		if got := g.recognizeSeconds(secret, 2); got.status != http.StatusOK {
			t.Fatalf("the first requests got %d %q", got.status, got.body)
		}
	}
	for _, secret := range []string{one, two} {
		var got reply
		eventually(t, func() bool { got = g.recognizeSeconds(secret, 0); return got.status != http.StatusOK })
		wantTooMany(t, got, 1, 60)
	}
	if !strings.Contains(g.log(), `"reason":"limit_reached","limit":"audio"`) || !strings.Contains(g.log(), `"detail":"the account's limit audio=3s/d is used up"`) {
		t.Error("the log does not say which limit it was")
	}
	g.limitAccount(one, "audio=none")
	if got := g.recognizeSeconds(one, 0); got.status != http.StatusOK {
		t.Errorf("without the limit it got %d", got.status)
	}
	g.limitAccount(one, "audio-total=4s")
	eventually(t, func() bool { return g.recognizeSeconds(two, 0).status == http.StatusTooManyRequests })
}

func TestR20_AStreamIsCutWhenTheAudioOfItsAccountIsUsedUp(t *testing.T) {
	g := streamGateway(t, "")
	_, secret := g.issue(keystore.NewKey{})
	c := g.dialStream("").upgraded()
	c.text("s LSB16K -a-general authorization=%s", secret)
	c.WantText("s")
	for range 3 {
		if err := c.audio(make([]byte, 32_000)); err != nil {
			t.Fatal(err)
		}
	}
	g.limitAccount(secret, "audio-total=2s") // it counts what was used before, too
	c.Until(cutStream)
	eventually(t, func() bool {
		return strings.Contains(g.log(), `"msg":"stream cut","reason":"limit_reached","limit":"audio-total"`) &&
			strings.Contains(g.log(), `"detail":"the account's limit audio-total=2s is used up"`)
	})
}
