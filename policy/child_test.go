package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

func TestR7_AChildKeyIsBoundToItsIssuer(t *testing.T) {
	t.Parallel()
	const noon = policy.Time(1_900_000_000_000)
	never, at, before, after := policy.Never(), policy.ExpiresAt(noon), policy.ExpiresAt(noon-1), policy.ExpiresAt(noon+1)
	for name, tt := range map[string]struct {
		issuerExpires, expires policy.Expiry
		issuerAllow, allow     string
		want                   string // of the error; empty for none
	}{
		"anything of an unbound issuer":     {never, never, "", "", ""},
		"the issuer's own end":              {at, at, "", "", ""},
		"a millisecond before":              {at, before, "", "", ""},
		"a millisecond after":               {at, after, "", "", "outlive"},
		"for ever":                          {at, never, "", "", "outlive"},
		"an end, of an issuer for ever":     {never, after, "", "", ""},
		"any address":                       {never, never, "192.0.2.0/24", "", "any address"},
		"the same block":                    {never, never, "192.0.2.0/24", "192.0.2.0/24", ""},
		"an address in the block":           {never, never, "192.0.2.0/24", "192.0.2.255", ""},
		"an address beside the block":       {never, never, "192.0.2.0/24", "192.0.3.0", "192.0.3.0"},
		"a block around the block":          {never, never, "192.0.2.0/24", "192.0.2.0/23", "192.0.2.0/23"},
		"across two blocks that touch":      {never, never, "192.0.2.0/25,192.0.2.128/25", "192.0.2.100-192.0.2.200", ""},
		"across two ranges that share one":  {never, never, "192.0.2.1-192.0.2.5,192.0.2.5-192.0.2.9", "192.0.2.3-192.0.2.7", ""},
		"across two blocks that do not":     {never, never, "192.0.2.0/26,192.0.2.128/25", "192.0.2.10-192.0.2.200", "192.0.2.10-192.0.2.200"},
		"the second of two is beyond":       {never, never, "192.0.2.0/24", "192.0.2.1,198.51.100.1", "198.51.100.1"},
		"the other family":                  {never, never, "0.0.0.0/0", "2001:db8::1", "2001:db8::1"},
		"every address is less than any":    {never, never, "0.0.0.0/0,::/0", "", "any address"},
		"an IPv6 block in another":          {never, never, "2001:db8::/32", "2001:db8:1::/48", ""},
		"an IPv6 block around the block":    {never, never, "2001:db8::/48", "2001:db8::/32", "2001:db8::/32"},
		"an IPv6 range one address longer":  {never, never, "2001:db8::1-2001:db8::9", "2001:db8::1-2001:db8::a", "2001:db8::1-2001:db8::a"},
		"an IPv6 block beside the block":    {never, never, "2001:db8::/48", "2001:db8:1::/48", "2001:db8:1::/48"},
		"the first IPv4 address, before":    {never, never, "192.0.2.0/24", "0.0.0.0/32", "0.0.0.0/32"},
		"the first IPv6 address, before":    {never, never, "2001:db8::/32", "::/128", "::/128"},
		"of an issuer bound to no address":  {never, never, "", "192.0.2.1", ""},
		"a mapped address is the plain one": {never, never, "192.0.2.0/24", "::ffff:192.0.2.7", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := &policy.Key{Expires: tt.issuerExpires, Allow: addrs(t, tt.issuerAllow)}
			err := policy.CheckChild(issuer, tt.expires, addrs(t, tt.allow))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestR7_AChildKeyEndsWithTheEarliestEndOfItsIssuer(t *testing.T) {
	t.Parallel()
	const noon = policy.Time(1_900_000_000_000)
	for name, tt := range map[string]struct {
		issuer policy.Key
		says   string
	}{
		"expiry":                            {policy.Key{Expires: policy.ExpiresAt(noon)}, "expires at "},
		"scheduled revocation":              {policy.Key{Expires: policy.Never(), RevokeFrom: noon}, "ends at "},
		"a scheduled one before the expiry": {policy.Key{Expires: policy.ExpiresAt(noon + 1), RevokeFrom: noon}, "ends at "},
		"the expiry before a scheduled one": {policy.Key{Expires: policy.ExpiresAt(noon), RevokeFrom: noon + 1}, "expires at "},
		"revocation":                        {policy.Key{Expires: policy.Never(), RevokedAt: noon, RevokeFrom: noon + 1}, "ends at "},
		"deletion":                          {policy.Key{Expires: policy.Never(), DeletedAt: noon}, "ends at "},
	} {
		issuer := tt.issuer
		if err := policy.CheckChild(&issuer, policy.ExpiresAt(noon), policy.AddrSet{}); err != nil {
			t.Errorf("%s: the issuer's own end is refused: %v", name, err)
		}
		for _, beyond := range []policy.Expiry{policy.ExpiresAt(noon + 1), policy.Never()} {
			err := policy.CheckChild(&issuer, beyond, policy.AddrSet{})
			if want := tt.says + noon.String(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %s: got %v, want an error with %s", name, beyond, err, want)
			}
		}
	}
}

// TestR7_AChildKeyIsNeverValidWhereItsIssuerIsNot compares with the decisions themselves.
func TestR7_AChildKeyIsNeverValidWhereItsIssuerIsNot(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set := func(label string) policy.AddrSet {
			entries := rapid.SliceOfN(rapid.SampledFrom([]string{
				"10.0.0.0/30", "10.0.0.0/29", "10.0.0.4/30", "10.0.0.2", "10.0.0.1-10.0.0.6", "10.0.0.3-10.0.0.5", "0.0.0.0/0",
				"::/126", "::2", "::2-::5", "::4/126",
			}), 0, 3).Draw(t, label)
			s, err := policy.NewAddrSet(entries)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		expiry := func(label string) policy.Expiry {
			if rapid.Bool().Draw(t, label+" never") {
				return policy.Never()
			}
			return policy.ExpiresAt(policy.Time(rapid.Int64Range(1, 9).Draw(t, label)))
		}
		happening := func(label string) policy.Time { return policy.Time(rapid.Int64Range(0, 9).Draw(t, label)) }
		issuer := &policy.Key{
			AccountOpen: true, Expires: expiry("issuer's end"), Allow: set("issuer's addresses"),
			RevokeFrom: happening("issuer's scheduled revocation"),
			RevokedAt:  happening("issuer's revocation"), DeletedAt: happening("issuer's deletion"),
		}
		child := &policy.Key{AccountOpen: true, Expires: expiry("child's end"), Allow: set("child's addresses")}
		if policy.CheckChild(issuer, child.Expires, child.Allow) != nil {
			return
		}
		for _, at := range []policy.Time{issuer.RevokeFrom, issuer.RevokedAt, issuer.DeletedAt} {
			if !at.IsZero() && child.Expires.After(policy.ExpiresAt(at)) {
				t.Fatalf("the child ends at %v, and its issuer at %v", child.Expires, at)
			}
		}
		if child.Expires.After(issuer.Expires) {
			t.Fatalf("the child ends at %v, and its issuer expires at %v", child.Expires, issuer.Expires)
		}
		issuer.RevokedAt, issuer.DeletedAt = 0, 0 // a revocation and a deletion refuse at every instant
		client := rapid.SampledFrom([]netip.Addr{
			{},
			netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.6"),
			netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("::"), netip.MustParseAddr("::2"), netip.MustParseAddr("::4"), netip.MustParseAddr("::7"),
		}).Draw(t, "client")
		now := policy.Time(rapid.Int64Range(0, 10).Draw(t, "now"))
		request := &policy.Request{Operation: policy.Recognize, Client: client}
		if policy.Decide(now, child, request, policy.Rules{}).Reason.OK() && !policy.Decide(now, issuer, request, policy.Rules{}).Reason.OK() {
			t.Fatalf("at %v from %v the child is good and its issuer is not", now, client)
		}
	})
}
