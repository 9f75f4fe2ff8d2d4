package console

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
)

// signIn signs a browser in, and returns the answer.
func (b *browser) signIn(name, password string) answer {
	b.f.t.Helper()
	return b.post("sign-in", "name", name, "password", password)
}

// code returns the code that an app shows.
func (f *fixture) code(secret string) string {
	f.t.Helper()
	code, err := totp.GenerateCode(secret, f.Now().Std())
	if err != nil {
		f.t.Fatal(err)
	}
	return code
}

// addSecond adds a second factor, and returns its secret and the recovery codes.
func (b *browser) addSecond() (secret string, codes []string) {
	b.f.t.Helper()
	page := b.want(b.get("settings"), 200)
	secret = regexp.MustCompile(`name="secret" value="([A-Z2-7]{32})"`).FindStringSubmatch(page.body)[1]
	done := b.want(b.post("settings/second-factor", "secret", secret, "code", b.f.code(secret), "password", aPassword), 200)
	for _, found := range regexp.MustCompile(`[>\n]([a-z2-7]{5}-[a-z2-7]{5})\n`).FindAllStringSubmatch(strings.ReplaceAll(done.body, "\n", "\n\n"), -1) {
		codes = append(codes, found[1])
	}
	if len(codes) != 10 {
		b.f.t.Fatalf("%d recovery codes in\n%s", len(codes), done.body)
	}
	return secret, codes
}

func TestSignIn_TakesTheServiceIDTheIDOrTheNameOfAnAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, other := f.account("Example Corp."), f.account("Other")
	f.holder(a)
	f.holder(other)
	f.operatorBrowser("tanaka")
	for _, name := range []string{a.ServiceID, a.ID, "Example Corp.", " Example Corp. "} {
		b := f.browser()
		b.wantRedirect(b.signIn(name, aPassword), "")
		b.want(b.get(""), 200, a.ID)
	}
	b := f.browser()
	b.wantRedirect(b.post("sign-in", "name", "tanaka", "password", aPassword, "next", "settings"), "settings")
	b.want(b.get(""), 200, "operator tanaka")

	twin := f.account("Other")
	f.holder(twin)
	b.want(f.browser().signIn("Other", aPassword), http.StatusUnauthorized, "The name or the password is wrong.")
	b.wantRedirect(f.browser().signIn(twin.ServiceID, aPassword), "")
}

