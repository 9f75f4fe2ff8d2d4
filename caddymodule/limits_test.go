package caddymodule_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// limitedKey issues a key with these limits.
func (g *gateway) limitedKey(limits string) (policy.Key, string) {
	g.t.Helper()
	l, err := policy.ParseLimits(limits)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.issue(keystore.NewKey{Limits: l})
}

// limitAccount changes the limits of the account, and waits until the server knows them.
func (g *gateway) limitAccount(secret, change string) {
	g.t.Helper()
	c, err := policy.ParseLimitChange(change)
	if err != nil {
		g.t.Fatal(err)
	}
	a, err := g.keys.LimitAccount(g.t.Context(), now(), operator, g.account.ID, c)
	if err != nil {
		g.t.Fatal(err)
	}
	eventually(g.t, func() bool {
		r, err := serverStore(g.t).FindKey(g.t.Context(), policy.NewSecret(secret))
		key := r.Key()
		return err == nil && key.AccountLimits == a.Limits
	})
}

// recognize sends a recognition with the key in the query.
func (g *gateway) recognize(secret string) reply {
	g.t.Helper()
	return g.send("POST /v1/recognize?u=" + secret + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
}

// wantTooMany wants AmiVoice's answer to too many requests.
func wantTooMany(t *testing.T, got reply, least, most int) {
	t.Helper()
	wait, err := strconv.Atoi(got.header.Get("Retry-After"))
	if got.status != http.StatusTooManyRequests || !strings.Contains(got.body, `"message":"too many requests"`) || err != nil || wait < least || wait > most {
		t.Errorf("status %d, Retry-After %q, body %q; want 429, and to wait %d to %d s", got.status, got.header.Get("Retry-After"), got.body, least, most)
	}
}

// wantAMinute wants AmiVoice's answer to a request that would exceed a limit of requests a minute. The first
// request that counts came after begun, so it counts until a minute after begun, or longer.
func wantAMinute(t *testing.T, got reply, begun time.Time) {
	t.Helper()
	wantTooMany(t, got, max(1, 59-int(time.Since(begun).Seconds())), 60)
}

// raise makes highest at least n.
func raise(highest *atomic.Int64, n int64) {
	for {
		before := highest.Load()
		if n <= before || highest.CompareAndSwap(before, n) {
			return
		}
	}
}

// crowd holds requests at the backend until others have met the limit meanwhile.
type crowd struct {
	mu       sync.Mutex
	changed  sync.Cond
	most     int  // how many requests may run at a time
	clients  int  // that still ask
	full     bool // as many requests have run at a time as may run
	refusals int
}

func newCrowd(clients, most int) *crowd {
	c := &crowd{clients: clients, most: most}
	c.changed.L = &c.mu
	return c
}

func (c *crowd) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.changed.Broadcast()
}

func (c *crowd) refused() { c.change(func() { c.refusals++ }) }

func (c *crowd) left() { c.change(func() { c.clients-- }) }

// recognize returns after another request was refused, or when too few clients are left to be refused.
// Full says that as many requests run as may run.
func (c *crowd) recognize(full bool) {
	c.change(func() { c.full = c.full || full })
	c.mu.Lock()
	defer c.mu.Unlock()
	for before := c.refusals; c.clients > c.most && (!c.full || c.refusals == before); {
		c.changed.Wait()
	}
}

