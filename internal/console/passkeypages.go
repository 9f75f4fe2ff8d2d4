package console

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// passkey is a passkey in the settings.
type passkey struct {
	ID      string // credential ID, in base64url
	Name    string
	Site    string // the host name that it is for, if this is not the reader's; otherwise empty
	AddedAt manage.Time
	UsedAt  manage.Time
}

// site returns the site of the reader, for passkeys. The option url counts more than the header
// Host.
func (v *visit) site() (signin.Site, error) {
	origin := v.origin()
	if v.settings.URL != "" {
		origin = v.settings.URL
	}
	return signin.NewSite(origin, v.settings.Name)
}

// PasskeyOrigin returns the origin at which the reader can use passkeys, or "" if the site can have
// none.
func (v *visit) PasskeyOrigin() string {
	site, err := v.site()
	if err != nil {
		return ""
	}
	return site.Origin()
}

// passkeys returns the passkeys of the signed-in user.
func (v *visit) passkeys() ([]passkey, error) {
	stored, err := v.store.Passkeys(v.r.Context(), v.user())
	if err != nil {
		return nil, err
	}
	site, _ := v.site() // without a site, each passkey is for another one
	all := make([]passkey, len(stored))
	for i, p := range stored {
		all[i] = passkey{ID: base64.RawURLEncoding.EncodeToString(p.ID), Name: p.Name, AddedAt: manage.Time{Time: p.AddedAt}, UsedAt: manage.Time{Time: p.UsedAt}}
		if p.Site != site.Host() {
			all[i].Site = p.Site
		}
	}
	return all, nil
}

// askPasskey sends the script a challenge for a sign-in.
func askPasskey(v *visit) error {
	site, err := v.site()
	var options []byte
	if err == nil {
		options, err = v.settings.SignIn.AskPasskey(v.r.Context(), v.try(), site)
	}
	return v.sendOptions(options, err)
}

// offerPasskey sends the script a challenge for a new passkey.
func offerPasskey(v *visit) error {
	site, err := v.site()
	var options []byte
	if err == nil {
		options, err = v.settings.SignIn.OfferPasskey(v.r.Context(), v.try(), site, v.user(), v.form("name"), v.secret("password"), v.token)
	}
	return v.sendOptions(options, err)
}

// sendOptions answers the script with the options of a challenge, or with what is wrong.
func (v *visit) sendOptions(options []byte, err error) error {
	answer := struct {
		Options json.RawMessage `json:"options,omitempty"`
		Problem string          `json:"problem,omitempty"`
	}{options, v.passkeyProblem(err)}
	status := http.StatusOK
	wait, waits := errors.AsType[*signin.WaitError](err)
	switch {
	case waits:
		status = http.StatusTooManyRequests
		v.w.Header().Set("Retry-After", strconv.Itoa(wait.Seconds))
	case answer.Problem != "":
		status = http.StatusUnprocessableEntity
	case err != nil:
		return err
	}
	return v.sendJSON(status, answer)
}

// passkeyProblem returns what is wrong with a passkey, or "".
func (v *visit) passkeyProblem(err error) string {
	wait, waits := errors.AsType[*signin.WaitError](err)
	switch {
	case waits:
		return v.T("Too many tries have failed. Wait %d seconds, and try again.", wait.Seconds)
	case errors.Is(err, signin.ErrNoPasskeys):
		return v.T("Passkeys work only over https, and at a host name.")
	case errors.Is(err, signin.ErrManyPasskeys):
		return v.T("You have as many passkeys as possible. Remove one first.")
	case errors.Is(err, signin.ErrPasskey):
		return v.T("The passkey was not accepted. Try again.")
	case errors.Is(err, keystore.ErrInvalid):
		return v.mistake(err)
	}
	return v.passwordProblem(err)
}

func signInWithPasskey(v *visit) error {
	site, err := v.site()
	if err != nil {
		return v.notFound()
	}
	token, err := v.settings.SignIn.SignInWithPasskey(v.r.Context(), v.try(), site, v.form("answer"), v.token)
	if errors.Is(err, signin.ErrPasskey) {
		form := v.signInForm(v.form("next"))
		form.Problem = v.passkeyProblem(err)
		return v.render(http.StatusUnauthorized, "sign-in", "Sign in", form)
	}
	if err != nil {
		return err
	}
	v.setSession(token)
	return v.redirect(v.wanted())
}

func addPasskey(v *visit) error {
	site, err := v.site()
	if err == nil {
		err = v.settings.SignIn.AddPasskey(v.r.Context(), v.try(), site, v.user(), v.form("answer"), v.token)
	}
	return v.passkeyChanged(err, "passkey-added")
}

func removePasskey(v *visit) error {
	id, err := base64.RawURLEncoding.DecodeString(v.form("passkey"))
	if err != nil {
		return v.notFound()
	}
	err = v.settings.SignIn.RemovePasskey(v.r.Context(), v.try(), v.user(), v.secret("password"), id, v.token)
	return v.passkeyChanged(err, "passkey-removed")
}

// passkeyChanged answers a change of the passkeys.
func (v *visit) passkeyChanged(err error, done string) error {
	if _, waits := errors.AsType[*signin.WaitError](err); waits {
		return err
	}
	if problem := v.passkeyProblem(err); problem != "" {
		return v.settingsProblem(policy.Secret{}, func(s *settings) { s.Passkey = problem })
	}
	if err != nil {
		return err
	}
	return v.redirect(v.below("settings") + "?done=" + done)
}
