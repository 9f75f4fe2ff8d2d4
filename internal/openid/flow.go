package openid

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/speechgate/speechgate/policy"
)

// FlowTime is how long a user may take at the provider, in seconds.
const FlowTime = 600

// The errors of a sign-in.
var (
	// ErrForeign: the answer belongs to no sign-in that this browser has begun.
	ErrForeign = errors.New("the answer of the provider belongs to no sign-in that this browser has begun")
	// ErrBusy: too many sign-ins wait for the provider. The provider was not asked.
	ErrBusy = errors.New("too many sign-ins wait for the provider: try again in a few seconds")
	// ErrNoEmail: the provider knows no email address of the user, or has not verified it.
	ErrNoEmail = errors.New("the provider has no verified email address of the user")
)

// AwayError says that the provider cannot be reached, or does not answer as a provider.
type AwayError struct{ Cause error }

// Error returns a sentence for the log.
func (e *AwayError) Error() string { return "the provider cannot be used: " + short(e.Cause) }

// Unwrap returns the cause.
func (e *AwayError) Unwrap() error { return e.Cause }

// RefusedError says that the provider has refused the sign-in.
type RefusedError struct {
	Code string // of RFC 6749, such as access_denied; the provider's text, if it is a short word
}

// Error returns a sentence for the log.
func (e *RefusedError) Error() string { return "the provider refuses the sign-in: " + e.Code }

// AnswerError says what is wrong with an answer of the provider to a sign-in that has begun.
type AnswerError struct{ Cause error }

// Error returns a sentence for the log.
func (e *AnswerError) Error() string {
	return "the answer of the provider is refused: " + short(e.Cause)
}

// Unwrap returns the cause.
func (e *AnswerError) Unwrap() error { return e.Cause }

// TokenError says what is wrong with an ID token.
type TokenError struct{ Cause error }

// Error returns a sentence for the log.
func (e *TokenError) Error() string { return "the ID token is refused: " + short(e.Cause) }

// Unwrap returns the cause.
func (e *TokenError) Unwrap() error { return e.Cause }

// short returns the text of an error without line breaks. The provider can have written a part
// of it.
func short(err error) string {
	const most = 300
	text := fmt.Sprintf("%+q", err.Error())
	text = text[1 : len(text)-1]
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// NewFlow returns the secret of one sign-in. The browser keeps it until the user comes back. The
// parameters state and nonce and the verifier of PKCE are hashes of it, so that no one who sees
// one of them knows the others.
func NewFlow() policy.Secret { return policy.NewSecret(rand.Text()) }

func derive(flow policy.Secret, use string) string {
	sum := sha256.Sum256([]byte("speechgate " + use + "\x00" + flow.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Begin returns the URL of the provider at which a user signs in. The argument redirect is the
// URL that the provider sends the browser back to. The error is an AwayError.
func (p *Provider) Begin(ctx context.Context, now policy.Time, flow policy.Secret, redirect string) (string, error) {
	at, err := p.endpoints(ctx, now)
	if err != nil {
		return "", err
	}
	config := at.oauth
	config.RedirectURL = redirect
	return config.AuthCodeURL(derive(flow, "state"), oidc.Nonce(derive(flow, "nonce")), oauth2.S256ChallengeOption(derive(flow, "verifier"))), nil
}

// Person is a user of a provider, whom it has vouched for.
type Person struct {
	Issuer, Subject string // identify the person
	Name            string // the value of the claim of the settings
}

// Finish returns whom the provider has vouched for in its answer, the query of the URL that it
// has sent the browser to. The arguments flow and redirect are those of Begin. The error is
// ErrForeign, ErrBusy, ErrNoEmail, an AwayError, a RefusedError, an AnswerError or a TokenError.
func (p *Provider) Finish(ctx context.Context, now policy.Time, flow policy.Secret, redirect string, answer url.Values) (Person, error) {
	for _, values := range answer {
		if len(values) > 1 {
			return Person{}, ErrForeign
		}
	}
	if flow.Empty() || subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(derive(flow, "state"))) != 1 {
		return Person{}, ErrForeign
	}
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	default:
		return Person{}, ErrBusy
	}
	at, err := p.endpoints(ctx, now)
	if err != nil {
		return Person{}, err
	}
	if err := p.checkIssuer(answer, at); err != nil {
		return Person{}, &AnswerError{err}
	}
	if code := answer.Get("error"); code != "" {
		return Person{}, &RefusedError{errorCode(code)}
	}
	if answer.Get("code") == "" {
		return Person{}, &AnswerError{errors.New("it has neither a code nor an error")}
	}
	ctx = oidc.ClientContext(ctx, p.client)
	config := at.oauth
	config.RedirectURL = redirect
	tokens, err := config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(derive(flow, "verifier")))
	if err != nil {
		return Person{}, exchangeError(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	token, err := at.verifier.Verify(ctx, raw)
	if err != nil {
		if strings.Contains(err.Error(), "fetching keys") { // package oidc has no type for it
			return Person{}, &AwayError{err}
		}
		return Person{}, &TokenError{err}
	}
	name, err := p.check(token, derive(flow, "nonce"), now)
	if errors.Is(err, errAbsent) && at.provider.UserInfoEndpoint() != "" {
		name, err = emailOf(ctx, at.provider, token.Subject, tokens)
	}
	if errors.Is(err, errAbsent) {
		err = ErrNoEmail
	}
	return Person{Issuer: p.settings.Issuer, Subject: token.Subject, Name: name}, err
}

// checkIssuer refuses an answer of another provider (RFC 9207).
func (p *Provider) checkIssuer(answer url.Values, at *endpoints) error {
	iss, named := answer["iss"]
	switch {
	case named && iss[0] != p.settings.Issuer:
		return fmt.Errorf("iss is %s, and the issuer of the configuration is %s", iss[0], p.settings.Issuer)
	case !named && at.namesISS:
		return errors.New("iss is missing, and the provider says that its answers have it")
	}
	return nil
}

// exchangeError returns the error for a code that was not exchanged for tokens.
func exchangeError(err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return &AwayError{err}
	}
	if refused.Response.StatusCode >= http.StatusInternalServerError || refused.ErrorCode == "" {
		return &AwayError{fmt.Errorf("the token endpoint answers with status %d", refused.Response.StatusCode)}
	}
	return &RefusedError{errorCode(refused.ErrorCode)}
}

var errorForm = regexp.MustCompile(`^[a-z_]{1,40}$`)

// errorCode returns a code of the provider if it is safe to show.
func errorCode(text string) string {
	if !errorForm.MatchString(text) {
		return "another error"
	}
	return text
}
