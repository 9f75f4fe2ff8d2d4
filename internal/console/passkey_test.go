package console

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/passkeytest"
)

// options returns the options in an answer to the script.
func (b *browser) options(got answer) []byte {
	b.f.t.Helper()
	var sent struct{ Options json.RawMessage }
	if err := json.Unmarshal([]byte(b.want(got, 200).body), &sent); err != nil || len(sent.Options) == 0 {
		b.f.t.Fatalf("no options in %s: %v", got.body, err)
	}
	return sent.Options
}

func (b *browser) offer() []byte {
	b.f.t.Helper()
	return b.options(b.post("settings/passkeys/options", "name", "laptop", "password", aPassword))
}

// addPasskey adds a passkey at http://localhost to the user who is signed in.
func (b *browser) addPasskey() *passkeytest.Authenticator {
	b.f.t.Helper()
	a := passkeytest.New(b.f.t, "http://localhost", "localhost")
	b.wantRedirect(b.post("settings/passkeys", "answer", a.Create(b.offer())), "settings?done=passkey-added")
	return a
}

// newLocalhost returns a console at http://localhost.
func newLocalhost(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.host = "localhost"
	return f
}

func (b *browser) ask() []byte {
	b.f.t.Helper()
	defer b.f.advance(time.Millisecond) // the user takes that long, or longer
	return b.options(b.post("sign-in/passkey/options"))
}

func TestPasskey_SignsInOnceForAChallenge(t *testing.T) {
	t.Parallel()
	f := newLocalhost(t)
	account := f.account("Example Corp.")
	holder := f.holder(account)
	other := f.browser()
	other.signIn(account.ServiceID, aPassword)
	a := holder.addPasskey()
	holder.want(holder.get("settings?done=passkey-added"), 200, "laptop", "all other sessions have ended")
	other.wantRedirect(other.get("keys"), "sign-in?next=keys")

	b := f.browser()
	answer := a.Get(b.ask())
	b.wantRedirect(b.post("sign-in/passkey", "answer", answer, "next", "keys"), "keys")
	b.want(b.get("keys"), 200)
	second := f.browser()
	second.want(second.post("sign-in/passkey", "answer", answer), http.StatusUnauthorized, "The passkey was not accepted.")
	second.wantRedirect(second.get("keys"), "sign-in?next=keys")
	// A sign-in replaces the session of before, also one that lacks the second factor.
	b.addSecond()
	half := f.browser()
	half.wantRedirect(half.signIn(account.ServiceID, aPassword), "code")
	half.wantRedirect(half.post("sign-in/passkey", "answer", a.Get(half.ask()), "next", "//evil.example"), "")
	half.want(half.get("settings"), 200)
}

func TestPasskey_AnotherUserCannotUseAnOffer(t *testing.T) {
	t.Parallel()
	f := newLocalhost(t)
	holder, operator := f.holder(f.account("Example Corp.")), f.operatorBrowser("tanaka")
	a := passkeytest.New(t, "http://localhost", "localhost")
	made := a.Create(operator.offer())
	holder.want(holder.post("settings/passkeys", "answer", made), http.StatusUnprocessableEntity, "The passkey was not accepted.")
	operator.wantRedirect(operator.post("settings/passkeys", "answer", made), "settings?done=passkey-added")
	operator.want(operator.post("settings/passkeys", "answer", made), http.StatusUnprocessableEntity, "the passkey belongs to a user already")

	own := holder.addPasskey()
	id := base64.RawURLEncoding.EncodeToString(own.ID)
	operator.want(operator.post("settings/passkeys/remove", "passkey", id, "password", aPassword), http.StatusNotFound)
	holder.want(holder.post("settings/passkeys/remove", "passkey", id, "password", "wrong"), http.StatusUnprocessableEntity, "The password is wrong.")
	for _, tampered := range []string{"", "AAAA", id + "A", "+/=", strings.Repeat("A", 5000)} {
		holder.want(holder.post("settings/passkeys/remove", "passkey", tampered, "password", aPassword), http.StatusNotFound)
	}
	b := f.browser()
	b.wantRedirect(b.post("sign-in/passkey", "answer", own.Get(b.ask())), "")
	holder.wantRedirect(holder.post("settings/passkeys/remove", "passkey", id, "password", aPassword), "settings?done=passkey-removed")
	b.wantRedirect(b.get("keys"), "sign-in?next=keys")
	b.want(b.post("sign-in/passkey", "answer", own.Get(b.ask())), http.StatusUnauthorized)
}

