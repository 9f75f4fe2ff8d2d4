// Package signin decides who may sign in at the console, and how long: passwords, second
// factors, passkeys, sessions, and how often they may be tried. The keystore has the records; this
// package has the rules, and knows no HTTP.
package signin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/internal/throttle"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	// Idle is how long a session goes on without a request.
	Idle = 30 * time.Minute
	// Lifetime is how long a session goes on at most.
	Lifetime = 12 * time.Hour
	// HalfTime is how long a user who has given the password may take for the second factor.
	HalfTime = 10 * time.Minute
)

// The errors of this package that are no errors of the keystore.
var (
	// ErrWrong: there is no such user, the password is wrong, or the user may not sign in. The
	// error is the same in all cases, and a password is hashed in all cases.
	ErrWrong = errors.New("the name or the password is wrong")
	// ErrWrongCode: the code of the second factor is wrong, or was used before.
	ErrWrongCode = errors.New("the code is wrong, or was used already")
	// ErrBusy: too many passwords are being checked. Nothing was checked.
	ErrBusy = errors.New("too many passwords are being checked: try again in a few seconds")
	// ErrNoSetup: the token of a set-up link is unknown, was used, or has expired.
	ErrNoSetup = errors.New("the link is unknown, was used, or has expired")
)

// WaitError says that too many tries have failed, and that nothing was checked.
type WaitError struct {
	// Seconds is how long to wait before the next try, at least 1.
	Seconds int
}

// Error returns a sentence for people.
func (e *WaitError) Error() string {
	return fmt.Sprintf("too many tries have failed: wait %d seconds", e.Seconds)
}

// Service decides about the users of the console. It is safe for concurrent use. The process
// has one, so that a reload forgets no failed try.
type Service struct {
	passwords *passwords
	addresses *throttle.Throttle[netip.Prefix]      // failed tries by the network of the client
	names     *throttle.Throttle[[sha256.Size]byte] // failed tries by the name that was given
	codes     *throttle.Throttle[string]            // tried codes by user

	challenges *throttle.Throttle[netip.Prefix] // challenges for a sign-in with a passkey by network
}

// The limits of failed tries. The limit by address is that of the issuance API.
//
// Anyone can use up the limit of a name, and keep its user from signing in for a minute at a
// time. Without the limit, many addresses together could try as many passwords as the
// processors can check. The limit of codes can be used up only by someone who has the
// password. It allows 960 codes a day, so that a guess is right once in a year on average. The
// limit of challenges keeps anyone from asking the database without end.
var (
	addressRule = throttle.Rule{Failures: 30, Window: time.Minute, Keys: 16_384}
	nameRule    = throttle.Rule{Failures: 30, Window: time.Minute, Keys: 16_384}
	codeRule    = throttle.Rule{Failures: 10, Window: 15 * time.Minute, Keys: 16_384}

	challengeRule = throttle.Rule{Failures: 60, Window: time.Minute, Keys: 16_384}
)

// New returns a Service.
func New() *Service {
	return &Service{
		passwords: newPasswords(hashing),
		addresses: throttle.New[netip.Prefix](addressRule),
		names:     throttle.New[[sha256.Size]byte](nameRule),
		codes:     throttle.New[string](codeRule),

		challenges: throttle.New[netip.Prefix](challengeRule),
	}
}

// Tries returns what counts failed tries, so that several gateways count together. The function name
// returns the name by which the gateways call a network or a user. Call it before the service is used.
func (s *Service) Tries(name func(share.Kind, string) string) map[share.Kind]share.Source {
	network := func(kind share.Kind) func(netip.Prefix) string {
		return func(p netip.Prefix) string { return name(kind, p.String()) }
	}
	return map[share.Kind]share.Source{
		share.SignInAddress:   s.addresses.Named(network(share.SignInAddress)),
		share.SignInName:      s.names.Named(func(k [sha256.Size]byte) string { return name(share.SignInName, string(k[:])) }),
		share.SignInCode:      s.codes.Named(func(user string) string { return name(share.SignInCode, user) }),
		share.SignInChallenge: s.challenges.Named(network(share.SignInChallenge)),
	}
}

// Try is one request of a client to sign in.
type Try struct {
	Store *keystore.Store
	Now   policy.Time
	From  netip.Addr
}

// actor returns the actor of the audit trail. The keystore fills in who the user is.
func (t *Try) actor() keystore.Actor { return keystore.Actor{From: t.From} }

// SignIn begins a session for the user with this name and this password. If the user has a
// second factor, passed is false: the session is good for [Service.Code] only. The session
// with the token old ends, if there is one. The error is ErrWrong, ErrBusy, a WaitError, or an
// error of the keystore.
func (s *Service) SignIn(ctx context.Context, t Try, name string, password, old policy.Secret) (token policy.Secret, passed bool, err error) {
	none := func(err error) (policy.Secret, bool, error) { return policy.Secret{}, false, err }
	network, nameKey := policy.NetworkOf(t.From), sha256.Sum256([]byte("sign in\x00"+name))
	wait := func() int { return max(s.addresses.Wait(network, t.Now), s.names.Wait(nameKey, t.Now)) }
	if seconds := wait(); seconds > 0 {
		return none(&WaitError{seconds})
	}
	user, err := t.Store.FindConsoleUser(ctx, name)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return none(err)
	}
	right, err := s.passwords.check(ctx, password, user.PasswordHash, wait)
	if err != nil {
		return none(err)
	}
	if !right || !user.Reached() {
		s.addresses.Fail(network, t.Now)
		s.fail(ctx, t, nameKey, &user, right)
		return none(ErrWrong)
	}
	passed = user.SecondFactor.Empty()
	lifetime := Lifetime
	if !passed {
		lifetime = HalfTime
	}
	token, err = t.Store.BeginConsoleSession(ctx, t.Now, t.actor(), &user, passed, t.Now.Add(lifetime), old)
	if errors.Is(err, keystore.ErrInvalid) { // the user was changed just now
		err = ErrWrong
	}
	return token, passed, err
}

