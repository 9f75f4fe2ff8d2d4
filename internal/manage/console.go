package manage

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// AccountInvitation lets the holder of an account set a password for the console.
type AccountInvitation struct {
	AccountID string `json:"account_id"`
	Invitation
}

// OperatorInvitation lets an operator set a password for the console.
type OperatorInvitation struct {
	Operator string `json:"operator"`
	Invitation
}

// Invitation is a link at which a user sets a password for the console, once.
type Invitation struct {
	// SetupURL is the link. It is a secret.
	SetupURL ShownOnce `json:"setup_url"`
	// ExpiresAt is until when the link works.
	ExpiresAt Time `json:"expires_at"`
}

// InviteAccount makes a link at which the holder of an account sets a password for the
// console. The argument account is an ID or a name; consoleURL is the URL of the console's
// start page, or its path. An earlier link for the account no longer works. Using the link ends
// the sessions, and removes the second factor and the passkeys of the account. It is for the operator only.
func (m *Manager) InviteAccount(ctx context.Context, account, consoleURL string) (AccountInvitation, error) {
	id, err := m.operatorsAccount(ctx, account)
	if err != nil {
		return AccountInvitation{}, err
	}
	invitation, err := m.invite(ctx, keystore.ActorAccount, id, consoleURL)
	return AccountInvitation{id, invitation}, err
}

// InviteOperator makes a link at which an operator sets a password for the console. The name is
// up to 64 letters, digits, and . _ - @ +, and is written to the audit trail for everything that
// the operator does. Otherwise it does what InviteAccount does.
func (m *Manager) InviteOperator(ctx context.Context, name, consoleURL string) (OperatorInvitation, error) {
	if err := m.operatorOnly(); err != nil {
		return OperatorInvitation{}, err
	}
	if err := inField("name", keystore.CheckOperatorName(name)); err != nil {
		return OperatorInvitation{}, err
	}
	invitation, err := m.invite(ctx, keystore.ActorOperator, name, consoleURL)
	return OperatorInvitation{name, invitation}, err
}

func (m *Manager) invite(ctx context.Context, kind, id, consoleURL string) (Invitation, error) {
	if err := CheckConsoleURL(consoleURL); err != nil {
		return Invitation{}, err
	}
	token, until, err := m.Store.InviteConsoleUser(ctx, m.Now, m.Actor, kind, id)
	if err != nil {
		return Invitation{}, notFound(err, KindAccount)
	}
	link := strings.TrimSuffix(consoleURL, "/") + "/setup/" + token.Reveal()
	return Invitation{ShownOnce{policy.NewSecret(link)}, Time{until}}, nil
}

// CheckConsoleURL refuses a text that can be neither the URL of a console's start page nor its
// path.
func CheckConsoleURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.User != nil, u.RawQuery != "", u.Fragment != "", !strings.HasPrefix(u.Path, "/") && u.Path != "":
	case u.Scheme == "" && u.Host == "" && u.Path != "":
		return nil
	case (u.Scheme == "https" || u.Scheme == "http") && u.Host != "":
		return nil
	}
	if policy.HoldsSecret(text) || len(text) > 200 {
		text = words.QuoteArgument(text)
	} else {
		text = strconv.Quote(text)
	}
	return wrong("url", " %s: want the URL of the console's start page, such as https://speech.example.com/console/", text)
}

const (
	// StatusRemoved is the status of an operator who was removed.
	StatusRemoved = "removed"
	// statusInvited is the status of an operator who has set no password yet.
	statusInvited = "invited"
)

// OperatorStatuses returns the words for the status of an operator.
func OperatorStatuses() []string { return []string{statusInvited, StatusActive, StatusRemoved} }

// Operator is an operator who was invited to the console.
type Operator struct {
	Name      string `json:"operator"`
	Status    string `json:"status"` // one of the [OperatorStatuses]
	CreatedAt Time   `json:"created_at"`
	// SignedInAt is when the operator has signed in last; null if the operator never has.
	SignedInAt Time `json:"signed_in_at"`
	// SecondFactor is true if the operator has a second factor.
	SecondFactor bool `json:"second_factor"`
	// Passkeys is how many passkeys the operator has.
	Passkeys int `json:"passkeys"`
	// Provider is the issuer of the OpenID Connect provider at which the operator signs in; null
	// for an operator with a password, and for one who has never signed in.
	Provider *string `json:"provider"`
	// InvitedUntil is until when an open invitation works; null without one.
	InvitedUntil Time `json:"invited_until"`
	RemovedAt    Time `json:"removed_at"`

	Already bool `json:"-"` // an earlier call has removed the operator
	Last    bool `json:"-"` // the operator was the last one who could sign in
}

func (m *Manager) operatorOf(u keystore.ConsoleUser) Operator {
	o := Operator{
		Name: u.ID, Status: StatusActive, CreatedAt: Time{u.CreatedAt}, SignedInAt: Time{u.SignedInAt},
		SecondFactor: !u.SecondFactor.Empty(), Passkeys: u.Passkeys, RemovedAt: Time{u.RemovedAt},
	}
	if u.Identity.Issuer != "" {
		o.Provider = &u.Identity.Issuer
	}
	if m.Now < u.SetupUntil {
		o.InvitedUntil = Time{u.SetupUntil}
	}
	switch {
	case !u.RemovedAt.IsZero():
		o.Status = StatusRemoved
	case u.PasswordHash == "" && o.Provider == nil:
		o.Status = statusInvited
	}
	return o
}

// Operators returns the operators that were invited to the console, by name. It is for the
// operator only.
func (m *Manager) Operators(ctx context.Context) ([]Operator, error) {
	if err := m.operatorOnly(); err != nil {
		return nil, err
	}
	users, err := m.Store.ConsoleOperators(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Operator, len(users))
	for i, u := range users {
		all[i] = m.operatorOf(u)
	}
	return all, nil
}

// RemoveOperator keeps an operator from signing in at the console, and ends the operator's
// sessions. If the operator is the last one who can sign in, the error is
// [keystore.ErrLastOperator], unless evenLast is true. An operator of a provider can sign in if
// m.IsProvider is nil or says so. It is for the operator only.
func (m *Manager) RemoveOperator(ctx context.Context, name string, evenLast bool) (Operator, error) {
	if err := m.operatorOnly(); err != nil {
		return Operator{}, err
	}
	u, last, err := m.Store.RemoveConsoleOperator(ctx, m.Now, m.Actor, name, evenLast, m.IsProvider)
	if errors.Is(err, keystore.ErrNotFound) {
		return Operator{}, absent("operator", name)
	}
	if err != nil {
		return Operator{}, err
	}
	o := m.operatorOf(u)
	o.Already, o.Last = u.RemovedAt != m.Now, last
	return o, nil
}
