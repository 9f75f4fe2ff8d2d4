package signin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"image/png"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"golang.org/x/text/unicode/norm"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	// codeStep is how long a code of the second factor is shown (RFC 6238).
	codeStep = 30 * time.Second
	// recoveryCodes is how many recovery codes a user gets.
	recoveryCodes = 10
	// recoveryLen is the length of a recovery code, without its hyphen: 50 random bits.
	recoveryLen = 10
	// secretLen is the length of the secret that Enrol makes, in bytes.
	secretLen = 20
	// qrSize is the width of the picture with the secret, in pixels.
	qrSize = 232
)

// ErrSecret is the error of a secret that this package has not made.
var ErrSecret = errors.New("this is no secret of a second factor")

// codeOptions are what every authenticator app understands.
var codeOptions = totp.ValidateOpts{Period: uint(codeStep / time.Second), Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}

// Enrolment is a new secret of a second factor, for an authenticator app.
type Enrolment struct {
	Secret policy.Secret
	URL    policy.Secret // otpauth://…
	Image  []byte        // PNG: the URL as a QR code
}

// Enrol returns a new secret for a user, or the given secret again if it is not empty. Apps
// show the issuer beside the name.
func Enrol(issuer, name string, secret policy.Secret) (Enrolment, error) {
	options := totp.GenerateOpts{Issuer: strings.ReplaceAll(issuer, ":", " "), AccountName: strings.ReplaceAll(name, ":", " ")}
	if !secret.Empty() {
		raw, err := decodeSecret(secret)
		if err != nil {
			return Enrolment{}, err
		}
		options.Secret = raw
	}
	key, err := totp.Generate(options)
	if err != nil {
		return Enrolment{}, err
	}
	picture, err := key.Image(qrSize, qrSize)
	if err != nil {
		return Enrolment{}, err
	}
	var out bytes.Buffer
	if err := png.Encode(&out, picture); err != nil {
		return Enrolment{}, err
	}
	return Enrolment{policy.NewSecret(key.Secret()), policy.NewSecret(key.URL()), out.Bytes()}, nil
}

// AddSecondFactor gives a signed-in user the secret of an [Enrolment], if the code proves that
// the user's app has it, and the password is right. It returns the recovery codes; nothing
// shows them again. Other sessions of the user than the one with the token keep end. The error
// is ErrWrong, ErrWrongCode, ErrBusy, a WaitError, or an error of the keystore.
func (s *Service) AddSecondFactor(ctx context.Context, t Try, user *keystore.ConsoleUser, password, secret policy.Secret, code string, keep policy.Secret) ([]policy.Secret, error) {
	if _, err := decodeSecret(secret); err != nil {
		return nil, err
	}
	if err := s.Confirm(ctx, t, user, password); err != nil {
		return nil, err
	}
	step, ok := stepOf(secret, plainCode(code), t.Now)
	if !ok {
		return nil, ErrWrongCode
	}
	codes := make([]policy.Secret, recoveryCodes)
	stored := make([]policy.Secret, recoveryCodes)
	for i := range codes {
		text := strings.ToLower(rand.Text()[:recoveryLen])
		codes[i] = policy.NewSecret(text[:recoveryLen/2] + "-" + text[recoveryLen/2:])
		stored[i] = policy.NewSecret(text)
	}
	return codes, t.Store.SetSecondFactor(ctx, t.Now, t.actor(), user, secret, step, stored, keep)
}

// RemoveSecondFactor removes the second factor of a signed-in user, if the password is right.
// The error is ErrWrong, ErrBusy, a WaitError, or an error of the keystore.
func (s *Service) RemoveSecondFactor(ctx context.Context, t Try, user *keystore.ConsoleUser, password, keep policy.Secret) error {
	if err := s.Confirm(ctx, t, user, password); err != nil {
		return err
	}
	return t.Store.RemoveSecondFactor(ctx, t.Now, t.actor(), user, keep)
}

// Code begins a whole session in place of the one with the token old, whose user has given the
// password, if the code is one of the user's app or a recovery code. Each code works once. The
// error is ErrWrongCode, a WaitError, or an error of the keystore.
func (s *Service) Code(ctx context.Context, t Try, user *keystore.ConsoleUser, code string, old policy.Secret) (policy.Secret, error) {
	// Every try counts, also a good one. Otherwise tries at the same time would not count.
	if wait := s.codes.Fail(user.Kind+"\x00"+user.ID, t.Now); wait > 0 {
		return policy.Secret{}, &WaitError{wait}
	}
	ok, err := spend(ctx, t, user, plainCode(code))
	if err != nil {
		return policy.Secret{}, err
	}
	if !ok {
		// The password was right, so this is worth an entry. The throttle bounds them.
		note(ctx, t, user, "wrong code of the second factor")
		return policy.Secret{}, ErrWrongCode
	}
	return t.Store.BeginConsoleSession(ctx, t.Now, t.actor(), user, true, t.Now.Add(Lifetime), old)
}

// spend reports whether a code is one that the user has not used before.
func spend(ctx context.Context, t Try, user *keystore.ConsoleUser, code string) (bool, error) {
	if step, ok := stepOf(user.SecondFactor, code, t.Now); ok {
		return t.Store.SpendSecondStep(ctx, user, step)
	}
	if len(code) != recoveryLen {
		return false, nil
	}
	return t.Store.SpendRecoveryCode(ctx, t.Now, t.actor(), user, policy.NewSecret(code))
}

// stepOf returns the time step whose code this is: the current one or a neighbour, because
// clocks differ.
func stepOf(secret policy.Secret, code string, now policy.Time) (step int64, ok bool) {
	current := now.Std().Unix() / int64(codeStep/time.Second)
	for _, step := range []int64{current, current - 1, current + 1} {
		want, err := totp.GenerateCodeCustom(secret.Reveal(), time.Unix(step*int64(codeStep/time.Second), 0), codeOptions)
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, true
		}
	}
	return 0, false
}

// plainCode returns a code as people write it without spaces and hyphens, in lower case.
func plainCode(code string) string {
	if len(code) > 200 {
		return ""
	}
	return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "\t", "").Replace(norm.NFKC.String(code)))
}

// decodeSecret returns the bytes of a secret that Enrol has made.
func decodeSecret(secret policy.Secret) ([]byte, error) {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret.Reveal())
	if err != nil || len(raw) != secretLen {
		return nil, ErrSecret
	}
	return raw, nil
}
