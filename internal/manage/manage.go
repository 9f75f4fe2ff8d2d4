// Package manage is what people can ask of a keystore, and what they can change in it:
// accounts, keys, jobs, the audit trail, and explanations of decisions.
//
// An interface for people, such as the command line, fills a request with texts as
// people write them, calls a method of a [Manager], and shows the result. The package
// checks every field of a request, so an interface has no checks of its own. A mistake
// is a [FieldError], which names the field; [Text] returns its message with the names
// that the interface has for fields and lists. JSON of the results is the same in every
// interface.
package manage

import (
	"context"
	"errors"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Manager works on a keystore for one actor at one instant.
//
// An actor of the kind [keystore.ActorAccount] reaches only its own account: records of
// other accounts do not exist for it. Some methods are for the operator only.
type Manager struct {
	// Store is the open keystore.
	Store *keystore.Store
	// Actor is written to the audit trail.
	Actor keystore.Actor
	// Now is the instant of every change, and the instant for which statuses are shown.
	Now policy.Time
	// Gates are the configured gates. [Manager.Explain] explains their decisions, and the
	// end of the grace window in a [Job] depends on them. Default: no gates.
	Gates GateConfigs
	// LimitUse says how much of their limits a key and its account use in the running server, and
	// which of them one more request for the operation would exceed. Default: only the audio is
	// known, from the keystore.
	LimitUse func(ctx context.Context, key *policy.Key, op policy.Operation) (LimitUse, error)
	// Cut cuts a live stream of the running server. It returns the account of the stream, and
	// whether there was such a stream. Default: there are no live streams.
	Cut func(id string) (accountID string, cut bool)
	// IsProvider reports whether operators can sign in at the OpenID Connect provider with an
	// issuer, by the configuration. Default: at each, because the configuration is not known.
	IsProvider func(issuer string) bool
}

// ErrOperatorOnly is the error of a call that only the operator may make, by another actor.
var ErrOperatorOnly = errors.New("only the operator may do this")

// operatorOnly refuses every actor except the operator.
func (m *Manager) operatorOnly() error {
	if m.Actor.Kind != keystore.ActorOperator {
		return ErrOperatorOnly
	}
	return nil
}

// reaches reports whether the records of an account exist for the actor.
func (m *Manager) reaches(accountID string) bool {
	return m.Actor.Kind == keystore.ActorOperator ||
		m.Actor.Kind == keystore.ActorAccount && m.Actor.ID == accountID
}

// scope returns the account whose records a list may show, or "" for all accounts. The
// operator may see the records of every account.
func (m *Manager) scope(accountID string) (string, error) {
	if accountID == "" && m.Actor.Kind == keystore.ActorAccount {
		accountID = m.Actor.ID
	}
	if accountID == "" {
		return "", m.operatorOnly()
	}
	if !m.reaches(accountID) {
		return "", absent(KindAccount, accountID)
	}
	return accountID, nil
}

// absent returns the same error as for a record that does not exist in the keystore.
func absent(kind Kind, id string) error {
	return &NotFoundError{Kind: kind, err: phrase.Errorf("there is no %s %q", phrase.Word(string(kind)), id)}
}
