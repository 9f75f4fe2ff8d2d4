package console

import (
	"fmt"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/internal/openid"
)

// OIDC is an OpenID Connect provider at which operators can sign in. The provider answers for
// them, also for their second factor. An operator who is invited by name
// (`caddy speechgate operator invite`) signs in there for the first time while the invitation
// works. From then on only the same person at the provider can sign in as this operator, and
// without a password.
//
// Register the console at the provider as a confidential client of the authorization code flow.
// The redirect URI is the URL of the console's start page with `oidc/callback` behind it, such as
// `https://asr.example.com/console/oidc/callback`.
//
// The server starts while the provider is away. Users with a password can sign in then.
type OIDC struct {
	// The URL of the provider, as it writes it into the claim `iss`: `https://`, except on this
	// machine. The provider must have its discovery document below it.
	Issuer string `json:"issuer,omitempty"`

	// The ID of the console at the provider.
	ClientID string `json:"client_id,omitempty"`

	// The secret of the console at the provider, or a placeholder such as `{env.OIDC_SECRET}` or
	// `{file./run/secrets/oidc}`.
	ClientSecret string `json:"client_secret,omitempty"`

	// The scopes that the console asks for, besides `openid`. Default: `email`, if
	// `operator_claim` is `email`.
	Scopes []string `json:"scopes,omitempty"`

	// The claim that is the name of the operator: `email`, which is taken only if `email_verified`
	// is true, or `sub`, the ID of the user at the provider. Upper and lower case differ.
	// Default: `email`.
	OperatorClaim string `json:"operator_claim,omitempty"`
}

// provision returns the provider, or nil if no provider is configured.
func (o *OIDC) provision() (*openid.Provider, error) {
	if o == nil {
		return nil, nil //nolint:nilnil // the caller knows nil
	}
	s := openid.Settings{Issuer: o.Issuer, ClientID: o.ClientID, Scopes: o.Scopes, Claim: o.OperatorClaim}
	if o.ClientSecret != "" {
		secret, err := options.ResolveSecret(o.ClientSecret)
		if err != nil {
			return nil, fmt.Errorf("oidc: client_secret: %w", err)
		}
		s.ClientSecret = secret
	}
	provider, err := openid.New(s)
	if err != nil {
		return nil, fmt.Errorf("oidc: %w", err)
	}
	return provider, nil
}