func TestR20_RequestsAtATimeUnderARaceOf64Clients(t *testing.T) {
	const clients, most, rounds = 64, 4, 12
	g := newGateway(t, "upstream_key "+backendKey)
	g.backend.forget.Store(true)
	_, own := g.limitedKey("concurrent=4")
	for name, secret := range map[string]string{"a key's limit": own, "an account's limit": ""} {
		if secret == "" {
			_, secret = g.issue(keystore.NewKey{})
			g.limitAccount(secret, "concurrent=4")
		}
		var running, highest, served atomic.Int64
		crowd := newCrowd(clients, most)
		g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
			now := running.Add(1)
			raise(&highest, now)
			_, _ = io.Copy(io.Discard, r.Body)
			crowd.recognize(now == most)
			served.Add(1)
			running.Add(-1)
			_, _ = io.WriteString(w, `{"results":[],"text":"hello","code":"","message":""}`)
		})
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: 30 * time.Second}
		statuses := make([]map[int]int, clients)
		var done sync.WaitGroup
		for i := range clients {
			statuses[i] = map[int]int{}
			done.Go(func() {
				defer crowd.left()
				for range rounds {
					resp, err := client.Post(g.scheme+g.addr+"/v1/recognize?u="+secret, "application/octet-stream", strings.NewReader("abc"))
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					statuses[i][resp.StatusCode]++
					if resp.StatusCode == http.StatusTooManyRequests {
						crowd.refused()
					}
				}
			})
		}
		done.Wait()
		client.CloseIdleConnections()
		all := map[int]int{}
		for _, one := range statuses {
			for status, n := range one {
				all[status] += n
			}
		}
		t.Logf("%s: %d at a time at most, answers by status: %v", name, highest.Load(), all)
		if highest.Load() != most {
			t.Errorf("%s: the backend had %d requests at a time, want %d", name, highest.Load(), most)
		}
		if all[200] == 0 || int64(all[200]) != served.Load() || all[200]+all[429] != clients*rounds {
			t.Errorf("%s: answers by status %v, and the backend served %d", name, all, served.Load())
		}
	}
}

func TestR20_APlaceIsGivenBackHoweverTheRequestEnds(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.limitedKey("concurrent=1")
	free := func(name string) {
		t.Helper()
		eventually(t, func() bool { return g.app().Limits().UseOf(key.ID, now()).Concurrent == 0 })
		g.backend.respondText(http.StatusOK, "{}")
		if got := g.recognize(secret); got.status != http.StatusOK || got.body != "{}" {
			t.Errorf("%s: the next request got %d %q", name, got.status, got.body)
		}
	}
	free("nothing before")
	for name, answer := range map[string]http.HandlerFunc{
		"the backend breaks off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"the backend breaks off in the middle": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", 1<<16))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"the backend has an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
	} {
		g.backend.respond(answer)
		resp, err := http.Post(g.scheme+g.addr+"/v1/recognize?u="+secret, "", strings.NewReader("abc"))
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		free(name)
	}
	hold := make(chan struct{})
	g.backend.respond(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server notices that a client has gone only after the body
		<-r.Context().Done()
		close(hold)
	})
	conn := g.dial(t)
	if _, err := io.WriteString(conn, "POST /v1/recognize?u="+secret+" HTTP/1.1\r\nHost: "+g.addr+"\r\nContent-Length: 3\r\n\r\nabc"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return g.app().Limits().UseOf(key.ID, now()).Concurrent == 1 })
	wantTooMany(t, g.recognize(secret), 1, 60)
	_ = conn.Close()
	<-hold
	free("the client goes away")
}

func TestR20_RequestsAMinute(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.limitedKey("requests=3/m")
	g.recordJob("j1", key, now())
	polled := func(when string) {
		t.Helper()
		g.backend.respondText(http.StatusOK, `{"status":"processing"}`)
		for range 5 {
			if got := g.poll("j1", secret); got.status != http.StatusOK || !strings.Contains(got.body, "processing") {
				t.Errorf("%s: a poll got %d %q", when, got.status, got.body)
			}
		}
	}
	polled("before")
	begun := time.Now()
	for i := range 3 {
		if got := g.recognize(secret); got.status != http.StatusOK {
			t.Fatalf("request %d got %d %q", i+1, got.status, got.body)
		}
	}
	g.backend.received()
	wantAMinute(t, g.recognize(secret), begun)
	upload := strings.Repeat("a", 1<<20)
	wantAMinute(t, g.send(g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"a", upload})), begun)
	if got := g.send(g.form("/v2/recognitions", [2]string{"u", secret}, [2]string{"a", "abc"})); got.status != http.StatusTooManyRequests {
		t.Errorf("a job got %d %q", got.status, got.body)
	}
	if sent := g.backend.received(); sent != "" {
		t.Errorf("the backend got %q", sent)
	}
	polled("at the limit")
	// A token or a call of another key is not concerned.
	_, other := g.limitedKey("requests=3/m")
	if got := g.recognize(other); got.status != http.StatusOK {
		t.Errorf("another key got %d", got.status)
	}
	if log := g.log(); strings.Count(log, `"msg":"refused","reason":"limit_reached","limit":"requests"`) != 3 ||
		!strings.Contains(log, `"detail":"the request would exceed the key's limit requests=3/m"`) {
		t.Error("the log does not say which limit it was")
	}
}

