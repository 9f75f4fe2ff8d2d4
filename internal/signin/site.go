package signin

import (
	"errors"
	"net/url"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"golang.org/x/net/idna"
)

// ErrNoPasskeys is the error of a site that cannot have passkeys.
var ErrNoPasskeys = errors.New("passkeys need https and a host name that is no IP address")

// mostOrigin is the longest origin of a site, in bytes: a host name has up to 253 (RFC 1035), and
// the option url can have a path. Open challenges keep the origin, and the time to write a name in
// ASCII grows with the square of its length.
const mostOrigin = 512

// Site is where browsers reach the console. A passkey is for one site: an answer that a passkey
// has given to another one is refused.
type Site struct {
	origin string // such as https://console.example.com
	host   string // the host name in it: the relying party's ID
	name   string // of the service
}

// NewSite returns the site with this origin. The argument name is the name of the service. The
// error is ErrNoPasskeys if browsers use no passkeys there: the connection is not encrypted, and
// the host is not the reader's own machine; or the host is an IP address; or the origin, which can be
// from a header Host that anyone can write, is longer than that of a site.
func NewSite(origin, name string) (Site, error) {
	if len(origin) > mostOrigin {
		return Site{}, ErrNoPasskeys
	}
	u, err := url.Parse(origin)
	if err != nil {
		return Site{}, ErrNoPasskeys
	}
	host, err := idna.Lookup.ToASCII(strings.ToLower(u.Hostname()))
	own := host == "localhost" || strings.HasSuffix(host, ".localhost")
	if err != nil || protocol.ValidateRPID(host) != nil || u.Scheme != "https" && (u.Scheme != "http" || !own) {
		return Site{}, ErrNoPasskeys
	}
	site := Site{u.Scheme + "://" + host, host, name}
	if port := u.Port(); port != "" && (u.Scheme != "https" || port != "443") && (u.Scheme != "http" || port != "80") {
		site.origin += ":" + port
	}
	return site, nil
}

// Origin returns the origin of the site, as browsers write it.
func (s Site) Origin() string { return s.origin }

// Host returns the host name that the passkeys of the site are for.
func (s Site) Host() string { return s.host }

// relyingParty returns what checks the passkeys of the site. A passkey must be one that the
// authenticator finds without a name, and must verify the user, so that it is two factors.
func (s Site) relyingParty() (*webauthn.WebAuthn, error) {
	limit := webauthn.TimeoutConfig{Timeout: challengeTime, TimeoutUVD: challengeTime}
	return webauthn.New(&webauthn.Config{
		RPID: s.host, RPDisplayName: s.name, RPOrigins: []string{s.origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(), UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: limit, Registration: limit},
	})
}
