package console

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
)

func (f *fixture) operatorStatus(name string) string {
	f.t.Helper()
	all, err := f.operator().Operators(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range all {
		if all[i].Name == name {
			return all[i].Status
		}
	}
	return "absent"
}

func TestOperators_AreListedWithTheirSignIns(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	if _, err := f.operator().InviteOperator(t.Context(), "suzuki", "/console/"); err != nil {
		t.Fatal(err)
	}
	page := b.want(b.get("operator/operators"), 200, "tanaka", ">you<", "suzuki", ">invited<", "never", "a link works until")
	rows := strings.Split(page.body, "<tr>")
	if len(rows) != 4 || !strings.Contains(rows[3], "2030-03-17 17:46") || strings.Contains(rows[3], "never") { // the heading, suzuki, tanaka
		t.Errorf("the rows are %q", rows)
	}
}

// The link of an invitation is shown once, and works.
func TestOperators_InviteByALinkThatIsShownOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	link := regexp.MustCompile(`id="link">([^<]+)<`)
	invite := func(name string) string {
		t.Helper()
		page := b.want(b.post("operator/operators/invite", "name", name), 200, "Send this link to "+name)
		found := link.FindStringSubmatch(page.body)
		if found == nil {
			t.Fatalf("no link in\n%s", page.body)
		}
		if replaces := strings.Contains(page.body, "Using the link replaces the password"); replaces != (f.operatorStatus(name) == "active") {
			t.Errorf("%s: the page says that a password is replaced: %t", name, replaces)
		}
		u, err := url.Parse(found[1])
		if err != nil || u.Host == "" {
			t.Fatalf("the link is %s, %v", found[1], err)
		}
		return u.Path
	}
	first := invite("suzuki")
	if link.MatchString(b.get("operator/operators").body) {
		t.Error("the link is shown again")
	}
	second := invite("suzuki")
	other := f.browser()
	other.want(other.get(first), 404)
	other.wantRedirect(other.post(second, "password", aPassword, "repeat", aPassword), "?done=password-set")
	other.want(other.get("operator/operators"), 200)
	invite("suzuki") // who has a password now
	other.want(other.get("operator/operators"), 200)

	b.want(b.post("operator/operators/invite", "name", "two words"), 422, `value="two words"`, "want 1 to 64 letters")
	b.want(b.post("operator/operators/invite"), 422)
	secret := f.key(manage.NewKey{AccountID: f.account("One").ID}).Secret.Reveal()
	if page := b.want(b.post("operator/operators/invite", "name", secret), 422, "which is a secret"); strings.Contains(page.body, secret) {
		t.Error("the page repeats a key")
	}
}

func TestOperators_AreRemovedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b, other := f.operatorBrowser("tanaka"), f.operatorBrowser("suzuki")
	other.want(other.get("operator/operators"), 200)
	b.wantRedirect(b.post("operator/operators/remove", "name", "suzuki"), "operator/operators?done=operator-removed")
	b.want(b.get("operator/operators?done=operator-removed"), 200, "The operator is removed", "Removed operators")
	other.wantRedirect(other.get("operator/operators"), "sign-in?next=operator%2Foperators")
	if got := f.operatorStatus("suzuki"); got != "removed" {
		t.Errorf("suzuki is %s", got)
	}
	b.want(b.post("operator/operators/remove", "name", "nobody"), 404)
	b.want(b.get("operator/audit?actor=operator+tanaka&action=console_remove"), 200, "<code>suzuki</code>")
}

// An operator of a provider that the configuration does not name cannot sign in, so another one is the last.
func TestOperators_TheLastOneCanSignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("suzuki")
	f.inviteOperator(tanaka)
	at := keystore.Identity{Issuer: "https://old.example.com", Subject: "user-1"}
	if _, err := f.store.SetUpConsoleIdentity(t.Context(), f.Now(), keystore.Actor{}, tanaka, at); err != nil {
		t.Fatal(err)
	}
	const last = "This is the last operator who can sign in."
	b.want(b.post("operator/operators/remove", "name", "suzuki", "self", "yes"), 200, last, `name="last" value="yes"`)
	if got := f.operatorStatus("suzuki"); got != "active" {
		t.Fatalf("suzuki is %s", got)
	}
	b.wantRedirect(b.post("operator/operators/remove", "name", tanaka), "operator/operators?done=operator-removed")
}

// Operators remove themselves, or the last one, only after the page has told them what this means.
func TestOperators_RemoveThemselvesOrTheLastOneKnowingly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	remove := func(fields ...string) answer {
		return b.post("operator/operators/remove", append(fields, "name", "tanaka")...)
	}
	const self, last = "This is you: your sessions end at once", "This is the last operator who can sign in."
	for name, fields := range map[string][]string{"the button of the list": nil, "half a confirmation": {"last", "yes"}, "the other half": {"self", "yes"}} {
		b.want(remove(fields...), 200, self, last, `name="self" value="yes"`, `name="last" value="yes"`)
		if got := f.operatorStatus("tanaka"); got != "active" {
			t.Fatalf("%s: tanaka is %s", name, got)
		}
	}

	other := f.operatorBrowser("suzuki")
	if page := b.want(remove(), 200, self); strings.Contains(page.body, last) {
		t.Error("one of two is the last one")
	}
	b.wantRedirect(remove("self", "yes"), "sign-in?done=removed-yourself")
	b.want(b.get("sign-in?done=removed-yourself"), 200, "You have removed yourself, and are signed out.")
	b.wantRedirect(b.get("operator/operators"), "sign-in?next=operator%2Foperators")

	// The page of the other one was loaded while there were two.
	other.want(other.post("operator/operators/remove", "name", "suzuki", "self", "yes"), 200, last)
	other.wantRedirect(other.post("operator/operators/remove", "name", "suzuki", "self", "yes", "last", "yes"), "sign-in?done=removed-yourself")
}
