package signin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// The errors of passkeys that are no errors of the keystore.
var (
	// ErrPasskey: the answer of a passkey is not accepted: it is damaged, late, for another site
	// or another challenge, or its user may not sign in.
	ErrPasskey = errors.New("the passkey was not accepted")
	// ErrManyPasskeys: the user has as many passkeys as a user can have.
	ErrManyPasskeys = errors.New("the user has too many passkeys: remove one first")
)

// mostPublicKey is the largest public key of a passkey, in bytes. An RSA key of 8192 bits has some
// 1,040. A larger one would take long to check.
const mostPublicKey = 1100

// passkeyUser is a user as package webauthn wants it.
type passkeyUser struct {
	handle   []byte
	name     string
	passkeys []keystore.Passkey
}

// WebAuthnID returns the handle by which authenticators tell users apart.
func (u *passkeyUser) WebAuthnID() []byte { return u.handle }

// WebAuthnName returns the name that authenticators show.
func (u *passkeyUser) WebAuthnName() string { return u.name }

// WebAuthnDisplayName returns the name that authenticators show.
func (u *passkeyUser) WebAuthnDisplayName() string { return u.name }

// WebAuthnCredentials returns the passkeys.
func (u *passkeyUser) WebAuthnCredentials() []webauthn.Credential {
	all := make([]webauthn.Credential, len(u.passkeys))
	for i, p := range u.passkeys {
		all[i] = webauthn.Credential{
			ID: p.ID, PublicKey: p.PublicKey, Flags: webauthn.CredentialFlags{BackupEligible: p.Synced},
			Authenticator: webauthn.Authenticator{SignCount: p.SignCount},
		}
	}
	return all
}

// AskPasskey begins a sign-in with a passkey. It returns the options for the browser's
// navigator.credentials.get, as JSON: binary values are in base64url. The error is a WaitError, or one
// of the keystore or of package webauthn.
func (s *Service) AskPasskey(ctx context.Context, t Try, site Site) (options []byte, err error) {
	if wait := s.challenges.Fail(policy.NetworkOf(t.From), t.Now); wait > 0 {
		return nil, &WaitError{wait}
	}
	party, err := site.relyingParty()
	if err != nil {
		return nil, err
	}
	challenge, err := (&purpose{ceremony: signInPasskey, site: site}).challenge(ctx, t, "")
	if err != nil {
		return nil, err
	}
	assertion, _, err := party.BeginDiscoverableLogin(webauthn.WithChallenge(challenge))
	if err != nil {
		return nil, err
	}
	return json.Marshal(assertion)
}

// SignInWithPasskey begins a session for the user whose passkey has given this answer to a
// challenge of AskPasskey: the answer is the JSON form of a PublicKeyCredential. A passkey counts
// as both factors. The session with the token old ends, if there is one. The error is ErrPasskey,
// a WaitError, or an error of the keystore.
func (s *Service) SignInWithPasskey(ctx context.Context, t Try, site Site, answer string, old policy.Secret) (policy.Secret, error) {
	network := policy.NetworkOf(t.From)
	if wait := s.addresses.Wait(network, t.Now); wait > 0 {
		return policy.Secret{}, &WaitError{wait}
	}
	token, err := s.signInWithPasskey(ctx, t, site, answer, old)
	if errors.Is(err, ErrPasskey) {
		s.addresses.Fail(network, t.Now)
	}
	return token, err
}

func (s *Service) signInWithPasskey(ctx context.Context, t Try, site Site, answer string, old policy.Secret) (policy.Secret, error) {
	none := policy.Secret{}
	response, err := protocol.ParseCredentialRequestResponseBytes([]byte(answer))
	if err != nil {
		return none, ErrPasskey
	}
	challenge := response.Response.CollectedClientData.Challenge
	begun, _, err := (&purpose{ceremony: signInPasskey, site: site}).open(ctx, t, challenge)
	if err != nil {
		return none, err
	}
	user, passkey, err := t.Store.FindPasskey(ctx, response.RawID)
	if errors.Is(err, keystore.ErrNotFound) {
		err = ErrPasskey
	}
	if err != nil {
		return none, err
	}
	party, err := site.relyingParty()
	if err != nil {
		return none, err
	}
	of := &passkeyUser{user.Handle, user.ID, []keystore.Passkey{passkey}}
	find := func(_, _ []byte) (webauthn.User, error) { return of, nil } // the answer's handle is compared with that of the user
	asked := webauthn.SessionData{Challenge: challenge, RelyingPartyID: site.host, UserVerification: protocol.VerificationRequired}
	_, checked, err := party.ValidatePasskeyLogin(find, asked, response)
	fault := ""
	switch {
	case passkey.Site != site.host:
		fault = "the passkey is for another site"
	case err != nil:
		fault = "a passkey was refused: " + err.Error()
	case checked.Authenticator.CloneWarning:
		fault = "the count of signatures has not grown: the passkey " + strconv.Quote(passkey.Name) + " may have been copied"
	case !user.Reached():
		fault = "the passkey is right, and the user may not sign in"
	case passkey.UsedAt > begun:
		fault = "the passkey has signed in since the challenge was made: an answer counts once"
	}
	if fault != "" {
		s.failPasskey(ctx, t, &user, fault)
		return none, ErrPasskey
	}
	token, err := t.Store.BeginPasskeySession(ctx, t.Now, t.actor(), &user, &passkey, begun, checked.Authenticator.SignCount, t.Now.Add(Lifetime), old)
	if errors.Is(err, keystore.ErrInvalid) { // the user or the passkey was changed just now
		err = ErrPasskey
	}
	return token, err
}