func TestR20_TheOperatorChangesTheLimitsOfAnAccount(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, one := g.limitedKey("requests=60/m")
	_, two := g.issue(keystore.NewKey{})
	g.limitAccount(one, "requests=2/m")
	begun := time.Now()
	for _, secret := range []string{one, two} {
		if got := g.recognize(secret); got.status != http.StatusOK {
			t.Fatalf("got %d %q", got.status, got.body)
		}
	}
	wantAMinute(t, g.recognize(one), begun)
	wantAMinute(t, g.recognize(two), begun)
	g.limitAccount(one, "requests=4/m operations=recognize")
	if got := g.recognize(two); got.status != http.StatusOK {
		t.Errorf("with a higher limit it got %d", got.status)
	}
	g.limitAccount(one, "operations=stream")
	wantDenied(t, g.recognize(one))
	g.limitAccount(one, "none")
	for range 5 {
		if got := g.recognize(two); got.status != http.StatusOK {
			t.Errorf("without limits it got %d", got.status)
		}
	}
	if log := g.log(); !strings.Contains(log, `"detail":"the request would exceed the account's limit requests=2/m"`) ||
		!strings.Contains(log, `"reason":"operation_refused","limit":"operations"`) {
		t.Error("the log does not say which limit it was")
	}
}

func TestR20_OperationsOfAKey(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.limitedKey("operations=stream")
	g.recordJob("j1", key, now())
	wantDenied(t, g.recognize(secret))
	wantDenied(t, g.send(g.form("/v2/recognitions", [2]string{"u", secret}, [2]string{"a", "abc"})))
	if sent := g.backend.received(); sent != "" {
		t.Errorf("the backend got %q", sent)
	}
	g.backend.respondText(http.StatusOK, `{"status":"processing"}`)
	if got := g.poll("j1", secret); got.status != http.StatusOK {
		t.Errorf("a poll of its job got %d %q", got.status, got.body)
	}
	if !strings.Contains(g.log(), `"reason":"operation_refused","limit":"operations"`) {
		t.Error("the log does not name the reason")
	}
	_, only := g.limitedKey("operations=recognize,create_job")
	c := g.dialStream("").upgraded()
	c.start(only)
	c.WantText(refusedStart)
	c.WantEndOrReset()
}

func TestR20_CountsSurviveAReload(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, secret := g.limitedKey("requests=1/m")
	if got := g.recognize(secret); got.status != http.StatusOK {
		t.Fatal(got.status)
	}
	g.options += "\ngrace 1h"
	g.load()
	wantTooMany(t, g.recognize(secret), 1, 60)
}

// A request that a proxy asks about takes no place among those at a time, and needs none.
func TestR20_AQuestionOfAProxyNeedsNoPlace(t *testing.T) {
	g := newProxyVerifier(t)
	key, secret := g.limitedKey("concurrent=1")
	hold := make(chan struct{})
	defer close(hold)
	g.backend.respond(func(http.ResponseWriter, *http.Request) { <-hold })
	conn := g.dial(t)
	if _, err := io.WriteString(conn, "POST /v1/recognize?u="+secret+" HTTP/1.1\r\nHost: "+g.addr+"\r\nContent-Length: 3\r\n\r\nabc"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return g.app().Limits().UseOf(key.ID, now()).Concurrent == 1 })
	wantTooMany(t, g.recognize(secret), 1, 60)
	for range 3 {
		wantProxyPassed(t, "nginx", g.askFor("nginx", "POST /v1/recognize?u="+secret, "192.0.2.7"), key)
	}
}
