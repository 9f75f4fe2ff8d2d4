package console

import (
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/refusals"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// key issues a key as the operator does.
func (f *fixture) key(n manage.NewKey) manage.Key {
	f.t.Helper()
	if n.Expires == "" {
		n.Expires = "10d"
	}
	k, err := f.operator().IssueKey(f.t.Context(), n)
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

// child issues a key in the name of another key.
func (f *fixture) child(issuer manage.Key) policy.Key {
	f.t.Helper()
	k, _, err := f.store.IssueKey(f.t.Context(), f.Now(), root, keystore.NewKey{
		AccountID: issuer.AccountID, Origin: policy.OriginAPI, Issuer: issuer.ID, Expires: policy.ExpiresAt(f.Now().Add(time.Hour)),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

func (f *fixture) status(keyID string) string {
	f.t.Helper()
	k, err := f.store.Key(f.t.Context(), keyID)
	if err != nil {
		f.t.Fatal(err)
	}
	return k.Status(f.Now())
}

func TestOperator_InvitesRenamesSuspendsAndClosesAccounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example <Corp>")
	k := f.key(manage.NewKey{AccountID: a.ID})
	b := f.operatorBrowser("tanaka")
	b.want(b.get("operator/accounts"), 200, "Example &lt;Corp&gt;", a.ID)
	page := "operator/accounts/" + a.ID
	b.want(b.get("operator/accounts?search=example+%3Cc"), 200, a.ID)
	b.want(b.get("operator/accounts?search="+a.ID[:9]), 200, a.ID)
	b.want(b.get("operator/accounts?search=nobody"), 200, "There are no such accounts.")
	b.want(b.get("operator/accounts?search=sgk_secret"), 400, "an API key itself")
	b.want(b.get("operator/accounts?status=closed"), 200, "There are no such accounts.")
	b.want(b.get("operator/accounts?status=shut"), 400, "status")

	invited := b.want(b.post(page+"/invite"), 200, "works once")
	link := regexp.MustCompile(`id="link">(http://[^<]+/console/setup/[^<]+)<`).FindStringSubmatch(invited.body)
	if link == nil {
		t.Fatalf("no link in\n%s", invited.body)
	}
	holder := f.browser()
	holder.want(holder.get(strings.TrimPrefix(link[1], f.server.URL)), 200, "Set your password")
	if again := b.get(page); strings.Contains(again.body, "/setup/") {
		t.Error("the link is shown again")
	}

	b.wantRedirect(b.post(page+"/rename", "name", "Other"), page+"?done=account-renamed")
	b.want(b.get(page+"?done=account-renamed"), 200, "Other", "The account has another name.")
	b.want(b.post(page+"/rename", "name", ""), 422, "is missing")
	b.wantRedirect(b.post(page+"/suspend", "reason", "bill"), page+"?done=account-suspended")
	b.want(b.get(page), 200, "bill", "Resume the account")
	b.wantRedirect(b.post(page+"/resume"), page+"?done=account-resumed")
	b.want(b.post(page+"/close"), 422, "is not closed yet")
	if got := f.status(k.ID); got != "active" {
		t.Errorf("without a confirmation, the key is %s", got)
	}
	b.wantRedirect(b.post(page+"/close", "confirm", "yes"), page+"?done=account-closed")
	b.want(b.get(page+"?done=account-closed"), 200, "The account is closed")
	if got := f.status(k.ID); got != "revoked" {
		t.Errorf("the key of the closed account is %s", got)
	}
	b.want(b.get("operator/accounts/acc_none"), 404, "Not found")
	b.want(b.get("operator/accounts/nobody"), 404, "Not found")
}

func TestOperator_FindsSortsAndEndsKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, other := f.account("One"), f.account("Two")
	door := f.key(manage.NewKey{AccountID: a.ID, Label: "door", Issuable: true, Limits: []string{"audio=100s/d"}})
	gate := f.key(manage.NewKey{AccountID: other.ID, Label: "back door", Expires: "5d"})
	child := f.child(door)
	b := f.operatorBrowser("tanaka")
	order := func(path string, ids ...string) {
		t.Helper()
		page := b.want(b.get(path), 200)
		last := -1
		for _, id := range ids {
			at := strings.Index(page.body, `/keys/`+id)
			if at <= last {
				t.Errorf("%s: key %s is not after the key before it", path, id)
			}
			last = at
		}
	}
	order("operator/keys?sort=expiry", child.ID, gate.ID, door.ID)
	order("operator/keys?sort=expiry&reverse=yes", door.ID, gate.ID, child.ID)
	order("operator/keys?search=door", door.ID, gate.ID)
	order("operator/keys?search="+gate.ID, gate.ID)
	order("operator/keys?issued-by="+door.ID, child.ID)
	if page := b.get("operator/keys?account=One"); strings.Contains(page.body, gate.ID) || !strings.Contains(page.body, door.ID) {
		t.Error("the keys of one account have those of another")
	}
	b.want(b.get("operator/keys?status=used"), 400, "status")
	b.want(b.get("operator/keys?account=nobody"), 404, "there is no account")
	b.want(b.get("operator/keys?cursor=x&sort=label"), 400, "cursor")
	if page := b.want(b.get("operator/keys?search="+door.Secret.Reveal()), 400, "is a secret"); strings.Count(page.body, door.Secret.Reveal()) > 1 {
		t.Error("the message repeats a key")
	}

	page := "operator/keys/" + door.ID
	b.want(b.get(page), 200, "door", a.ID, "audio=100s/d", "used: 0")
	b.wantRedirect(b.post(page+"/suspend", "reason", "seen"), page+"?done=key-suspended")
	b.want(b.get(page), 200, "Resume the key", "seen")
	b.wantRedirect(b.post(page+"/resume"), page+"?done=key-resumed")
	b.wantRedirect(b.post(page+"/revoke", "reason", "found", "children", "yes"), page+"?done=key-revoked")
	b.want(b.get(page+"?done=key-revoked"), 200, "found", "The key is revoked.")
	for id, want := range map[string]string{door.ID: "revoked", child.ID: "revoked", gate.ID: "active"} {
		if got := f.status(id); got != want {
			t.Errorf("key %s is %s, want %s", id, got, want)
		}
	}
	b.want(b.get("operator/keys/key_none"), 404, "Not found")
}

func TestOperator_EndsALeakedKeyAndItsChildren(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("One")
	key := f.key(manage.NewKey{AccountID: a.ID, Label: "server", Issuable: true})
	child := f.child(key)
	b := f.operatorBrowser("tanaka")
	b.want(b.get("operator/leaked"), 200, "Paste the key")
	secret := key.Secret.Reveal()
	found := b.want(b.post("operator/leaked", "key", "  "+secret+"\n"), 200, key.ID, "One", "server", child.ID)
	if strings.Contains(found.body, secret) {
		t.Error("the page shows the key")
	}
	if f.status(key.ID) != "active" {
		t.Error("looking for the key has ended it")
	}
	unknown := strings.Repeat("x", 20) + "1Aa"
	if page := b.want(b.post("operator/leaked", "key", unknown), 422, "the keystore has no such key"); strings.Contains(page.body, unknown) {
		t.Error("the page repeats what was pasted")
	}
	b.wantRedirect(b.post("operator/keys/"+key.ID+"/revoke", "children", "yes", "reason", "leaked"), "operator/keys/"+key.ID+"?done=key-revoked")
	if f.status(key.ID) != "revoked" || f.status(child.ID) != "revoked" {
		t.Errorf("the key is %s, its child %s", f.status(key.ID), f.status(child.ID))
	}
	b.want(b.post("operator/leaked", "key", secret), 200, "The key has ended already.")
}

// A key can have been revoked before without the keys that it has issued.
func TestOperator_EndsTheChildrenOfAKeyThatHasEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := f.key(manage.NewKey{AccountID: f.account("One").ID, Issuable: true})
	child := f.child(key)
	b := f.operatorBrowser("tanaka")
	page := "operator/keys/" + key.ID
	b.wantRedirect(b.post(page+"/revoke"), page+"?done=key-revoked")
	if got := f.status(child.ID); got != "active" {
		t.Fatalf("the child is %s", got)
	}
	b.want(b.get(page), 200, "The key has ended already.", `name="children" value="yes"`)
	b.want(b.post("operator/leaked", "key", key.Secret.Reveal()), 200, child.ID, "The key has ended already.", `name="children" value="yes"`)
	b.wantRedirect(b.post(page+"/revoke", "children", "yes"), page+"?done=key-revoked")
	if got := f.status(child.ID); got != "revoked" {
		t.Errorf("the child is %s", got)
	}
	if got := b.want(b.post("operator/leaked", "key", key.Secret.Reveal()), 200, "The key has ended already."); strings.Contains(got.body, `name="children"`) {
		t.Error("the page offers to end children that have ended")
	}
}

func TestOperator_SeesWhichKeysEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	soon, late := f.key(manage.NewKey{AccountID: a.ID, Label: "soon", Expires: "3d"}), f.key(manage.NewKey{AccountID: a.ID, Label: "late", Expires: "20d"})
	b := f.operatorBrowser("tanaka")
	page := b.want(b.get("operator/forecast"), 200, soon.ID, "Example Corp.", "in 3 days")
	if strings.Contains(page.body, late.ID) {
		t.Error("a key of the next month is among those of two weeks")
	}
	b.want(b.get("operator/forecast?within=30d"), 200, soon.ID, late.ID)
	b.want(b.get("operator/forecast?within=soon"), 400, "within")
	b.want(b.get("operator/forecast?account=nobody"), 404, "there is no account")
	b.want(b.get("operator/forecast?within=1d"), 200, "No key ends in this time.")
}

func TestOperator_CutsALiveStream(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("One")
	b := f.operatorBrowser("tanaka")
	b.want(b.get("operator/streams"), 200, "There are no live streams")
	f.streams.Store([]LiveStream{{ID: "str_1", Backend: "amivoice", KeyID: "key_1", AccountID: a.ID, Client: "192.0.2.9", Begun: start, Accepted: start}})
	b.want(b.get("operator/streams"), 200, "str_1", "192.0.2.9", "key_1")
	b.wantRedirect(b.post("operator/streams/cut", "id", "str_1"), "operator/streams?done=stream-cut")
	b.want(b.get("operator/streams?done=stream-cut"), 200, "The stream is cut.")
	b.wantRedirect(b.post("operator/streams/cut", "id", "str_1"), "operator/streams?done=stream-over")
	b.want(b.get("operator/audit?account=One"), 200, "stream_cut", "str_1", "tanaka")
}

// The page says that the stream is cut, although the keystore has failed meanwhile.
func TestOperator_CutsALiveStreamWithoutTheAuditTrail(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	f.streams.Store([]LiveStream{{ID: "str_1", Backend: "amivoice", Begun: start, Accepted: start}})
	f.onCut = func() {
		f.mayFail.Store(true)
		_ = f.store.Close()
	}
	b.want(b.post("operator/streams/cut", "id", "str_1"), 200, "The audit trail has no entry about it")
	if f.failed.Load() != 1 {
		t.Error("the log has no entry about it")
	}
}

func TestOperator_SeesJobsOnGrace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := f.key(manage.NewKey{AccountID: f.account("One").ID, Expires: "1h"})
	job := policy.Job{Backend: "amivoice", ID: "job-on-grace", Dialect: "amivoice", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start}
	if err := f.store.CreateJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	b := f.operatorBrowser("tanaka")
	b.want(b.get("operator/grace"), 200, "No job is on grace.")
	f.advance(2 * time.Hour)
	b = f.operatorBrowser("suzuki")
	if page := b.want(b.get("operator/grace"), 200, "job-on-grace", key.ID); strings.Contains(page.body, `rel="next"`) {
		t.Error("the page has a next part")
	}
	for i := range rowsPerPage {
		job.ID = "job-" + strconv.Itoa(i)
		if err := f.store.CreateJob(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
	page := b.want(b.get("operator/grace"), 200, "job-on-grace", "job-48")
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page.body)
	if next == nil {
		t.Fatal("there is no next part")
	}
	second := b.want(b.get(next[1]), 200, "job-49")
	if strings.Contains(second.body, "job-48") || strings.Contains(second.body, `rel="next"`) {
		t.Error("the second part is not the rest")
	}
	b.want(b.get("operator/grace?cursor=x"), 400, "want one that this list returned")
}

func aRefusal(reason policy.Reason, key string) refusals.Refusal {
	return refusals.Refusal{
		At: start, Reason: reason, Operation: policy.Recognize, Backend: "amivoice", KeyID: key, AccountID: "acc_1",
		Client: netip.MustParseAddr("192.0.2.9"), Hops: "203.0.113.5, 198.51.100.1",
	}
}

func TestOperator_SeesTheLastRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.refusals.Add(aRefusal(policy.AddressRefused, "key_1"))
	f.refusals.Add(aRefusal(policy.KeyExpired, "key_2"))
	b := f.operatorBrowser("tanaka")
	page := b.want(b.get("operator/refusals"), 200, "key_1", "key_2", "203.0.113.5, 198.51.100.1", "192.0.2.9")
	if strings.Index(page.body, "key_2") > strings.Index(page.body, "key_1") {
		t.Error("the newest refusal is not the first one")
	}
	for filter, has := range map[string]bool{"reason=key_expired": true, "reason=key_unknown": false, "key=key_2": true, "key=acc_1": true, "key=key_9": false, "client=192.0.2.9": true, "client=192.0.2.8": false, "operation=stream": false} {
		if page := b.want(b.get("operator/refusals?"+filter), 200); strings.Contains(page.body, `/keys/key_2"`) != has {
			t.Errorf("%s: the refusal is there: %t", filter, !has)
		}
	}
}

