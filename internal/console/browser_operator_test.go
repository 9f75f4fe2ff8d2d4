package console

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/speechgate/speechgate/internal/browsertest"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// busyGateway writes what the operators' pages show, and returns a key that has issued another.
func (f *fixture) busyGateway() manage.Key {
	f.t.Helper()
	one, two := f.account("株式会社サンプル"), f.account("A customer whose name is long enough for more than one line of a table")
	key := f.key(manage.NewKey{AccountID: one.ID, Label: "受付サーバー", Expires: "3d", Issuable: true, Allow: []string{"192.0.2.0/24"}, Limits: []string{"requests=60/m audio=3600s/d"}})
	f.child(key)
	f.key(manage.NewKey{AccountID: two.ID, Label: "batch", Expires: "never"})
	expired := f.key(manage.NewKey{AccountID: two.ID, Label: "expired", Expires: "1s"})
	if err := f.store.CreateJob(f.t.Context(), policy.Job{Backend: "amivoice", ID: "0123456789abcdef", Dialect: "amivoice", AccountID: two.ID, KeyID: expired.ID, CreatedAt: start}); err != nil {
		f.t.Fatal(err)
	}
	for day := range 30 {
		for reason, n := range map[policy.Reason]int64{policy.Allowed: int64(900 + day*day*7%500), policy.AddressRefused: int64(day * 13 % 60)} {
			c := keystore.UsageCounts{Requests: n, AudioBytes: n << 14, AudioTime: time.Duration(n) * time.Second}
			if !reason.OK() {
				c = keystore.UsageCounts{Requests: n, Refused: n}
			}
			f.store.CountUsage(start.Add(-time.Duration(day)*24*time.Hour), &keystore.UsageOf{KeyID: key.ID, AccountID: one.ID, Backend: "amivoice", Operation: policy.Recognize, Reason: reason}, c)
		}
	}
	f.advance(2 * time.Second)
	f.streams.Store([]LiveStream{{ID: "str_4f2a", Backend: "amivoice", KeyID: key.ID, AccountID: one.ID, Client: "192.0.2.9", Begun: start, Accepted: start}})
	for _, reason := range []policy.Reason{policy.KeyUnknown, policy.AddressRefused, policy.KeyExpired} {
		f.refusals.Add(aRefusal(reason, key.ID))
	}
	return key
}