// The page after a refused passkey offers all ways to sign in.
func TestPasskey_ARefusedOneLeadsToTheProviderToo(t *testing.T) {
	t.Parallel()
	f, _ := newProviderFixture(t)
	f.host = "localhost"
	b := f.browser()
	b.want(b.post("sign-in/passkey", "answer", "{}", "next", "usage"), http.StatusUnauthorized,
		"The passkey was not accepted.", `href="/console/oidc?next=usage"`, `name="next" value="usage"`)
}

// What is wrong is in the language of the reader, for the script.
func TestPasskey_TheScriptIsToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	ip := newFixture(t)
	b := ip.operatorBrowser("tanaka")
	b.want(b.post("settings/passkeys/options", "name", "laptop", "password", aPassword), http.StatusUnprocessableEntity, `{"problem":"Passkeys work only over https`)
	b.want(b.post("sign-in/passkey/options"), http.StatusUnprocessableEntity, `{"problem":"Passkeys work only over https`)
	b.want(b.post("sign-in/passkey", "answer", "{}"), http.StatusNotFound)
	b.want(b.get("sign-in"), http.StatusSeeOther)
	if page := ip.browser().get("sign-in"); strings.Contains(page.body, "passkey") {
		t.Error("at an IP address the sign-in offers passkeys")
	}
	b = newLocalhost(t).operatorBrowser("tanaka")
	b.want(b.post("settings/passkeys/options", "name", "laptop", "password", "wrong"), http.StatusUnprocessableEntity, `{"problem":"The password is wrong."}`)
	b.want(b.post("settings/passkeys/options", "name", " ", "password", aPassword), http.StatusUnprocessableEntity, `{"problem":"the passkey's name is empty`)
	b.header.Set("Accept-Language", "ja")
	b.want(b.post("settings/passkeys/options", "name", "laptop", "password", "wrong"), http.StatusUnprocessableEntity, `{"problem":"パスワードが正しくありません。"}`)
	for range 60 {
		b.ask()
	}
	got := b.want(b.post("sign-in/passkey/options"), http.StatusTooManyRequests, "60")
	if got.header.Get("Retry-After") != "60" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("the header is %v", got.header)
	}
}

// A set-up link removes the passkeys, as it removes the second factor.
func TestSetup_RemovesThePasskeys(t *testing.T) {
	t.Parallel()
	f := newLocalhost(t)
	account := f.account("Example Corp.")
	a := f.holder(account).addPasskey()
	f.advance(time.Minute)
	f.holder(account)
	b := f.browser()
	b.want(b.post("sign-in/passkey", "answer", a.Get(b.ask())), http.StatusUnauthorized)
}

// The site is that of the option url or, if it is not set, that of the request. The answer to a
// challenge of one site is refused at another site.
func TestPasskey_IsForTheSiteOfTheReader(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url, host, want string
		https           bool
	}{
		"TLS":                    {"", "console.example.com", "console.example.com", true},
		"TLS at a port":          {"", "Console.example.com:8443", "console.example.com", true},
		"no TLS":                 {"", "console.example.com", "", false},
		"the option url":         {"https://console.example.com/speech/", "192.0.2.7", "console.example.com", false},
		"the option without TLS": {"http://console.example.com/", "console.example.com", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.host = c.host
			f.https.Store(c.https)
			f.console.settings.URL = c.url
			got := f.browser().post("sign-in/passkey/options")
			if c.want == "" {
				f.browser().want(got, http.StatusUnprocessableEntity, "problem")
				return
			}
			if b := f.browser(); !strings.Contains(string(b.options(got)), `"rpId":"`+c.want+`"`) {
				t.Errorf("the options are %s", got.body)
			}
		})
	}
}