func TestOperator_ExplainsADecision(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := f.key(manage.NewKey{AccountID: f.account("One").ID, Allow: []string{"192.0.2.7"}})
	b := f.operatorBrowser("tanaka")
	b.want(b.get("operator/explain?key="+key.ID), 200, `value="`+key.ID+`"`)
	secret := key.Secret.Reveal()
	if page := b.get("operator/explain?key=" + secret); strings.Contains(strings.ReplaceAll(page.body, "next", ""), `value="`+secret) {
		t.Error("a key in the URL is in the form")
	}
	form := []string{"client-ip", "192.0.2.8", "method", "POST", "path", "/v1/recognize", "dialect", "amivoice"}
	b.want(b.post("operator/explain", append(form, "key", key.ID)...), 200, "address_refused", "credential")
	page := b.want(b.post("operator/explain", append(form, "key", secret)...), 200, "address_refused", key.ID)
	if strings.Contains(page.body, secret) {
		t.Error("the page repeats the key")
	}
	b.want(b.post("operator/explain", append([]string{"client-ip", "nowhere"}, form[2:]...)...), 422, "nowhere")
	b.want(b.post("operator/explain", append(form, "key", "key_none")...), 422, "there is no key")
}

func TestOperator_SeesTheHealthOfTheKeystore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	id, err := f.store.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	size := "KiB</dd>"
	if postgrestest.Chosen(t) {
		size = "<dt>Size</dt><dd>–</dd>" // of another machine's disk
	}
	page := b.get("operator/health")
	b.want(page, 200, id, "This server can decide on requests.", size)
}

