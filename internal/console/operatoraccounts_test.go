package console

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

func TestOperator_CreatesAnAccountOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	form := b.want(b.get("operator/accounts/new"), 200)
	once := regexp.MustCompile(`name="once" value="([^"]+)"`).FindStringSubmatch(form.body)
	fields := []string{"name", "<i>Example</i> & Co.", "once", once[1]}
	b.want(b.post("operator/accounts/new", "name", "", "once", once[1]), 422, "missing")
	b.want(b.post("operator/accounts/new", "name", "With ID", "service-id", "customer-1", "service-password", "short"), 422, `value="customer-1"`)
	created := b.want(b.post("operator/accounts/new", fields...), 200, "&lt;i&gt;Example&lt;/i&gt; &amp; Co.")
	id := regexp.MustCompile(`acc_[0-9A-Za-z]{20}`).FindString(created.body)
	password := regexp.MustCompile(`id="secret">([^<]+)<`).FindStringSubmatch(created.body)
	if id == "" || password == nil {
		t.Fatalf("no account in\n%s", created.body)
	}
	again := b.want(b.post("operator/accounts/new", fields...), 200, "This form was sent before", id)
	if strings.Contains(again.body, password[1]) {
		t.Error("the service password is shown twice")
	}
	other := b.want(b.post("operator/accounts/new", "name", "Another", "once", once[1]), 409, "Send it again", `value="Another"`)
	fresh := regexp.MustCompile(`name="once" value="([^"]+)"`).FindStringSubmatch(other.body)
	b.want(b.post("operator/accounts/new", "name", "Another", "once", fresh[1]), 200, "Another")
	imported := b.want(b.post("operator/accounts/new", "name", "With ID", "service-id", "customer-1", "service-password", "a password of before"), 200, "customer-1")
	if strings.Contains(imported.body, "a password of before") {
		t.Error("the page repeats the password that the operator has typed")
	}
	accounts, err := f.operator().Accounts(t.Context(), manage.AccountQuery{})
	if err != nil || len(accounts.Items) != 3 {
		t.Errorf("there are %d accounts, %v", len(accounts.Items), err)
	}
}

func TestOperator_RotatesAnAccountOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Rotated")
	b := f.operatorBrowser("tanaka")
	path := "operator/accounts/" + a.ID
	once := regexp.MustCompile(`name="once" value="([^"]+)"`).FindStringSubmatch(b.want(b.get(path), 200, "The old ones end").body)
	b.want(b.post(path+"/rotate", "overlap", "soon", "once", once[1]), 422, "overlap")
	rotated := b.want(b.post(path+"/rotate", "overlap", "7d", "once", once[1]), 200, "The account has a new service ID and service password", a.ServiceID, "works until", "2030-03-24 17:46")
	password := regexp.MustCompile(`id="secret">([^<]+)<`).FindStringSubmatch(rotated.body)
	account, err := f.operator().Account(t.Context(), a.ID)
	if err != nil || password == nil || account.ServiceID == a.ServiceID || string(account.PreviousServiceID) != a.ServiceID {
		t.Fatalf("the account is %+v, %v, and the page\n%s", account, err, rotated.body)
	}
	for id, secret := range map[string]policy.Secret{account.ServiceID: policy.NewSecret(password[1]), a.ServiceID: a.ServicePassword.Secret} {
		if _, err := f.store.FindService(t.Context(), f.Now(), id, secret); err != nil {
			t.Errorf("%s and its password: %v", id, err)
		}
	}
	again := b.want(b.post(path+"/rotate", "overlap", "7d", "once", once[1]), 200, "This form was sent before", account.ServiceID)
	if strings.Contains(again.body, password[1]) {
		t.Error("the service password is shown twice")
	}
	b.want(b.post(path+"/rotate", "overlap", "0", "once", once[1]), 409, "Nothing was changed now")
	b.want(b.post(path+"/rotate", "overlap", "0"), 200, `id="secret"`)
	if now, err := f.operator().Account(t.Context(), a.ID); err != nil || now.ServiceID == account.ServiceID || now.PreviousServiceID != "" {
		t.Errorf("after a rotation at once the account is %+v, %v", now, err)
	}
}

