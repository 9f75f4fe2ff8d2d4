package caddymodule_test

import (
	"crypto/rand"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// A key that was issued later than now is refused like an unknown key. The log tells the operator
// the difference.
func TestR3_TheLogSaysThatAKeyWasIssuedLaterThanNow(t *testing.T) {
	i := newIssuer(t, "")
	later := now().Add(time.Hour)
	key, secret := i.issueAt(later, keystore.NewKey{Issuable: true, Expires: policy.Never()})
	unknown := i.send("GET /v2/recognitions/j1 HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\n" + bearerLine(validUnknown(t)) + "\r\n")
	got := i.send("GET /v2/recognitions/j1 HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\n" + bearerLine(secret) + "\r\n")
	if got.status != unknown.status || got.body != unknown.body {
		t.Errorf("refused with %d %s, and an unknown key with %d %s", got.status, got.body, unknown.status, unknown.body)
	}
	i.secret = secret
	if got := i.byKey(""); got.status != 401 {
		t.Errorf("it issues keys: %d", got.status)
	}
	for _, operation := range []string{"read_job", "issue_key"} {
		line := regexp.MustCompile(`"reason":"key_unknown","operation":"` + operation + `","key_id":"` + key.ID + `".*"detail":"the key was issued at ` + later.String() + `,[^"]*earlier: set the clock"`)
		if !line.MatchString(i.log()) {
			t.Errorf("%s: the log does not say why", operation)
		}
	}
	if strings.Count(i.log(), "set the clock") != 2 {
		t.Error("the log says so of another key")
	}
}

// validUnknown is the text of a key that is in no store.
func validUnknown(t *testing.T) string {
	t.Helper()
	secret, err := policy.GenerateSecret(policy.KeyPrefix, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}
