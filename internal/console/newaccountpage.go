package console

import (
	"crypto/rand"
	"errors"
	"net/http"

	"github.com/speechgate/speechgate/internal/manage"
)

// newAccountForm is the data of the page new-account.
type newAccountForm struct {
	Name, ServiceID       string
	Once                  string // makes the form work once only
	Problem, ProblemField string
}

func newAccountPage(v *visit) error {
	return v.show("new-account", "Create an account", &newAccountForm{Once: rand.Text()})
}

// createdAccount is the data of the page account-created, which shows a service password.
type createdAccount struct {
	manage.Account

	Password string // shown once; empty if the operator has given it, or for a form that was sent twice
	Rotated  bool   // the account existed, and has a new service ID and password
}

// createAccount creates an account. A form that is sent twice creates one account.
func createAccount(v *visit) error {
	f := &newAccountForm{Name: v.form("name"), ServiceID: v.form("service-id"), Once: v.form("once")}
	v.repeatable(f.Once)
	account, err := v.manager.CreateAccount(v.r.Context(), manage.NewAccount{Name: f.Name, ServiceID: f.ServiceID, ServicePassword: v.secret("service-password")})
	if v.isMistake(err) {
		f.Problem, f.ProblemField, f.Once = v.mistake(err), fieldOf(err), rand.Text()
		return v.render(http.StatusUnprocessableEntity, "new-account", "Create an account", f)
	}
	if errors.Is(err, manage.ErrOtherRequest) { // the browser has gone back to the form, which has created an account
		f.Problem, f.Once = v.T("The form has created another account before. Send it again to create this one too."), rand.Text()
		return v.render(http.StatusConflict, "new-account", "Create an account", f)
	}
	if err != nil {
		return err
	}
	return v.show("account-created", "The account is created", &createdAccount{Account: account, Password: account.ServicePassword.Reveal()})
}

// repeatable makes a form that is sent twice change something once. The argument once is a random
// text in the form. A form without one is sent once.
func (v *visit) repeatable(once string) {
	if once == "" || len(once) > 64 {
		once = rand.Text()
	}
	v.manager.Actor.Request = "console\x00" + v.user().ID + "\x00" + once
}

// rotateAccount gives an account a new service ID and a new service password, and shows them once.
func rotateAccount(v *visit) error {
	a, err := v.accountDetail()
	if err != nil {
		return err
	}
	v.repeatable(v.form("once"))
	account, err := v.manager.RotateAccount(v.r.Context(), a.ID, v.form("overlap"))
	switch {
	case v.isMistake(err):
		a.Problem = v.mistake(err)
		return v.render(http.StatusUnprocessableEntity, "account", "Account", a)
	case errors.Is(err, manage.ErrOtherRequest): // the browser has gone back to the form, and sent it with another overlap
		a.Problem = v.T("This form was sent before. Nothing was changed now.")
		return v.render(http.StatusConflict, "account", "Account", a)
	case err != nil:
		return err
	}
	return v.show("account-created", "The account has a new service ID and service password", &createdAccount{account, account.ServicePassword.Reveal(), true})
}