// fail counts a failed try for a name. If the name has a user, the audit trail gets an entry
// for the first failed try in a minute, so that no one can fill it.
func (s *Service) fail(ctx context.Context, t Try, nameKey [sha256.Size]byte, user *keystore.ConsoleUser, right bool) {
	first := s.names.Count(nameKey, t.Now) == 0
	s.names.Fail(nameKey, t.Now)
	if user.ID == "" || !first {
		return
	}
	detail := "wrong password; more failures within a minute have no entry"
	if right {
		detail = "the password is right, and the user may not sign in"
	}
	note(ctx, t, user, detail)
}

// noteTime limits how long an entry of the audit trail waits for the keystore.
const noteTime = 10 * time.Second

// note adds an entry about a failed try to the audit trail, after the client has its answer: an
// answer that waits for the disk would tell that the user exists. If the entry cannot be
// written, the client gets the same answer as if it can.
func note(ctx context.Context, t Try, user *keystore.ConsoleUser, detail string) {
	u := *user
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	go func() {
		defer cancel()
		_ = t.Store.NoteConsole(ctx, t.Now, t.actor(), &u, detail)
	}()
}

// SetUp sets the password of the user who was invited with this token, and begins a session.
// The error is ErrNoSetup, ErrBusy, a mistake in the password, or an error of the keystore.
func (s *Service) SetUp(ctx context.Context, t Try, setup, password, old policy.Secret) (token policy.Secret, err error) {
	user, err := s.Invited(ctx, t, setup)
	if err != nil {
		return policy.Secret{}, err
	}
	hash, err := s.passwords.hash(ctx, password, &user)
	if err != nil {
		return policy.Secret{}, err
	}
	user, err = t.Store.SetUpConsoleUser(ctx, t.Now, t.actor(), setup, hash)
	if errors.Is(err, keystore.ErrNotFound) {
		err = ErrNoSetup
	}
	if err != nil {
		return policy.Secret{}, err
	}
	return t.Store.BeginConsoleSession(ctx, t.Now, t.actor(), &user, true, t.Now.Add(Lifetime), old)
}

// Invited returns the user who was invited with this token. The error is ErrNoSetup, or an error
// of the keystore.
//
// A wrong token does not count as a failed try, as that of a session does not: it has too many
// random bits to be guessed, and any page could use up the tries of its readers with links here.
func (*Service) Invited(ctx context.Context, t Try, setup policy.Secret) (keystore.ConsoleUser, error) {
	user, err := t.Store.FindSetup(ctx, t.Now, setup)
	if errors.Is(err, keystore.ErrNotFound) {
		err = ErrNoSetup
	}
	return user, err
}

// ChangePassword replaces the password of a signed-in user, and ends all sessions of the user
// except the one with the token keep. The error is ErrWrong if the password before is wrong;
// otherwise it is as that of [Service.SetUp].
func (s *Service) ChangePassword(ctx context.Context, t Try, user *keystore.ConsoleUser, before, password, keep policy.Secret) error {
	if err := s.Confirm(ctx, t, user, before); err != nil {
		return err
	}
	hash, err := s.passwords.hash(ctx, password, user)
	if err != nil {
		return err
	}
	return t.Store.ChangeConsolePassword(ctx, t.Now, t.actor(), user, hash, keep)
}

// Confirm checks the password of a signed-in user again, before a change that someone who has
// found an open session must not make. The error is ErrWrong, ErrBusy or a WaitError.
func (s *Service) Confirm(ctx context.Context, t Try, user *keystore.ConsoleUser, password policy.Secret) error {
	// No name at a sign-in has this key, so strangers cannot use up its limit.
	nameKey := sha256.Sum256([]byte("confirm\x00" + user.Kind + "\x00" + user.ID))
	wait := func() int { return s.names.Wait(nameKey, t.Now) }
	if seconds := wait(); seconds > 0 {
		return &WaitError{seconds}
	}
	right, err := s.passwords.check(ctx, password, user.PasswordHash, wait)
	if err != nil {
		return err
	}
	if !right {
		s.fail(ctx, t, nameKey, user, false)
		return ErrWrong
	}
	return nil
}

// Session returns the session with this token. The error is [keystore.ErrNotFound] if the
// session does not go on.
func (s *Service) Session(ctx context.Context, t Try, token policy.Secret) (keystore.ConsoleSession, error) {
	if token.Empty() {
		return keystore.ConsoleSession{}, keystore.ErrNotFound
	}
	return t.Store.FindConsoleSession(ctx, t.Now, token, Idle)
}

// Peek does what Session does for a request that a page makes by itself: the request does not
// count as one of the user, so it does not keep the session from ending after [Idle].
func (s *Service) Peek(ctx context.Context, t Try, token policy.Secret) (keystore.ConsoleSession, error) {
	if token.Empty() {
		return keystore.ConsoleSession{}, keystore.ErrNotFound
	}
	return t.Store.PeekConsoleSession(ctx, t.Now, token, Idle)
}