func TestUsage_IsShownToItsHolderOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	one, two := f.account("One"), f.account("Two")
	mine, other := f.key(manage.NewKey{AccountID: one.ID}), f.key(manage.NewKey{AccountID: two.ID})
	for _, k := range []manage.Key{mine, other} {
		f.store.CountUsage(f.Now(), &keystore.UsageOf{KeyID: k.ID, AccountID: k.AccountID, Backend: "amivoice", Operation: policy.Recognize, Reason: policy.Allowed},
			keystore.UsageCounts{Requests: 1234, AudioBytes: 1 << 20, AudioTime: 90 * time.Second})
	}
	b := f.holder(one)
	testutil.Eventually(t, "the usage is shown", func() bool { return strings.Contains(b.get("usage").body, "1,234") }) // it is written every 4 s
	page := b.want(b.get("usage?days=7"), 200, mine.ID, "<svg", "1.5 minutes", "1.0 MiB")
	if strings.Contains(page.body, other.ID) {
		t.Error("the page has a key of another account")
	}
	b.want(b.get("usage?key="+other.ID), 400, "there is no key")
	b.want(b.get("usage?account="+two.ID), 400, "there is no account")
	b.want(f.operatorBrowser("tanaka").get("usage?account=Two"), 200, other.ID)
}

// No page of the operators exists for the holder of an account, and none is open without a session.
func TestOperatorPages_AreForOperatorsOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("One")
	key := f.key(manage.NewKey{AccountID: a.ID})
	holder, nobody := f.holder(a), f.browser()
	for _, rt := range operatorRoutes() {
		if rt.access != operators && rt.access != watchers {
			if rt.path != "usage" {
				t.Errorf("%s is for others too", rt.path)
			}
			continue
		}
		path := strings.NewReplacer("accounts/{id}", "accounts/"+a.ID, "keys/{id}", "keys/"+key.ID).Replace(rt.path)
		holder.want(holder.send(rt.method, path, map[string][]string{"confirm": {"yes"}}), 404, "Not found")
		if got := nobody.send(rt.method, path, nil); got.status != http.StatusSeeOther {
			t.Errorf("%s %s without a session: status %d", rt.method, path, got.status)
		}
	}
	if got := f.status(key.ID); got != "active" {
		t.Errorf("the key is %s", got)
	}
}