func TestOperator_SeesAndLimitsAnAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Limited")
	k := f.key(manage.NewKey{AccountID: a.ID, Label: "<script>alert(1)</script>"})
	job := policy.Job{Backend: "amivoice", ID: "job-of-it", Dialect: "amivoice", AccountID: a.ID, KeyID: k.ID, CreatedAt: f.Now()}
	if err := f.store.CreateJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	b := f.operatorBrowser("tanaka")
	path := "operator/accounts/" + a.ID
	b.want(b.get(path), 200, "&lt;script&gt;alert(1)", "job-of-it", "operator/keys/"+k.ID, "The last 30 days")
	b.wantRedirect(b.post(path+"/limits", "limits", "requests=600/m streams=3"), path+"?done=account-limited")
	b.want(b.get(path), 200, `value="requests=600/m streams=3"`)
	b.wantRedirect(b.post(path+"/limits", "limits", "operations=recognize,stream,requests=60/m"), path+"?done=account-limited")
	if page := b.get(path); strings.Contains(page.body, "streams=3") || !strings.Contains(page.body, "requests=60/m") {
		t.Errorf("the limit that was deleted in the field stays:\n%s", page.body)
	}
	b.want(b.post(path+"/limits", "limits", "requests=many"), 422)
	b.wantRedirect(b.post(path+"/limits", "limits", ""), path+"?done=account-limited")
	if account, err := f.operator().Account(t.Context(), a.ID); err != nil || len(account.Limits) > 0 {
		t.Errorf("the limits are %v, %v", account.Limits, err)
	}

	b.want(b.get("operator/jobs"), 200, "job-of-it", "Limited", "in 24 hours")
	b.want(b.get("operator/jobs?account=Limited&key="+k.ID), 200, "job-of-it")
	b.want(b.get("operator/jobs?account=Nobody"), 404, "there is no account")
	b.want(b.get("operator/jobs?key=nonsense"), 400)
	b.want(b.get("operator/jobs?cursor=nonsense"), 400)
	b.want(b.get("operator/keys"), 200, "Limited", "&lt;script&gt;")
}

func TestOperator_SeesWhatNeedsAttention(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	late, fine := f.account("Late payer"), f.account("Fine")
	if _, err := f.operator().SuspendAccount(t.Context(), late.ID, "unpaid"); err != nil {
		t.Fatal(err)
	}
	f.key(manage.NewKey{AccountID: fine.ID, Label: "ends soon", Expires: "3d"})
	f.key(manage.NewKey{AccountID: fine.ID, Label: "ends later", Expires: "20d"})
	f.operatorBrowser("sato")
	b := f.operatorBrowser("tanaka")
	page := b.want(b.get(""), 200, "Late payer", "ends soon", "in 3 days", "Fine", "<code>sato</code>", "This server can decide on requests", "You are signed in as the operator tanaka")
	if strings.Contains(page.body, "ends later") {
		t.Error("a key that ends in 20 days is among those of 14 days")
	}
}

// IDs that are wrong, of another kind or of nothing reach no record, and change nothing.
func TestOperator_IDsAreOfTheirKind(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Mine")
	k := f.key(manage.NewKey{AccountID: a.ID, Label: "mine"})
	b := f.operatorBrowser("tanaka")
	before := f.state()
	tried := 0
	for _, rt := range routes() {
		if rt.access != operators || !strings.Contains(rt.path, "{id}") {
			continue
		}
		tried++
		form := anyForm()
		if rt.method == http.MethodGet {
			form = nil
		}
		own, other := a.ID, k.ID
		if strings.Contains(rt.path, "/keys/") {
			own, other = k.ID, a.ID
		}
		for _, id := range []string{other, "Mine", "..%2f..", "%00", own + "%20", own + "x", strings.ToLower(own), "acc_", "key_", "str_x", "key_' OR 1=1 --", strings.Repeat("x", 3000)} {
			if got := b.send(rt.method, fill(rt.path, id), form); got.status != http.StatusNotFound {
				t.Errorf("%s %s with the ID %.30q: status %d to %q", rt.method, rt.path, id, got.status, got.header.Get("Location"))
			}
		}
	}
	if after := f.state(); after != before || tried < 10 {
		t.Errorf("after %d routes, wrong IDs have changed\n%s\ninto\n%s", tried, before, after)
	}
}
