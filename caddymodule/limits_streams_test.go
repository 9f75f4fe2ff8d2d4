package caddymodule_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
)

func TestR20_StreamsAtATimeUnderARaceOf64Clients(t *testing.T) {
	const clients, most = 64, 5
	g := newDialectGateway(t, "openai", "max_streams 20 20\nmax_pending_streams 1000")
	g.backend.realtime(t, "", silence)
	key, secret := g.limitedKey("streams=5")
	peers := make([]*wstest.Peer, clients)
	var dialed sync.WaitGroup
	for i := range clients {
		dialed.Go(func() { peers[i] = g.openKeyed(t, secret) })
	}
	dialed.Wait()
	owned := func() (n int) {
		for _, s := range g.streams() {
			if s.Owner.KeyID == key.ID {
				n++
			}
		}
		return n
	}
	eventually(t, func() bool {
		return owned() == most && strings.Count(g.log(), `"msg":"refused","reason":"stream_limit"`) == clients-most
	})
	if n := strings.Count(g.log(), `"reason":"stream_limit","limit":"streams"`); n != clients-most {
		t.Errorf("%d refusals name the limit, want %d", n, clients-most)
	}
	for _, peer := range peers {
		_ = peer.Close()
	}
	g.wantNoStreams(t)
	again := g.openKeyed(t, secret)
	eventually(t, func() bool { return owned() == 1 })
	_ = again.Close()
}

// A stream of AmiVoice's API has a start command for each session. A session is a request, and
// the stream counts once.
func TestR20_StartCommandsCount(t *testing.T) {
	g := streamGateway(t, "")
	key, secret := g.limitedKey("requests=2/m streams=1")
	c := g.dialStream("").upgraded()
	for range 2 {
		c.start(secret)
		c.WantText("s")
		c.wav()
		c.text("e")
		c.Until("e")
	}
	second := g.dialStream("").upgraded()
	second.start(secret)
	second.WantText(failedStart)
	second.WantEndOrReset()
	if use := g.app().Limits().UseOf(key.ID, now()); use.Requests != 2 || use.Concurrent != 0 {
		t.Errorf("the key uses %+v", use)
	}
	c.start(secret)
	c.WantText(failedStart)
	c.WantEndOrReset()
	if !strings.Contains(g.log(), `"reason":"limit_reached","limit":"requests"`) {
		t.Error("the log does not name the limit")
	}
}

func TestR20_ARefusedStreamCountsNoRequest(t *testing.T) {
	g := streamGateway(t, "")
	key, secret := g.limitedKey("requests=5/m streams=1")
	c := g.dialStream("").upgraded()
	c.start(secret)
	c.WantText("s")
	for range 8 {
		second := g.dialStream("").upgraded()
		second.start(secret)
		second.WantText(failedStart)
		second.WantEndOrReset()
	}
	if use := g.app().Limits().UseOf(key.ID, now()); use.Requests != 1 {
		t.Errorf("the key uses %+v", use)
	}
	if n := strings.Count(g.log(), `"reason":"stream_limit","limit":"streams"`); n != 8 {
		t.Errorf("%d refusals name the limit, want 8", n)
	}
}

// An account that may not open streams any more has none. The other limits let streams go on.
func TestR20_AStreamIsCutWhenItsAccountMayNotStream(t *testing.T) {
	g := streamGateway(t, "")
	_, secret := g.issue(keystore.NewKey{})
	c := g.dialStream("").upgraded()
	c.start(secret)
	c.WantText("s")
	g.limitAccount(secret, "requests=1/m streams=1")
	c.wav()
	c.text("e")
	c.Until("e")
	g.limitAccount(secret, "operations=recognize")
	c.Until(cutStream)
	eventually(t, func() bool {
		return strings.Contains(g.log(), `"msg":"stream cut","reason":"operation_refused","limit":"operations"`) &&
			strings.Contains(g.log(), `"detail":"the operation is not within the account's limit operations=recognize"`)
	})
}
