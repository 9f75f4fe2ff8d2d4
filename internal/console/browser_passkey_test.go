package console

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/speechgate/speechgate/internal/browsertest"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
)

// authenticator gives the tab an authenticator in software, such as that of a laptop with a
// fingerprint reader.
func (b *tab) authenticator() webauthn.AuthenticatorID {
	b.t.Helper()
	command(b, webauthn.Enable, webauthn.EnableParams{})
	return command(b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}}).AuthenticatorID
}

// told waits for what the page says about a passkey, and returns it.
func (b *tab) toldOfPasskey(form string) string {
	b.t.Helper()
	b.Do(chromedp.WaitVisible(chromedp.CSS(form + " [role=alert]")))
	b.Told() // the browser reports statuses that are no success
	return b.Text(form + " [role=alert]")
}

func (b *tab) signOut() {
	b.t.Helper()
	b.Submit(".tools form:last-child button", "#name")
}

// TestBrowser_APasskeySignsIn adds, uses and removes a passkey, as the holder of an account and as
// an operator.
func TestBrowser_APasskeySignsIn(t *testing.T) {
	t.Parallel()
	for kind, l := range map[string]look{
		keystore.ActorAccount:  {"en", "light", 390, true},
		keystore.ActorOperator: {"ja", "dark", 1280, true},
	} {
		inLooks(t, []look{l}, func(t *testing.T, b *tab) {
			f := b.f
			a := f.account("株式会社サンプル")
			invite, name, id := func() (manage.Invitation, error) {
				i, err := f.operator().InviteAccount(t.Context(), a.ID, "/console/")
				return i.Invitation, err
			}, a.ServiceID, a.ID
			if kind == keystore.ActorOperator {
				name, id = "tanaka", "tanaka"
				invite = func() (manage.Invitation, error) {
					i, err := f.operator().InviteOperator(t.Context(), name, "/console/")
					return i.Invitation, err
				}
			}
			invitation, err := invite()
			if err != nil {
				t.Fatal(err)
			}
			device := b.authenticator()
			b.open(invitation.SetupURL.Reveal())
			b.Fill("#password", aPassword)
			b.Fill("#repeat", aPassword)
			b.Submit("main button", "main .card")

			const add, use = "form[data-passkey=create]", "form[data-passkey=get]"
			b.open("settings")
			b.Fill("#passkey-name", "受付のノートPC")
			b.Fill("#passkey-password", "wrong")
			b.Do(chromedp.Click(chromedp.CSS(add + " button")))
			if got := b.toldOfPasskey(add); got != b.say("The password is wrong.") {
				t.Errorf("with a wrong password the page says %q", got)
			}
			b.Fill("#passkey-password", aPassword)
			b.Submit(add+" button", "#passkeys table")
			if got := b.Text("#passkeys tbody th"); !strings.HasPrefix(got, "受付のノートPC\n") {
				t.Errorf("the passkey is %q", got)
			}
			b.seen("settings-passkey")
			b.Fill("#passkey-name", "again")
			b.Fill("#passkey-password", aPassword)
			b.Do(chromedp.Click(chromedp.CSS(add + " button")))
			if got := b.toldOfPasskey(add); got != b.say("This device has a passkey for your account already.") {
				t.Errorf("for a second passkey of the device the page says %q", got)
			}

			b.signOut()
			b.seen("sign-in-passkey")
			f.advance(time.Minute)
			b.Submit(use+" button", "main .card")
			user, err := f.store.ConsoleUser(t.Context(), kind, id)
			if err != nil {
				t.Fatal(err)
			}
			passkeys, err := f.store.Passkeys(t.Context(), &user)
			if err != nil || len(passkeys) != 1 || passkeys[0].UsedAt != f.Now()+1 || // a use is later than its challenge
				passkeys[0].Site != "localhost" {
				t.Fatalf("the passkeys are %+v, %v", passkeys, err)
			}

			// After the password it is the second factor.
			b.open("settings")
			secret := b.Text("#totp")
			b.Fill("#code", f.code(secret))
			b.Fill("#second-password", aPassword)
			b.Submit("#second form button", "#codes")
			b.open("settings")
			b.signOut()
			b.Fill("#name", name)
			b.Fill("#password", aPassword)
			b.Submit("main button.main", "#code")
			b.seen("code-passkey")
			f.advance(time.Second)
			b.Submit(use+" button", "main .card")

			b.open("settings")
			b.signOut()
			command(b, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: device})
			b.Do(chromedp.Click(chromedp.CSS(use + " button")))
			if got := b.toldOfPasskey(use); got != b.say("No passkey was used: you have cancelled, it took too long, or there is none for this site.") {
				t.Errorf("without a fingerprint the page says %q", got)
			}
			command(b, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: device, IsUserVerified: true})
			f.advance(time.Second)
			b.Submit(use+" button", "main .card")

			b.open("settings")
			b.Do(chromedp.Click(chromedp.CSS("#passkeys td summary")), chromedp.WaitVisible(chromedp.CSS("#passkeys td form button")))
			b.seen("settings-passkey-remove")
			b.Fill("#passkeys td input[type=password]", aPassword)
			b.Submit("#passkeys td form button", ".notice.good")
			b.signOut()
			b.Submit(use+" button", ".notice.bad")
			if got := b.Text(".notice.bad"); got != b.say("The passkey was not accepted. Try again.") {
				t.Errorf("with a removed passkey the page says %q", got)
			}
			b.Told()
			if n := f.audited("console_passkey"); n != 2 {
				t.Errorf("the audit trail has %d changes of passkeys, want 2", n)
			}
		})
	}
}

// say returns a text in the language of the reader.
func (b *tab) say(text string) string {
	if b.look.lang == "ja" {
		return japaneseTexts()[text]
	}
	return text
}

// Without passkeys in the browser, and at an IP address, the pages offer none.
func TestBrowser_PasskeysAreHiddenWhereTheyDoNotWork(t *testing.T) {
	t.Parallel()
	inLooks(t, []look{{"en", "light", 1280, true}}, func(t *testing.T, b *tab) {
		b.Open(b.f.server.URL + "/console/sign-in") // 127.0.0.1
		if n := browsertest.Result(b.Tab, chromedp.Evaluate[int64](`document.querySelectorAll("[data-passkey]").length`)); n != 0 {
			t.Errorf("at an IP address the page has %d forms for passkeys", n)
		}
		a := b.f.account("Example Corp.")
		invitation, err := b.f.operator().InviteAccount(t.Context(), a.ID, "/console/")
		if err != nil {
			t.Fatal(err)
		}
		b.Open(b.f.server.URL + invitation.SetupURL.Reveal())
		b.Fill("#password", aPassword)
		b.Fill("#repeat", aPassword)
		b.Submit("main button", ".facts")
		b.Open(b.f.server.URL + "/console/settings")
		if got := b.Text("#passkeys"); !strings.Contains(got, "only over https") {
			t.Errorf("at an IP address the settings say %q", got)
		}
		b.seen("settings-no-passkeys")
	})
}
