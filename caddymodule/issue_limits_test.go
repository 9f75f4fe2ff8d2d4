package caddymodule_test

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

func TestR20_AnAccountHasAtMostMaxLiveKeys(t *testing.T) {
	i := newIssuer(t, "max_live_keys 3\nmax_rate 1000")
	for range 3 {
		i.issued(i.byKey("epi=60000"))
	}
	for name, got := range map[string]reply{"by key": i.byKey("epi=60000"), "by service": i.byService("&epi=60000")} {
		if got.status != 429 || got.header.Get("Retry-After") != "60" || got.header.Get("Cache-Control") != "no-store" ||
			!strings.Contains(got.body, "3 keys from here that have not expired") || strings.Contains(got.body, "sgk_") {
			t.Errorf("%s: %s%s", name, got.raw, got.body)
		}
	}
	if n := strings.Count(i.log(), `"msg":"refused","reason":"limit_reached","operation":"issue_key"`); n != 2 {
		t.Errorf("the log says so %d times", n)
	}
	// Another account is not affected, and the command line is not affected.
	other := i.newAccount("Other")
	_, secret := i.issue(keystore.NewKey{AccountID: other.ID, Issuable: true})
	i.issued(i.call("epi=60000", bearerLine(secret)))
	i.issue(keystore.NewKey{})
}

func TestR20_AnAccountIssuesAtMostMaxRate(t *testing.T) {
	i := newIssuer(t, "max_rate 1")
	statuses := map[int]int{}
	for range 110 {
		got := i.byService("&epi=1000")
		statuses[got.status]++
		if retry := got.header.Get("Retry-After"); got.status == 429 && retry != "1" {
			t.Errorf("Retry-After %q", retry)
		}
	}
	// A few seconds may have passed meanwhile, and each allows one key more.
	if statuses[200] < 100 || statuses[429] == 0 || statuses[200]+statuses[429] != 110 {
		t.Errorf("the calls were answered with %v", statuses)
	}
}