func TestSignIn_EveryFailureLooksAlike(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, closed, suspended, invited := f.account("Example Corp."), f.account("Closed"), f.account("Suspended"), f.account("Invited")
	b := f.holder(a)
	f.holder(closed)
	f.holder(suspended)
	f.operatorBrowser("gone")
	m := f.operator()
	if _, err := m.InviteAccount(t.Context(), invited.ID, "/console/"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CloseAccount(t.Context(), closed.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, err := m.SuspendAccount(t.Context(), suspended.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := m.RemoveOperator(t.Context(), "gone", true); err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, try := range [][2]string{
		{a.ServiceID, "wrong"},
		{"nobody", aPassword},
		{"", ""},
		{closed.ServiceID, aPassword},
		{suspended.ServiceID, aPassword},
		{invited.ServiceID, aPassword},
		{invited.ServiceID, ""},
		{"gone", aPassword},
		{a.ServiceID, strings.Repeat("x", 5000)},
	} {
		got := b.want(f.browser().signIn(try[0], try[1]), http.StatusUnauthorized)
		body := strings.Replace(got.body, `value="`+try[0]+`"`, `value=""`, 1)
		body = strings.Replace(body, " required autofocus aria", " required aria", 1)
		if want == "" {
			want = body
		} else if body != want {
			t.Errorf("sign-in as %q answers\n%s\nwant\n%s", try[0], body, want)
		}
		if len(got.header.Values("Set-Cookie")) > 0 {
			t.Errorf("sign-in as %q sets %q", try[0], got.header.Values("Set-Cookie"))
		}
	}
}

func TestSignIn_TooManyFailuresWait(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	f.holder(a)
	b := f.browser()
	for range 30 {
		b.want(b.signIn(a.ServiceID, "wrong"), http.StatusUnauthorized)
	}
	got := b.want(b.signIn(a.ServiceID, aPassword), http.StatusTooManyRequests, "Wait 60 seconds")
	if got.header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After is %q", got.header.Get("Retry-After"))
	}
	testutil.Eventually(t, "an entry about the failures", func() bool { return f.audited("console_sign_in_failed") > 0 }) // it is written after the answer
	if n := f.audited("console_sign_in_failed"); n != 1 {
		t.Errorf("%d entries about failures, want 1", n)
	}
	f.advance(time.Minute)
	b.wantRedirect(b.signIn(a.ServiceID, aPassword), "")
}

// audited returns how many entries of the audit trail have this action.
func (f *fixture) audited(action string) (n int) {
	f.t.Helper()
	list, err := f.operator().Audit(f.t.Context(), manage.AuditQuery{})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, entry := range list.Items {
		if entry.Action == action {
			n++
		}
	}
	return n
}

func TestSecondFactor_ACodeWorksOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	other := f.browser()
	b.wantRedirect(other.signIn(a.ServiceID, aPassword), "")
	secret, recovery := b.addSecond()
	other.wantRedirect(other.get("keys"), "sign-in?next=keys") // ended
	b.want(b.get("settings"), 200, "10 recovery codes are left.")

	half := func() *browser {
		half := f.browser()
		half.wantRedirect(half.post("sign-in", "name", a.ServiceID, "password", aPassword, "next", "keys"), "code?next=keys")
		return half
	}
	first := half()
	for _, page := range []string{"", "keys", "settings"} {
		if got := first.get(page); got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), "/console/code") {
			t.Errorf("%q without the second factor: %d %s", page, got.status, got.header.Get("Location"))
		}
	}
	first.want(first.post("code", "code", f.code(secret)), http.StatusUnauthorized) // used for the set-up
	f.advance(30 * time.Second)
	code := f.code(secret)
	first.wantRedirect(first.post("code", "code", code[:3]+" "+code[3:], "next", "keys"), "keys")
	first.want(first.get("keys"), 200)
	second := half()
	second.want(second.post("code", "code", code), http.StatusUnauthorized)
	second.wantRedirect(second.post("code", "code", " "+strings.ToUpper(recovery[3])), "")
	third := half()
	third.want(third.post("code", "code", recovery[3]), http.StatusUnauthorized)
	f.advance(time.Minute)
	late := f.code(secret)
	f.advance(30 * time.Second) // one step of drift
	third.wantRedirect(third.post("code", "code", late), "")
	third.want(third.get("settings"), 200, "9 recovery codes are left.")

	fourth := half()
	f.advance(signin.HalfTime)
	fourth.wantRedirect(fourth.get("code"), "sign-in?next=code")

	third.want(third.post("settings/second-factor/remove", "password", "wrong"), http.StatusUnprocessableEntity, "The password is wrong.")
	third.wantRedirect(third.post("settings/second-factor/remove", "password", aPassword), "settings?done=second-removed")
	b.wantRedirect(f.browser().signIn(a.ServiceID, aPassword), "")
}

func TestSecondFactor_TenCodesCanBeTriedInAQuarterOfAnHour(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	secret, _ := f.holder(a).addSecond()
	f.advance(time.Minute)
	b := f.browser()
	b.signIn(a.ServiceID, aPassword)
	for range 10 {
		b.want(b.post("code", "code", "000000"), http.StatusUnauthorized)
	}
	b.want(b.post("code", "code", f.code(secret)), http.StatusTooManyRequests)
	b = f.browser()
	b.signIn(a.ServiceID, aPassword)
	b.want(b.post("code", "code", f.code(secret)), http.StatusTooManyRequests)
	f.advance(15 * time.Minute)
	b.signIn(a.ServiceID, aPassword)
	b.wantRedirect(b.post("code", "code", f.code(secret)), "")
}

func TestSetup_ALinkWorksOnceForADay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	invite := func() string {
		i, err := f.operator().InviteAccount(t.Context(), a.ID, "/console/")
		if err != nil {
			t.Fatal(err)
		}
		return i.SetupURL.Reveal()
	}
	earlier, link := invite(), invite()
	b := f.browser()
	b.want(b.get(earlier), 404, "The link does not work")
	if got := b.want(b.get(link), 200, a.ServiceID); got.header.Get("Referrer-Policy") != "strict-origin" {
		t.Errorf("the header is %v", got.header)
	}
	for problem, passwords := range map[string][2]string{
		"not the same":  {aPassword, aPassword + "!"},
		"too short":     {"short", "short"},
		"too long":      {strings.Repeat("long ", 60), strings.Repeat("long ", 60)},
		"easy to guess": {strings.Repeat("あ", 12), strings.Repeat("あ", 12)},
	} {
		b.want(b.post(link, "password", passwords[0], "repeat", passwords[1]), 422, problem)
	}
	b.want(b.post(link, "password", a.ServiceID, "repeat", a.ServiceID), 422, "easy to guess")
	f.advance(keystore.InvitationTime - time.Millisecond)
	b.wantRedirect(b.post(link, "password", "ｃｏｒｒｅｃｔ horse battery", "repeat", "ｃｏｒｒｅｃｔ horse battery"), "?done=password-set")
	b.want(b.post(link, "password", aPassword, "repeat", aPassword), 404)
	b.wantRedirect(f.browser().signIn(a.ServiceID, "correct horse battery"), "") // as another keyboard types it
	late := invite()
	f.advance(keystore.InvitationTime)
	b.want(b.get(late), 404)
}

