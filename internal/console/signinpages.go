package console

import (
	"errors"
	"net/http"

	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// signInForm is the data of the page sign-in.
type signInForm struct {
	Name, Next string
	Wrong      bool
	Problem    string // what is wrong with a passkey
	Done       string // what has just happened: a key of doneTexts
	ToProvider string // the link that leads to the provider
}

// signInForm returns the data of the page, for a reader who wants the page next.
func (v *visit) signInForm(next string) signInForm {
	return signInForm{Next: next, ToProvider: v.below("oidc") + nextQuery(next)}
}

func signInPage(v *visit) error {
	if v.user() != nil {
		return v.redirect(v.settings.Path)
	}
	form := v.signInForm(v.r.FormValue("next"))
	form.Done = v.done()
	return v.show("sign-in", "Sign in", form)
}

func signIn(v *visit) error {
	name := v.form("name")
	token, passed, err := v.settings.SignIn.SignIn(v.r.Context(), v.try(), name, v.secret("password"), v.token)
	if errors.Is(err, signin.ErrWrong) {
		form := v.signInForm(v.form("next"))
		form.Name, form.Wrong = name, true
		return v.render(http.StatusUnauthorized, "sign-in", "Sign in", form)
	}
	if err != nil {
		return err
	}
	v.setSession(token)
	if passed {
		return v.redirect(v.wanted())
	}
	return v.redirect(v.below("code") + nextQuery(v.form("next")))
}

func nextQuery(next string) string {
	if !nextForm.MatchString(next) {
		return ""
	}
	return "?next=" + next
}

func codePage(v *visit) error {
	return v.show("code", "Second factor", signInForm{Next: v.r.FormValue("next")})
}

func giveCode(v *visit) error {
	token, err := v.settings.SignIn.Code(v.r.Context(), v.try(), &v.session.User, v.form("code"), v.token)
	if errors.Is(err, signin.ErrWrongCode) {
		return v.render(http.StatusUnauthorized, "code", "Second factor", signInForm{Next: v.form("next"), Wrong: true})
	}
	if err != nil {
		return err
	}
	v.setSession(token)
	return v.redirect(v.wanted())
}

func signOut(v *visit) error {
	err := v.store.EndConsoleSession(v.r.Context(), v.token)
	if err != nil {
		return err
	}
	v.setSession(policy.Secret{})
	return v.redirect(v.below("sign-in") + "?done=signed-out")
}

func signOutEverywhere(v *visit) error {
	err := v.store.EndConsoleSessions(v.r.Context(), v.now, keystore.Actor{From: v.caller.Client}, v.user())
	if err != nil {
		return err
	}
	v.setSession(policy.Secret{})
	return v.redirect(v.below("sign-in") + "?done=signed-out-everywhere")
}

// setupForm is the data of the page setup.
type setupForm struct {
	User    *keystore.ConsoleUser
	Problem string
	Least   int // characters of a password
}

// setupHeader keeps the token in the URL of a set-up link from the pages that follow.
func (v *visit) setupHeader() { v.w.Header().Set("Referrer-Policy", "strict-origin") }

func (v *visit) setupToken() policy.Secret { return policy.NewSecret(v.r.PathValue("token")) }

func setupPage(v *visit) error {
	v.setupHeader()
	user, err := v.settings.SignIn.Invited(v.r.Context(), v.try(), v.setupToken())
	if errors.Is(err, signin.ErrNoSetup) {
		return noSetup(v)
	}
	if err != nil {
		return err
	}
	return v.show("setup", "Set your password", setupForm{User: &user, Least: signin.LeastPassword})
}

func noSetup(v *visit) error {
	return v.problem(http.StatusNotFound, "The link does not work", "The link was used already, has expired, or is not complete. Ask the operator of the service for another one.")
}

func setUp(v *visit) error {
	v.setupHeader()
	user, err := v.settings.SignIn.Invited(v.r.Context(), v.try(), v.setupToken())
	var token policy.Secret
	if err == nil && v.r.PostForm.Get("password") != v.r.PostForm.Get("repeat") {
		err = errRepeat
	}
	if err == nil {
		token, err = v.settings.SignIn.SetUp(v.r.Context(), v.try(), v.setupToken(), v.secret("password"), v.token)
	}
	switch problem := v.passwordProblem(err); {
	case errors.Is(err, signin.ErrNoSetup):
		return noSetup(v)
	case problem != "":
		return v.render(http.StatusUnprocessableEntity, "setup", "Set your password", setupForm{&user, problem, signin.LeastPassword})
	case err != nil:
		return err
	}
	v.setSession(token)
	return v.redirect(v.settings.Path + "?done=password-set")
}

var errRepeat = errors.New("the two passwords differ")

// passwordProblem returns what is wrong with a password in a form, or "".
func (v *visit) passwordProblem(err error) string {
	switch {
	case errors.Is(err, errRepeat):
		return v.T("The two passwords are not the same.")
	case errors.Is(err, signin.ErrShort):
		return v.T("The password is too short: want %d characters or more.", signin.LeastPassword)
	case errors.Is(err, signin.ErrLong):
		return v.T("The password is too long: want %d bytes or less.", signin.MostPassword)
	case errors.Is(err, signin.ErrChars):
		return v.T("The password has characters that cannot be typed everywhere.")
	case errors.Is(err, signin.ErrGuessed):
		return v.T("The password is easy to guess: choose another one.")
	case errors.Is(err, signin.ErrWrong):
		return v.T("The password is wrong.")
	case errors.Is(err, signin.ErrWrongCode):
		return v.T("The code is wrong or was used already. Wait for the next code of your app.")
	}
	return ""
}

// doneTexts are what a page says after a change that has led to it, by the parameter done. The
// values are keys of the catalog.
var doneTexts = map[string]string{
	"signed-out":            "You are signed out.",
	"signed-out-everywhere": "You are signed out on all devices.",
	"password-set":          "Your password is set, and you are signed in.",
	"password-changed":      "The password is changed, and all other sessions have ended.",
	"second-removed":        "The second factor is removed.",
	"passkey-added":         "The passkey is added, and all other sessions have ended.",
	"passkey-removed":       "The passkey is removed, and all other sessions have ended.",
	"key-deleted":           "The key is deleted. Requests with it are refused from now on.",
	"key-renamed":           "The label is changed.",
	"key-revoked":           "The key is revoked. Requests with it are refused from now on.",
	"key-suspended":         "The key is suspended.",
	"key-resumed":           "The key is resumed.",
	"account-limited":       "The limits of the account are changed.",
	"account-renamed":       "The account has another name.",
	"account-suspended":     "The account is suspended.",
	"account-resumed":       "The account is resumed.",
	"account-closed":        "The account is closed, and its keys have ended.",
	"stream-cut":            "The stream is cut.",
	"stream-over":           "The stream had ended already.",
	"operator-removed":      "The operator is removed, and can no longer sign in.",
	"removed-yourself":      "You have removed yourself, and are signed out.",
}

// done returns what the page says about a change that has led to it, or "".
func (v *visit) done() string {
	if text := doneTexts[v.r.URL.Query().Get("done")]; text != "" {
		return v.T(text)
	}
	return ""
}