// TestBrowser_AnOperatorDoesEverything does what an operator can do.
func TestBrowser_AnOperatorDoesEverything(t *testing.T) {
	t.Parallel()
	inEveryLook(t, func(t *testing.T, b *tab) {
		f := b.f
		key := f.busyGateway()
		invitation, err := f.operator().InviteOperator(t.Context(), "tanaka", "/console/")
		if err != nil {
			t.Fatal(err)
		}
		b.open(invitation.SetupURL.Reveal())
		b.Fill("#password", aPassword)
		b.Fill("#repeat", aPassword)
		b.Submit("main button", "main .card")
		b.seen("operator")

		b.open("operator/accounts")
		b.seen("accounts")
		b.open("operator/accounts/" + key.AccountID)
		b.seen("account")
		b.Submit(`form[action$="/invite"] button`, "#link")
		b.seen("account-invited")
		b.Do(chromedp.Click(chromedp.CSS("#rotate summary")), chromedp.WaitVisible(chromedp.CSS("#rotate form button")))
		b.seen("account-rotate")
		b.Submit("#rotate form button", "#secret")
		b.seen("account-rotated")
		b.open("operator/accounts/new")
		b.Fill("#name", "新しいお客様")
		b.seen("new-account")
		b.Submit("form.stack > button.main", "#sid")
		b.seen("account-created")
		b.open("operator/jobs")
		b.seen("all-jobs")
		b.open("operator/keys?sort=expiry")
		b.seen("all-keys")
		b.open("operator/keys/" + key.ID)
		b.seen("any-key")
		b.open("operator/forecast")
		b.seen("forecast")
		b.open("operator/grace")
		b.seen("grace")
		b.open("operator/health")
		b.seen("health")
		b.open("operator/audit")
		b.Submit(`form[method=post][action$="/audit"] button`, "#head")
		b.seen("audit")
		b.open("operator/audit?from=2030-03-17&subject=" + key.ID)
		b.seen("audit-filtered")
		b.changeOperators()
		b.open("usage")
		b.seen("usage")

		b.open("operator/explain?key=" + key.ID)
		b.Fill("#client-ip", "198.51.100.7")
		b.Submit("main form button.main", "#decision")
		if got := b.Text("#decision code"); got != "address_refused" {
			t.Errorf("the page explains %s", got)
		}
		b.seen("explain")

		b.open("operator/refusals")
		b.seen("refusals")
		if b.look.script {
			b.watchRefusals()
		}

		b.open("operator/streams")
		b.seen("streams")
		b.Do(chromedp.Click(chromedp.CSS("td summary")), chromedp.WaitVisible(chromedp.CSS("td form button")))
		b.seen("streams-cut-ask")
		b.Submit("td form button", ".notice")
		b.seen("streams-cut")
		if _, n := f.Streams(0); n > 0 {
			t.Error("the stream goes on")
		}

		b.open("operator/leaked")
		b.seen("leaked")
		b.Fill("#key", key.Secret.Reveal())
		b.Submit("main form button", "#reason")
		b.seen("leaked-found")
		b.Submit("main form button.danger", ".notice")
		b.seen("leaked-ended")
		if got := f.status(key.ID); got != "revoked" {
			t.Errorf("the key is %s", got)
		}
	})
}

// changeOperators invites an operator and removes another one, and looks at the question before
// the operator who is signed in is removed.
func (b *tab) changeOperators() {
	b.t.Helper()
	b.f.operatorBrowser("suzuki")
	b.open("operator/operators")
	b.seen("operators")
	b.Fill("#name", "watanabe@example.com")
	b.Submit("form.line button.main", "#link")
	b.seen("operators-invited")
	b.Do(chromedp.Click(chromedp.CSS(`details:has(button[value="suzuki"]) summary`)), chromedp.WaitVisible(chromedp.CSS(`td button.danger[value="suzuki"]`)))
	b.seen("operators-remove")
	b.Submit(`td button.danger[value="suzuki"]`, ".notice.good")
	b.seen("operators-removed")
	if got := b.f.operatorStatus("suzuki"); got != "removed" {
		b.t.Errorf("the operator is %s", got)
	}
	b.Submit(`td button.danger[value="tanaka"]`, "#ask")
	b.seen("operators-ask")
}

// watchRefusals checks that the page shows refusals as they happen, and none while it is paused.
func (b *tab) watchRefusals() {
	b.t.Helper()
	rows := func() int64 {
		return browsertest.Result(b.Tab, chromedp.Evaluate[int64](`document.querySelectorAll("#live tbody tr").length`))
	}
	before := rows()
	b.f.refusals.Add(aRefusal(policy.KeyDeleted, "key_live"))
	b.Do(chromedp.WaitVisible(chromedp.CSS(`a[href$="/keys/key_live"]`)))
	if got := rows(); got != before+1 {
		b.t.Errorf("%d refusals, want %d", got, before+1)
	}
	b.Do(chromedp.Click(chromedp.CSS("#live-pause")))
	b.f.refusals.Add(aRefusal(policy.KeyDeleted, "key_paused"))
	b.Do(chromedp.Sleep(2 * eventsEvery))
	if got := rows(); got != before+1 {
		b.t.Errorf("%d refusals while it is paused, want %d", got, before+1)
	}
	b.Do(chromedp.Click(chromedp.CSS("#live-pause")), chromedp.WaitVisible(chromedp.CSS(`a[href$="/keys/key_paused"]`)))
	b.seen("refusals-live")
}