// failPasskey adds an entry to the audit trail for the first refused passkey of a user in a minute.
func (s *Service) failPasskey(ctx context.Context, t Try, user *keystore.ConsoleUser, fault string) {
	// No name at a sign-in has this key.
	key := sha256.Sum256([]byte("passkey\x00" + user.Kind + "\x00" + user.ID))
	first := s.names.Count(key, t.Now) == 0
	s.names.Fail(key, t.Now)
	if first {
		note(ctx, t, user, fault)
	}
}

// OfferPasskey begins to add a passkey to a signed-in user, if the password is right. It returns
// the options for the browser's navigator.credentials.create, as JSON: binary values are in
// base64url. The name is how the user calls the passkey, and the challenge holds it. Only the session
// with the token session can add the passkey. The error is ErrWrong, ErrBusy, a WaitError,
// ErrManyPasskeys, or an error of the keystore: ErrInvalid for a name that a passkey cannot have.
func (s *Service) OfferPasskey(ctx context.Context, t Try, site Site, user *keystore.ConsoleUser, name string, password, session policy.Secret) (options []byte, err error) {
	name = strings.TrimSpace(name)
	if err := keystore.CheckPasskeyName(name); err != nil {
		return nil, err
	}
	if err := s.Confirm(ctx, t, user, password); err != nil {
		return nil, err
	}
	if user.Passkeys >= keystore.MostPasskeys {
		return nil, ErrManyPasskeys
	}
	passkeys, err := t.Store.Passkeys(ctx, user)
	if err != nil {
		return nil, err
	}
	handle, err := t.Store.GiveConsoleHandle(ctx, user)
	if err != nil {
		return nil, err
	}
	party, err := site.relyingParty()
	if err != nil {
		return nil, err
	}
	challenge, err := (&purpose{addPasskey, site, user, session}).challenge(ctx, t, name)
	if err != nil {
		return nil, err
	}
	creation, _, err := party.BeginRegistration(&passkeyUser{handle, passkeyName(user), nil},
		webauthn.WithExclusions(descriptors(passkeys, site)), webauthn.WithCredentialParameters(webauthn.CredentialParametersRecommendedL3()))
	if err != nil {
		return nil, err
	}
	creation.Response.Challenge = challenge
	return json.Marshal(creation)
}

// passkeyName returns the name of a user that authenticators show.
func passkeyName(user *keystore.ConsoleUser) string {
	if user.Kind == keystore.ActorAccount {
		return user.Account.Name
	}
	return user.ID
}

// descriptors name the passkeys that a user has for a site, so that an authenticator does not
// make a second one.
func descriptors(passkeys []keystore.Passkey, site Site) (all []protocol.CredentialDescriptor) {
	for _, p := range passkeys {
		if p.Site == site.host {
			all = append(all, protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: p.ID})
		}
	}
	return all
}

// AddPasskey gives a signed-in user the passkey that has answered a challenge of OfferPasskey: the
// answer is the JSON form of a PublicKeyCredential. All sessions of the user except the one with the
// token session end. The error is ErrPasskey, or an error of the keystore.
func (s *Service) AddPasskey(ctx context.Context, t Try, site Site, user *keystore.ConsoleUser, answer string, session policy.Secret) error {
	response, err := protocol.ParseCredentialCreationResponseBytes([]byte(answer))
	if err != nil {
		return ErrPasskey
	}
	challenge := response.Response.CollectedClientData.Challenge
	_, name, err := (&purpose{addPasskey, site, user, session}).open(ctx, t, challenge)
	if err != nil {
		return err
	}
	party, err := site.relyingParty()
	if err != nil {
		return err
	}
	offered := webauthn.SessionData{
		Challenge: challenge, RelyingPartyID: site.host, UserID: user.Handle, UserVerification: protocol.VerificationRequired,
		CredParams: webauthn.CredentialParametersRecommendedL3(),
	}
	made, err := party.CreateCredential(&passkeyUser{handle: user.Handle}, offered, response)
	if err != nil || len(made.PublicKey) > mostPublicKey {
		return ErrPasskey
	}
	return t.Store.AddPasskey(ctx, t.Now, t.actor(), user, &keystore.Passkey{
		ID: made.ID, Site: site.host, Name: name, PublicKey: made.PublicKey, SignCount: made.Authenticator.SignCount, Synced: made.Flags.BackupEligible,
	}, session)
}

// RemovePasskey removes a passkey of a signed-in user, if the password is right. All sessions of
// the user except the one with the token keep end. The error is ErrWrong, ErrBusy, a WaitError, or
// an error of the keystore.
func (s *Service) RemovePasskey(ctx context.Context, t Try, user *keystore.ConsoleUser, password policy.Secret, credential []byte, keep policy.Secret) error {
	if err := s.Confirm(ctx, t, user, password); err != nil {
		return err
	}
	return t.Store.RemovePasskey(ctx, t.Now, t.actor(), user, credential, keep)
}
