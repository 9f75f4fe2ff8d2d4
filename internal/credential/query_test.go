package credential

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

const (
	escaped = "CLIENTKEY0123456789%2B%2F%3D"       // clientKey, escaped once
	doubled = "CLIENTKEY0123456789%252B%252F%253D" // clientKey, escaped twice
)

func TestR19_TheQueryIsEditedAsText(t *testing.T) {
	t.Parallel()
	up, upTwice := url.QueryEscape(upstreamKey), url.QueryEscape(url.QueryEscape(upstreamKey))
	many := strings.Repeat("p=1&", 10_000)
	for _, test := range []struct{ name, query, replaced, dropped string }{
		{"alone", "u=" + escaped, "u=" + up, ""},
		{"between others", "a=%zz&u=" + escaped + "&b", "a=%zz&u=" + up + "&b", "a=%zz&b"},
		{"as the 10,001st parameter", many + "u=" + escaped, many + "u=" + up, strings.TrimSuffix(many, "&")},
		{"twice the same, in two spellings", "u=" + escaped + "&x=%20+&u=%43LIENTKEY0123456789%2b/=", "u=" + up + "&x=%20+&u=" + up, "x=%20+"},
		{"with an empty one", "u=&u=" + escaped, "u=&u=" + up, "u="},
		{"with one without a value", "u&u=" + escaped, "u&u=" + up, "u"},
		{"among empty segments", "&&u=" + escaped + "&&", "&&u=" + up + "&&", "&&&"},
		{"with semicolons in others", "c=audio/x-raw;rate=16000;ud=1&u=" + escaped, "c=audio/x-raw;rate=16000;ud=1&u=" + up, "c=audio/x-raw;rate=16000;ud=1"},
		{
			"in d, as the manual has it", "d=grammarFileNames%3D-a-general%20authorization%3D" + doubled + "&c=16K",
			"d=grammarFileNames%3D-a-general%20authorization%3D" + upTwice + "&c=16K", "d=grammarFileNames%3D-a-general&c=16K",
		},
		{"in d, behind a plus", "d=-a-general+authorization=" + doubled, "d=-a-general+authorization=" + upTwice, "d=-a-general"},
		{"in d, first", "d=authorization%3d" + doubled + "+x%3D1", "d=authorization%3d" + upTwice + "+x%3D1", "d=x%3D1"},
		{"in d, alone", "d=authorization=" + doubled, "d=authorization=" + upTwice, "d="},
		{
			"in d, twice, and once in u", "d=x+authorization=" + doubled + "+authorization=" + doubled + "&u=" + escaped,
			"d=x+authorization=" + upTwice + "+authorization=" + upTwice + "&u=" + up, "d=x",
		},
		{"in d, with an empty one behind", "d=authorization=" + doubled + "+authorization=", "d=authorization=" + upTwice + "+authorization=", "d=authorization="},
		{"in d, with an empty one in front", "d=authorization=+authorization=" + doubled + "+x", "d=authorization=+authorization=" + upTwice + "+x", "d=authorization=+x"},
		{"in d, twice in front", "d=authorization=" + doubled + "+authorization=" + doubled + "+x", "d=authorization=" + upTwice + "+authorization=" + upTwice + "+x", "d=x"},
		{"in d, around another", "d=authorization=" + doubled + "+x+authorization=" + doubled, "d=authorization=" + upTwice + "+x+authorization=" + upTwice, "d=x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, want := range []struct {
				up    Upstream
				query string
			}{{replace, test.replaced}, {drop, test.dropped}, {pass, test.query}} {
				r := upload(test.query, "audio/wav", "RIFF")
				accept(t, r, want.up)
				if r.URL.RawQuery != want.query {
					t.Errorf("mode %d: the query went upstream as %.200q, want %.200q", want.up.Mode, r.URL.RawQuery, want.query)
				}
			}
		})
	}
}

func TestR19_TheVendorsExampleOfAQueryIsRead(t *testing.T) {
	t.Parallel()
	r := upload("d=grammarFileNames%3D-a-general%20authorization%3DKEY%252B%252F%253Dabc&c=16K", "", "RIFF")
	if _, secret, fault := find(t, r, testMaxHead); fault != nil || secret.Reveal() != "KEY+/=abc" {
		t.Errorf("found %q, %v", secret.Reveal(), fault)
	}
}

