package openid

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/speechgate/speechgate/policy"
)

const (
	// skew is how far the clocks of the provider and of this machine may be apart.
	skew = time.Minute
	// oldest is how long ago an ID token was made at most: it comes straight from the provider.
	oldest = 10 * time.Minute
	// mostSubject is the longest subject, in bytes (OpenID Connect Core 1.0, section 2).
	mostSubject = 255
)

// errAbsent says that an ID token has no email address: the provider may tell it elsewhere.
var errAbsent = errors.New("the ID token has no email address")

// claims are what this package reads of an ID token besides what package oidc has checked: its
// signature, iss, and that the client is in aud.
type claims struct {
	AuthorizedParty *string `json:"azp"`
	NotBefore       float64 `json:"nbf"`
	Email           string  `json:"email"`
	EmailVerified   any     `json:"email_verified"`
}

// check checks an ID token whose signature is right, and returns the name of the operator. The
// error is a TokenError, ErrNoEmail or errAbsent.
func (p *Provider) check(token *oidc.IDToken, nonce string, now policy.Time) (string, error) {
	var c claims
	if err := token.Claims(&c); err != nil {
		return "", &TokenError{err}
	}
	err := p.checkParties(token, &c)
	switch {
	case err != nil:
	case token.Nonce != nonce:
		err = errors.New("its nonce is not that of the sign-in")
	case token.Subject == "" || len(token.Subject) > mostSubject || strings.ContainsFunc(token.Subject, func(r rune) bool { return r < ' ' || r > '~' }):
		err = errors.New("sub: want 1 to 255 printable characters of ASCII")
	default:
		err = checkTimes(token, &c, now)
	}
	switch {
	case err != nil:
		return "", &TokenError{err}
	case p.settings.Claim == ClaimSubject:
		return token.Subject, nil
	case c.Email == "":
		return "", errAbsent
	case c.EmailVerified != true && c.EmailVerified != "true": // AWS Cognito sends a text
		return "", ErrNoEmail
	}
	return c.Email, nil
}

// checkParties checks that the token is for this client (OpenID Connect Core 1.0, section 3.1.3.7).
func (p *Provider) checkParties(token *oidc.IDToken, c *claims) error {
	own := p.settings.ClientID
	switch {
	case c.AuthorizedParty != nil && *c.AuthorizedParty != own:
		return fmt.Errorf("azp is %q: the token is for another client", *c.AuthorizedParty)
	case c.AuthorizedParty == nil && slices.ContainsFunc(token.Audience, func(to string) bool { return to != own }):
		return fmt.Errorf("aud is %q without azp: it is not known that the token is for this client", token.Audience)
	}
	return nil
}

func checkTimes(token *oidc.IDToken, c *claims, now policy.Time) error {
	at := now.Std()
	notBefore := time.Unix(int64(c.NotBefore), 0)
	switch {
	case !at.Before(token.Expiry.Add(skew)):
		return fmt.Errorf("it has expired at %s", token.Expiry.UTC().Format(time.RFC3339))
	case token.IssuedAt.After(at.Add(skew)) || notBefore.After(at.Add(skew)):
		return fmt.Errorf("it is from the future, %s: the clocks differ by more than %s", token.IssuedAt.UTC().Format(time.RFC3339), skew)
	case token.IssuedAt.Before(at.Add(-oldest)):
		return fmt.Errorf("it was made at %s, more than %s ago", token.IssuedAt.UTC().Format(time.RFC3339), oldest)
	}
	return nil
}

// emailOf asks the provider for the email address of a user. Some providers do not have it in ID
// tokens (OpenID Connect Core 1.0, section 5.4).
func emailOf(ctx context.Context, provider *oidc.Provider, subject string, tokens *oauth2.Token) (string, error) {
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	switch {
	case err != nil:
		// The error has the provider's answer, which can repeat the token.
		return "", &AwayError{errors.New("userinfo: " + strings.ReplaceAll(err.Error(), tokens.AccessToken, "(access token)"))}
	case info.Subject != subject:
		return "", &TokenError{errors.New("userinfo is about another user")}
	case info.Email == "" || !info.EmailVerified:
		return "", ErrNoEmail
	}
	return info.Email, nil
}
