package keystore

import (
	"errors"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// Cached returns what lookups find, and only what they have found before.
func TestR2_CachedReturnsWhatLookupsFind(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	key, secret := f.key(f.account().ID)
	want := f.job(key, "j1")
	nobodys := policy.NewSecret("of nobody")
	look := func(secret policy.Secret, job string) (c Cached) {
		f.Cached(&c, secret, "amivoice", job)
		return c
	}
	known := func(what string, c Cached, key, job bool) {
		t.Helper()
		if c.KeyKnown != key || c.JobKnown != job {
			t.Errorf("%s: the key known %t, the job %t; want %t, %t", what, c.KeyKnown, c.JobKnown, key, job)
		}
	}
	known("nothing has been looked up", look(secret, "j1"), false, false)
	found := f.find(secret)
	known("the key has", look(secret, "j1"), true, false)
	for _, id := range []string{"j1", "j2"} {
		if _, err := f.FindJob(t.Context(), "amivoice", id); err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if c := look(secret, "j1"); !c.KeyKnown || c.Key != *found || !c.JobKnown || c.Job != want {
		t.Errorf("%+v is cached, and %+v and %+v were found", c, found, want)
	}
	known("there is no such job", look(secret, "j2"), true, false)
	known("no job is asked for", look(secret, ""), true, false)
	f.find(nobodys)
	c := look(nobodys, "j1")
	if known("nobody's key", c, true, true); c.Key.Found() {
		t.Errorf("nobody's key is %+v", c.Key)
	}
	tooLong := policy.NewSecret(strings.Repeat("k", policy.MaxSecretLen+1))
	f.find(tooLong)
	known("a secret that is none", look(tooLong, ""), false, false)
	f.Cached(&c, secret, "amivoice", "j1")
	known("the secret and the job", c, true, true)
	if f.Cached(&c, tooLong, "amivoice", "j1"); c != (Cached{}) {
		t.Errorf("a request has %+v of the request before", c)
	}
	if _, err := f.RevokeKey(t.Context(), start, operator, key.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	known("the key has been revoked", look(secret, "j1"), false, true)
	if r := f.find(secret); look(secret, "").Key != *r || !isEnded(r) {
		t.Errorf("after a revocation %+v is found, and %+v cached", r, look(secret, "").Key)
	}
	f.feed.until.Store(0)
	known("the feed is lost", look(secret, "j1"), false, false)
	f = openStore(t, newPath(t), commandLine)
	known("for a command", look(secret, "j1"), false, false)
}
