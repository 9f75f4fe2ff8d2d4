package caddymodule_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestIssue_NamesWhatIsWrong(t *testing.T) {
	i := newIssuer(t, "max_lifetime 1h")
	before := i.count()
	for fields, want := range map[string]string{
		"&epi=1h30m":                             `epi "1h30m": `,
		"&epi=-5":                                `epi "-5": `,
		"&epi=2031/02/30":                        `epi "2031/02/30": `,
		"&epi=2020-01-01":                        `epi "2020-01-01": `,
		"&epi=3600001":                           `epi "3600001": that is longer than keys live here: want 1h at most, such as 1h or `,
		"&epi=2031/02/03%2010:00:00+09:00":       "%2B",
		"&ipa=192.0.2.1/24":                      "want 192.0.2.0/24",
		"&ipa=0.0.0.0":                           "leave the list empty",
		"&ipa=192.0.2.9-192.0.2.1":               "want 192.0.2.1-192.0.2.9",
		"&ipa=192.0.2.1,,192.0.2.2":              `ipa: addresses "192.0.2.1,,192.0.2.2": there is a comma too many.`,
		"&ipa=192.0.2.1%20-%20192.0.2.9":         "no spaces around its hyphen: want 192.0.2.1-192.0.2.9.",
		"&ipa=example.com":                       `"example.com"`,
		"&ipa=fe80::1%25eth0":                    "zone",
		"&ipa=%20":                               "ipa: there is nothing but space in it: want addresses, or no ipa",
		"&ipa=192.0.2.1:443":                     "write 192.0.2.1 without it",
		"&ipa=[2001:db8::1]":                     "address",
		"&ipa=::ffff:192.0.2.1/8":                "write the IPv4 block itself",
		"&epi=" + url.QueryEscape(aPassword):     "holds a credential",
		"&ipa=" + policyKey(t):                   "holds a credential",
		"&epi=%3Cscript%3Ealert(1)%3C/script%3E": "epi ",
	} {
		got := i.byService(fields)
		i.refused(fields, before, got, 400, want)
		if strings.Contains(got.body, aPassword) || policy.HoldsSecret(got.body) {
			t.Errorf("%s: the text holds a secret: %q", fields, got.body)
		}
		if got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a browser may take %q for a page", fields, got.body)
		}
	}
	key := i.issued(i.byService("&epi=3600000&ipa=192.0.2.0/24%20198.51.100.1,2001:db8::/32,%20203.0.113.5-203.0.113.9"))
	if want := "192.0.2.0/24,198.51.100.1,2001:db8::/32,203.0.113.5-203.0.113.9"; key.Allow.String() != want {
		t.Errorf("allowed from %s, want %s", key.Allow, want)
	}
	if key := i.issued(i.byService("&epi=&ipa=")); !key.Allow.Any() {
		t.Errorf("allowed from %s", key.Allow)
	}
}

func TestIssue_AnExpiryWithoutATimeZoneIsInTheConfiguredOne(t *testing.T) {
	for options, want := range map[string]string{"": "2031-02-03T15:00:00.000Z", "time_zone Europe/Berlin": "2031-02-03T23:00:00.000Z"} {
		i := newIssuer(t, options)
		key := i.issued(i.byService("&epi=2031/02/03"))
		if at, _ := key.Expires.Time(); at.String() != want {
			t.Errorf("with %q, the date ends at %s, want %s", options, at, want)
		}
	}
}

func policyKey(t *testing.T) string {
	t.Helper()
	secret, err := policy.GenerateSecret(policy.KeyPrefix, strings.NewReader(strings.Repeat("x", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}

func TestIssue_Children(t *testing.T) {
	for _, mode := range []string{"", "children narrow", "children free"} {
		t.Run(mode, func(t *testing.T) {
			i := newIssuer(t, mode)
			end := policy.ExpiresAt(now().Add(time.Hour))
			parent, secret := i.issue(keystore.NewKey{Issuable: true, Expires: end, Allow: i.allow("127.0.0.0/8")})
			before := i.count()
			by := func(fields string) reply { return i.call(fields, bearerLine(secret)) }
			free := mode == "children free"
			for fields, want := range map[string]string{
				"epi=2h": "would outlive the key that issues it", "ipa=192.0.2.1": "it would be good from 192.0.2.1",
				"ipa=127.0.0.1,192.0.2.0/24": "it would be good from 192.0.2.0/24", "ipa=::/0": "it would be good from ::/0",
			} {
				got := by(fields)
				if !free {
					i.refused(fields, before, got, 403, want)
				} else if key := i.issued(got); key.Issuable {
					t.Errorf("%s: a child may issue keys", fields)
				}
			}
			child := i.issued(by("epi=1m&ipa=127.0.0.1"))
			if child.IssuerID != parent.ID || child.Origin != policy.OriginAPI || child.Issuable || child.Allow.String() != "127.0.0.1" {
				t.Errorf("the child is %+v", child)
			}
			want := "127.0.0.0/8" // inherited where nothing is asked
			if free {
				want = "any"
			}
			if key := i.issued(by("")); key.Allow.String() != want {
				t.Errorf("without ipa it is good from %s, want %s", key.Allow, want)
			}

			// The default lifetime is shortened to the end of the issuer.
			brief := policy.ExpiresAt(now().Add(20 * time.Second))
			_, secret = i.issue(keystore.NewKey{Issuable: true, Expires: brief})
			if key := i.issued(by("")); (key.Expires == brief) == free {
				t.Errorf("without epi it lives until %s, its issuer until %s", key.Expires, brief)
			}
			// A key that was issued by service ID and password has no such limit.
			if key := i.issued(i.byService("&epi=52w&ipa=192.0.2.1")); key.IssuerID != "" {
				t.Errorf("issuer %q", key.IssuerID)
			}
		})
	}
}

func TestIssue_ChildrenEndWithTheirIssuer(t *testing.T) {
	i := newIssuer(t, "")
	child := i.byKey("epi=1h").body
	recognizes := func() bool {
		return strings.Contains(i.send(i.form("/v1/recognize", [2]string{"u", child}, [2]string{"a", "RIFF"})).body, "hello")
	}
	if _, err := i.keys.RevokeKey(t.Context(), now(), operator, i.key.ID, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return i.byKey("epi=1h").status == 401 })
	if !recognizes() {
		t.Error("the child ended with its issuer, though nobody asked for it")
	}
	if _, n, err := i.keys.RevokeTree(t.Context(), now(), operator, i.key.ID, ""); err != nil || n != 1 {
		t.Fatalf("%d children, %v", n, err)
	}
	eventually(t, func() bool { return !recognizes() })
}
