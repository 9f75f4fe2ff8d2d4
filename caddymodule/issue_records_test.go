package caddymodule_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

func TestIssue_LogsNoSecrets(t *testing.T) {
	i := newIssuer(t, "")
	_, plain := i.issue(keystore.NewKey{})
	secrets := []string{aPassword, url.QueryEscape(aPassword), "p%40ss%20w%26rd", i.secret, plain}
	calls := []reply{
		i.byService("&epi=60000"), i.byKey(""), i.call("", bearerLine(plain)), i.byService("&epi=" + plain), i.byService("&ipa=" + plain),
		i.call("sid=" + i.secret + "&spw=" + url.QueryEscape(aPassword)),
		i.send("POST /issue_service_authorization?sid=vendor-sid&spw=p%40ss%20w%26rd HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
	}
	for n, got := range calls {
		if got.status == 200 {
			secrets = append(secrets, got.body)
		} else if slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(got.raw+got.body, s) }) {
			t.Errorf("answer %d tells a secret: %q", n, got.body)
		}
	}
	log := i.log()
	audit, _, err := i.keys.Audit(t.Context(), keystore.AuditList{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q", secret)
		}
		if strings.Contains(fmt.Sprint(audit), secret) {
			t.Errorf("the audit trail has %q", secret)
		}
	}
	for _, want := range []string{`"level":"info".*"msg":"issued".*"reason":"allowed"`, `"operation":"issue_key"`, `"level":"info".*"msg":"refused".*"reason":"no_issuance_right"`, `"issued_key_id":"key_`} {
		if !regexp.MustCompile(want).MatchString(log) {
			t.Errorf("the log lacks %s", want)
		}
	}
}

func TestIssue_PlaceholdersNameTheCallersKeyAndTheDecision(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		// Deferred, so that the placeholders are resolved when the answer is written.
		site: `header >X-Seen "{speechgate.account_id} {speechgate.key_id} {speechgate.operation} {speechgate.reason}"
			speechgate_issue
			` + defaultSite,
	})
	key, secret := g.issue(keystore.NewKey{Issuable: true})
	plain, plainSecret := g.issue(keystore.NewKey{})
	for secret, want := range map[string]string{
		secret:      key.AccountID + " " + key.ID + " issue_key allowed",
		plainSecret: plain.AccountID + " " + plain.ID + " issue_key no_issuance_right",
		"nobody":    "issue_key key_unknown",
	} {
		got := g.send("POST /issue_service_authorization HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\nContent-Length: 0\r\n" + bearerLine(secret) + "\r\n")
		if seen := got.header.Get("X-Seen"); seen != want {
			t.Errorf("%d: the placeholders are %q, want %q", got.status, seen, want)
		}
	}
}

func TestIssue_AuditTrailSaysWho(t *testing.T) {
	i := newIssuer(t, "")
	before := i.count()
	one := i.issued(i.call("sid=vendor-sid&spw=p%40ss%20w%26rd", "X-Forwarded-For: 198.51.100.7\r\n"))
	two := i.issued(i.byKey("", "X-Forwarded-For: 2001:db8::7\r\n"))
	i.byKey("epi=0")
	if i.count() != before+2 {
		t.Fatal("not two keys")
	}
	entries, _, err := i.keys.Audit(t.Context(), keystore.AuditList{AccountID: i.account.ID, Limit: 2})
	if err != nil || len(entries) != 2 {
		t.Fatal(entries, err)
	}
	for n, want := range []struct {
		who     keystore.Actor
		subject string
	}{
		{keystore.Actor{Kind: keystore.ActorKey, ID: i.key.ID}, two.ID},
		{keystore.Actor{Kind: keystore.ActorAccount, ID: i.account.ID}, one.ID},
	} {
		got := entries[n]
		from := []string{"2001:db8::7", "198.51.100.7"}[n]
		if got.Action != "key_issue" || got.Subject != want.subject || got.Actor.Kind != want.who.Kind || got.Actor.ID != want.who.ID || got.Actor.From.String() != from {
			t.Errorf("entry %+v, want %+v from %s on %s", got, want.who, from, want.subject)
		}
	}
	if check, err := i.keys.VerifyAudit(context.Background(), nil); err != nil || check.Fault != "" {
		t.Errorf("the trail: %+v, %v", check, err)
	}
}

func TestIssue_AnErrorOfTheStoreIs503(t *testing.T) {
	i := newIssuer(t, "")
	i.place.Spoil(t)
	eventually(t, func() bool {
		got := i.byKey("")
		return got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") != "" && strings.Contains(got.body, "at the moment")
	})
	if got := i.byService(""); got.status != http.StatusServiceUnavailable {
		t.Errorf("by service: %d", got.status)
	}
	const want = `"level":"error".*"msg":"refused".*"reason":"store_unavailable"`
	eventually(t, func() bool { return regexp.MustCompile(want).MatchString(i.log()) })
}
