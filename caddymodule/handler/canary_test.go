package handler

import (
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestCanaries_AreExpectedForAMinute(t *testing.T) {
	t.Parallel()
	var c Canaries
	now := time.Now()
	canaryRequest := func(ids ...string) *http.Request {
		return &http.Request{RemoteAddr: "192.0.2.1:5", Header: http.Header{CanaryHeader: ids, "X-Forwarded-For": {"192.0.2.7"}, "Authorization": {"Bearer secret"}}}
	}
	c.Note(canaryRequest("unknown"), netip.Addr{})
	id := c.Expect(now)
	for _, ids := range [][]string{nil, {"unknown"}, {id, id}} {
		c.Note(canaryRequest(ids...), netip.Addr{})
	}
	if seen, ok := c.Seen(id); !ok || len(seen) != 0 {
		t.Fatalf("seen %v, %v", seen, ok)
	}
	for range 2 * maxSightings {
		c.Note(canaryRequest(id), netip.MustParseAddr("192.0.2.7"))
	}
	seen, ok := c.Seen(id)
	if !ok || len(seen) != maxSightings || seen[0].Connection != "192.0.2.1" || seen[0].ClientIP != "192.0.2.7" || len(seen[0].Header) != 1 || seen[0].Header["X-Forwarded-For"][0] != "192.0.2.7" {
		t.Errorf("seen %+v, %v", seen, ok)
	}
	for range maxCanaries - 1 {
		if c.Expect(now.Add(canaryLives)) == "" {
			t.Fatal("a canary is refused")
		}
	}
	if c.Expect(now.Add(canaryLives)) != "" {
		t.Error("one canary more than may be expected")
	}
	if c.Expect(now.Add(canaryLives+1)) == "" {
		t.Error("the first canary is expected for longer than a minute")
	}
	if _, ok := c.Seen(id); ok {
		t.Error("the first canary is still known")
	}
}
