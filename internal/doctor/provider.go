package doctor

import (
	"context"

	"github.com/speechgate/speechgate/caddymodule/app"
)

// checkProviders asks each OpenID Connect provider of a console what it says about itself, as the
// first sign-in there does.
func (e *examination) checkProviders(ctx context.Context, providers []app.Provider) {
	switch {
	case len(providers) == 0:
		e.add(CheckProvider, Skip, "", "No console lets operators sign in at an OpenID Connect provider.", "")
		return
	case e.Offline:
		e.add(CheckProvider, Skip, "", "The command has --offline, and asks no provider.", "")
		return
	}
	tried := make(map[string]bool)
	for _, p := range providers {
		issuer := p.Issuer()
		if tried[issuer] {
			continue
		}
		tried[issuer] = true
		if err := p.Check(ctx); err != nil {
			e.add(CheckProvider, Fail, "issuer "+issuer, "Operators cannot sign in there: "+err.Error()+".",
				"Check issuer in the oidc of speechgate_console, the network, and the certificate of the provider. Users with a password can sign in meanwhile.")
			continue
		}
		e.add(CheckProvider, Pass, "issuer "+issuer, "The provider answers, and names endpoints that the console can use.", "")
	}
}