func TestR19_AQueryThatParsersReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, query string
		want        policy.Reason
		detail      string
	}{
		{"nothing", "", policy.CredentialMissing, noKey},
		{"an empty key", "u=", policy.CredentialMissing, noKey},
		{"an empty key in d", "d=authorization%3D", policy.CredentialMissing, noKey},
		{"twice, different", "u=" + escaped + "&u=" + otherKey, policy.CredentialAmbiguous, twoKeys},
		{"u and d, different", "u=" + escaped + "&d=authorization=" + otherKey, policy.CredentialAmbiguous, twoKeys},
		{"twice in d, different", "d=authorization=" + doubled + "+authorization=" + otherKey, policy.CredentialAmbiguous, twoKeys},
		{"a raw plus, which is a space", "u=KEY+A", policy.CredentialMalformed, notVisible},
		{"a broken escape in the key", "u=KEY%zz", policy.RequestMalformed, "the query's parameter u has a broken percent-escape"},
		{"a control character in the key", "u=KEY%00", policy.CredentialMalformed, notVisible},
		{"behind a semicolon", "a;u=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u stands behind a semicolon"},
		{"behind a semicolon, in disguise", "a=1;+%55[]=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u stands behind a semicolon"},
		{"behind a semicolon and a value", "u=" + escaped + ";d=authorization=" + otherKey, policy.RequestMalformed, "the query's parameter d stands behind a semicolon"},
		{"an escaped name", "%75=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a name of IIS", "%u0075=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "a parameter of the query whose name has a broken percent-escape"},
		{"a name with a broken escape", "u%zz=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "a parameter of the query whose name has a broken percent-escape"},
		{"a name cut by NUL", "u%00x=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a name of an array", "u[]=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a name of an escaped array", "u%5B0%5D=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a name in brackets", "[u]=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a name in escaped brackets", "%5Bu%5D=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a name before a bracket", "u]=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a name escaped twice", "%2575=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a full-width name", "%EF%BD%95=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a dotless i in d", "d=author%C4%B1zation%3D" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the pair authorization is spelled in another way, or hidden"},
		{"d in brackets", "[d]=authorization%3D" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter d is spelled in another way"},
		{"a name in capitals", "U=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a name with a space", "+u=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a name with a byte order mark", "%EF%BB%BFu=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"a second question mark", "?u=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter u is spelled in another way"},
		{"another spelling of d", "D=authorization=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "the query's parameter d is spelled in another way"},
		{"a broken escape in d", "d=%zz&u=" + escaped, policy.RequestMalformed, "the query's parameter d has a broken percent-escape"},
		{"a tab in d", "d=a%09authorization=" + otherKey + "&u=" + escaped, policy.RequestMalformed, "a control character among name=value pairs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			refuse(t, upload(test.query, "audio/wav", "RIFF"), test.want, test.detail)
		})
	}
}

// genQuery draws the segments of a query, and which of them have the key.
func genQuery(t *rapid.T) (segments []string, held []bool) {
	plain := rapid.StringMatching(`(|[a-ce-tv-z]{1,3}|x%[0-9a-f]{2})(=[a-zA-Z0-9%+.=/?;]*)?`).Filter(func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		_, err := url.QueryUnescape(name)
		return err == nil
	})
	bearing := rapid.SampledFrom([]string{
		"u=" + escaped, "u=CLIENTKEY0123456789%2b/=", "d=authorization=" + doubled,
		"d=-a-general+x=1%20authorization%3D" + doubled + "+y", "d=authorization%3D" + doubled + "+authorization%3D" + doubled,
	})
	n := rapid.IntRange(1, 12).Draw(t, "n")
	sure := rapid.IntRange(0, n-1).Draw(t, "sure")
	for i := range n {
		if i == sure || rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
			segments, held = append(segments, bearing.Draw(t, "bearing")), append(held, true)
		} else {
			segments, held = append(segments, plain.Draw(t, "plain")), append(held, false)
		}
	}
	return segments, held
}

func TestR19_EveryOtherByteOfAQueryStays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		segments, held := genQuery(t)
		query := strings.Join(segments, "&")
		request := func(up Upstream) []string {
			r := upload(query, "audio/wav", "RIFF")
			f, secret, fault := find(t, r, testMaxHead)
			if fault != nil {
				t.Skip("a semicolon before a name that is ours")
			}
			if secret.Reveal() != clientKey {
				t.Fatalf("found %q", secret.Reveal())
			}
			f.Rewrite(r, up)
			if up.Mode != Pass && strings.Contains(decodeAll(r.URL.RawQuery), "CLIENTKEY") {
				t.Fatalf("the client's key went upstream: %q", r.URL.RawQuery)
			}
			return strings.Split(r.URL.RawQuery, "&")
		}
		if got := strings.Join(request(pass), "&"); got != query {
			t.Fatalf("passed %q as %q", query, got)
		}
		got := request(replace)
		for i, segment := range segments {
			name, value, _ := strings.Cut(got[i], "=")
			switch {
			case !held[i] && got[i] != segment:
				t.Fatalf("%q became %q", segment, got[i])
			case held[i] && name == "u":
				if key, err := url.QueryUnescape(value); err != nil || key != upstreamKey {
					t.Fatalf("%q became %q", segment, got[i])
				}
			case held[i]:
				d, err := url.QueryUnescape(value)
				before, _ := url.QueryUnescape(segment[2:])
				if err != nil || strings.ReplaceAll(d, url.QueryEscape(upstreamKey), escaped) != before {
					t.Fatalf("%q became %q", segment, got[i])
				}
			}
		}
	})
}

func TestR19_AQueryThatNoRequestLineCanHaveIsRecognized(t *testing.T) {
	t.Parallel()
	for query, fits := range map[string]bool{
		"": true, "u=K&d=a+b%20c": true, "q=音": true, "q=\xff": true, "q=~\"<>\\^`{|}": true,
		"u=K&x=a b": false, " ": false, "x= HTTP/1.1": false, "x=\t": false, "x=\x00": false, "x=\r\n": false, "x=\x7f": false,
	} {
		if FitsRequestLine(query) != fits {
			t.Errorf("FitsRequestLine(%q) = %t, want %t", query, !fits, fits)
		}
	}
}
