// Package openid finds out who an operator is from an OpenID Connect provider: by the
// authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 6749, RFC 7636).
//
//   - provider.go: the settings, and what the provider says about itself
//   - flow.go: one sign-in, from the browser's way to the provider to its way back
//   - claims.go: what an ID token must say
//   - transport.go: the bounds of what is asked of the provider
//
// It knows no keystore and no pages.
package openid

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/speechgate/speechgate/policy"
)

// The claims that can be the name of an operator. Users can change other claims, such as
// preferred_username, and several users can have the same value of them.
const (
	ClaimEmail   = "email" // taken only if email_verified is true
	ClaimSubject = "sub"
)

// Settings say which provider it is, and what this gateway is there.
type Settings struct {
	// Issuer is the URL of the provider, as its ID tokens have it in the claim iss.
	Issuer string
	// ClientID and ClientSecret are what the provider has registered for this gateway.
	ClientID     string
	ClientSecret policy.Secret
	// Scopes are asked for besides openid. Default: email if Claim is email.
	Scopes []string
	// Claim is the claim that is the name of an operator. Default: email.
	Claim string
}

// Provider is an OpenID Connect provider. It asks the provider for its endpoints at the first
// sign-in, so that the server starts while the provider is away. It is safe for concurrent use.
type Provider struct {
	settings Settings
	client   *http.Client
	asking   chan struct{} // one place for each request that waits for the provider

	turn    chan struct{} // guards the next fields; a reader waits for it no longer than the page
	known   *endpoints    // nil: not asked yet, or away
	freshTo policy.Time   // until when known is used without another question
	fault   error         // why the last question failed
	wait    time.Duration // between the last two questions that failed
	retryAt policy.Time   // the next question after a fault
}

const (
	// freshFor is how long the endpoints are used before the provider is asked again.
	freshFor = time.Hour
	// The first and the longest time between two questions to a provider that is away.
	firstWait, longestWait = time.Second, time.Minute
	// mostAsking is how many sign-ins wait for the provider at a time.
	mostAsking = 16
)

// New returns a Provider. The error says which setting is wrong, and asks nobody.
func New(s Settings) (*Provider, error) {
	if s.Claim == "" {
		s.Claim = ClaimEmail
	}
	if len(s.Scopes) == 0 && s.Claim == ClaimEmail {
		s.Scopes = []string{"email"}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	s.Scopes = append([]string{oidc.ScopeOpenID}, slices.DeleteFunc(slices.Clone(s.Scopes), func(scope string) bool { return scope == oidc.ScopeOpenID })...)
	return &Provider{settings: s, client: newClient(), asking: make(chan struct{}, mostAsking), turn: make(chan struct{}, 1)}, nil
}

func (s *Settings) check() error {
	issuer, err := url.Parse(s.Issuer)
	switch {
	case s.Issuer == "":
		return errors.New("issuer: want the URL of the provider, such as https://id.example.com")
	case err != nil || issuer.Host == "" || issuer.User != nil || issuer.RawQuery != "" || issuer.Fragment != "" || strings.HasSuffix(s.Issuer, "/.well-known/openid-configuration"):
		return fmt.Errorf("issuer %q: want a URL with https:// and a host, without a query, and without /.well-known/openid-configuration, such as https://id.example.com", s.Issuer)
	case !secure(issuer):
		return fmt.Errorf("issuer %q: want https://, except on this machine: everyone on the way could sign in as an operator", s.Issuer)
	case s.ClientID == "":
		return errors.New("client_id: want the ID that the provider has registered for this console")
	case s.ClientSecret.Empty():
		return errors.New("client_secret: want the secret that the provider has registered for this console, such as {env.OIDC_SECRET}")
	case s.Claim != ClaimEmail && s.Claim != ClaimSubject:
		return fmt.Errorf("operator_claim %q: want email or sub: users can change other claims", s.Claim)
	}
	for _, scope := range s.Scopes {
		if scope == "" || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
			return fmt.Errorf("scopes %q: want scopes of the provider, each without spaces, such as email", scope)
		}
	}
	return nil
}

