package console

import (
	"errors"
	"net/http"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// operatorList is the data of the page operators.
type operatorList struct {
	Operators []manage.Operator // those who can sign in, or have an invitation
	Removed   []manage.Operator
	Self      string // the operator who is signed in
	Only      string // the operator without whom nobody can sign in; "" if there are several
	Asked     string // the operator whose removal has to be confirmed
	Name      string // what was typed into the form
	Done      string
	Problem   string

	// The operator whom a link was made for just now; "" if none was made.
	Invited    string
	SetupURL   string
	SetupUntil manage.Time
	Replaces   bool // the operator had a password before
}

func (v *visit) operatorList() (*operatorList, error) {
	all, err := v.manager.Operators(v.r.Context())
	if err != nil {
		return nil, err
	}
	l := &operatorList{Self: v.user().ID, Done: v.done()}
	active := 0
	for i := range all {
		if all[i].Status == manage.StatusRemoved {
			l.Removed = append(l.Removed, all[i])
			continue
		}
		l.Operators = append(l.Operators, all[i])
		if at := all[i].Provider; all[i].Status == manage.StatusActive && (at == nil || v.isProvider(*at)) {
			active++
			l.Only = all[i].Name
		}
	}
	if active > 1 {
		l.Only = ""
	}
	return l, nil
}

func operatorsPage(v *visit) error {
	l, err := v.operatorList()
	if err != nil {
		return err
	}
	return v.show("operators", "Operators", l)
}

// inviteOperator makes a link for an operator, and shows it once.
func inviteOperator(v *visit) error {
	name := v.form("name")
	i, err := v.manager.InviteOperator(v.r.Context(), name, v.consoleURL())
	switch {
	case v.isMistake(err):
		l, listErr := v.operatorList()
		if listErr != nil {
			return listErr
		}
		if l.Problem = v.mistake(err); !policy.HoldsSecret(name) {
			l.Name = name
		}
		return v.render(http.StatusUnprocessableEntity, "operators", "Operators", l)
	case err != nil:
		return err
	}
	l, err := v.operatorList()
	if err != nil {
		return err
	}
	for j := range l.Operators {
		l.Replaces = l.Replaces || l.Operators[j].Name == name && l.Operators[j].Status == manage.StatusActive
	}
	l.Invited, l.SetupURL, l.SetupUntil = name, i.SetupURL.Reveal(), i.ExpiresAt
	return v.show("operators", "Operators", l)
}

// removeOperator removes an operator. Operators who would remove themselves, or the last one who can
// sign in, are told what this means, and have to confirm it.
func removeOperator(v *visit) error {
	name := v.form("name")
	self := name == v.user().ID
	if self && v.form("self") != "yes" {
		return v.askOperator(name)
	}
	_, err := v.manager.RemoveOperator(v.r.Context(), name, v.form("last") == "yes")
	switch {
	case errors.Is(err, keystore.ErrLastOperator):
		return v.askOperator(name)
	case err != nil:
		return err
	case self:
		v.setSession(policy.Secret{})
		return v.redirect(v.below("sign-in") + "?done=removed-yourself")
	}
	return v.redirect(v.below("operator/operators") + "?done=operator-removed")
}

// askOperator shows the page with the question whether to remove an operator.
func (v *visit) askOperator(name string) error {
	l, err := v.operatorList()
	if err != nil {
		return err
	}
	l.Asked = name
	return v.show("operators", "Operators", l)
}
