package console

import (
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/policy"
)

func TestHolder_SetsAPasswordAndIssuesAKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	b.want(b.get(""), 200, a.ServiceID, "Example Corp.")
	b.want(b.get("keys"), 200, "no keys yet")
	b.want(b.get("keys/new"), 200, "You are calling from 192.0.2.7, via 198.51.100.1.")
	secret := b.issue("label", "<b>first</b>", "allow", "192.0.2.0/24\n2001:db8::/32")
	record, err := f.store.FindKey(t.Context(), policy.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	k := record.Key()
	if k.AccountID != a.ID || k.Allow.String() != "192.0.2.0/24,2001:db8::/32" {
		t.Errorf("the key is %+v", k)
	}
	b.want(b.get("keys"), 200, "&lt;b&gt;first&lt;/b&gt;", "192.0.2.0/24")
	b.want(b.get("keys/"+k.ID), 200, k.ID, "in 30 days")
	b.wantRedirect(b.post("keys/"+k.ID+"/delete"), "keys?done=key-deleted")
	b.want(b.get("keys?done=key-deleted"), 200, "The key is deleted", "deleted")
	b.want(b.get("jobs"), 200, "no recorded jobs")
	b.want(b.get("settings"), 200, "data:image/png;base64,")
	b.wantRedirect(b.post("sign-out"), "sign-in?done=signed-out")
	b.wantRedirect(b.get("keys"), "sign-in?next=keys")
}

func TestSession_EndsWithoutRequestsAndAtTheLatestAfterTwelveHours(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.holder(f.account("Example Corp."))
	f.advance(signin.Idle - time.Second)
	b.want(b.get("keys"), 200)
	f.advance(signin.Idle)
	b.wantRedirect(b.get("keys"), "sign-in?next=keys")
	b = f.operatorBrowser("tanaka")
	for range 12*2 + 1 {
		b.want(b.get(""), 200, "tanaka")
		f.advance(signin.Idle - time.Minute)
	}
	b.wantRedirect(b.get(""), "sign-in")
}
