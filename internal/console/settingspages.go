package console

import (
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"

	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// settings is the data of the page settings.
type settings struct {
	User     *keystore.ConsoleUser
	Session  *keystore.ConsoleSession
	Done     string
	Least    int
	Provider string // where the user signs in, without a password; empty for a user with a password
	HasCodes bool
	Codes    int          // unused recovery codes
	Secret   string       // of the second factor that can be added
	Picture  template.URL // the same as a QR code
	New      []string     // recovery codes, shown once
	Password string       // what is wrong with the new password
	Second   string       // what is wrong with the second factor
	Passkeys []passkey
	Passkey  string   // what is wrong with a passkey
	Zones    []string // proposals
	Idle     int      // minutes after which a session without a page ends
	Lifetime int      // hours after which a session ends
}

// someZones are proposals for the time zone; every other zone can be typed.
var someZones = []string{
	"Asia/Tokyo", "UTC", "Asia/Seoul", "Asia/Shanghai", "Asia/Singapore", "Asia/Kolkata", "Australia/Sydney", "Europe/London", "Europe/Paris",
	"Europe/Berlin", "America/New_York", "America/Chicago", "America/Los_Angeles", "America/Sao_Paulo",
}

// settingsOf returns the data of the page. The secret of a second factor that can be added is
// a new one, or the one of the form.
func (v *visit) settingsOf(secret policy.Secret) (*settings, error) {
	user := v.user()
	s := &settings{
		User: user, Session: v.session, Least: signin.LeastPassword, HasCodes: !user.SecondFactor.Empty(), Zones: someZones,
		Idle: int(signin.Idle.Minutes()), Lifetime: int(signin.Lifetime.Hours()), Provider: user.Identity.Issuer,
	}
	if s.Provider != "" {
		return s, nil
	}
	var err error
	if s.Passkeys, err = v.passkeys(); err != nil {
		return nil, err
	}
	if s.HasCodes {
		s.Codes, err = v.store.RecoveryCodes(v.r.Context(), user)
		return s, err
	}
	enrolment, err := signin.Enrol(v.settings.Name, v.UserName(), secret)
	if err != nil {
		return nil, err
	}
	s.Secret = enrolment.Secret.Reveal()
	s.Picture = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(enrolment.Image)) //nolint:gosec // the picture is our own
	return s, nil
}

func settingsPage(v *visit) error {
	s, err := v.settingsOf(policy.Secret{})
	if err != nil {
		return err
	}
	s.Done = v.done()
	return v.show("settings", "Settings", s)
}

func changePassword(v *visit) error {
	var err error
	if v.r.PostForm.Get("password") != v.r.PostForm.Get("repeat") {
		err = errRepeat
	} else {
		err = v.settings.SignIn.ChangePassword(v.r.Context(), v.try(), v.user(), v.secret("current"), v.secret("password"), v.token)
	}
	problem := v.passwordProblem(err)
	if problem == "" && err != nil {
		return err
	}
	if problem == "" {
		return v.redirect(v.below("settings") + "?done=password-changed")
	}
	return v.settingsProblem(policy.Secret{}, func(s *settings) { s.Password = problem })
}

func (v *visit) settingsProblem(secret policy.Secret, set func(*settings)) error {
	s, err := v.settingsOf(secret)
	if err != nil {
		return err
	}
	set(s)
	return v.render(http.StatusUnprocessableEntity, "settings", "Settings", s)
}

func addSecondFactor(v *visit) error {
	secret := v.secret("secret")
	if !v.user().SecondFactor.Empty() {
		return v.redirect(v.below("settings"))
	}
	codes, err := v.settings.SignIn.AddSecondFactor(v.r.Context(), v.try(), v.user(), v.secret("password"), secret, v.form("code"), v.token)
	if problem := v.passwordProblem(err); problem != "" {
		return v.settingsProblem(secret, func(s *settings) { s.Second = problem })
	}
	if errors.Is(err, signin.ErrSecret) {
		return v.settingsProblem(policy.Secret{}, func(s *settings) { s.Second = v.T("Scan the new code below, and try again.") })
	}
	if err != nil {
		return err
	}
	texts := make([]string, len(codes))
	for i, code := range codes {
		texts[i] = code.Reveal()
	}
	return v.show("recovery", "Recovery codes", texts)
}

func removeSecondFactor(v *visit) error {
	err := v.settings.SignIn.RemoveSecondFactor(v.r.Context(), v.try(), v.user(), v.secret("password"), v.token)
	if problem := v.passwordProblem(err); problem != "" {
		return v.settingsProblem(policy.Secret{}, func(s *settings) { s.Second = problem })
	}
	if err != nil {
		return err
	}
	return v.redirect(v.below("settings") + "?done=second-removed")
}