// secure reports whether a URL is encrypted, or stays on this machine.
func secure(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// Name returns the host of the provider, for people.
func (p *Provider) Name() string {
	issuer, err := url.Parse(p.settings.Issuer)
	if err != nil {
		return p.settings.Issuer
	}
	return issuer.Host
}

// Issuer returns the URL of the provider, as in [Person].
func (p *Provider) Issuer() string { return p.settings.Issuer }

// endpoints are what a provider says about itself.
type endpoints struct {
	provider *oidc.Provider
	verifier *oidc.IDTokenVerifier
	oauth    oauth2.Config
	namesISS bool // it names itself in every answer (RFC 9207)
}

// Close closes the connections to the provider that are idle.
func (p *Provider) Close() { p.client.CloseIdleConnections() }

// endpoints returns what the provider has said about itself. If the provider is away, it is
// asked again after a while, and the answer before is used until then. The error is an AwayError.
func (p *Provider) endpoints(ctx context.Context, now policy.Time) (*endpoints, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, &AwayError{ctx.Err()}
	}
	if p.known != nil && now < p.freshTo {
		return p.known, nil
	}
	if p.fault == nil || now >= p.retryAt || now.Add(longestWait) < p.retryAt { // or the clock was set back
		known, err := p.ask(context.WithoutCancel(ctx)) // a reader who goes away is no fault of the provider
		if p.fault = err; err == nil {
			p.known, p.freshTo, p.wait = known, now.Add(freshFor), 0
		} else {
			p.wait = min(max(2*p.wait, firstWait), longestWait)
			p.retryAt = now.Add(p.wait)
		}
	}
	if p.known != nil {
		return p.known, nil
	}
	return nil, &AwayError{p.fault}
}

// Check asks the provider what it says about itself, also if it is known. It takes 10 seconds at
// most. The error is an AwayError.
func (p *Provider) Check(ctx context.Context) error {
	if _, err := p.ask(ctx); err != nil {
		return &AwayError{err}
	}
	return nil
}

// ask asks the provider for its endpoints (OpenID Connect Discovery 1.0). The client has a time
// limit.
func (p *Provider) ask(ctx context.Context) (*endpoints, error) {
	ctx = oidc.ClientContext(ctx, p.client)
	provider, err := oidc.NewProvider(ctx, p.settings.Issuer)
	if err != nil {
		return nil, err
	}
	var said struct {
		JWKS     string   `json:"jwks_uri"`
		Methods  []string `json:"token_endpoint_auth_methods_supported"`
		NamesISS bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := provider.Claims(&said); err != nil {
		return nil, err
	}
	at := provider.Endpoint()
	for name, text := range map[string]string{"authorization_endpoint": at.AuthURL, "token_endpoint": at.TokenURL, "jwks_uri": said.JWKS, "userinfo_endpoint": provider.UserInfoEndpoint()} {
		if u, err := url.Parse(text); (text != "" || name != "userinfo_endpoint") && (err != nil || u.Host == "" || !secure(u)) {
			return nil, fmt.Errorf("%s %.200q: want a URL with https://", name, text)
		}
	}
	at.AuthStyle = oauth2.AuthStyleInHeader // the default (Discovery, section 3)
	if len(said.Methods) > 0 && !slices.Contains(said.Methods, "client_secret_basic") {
		if !slices.Contains(said.Methods, "client_secret_post") {
			return nil, fmt.Errorf("token_endpoint_auth_methods_supported is %.200q: want client_secret_basic or client_secret_post", said.Methods)
		}
		at.AuthStyle = oauth2.AuthStyleInParams
	}
	return &endpoints{
		provider: provider,
		verifier: provider.VerifierContext(ctx, &oidc.Config{ClientID: p.settings.ClientID, SkipExpiryCheck: true}), // checkTimes does it
		oauth:    oauth2.Config{ClientID: p.settings.ClientID, ClientSecret: p.settings.ClientSecret.Reveal(), Endpoint: at, Scopes: p.settings.Scopes},
		namesISS: said.NamesISS,
	}, nil
}
