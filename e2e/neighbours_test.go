package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// neighbours is the build of e2e/neighbours: the gateway with other plugins.
func neighbours(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("SPEECHGATE_NEIGHBOURS")
	switch {
	case binary != "":
	case os.Getenv("CI") != "":
		t.Fatal("SPEECHGATE_NEIGHBOURS is not set: want the path of a build of e2e/neighbours")
	default:
		t.Skip("SPEECHGATE_NEIGHBOURS is not set to the path of a build of e2e/neighbours")
	}
	return binary
}

// newCached is a gateway with cache-handler, in front of a backend whose answers all
// differ and ask to be cached.
func newCached(t *testing.T, order string) (p *program, served *atomic.Int64) {
	t.Helper()
	binary := neighbours(t)
	served = new(atomic.Int64)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := served.Add(1)
		header := w.Header()
		header.Set("Content-Type", "application/json")
		for _, name := range []string{"Cache-Control", "Surrogate-Control", "CDN-Cache-Control"} {
			header.Set(name, "public, max-age=600")
		}
		header.Set("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")
		if r.Method == http.MethodPost {
			_, _ = fmt.Fprintf(w, `{"sessionid":"job%d","text":"..."}`, n)
			return
		}
		_, _ = fmt.Fprintf(w, `{"status":"processing","n":%d}`, n)
	}))
	t.Cleanup(backend.Close)
	p = newProgram(t, `{
	admin off
	`+order+`
	cache
}
http://localhost:8080 {
	cache
	speechgate amivoice {
		upstream_key backend-key-0123456789
	}
	reverse_proxy `+strings.TrimPrefix(backend.URL, "http://")+`
}
`)
	p.binary = binary
	return p, served
}

func TestR16_ACacheBehindTheGateAnswersForNoOtherKey(t *testing.T) {
	t.Parallel()
	p, served := newCached(t, "order cache after speechgate")
	p.start()
	mine, theirs := p.account(), p.account()
	id, key := p.key(mine)
	_, sibling := p.key(mine)
	_, foreign := p.key(theirs)
	status, created := p.post("/v2/recognitions", key)
	job, _ := created["sessionid"].(string)
	if status != http.StatusOK || job == "" {
		t.Fatalf("status %d, %v", status, created)
	}
	poll := func(who, key string, want int) {
		t.Helper()
		for range 2 {
			if status, answer := p.poll(job, key); status != want || want != http.StatusOK && answer["status"] != nil {
				t.Errorf("%s: status %d, %v, want %d", who, status, answer, want)
			}
		}
	}
	poll("the key of the job", key, http.StatusOK)
	poll("another key of the account", sibling, http.StatusOK)
	poll("a key of another account", foreign, http.StatusNotFound)
	poll("an unknown key", "unknown", http.StatusUnauthorized)
	before := served.Load()
	first, _ := p.post("/v1/recognize", key)
	second, _ := p.post("/v1/recognize", foreign)
	if first != http.StatusOK || second != http.StatusOK || served.Load() != before+2 {
		t.Errorf("of two recognitions, status %d and %d, the backend served %d", first, second, served.Load()-before)
	}
	p.run("key", "revoke", id, "--reason", "test")
	p.eventually("the revoked key is refused", func() bool {
		status, _ := p.poll(job, key)
		return status == http.StatusUnauthorized
	})
	if strings.Contains(p.output.String(), "a cache handler comes before the gate") {
		t.Errorf("the gateway warns of a cache that is in its place:\n%s", p.output)
	}
}

func TestStart_WarnsOfTheCacheInItsUsualOrder(t *testing.T) {
	t.Parallel()
	p, _ := newCached(t, "")
	p.start()
	p.eventually("the gateway warns", func() bool {
		return strings.Contains(p.output.String(), "a cache handler comes before the gate")
	})
}