func TestSetup_EndsSessionsAndTheSecondFactor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	b.addSecond()
	again := f.holder(a)
	b.wantRedirect(b.get("keys"), "sign-in?next=keys")
	again.want(again.get("settings"), 200, "Scan this picture")
}

func TestPassword_ChangeEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	other := f.browser()
	other.signIn(a.ServiceID, aPassword)
	b.want(b.post("settings/password", "current", "wrong", "password", "another password", "repeat", "another password"), 422, "The password is wrong.")
	other.want(other.get("keys"), 200)
	b.wantRedirect(b.post("settings/password", "current", aPassword, "password", "another password", "repeat", "another password"), "settings?done=password-changed")
	b.want(b.get("keys"), 200)
	other.wantRedirect(other.get("keys"), "sign-in?next=keys")
	b.want(f.browser().signIn(a.ServiceID, aPassword), http.StatusUnauthorized)
	b.wantRedirect(f.browser().signIn(a.ServiceID, "another password"), "")
}

func TestSession_EndsWithItsUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	m := f.operator()
	suspended, closed := f.account("Suspended"), f.account("Closed")
	one, two, three := f.holder(suspended), f.holder(closed), f.operatorBrowser("tanaka")
	everywhere := f.browser()
	everywhere.signIn(suspended.ServiceID, aPassword)
	everywhere.wantRedirect(everywhere.post("sign-out-everywhere"), "sign-in?done=signed-out-everywhere")
	one.wantRedirect(one.get("keys"), "sign-in?next=keys")
	one.signIn(suspended.ServiceID, aPassword)
	one.want(one.get("keys"), 200)
	if _, err := m.SuspendAccount(t.Context(), suspended.ID, ""); err != nil {
		t.Fatal(err)
	}
	one.wantRedirect(one.get("keys"), "sign-in?next=keys")
	if _, err := m.ResumeAccount(t.Context(), suspended.ID); err != nil {
		t.Fatal(err)
	}
	one.wantRedirect(one.get("keys"), "sign-in?next=keys") // it does not come back
	if _, err := m.CloseAccount(t.Context(), closed.ID, true); err != nil {
		t.Fatal(err)
	}
	two.wantRedirect(two.get("keys"), "sign-in?next=keys")
	if _, err := m.RemoveOperator(t.Context(), "tanaka", true); err != nil {
		t.Fatal(err)
	}
	three.wantRedirect(three.get("settings"), "sign-in?next=settings")
}

func TestSession_TheCookieIsForThisHostOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	cookie := func() string {
		for _, text := range b.want(f.browser().signIn(a.ServiceID, aPassword), http.StatusSeeOther).header.Values("Set-Cookie") {
			return regexp.MustCompile(`sgc_\w+`).ReplaceAllString(text, "TOKEN")
		}
		return ""
	}
	f.wantCookies(cookie,
		"speechgate_session=TOKEN; Path=/console/; HttpOnly; SameSite=Strict",
		"__Host-speechgate_session=TOKEN; Path=/; HttpOnly; Secure; SameSite=Strict")
}

// wantCookies checks a cookie without TLS and over TLS. Cookie returns the value of a new field Set-Cookie.
func (f *fixture) wantCookies(cookie func() string, plain, overTLS string) {
	f.t.Helper()
	for https, want := range map[bool]string{false: plain, true: overTLS} {
		f.https.Store(https)
		if got := cookie(); got != want {
			f.t.Errorf("with TLS %t the cookie is %q, want %q", https, got, want)
		}
	}
}

// A token that the client brings never becomes a session, and a sign-in replaces the token.
func TestSession_ASignInHasANewToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	tokens := make(map[string]bool)
	for range 3 {
		got := b.signIn(a.ServiceID, aPassword)
		token := regexp.MustCompile(`sgc_\w+`).FindString(got.header.Get("Set-Cookie"))
		if token == "" || tokens[token] {
			t.Errorf("the token %.8s… is there again", token)
		}
		tokens[token] = true
		replayed := f.browser()
		replayed.header.Set("Cookie", "speechgate_session="+token)
		replayed.want(replayed.get("keys"), 200)
		b.signIn(a.ServiceID, aPassword)
		replayed.wantRedirect(replayed.get("keys"), "sign-in?next=keys")
	}
	fixed := f.browser()
	fixed.header.Set("Cookie", "speechgate_session=sgc_chosen")
	if got := fixed.signIn(a.ServiceID, aPassword); strings.Contains(got.header.Get("Set-Cookie"), "chosen") {
		t.Error("the client chooses the token")
	}
}
