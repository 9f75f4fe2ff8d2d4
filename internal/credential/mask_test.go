package credential

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/dialect"
)

func TestR18_MaskURIMasksEveryPlace(t *testing.T) {
	t.Parallel()
	ours := "sgk_abcdefghijklmnopqrstuvwxyz012345ABCDEF"
	for _, test := range []struct{ name, uri, want string }{
		{"nothing to mask", "/v1/recognize?d=-a-general&c=16K", "/v1/recognize?d=-a-general&c=16K"},
		{"a path alone", "/v1/recognitions/017ac8786c5b0a0504399999", "/v1/recognitions/017ac8786c5b0a0504399999"},
		{"a mint's path", "/issue_service_authorization?epi=30s", "/issue_service_authorization?epi=30s"},
		{"u", "/v1/recognize?c=16K&u=KEY&r=1", "/v1/recognize?c=16K&u=REDACTED&r=1"},
		{"u twice", "/?u=KEY&u=KEY", "/?u=REDACTED&u=REDACTED"},
		{"U", "/?U=KEY", "/?U=REDACTED"},
		{"an escaped u", "/?%75=KEY", "/?%75=REDACTED"},
		{"a doubly escaped u", "/?%2575=KEY", "/?%2575=REDACTED"},
		{"a u of IIS", "/?%u0075=KEY", "/?%u0075=REDACTED"},
		{"a u in an array", "/?u[]=KEY", "/?u[]=REDACTED"},
		{"a u in brackets", "/?[u]=KEY", "/?[u]=REDACTED"},
		{"a u in escaped brackets", "/?x=1&%5Bu%5D=KEY&c=1", "/?x=1&%5Bu%5D=REDACTED&c=1"},
		{"a u before a bracket", "/?u]=KEY", "/?u]=REDACTED"},
		{"a full-width u", "/?%EF%BD%95=KEY", "/?%EF%BD%95=REDACTED"},
		{"d with a dotless i", "/?d=author%C4%B1zation%3DKEY", "/?d=REDACTED"},
		{"d in brackets with a pair in quotes", "/?[d]=%22author%22ization%3DKEY", "/?[d]=REDACTED"},
		{"a misplaced pair with a dotless i", "/?author%c4%b1zation=KEY", "/?author%c4%b1zation=REDACTED"},
		{"a u behind a semicolon", "/?a;u=KEY", "/?a;u=REDACTED"},
		{"a u behind two separators", "/?a=1&;u=KEY", "/?a=1&;u=REDACTED"},
		{"a u behind a question mark", "/?a?u=KEY", "/?a?u=REDACTED"},
		{"a u behind a fragment's mark", "/#u=KEY", "/#u=REDACTED"},
		{"an escaped equals sign", "/?u%3dKEY", "/?u%3dREDACTED"},
		{"an escaped query", "/%3Fa=1%26u%3DKEY", "/%3Fa=1%26u%3DREDACTED"},
		{"a key with separators", "/?u=K;E?Y#=Z&c=1", "/?u=REDACTED&c=1"},
		{"a broken key", "/?u=%zz%KEY", "/?u=REDACTED"},
		{"d with a key", "/?d=-a-general%20authorization%3DKEY&c=1", "/?d=REDACTED&c=1"},
		{"d in disguise", "/?d=%zz%20%61UTHORIZATION%3DKEY", "/?d=REDACTED"},
		{"d, doubly escaped", "/?d=%2561uthorization%253DKEY", "/?d=REDACTED"},
		{"a misplaced pair", "/?authorization=KEY", "/?authorization=REDACTED"},
		{"a misplaced header", "/?Authorization=Bearer%20KEY", "/?Authorization=REDACTED"},
		{"our key in a path", "/v1/" + ours + "/x", "/v1/REDACTED/x"},
		{"our key, escaped", "/v1/sgk%5Fabc%44ef", "/v1/REDACTED"},
		{"our password", "/?x=sgs_abc", "/?x=REDACTED"},
		{"nothing", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := MaskURI(test.uri, api.Places); got != test.want {
				t.Errorf("MaskURI(%q) = %q, want %q", test.uri, got, test.want)
			}
		})
	}
}

// disguise spells a text with some of its characters escaped or in capitals.
func disguise(t *rapid.T, text string) string {
	var out strings.Builder
	if rapid.Bool().Draw(t, "brackets") && !strings.Contains(text, "=") {
		text = rapid.SampledFrom([]string{"[" + text + "]", text + "]", text + "[]", "]" + text, " " + text}).Draw(t, "folded")
	}
	for _, c := range strings.Replace(text, "i", rapid.SampledFrom([]string{"i", "\u0131"}).Draw(t, "i"), 1) {
		switch rapid.IntRange(0, 4).Draw(t, "disguise") {
		case 0:
			for _, b := range []byte(string(c)) {
				fmt.Fprintf(&out, "%%%02x", b)
			}
		case 1:
			for _, b := range []byte(string(c)) {
				fmt.Fprintf(&out, "%%25%02X", b)
			}
		case 2:
			out.WriteString(strings.ToUpper(string(c)))
		default:
			out.WriteRune(c)
		}
	}
	return out.String()
}

func TestR18_NoPlaceOfAURILeaks(t *testing.T) {
	t.Parallel()
	noise := rapid.StringMatching(`[a-z0-9=&;%?#/+]{0,12}`)
	inside := rapid.StringMatching(`([a-z0-9=;?#/+]|%zz|%%zz){0,8}`) // a value, with broken escapes
	rapid.Check(t, func(t *rapid.T) {
		uri := "/v1/recognize?" + noise.Draw(t, "before")
		uri += rapid.SampledFrom([]string{"&", "&;", "&a=1;", "&+", "&?"}).Draw(t, "separator")
		if rapid.Bool().Draw(t, "pair") {
			uri += disguise(t, "d") + "=" + inside.Draw(t, "in d") + disguise(t, "authorization=") + "PLANTED"
		} else {
			uri += disguise(t, "u") + "=" + inside.Draw(t, "in u") + "PLANTED"
		}
		uri += "&" + noise.Draw(t, "after")
		if got := MaskURI(uri, api.Places); strings.Contains(got, "PLANTED") {
			t.Fatalf("MaskURI(%q) = %q", uri, got)
		}
	})
}

// FuzzMaskURI checks that a key that Scan finds in a query is masked.
func FuzzMaskURI(f *testing.F) {
	for _, seed := range []string{"u=KEYKEYKEY", "a;u=1&u=KEYKEYKEY", "d=x+authorization%3DKEYKEYKEY", "u=KEY;KEY?KEY", "d=authorization=KEYKEYKEY+x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		masked := MaskURI("/v1/recognize?"+query, api.Places)
		if again := MaskURI(masked, api.Places); again != masked {
			t.Fatalf("%q is masked as %q and then as %q", query, masked, again)
		}
		found, secret, fault := find(t, upload(query, "audio/wav", ""), testMaxHead)
		if fault != nil {
			return
		}
		for _, c := range append(found.moreInQuery, found.inQuery) {
			if c.place == nil {
				continue
			}
			name := query[c.whole.from:c.value.from]
			for segment := range strings.SplitSeq(strings.TrimPrefix(masked, "/v1/recognize?"), "&") {
				if rest, ok := strings.CutPrefix(segment, name); ok && rest != Masked && strings.Contains(decodeAll(rest), secret.Reveal()) {
					t.Fatalf("%q is masked as %q", query, masked)
				}
			}
		}
	})
}

// Every separator counts, as it is and escaped, in capitals and in small letters.
func TestR18_MaskURIKnowsEverySeparator(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"?", ";", "#", "&", "%3F", "%3f", "%3B", "%3b", "%23", "%26"} {
		for _, after := range []string{"=", "%3D", "%3d"} {
			uri := "/a" + before + "u" + after
			if got := MaskURI(uri+"KEY", api.Places); got != uri+Masked {
				t.Errorf("MaskURI(%q) = %q", uri+"KEY", got)
			}
		}
	}
	for _, start := range []string{"%3Fu%3D", "=?u=", "/?u%3D"} {
		for _, key := range []string{"KEY", ""} {
			if got := MaskURI(start+key, api.Places); got != start+Masked {
				t.Errorf("MaskURI(%q) = %q", start+key, got)
			}
		}
	}
	for _, uri := range []string{
		"/?3fu=KEY", "/a%36u=KEY", "/a%2Fu=KEY", "/a%33u=KEY", "/a%24u=KEY", "/a%3Cu=KEY", "/?a%6Fu=KEY", // other characters are part of the name
		"/?u", "/?u%3", "/?u%", "/?u%2D", "/?u%3E1", "/?u%4D", "/?a=u%3", // no value, or no separator
		"/?=u", "/?x==u=KEY", // the value of another name
	} {
		if got := MaskURI(uri, api.Places); got != uri {
			t.Errorf("MaskURI(%q) = %q", uri, got)
		}
	}
}

// A secret of this project may be cut short at the end of a URI, also within its prefix.
func TestR18_MaskURIMasksTheProjectsSecretsUpToTheEnd(t *testing.T) {
	t.Parallel()
	for tail, want := range map[string]string{
		"sgk_abc": Masked, "sgs_abc": Masked, "sgk_a": Masked, "sgk%5fa": Masked, "sgk%5Fa": Masked, "sgs%5fa": Masked, "sgk_%": Masked,
		"xsgk_abc": "x" + Masked, "ssgk_abc": "s" + Masked, "sgsgk_abc": "sg" + Masked, "sgk_sgk_abc": Masked,
		"sgk_abc/sgs_def": Masked + "/" + Masked, "sgk_abc-d": Masked + "-d", "sgk_abc.d": Masked + ".d", "sgk_abc音": Masked + "音",
		"s": "s", "sg": "sg", "sgk": "sgk", "sgka": "sgka", "sgkab": "sgkab", "sgkabc": "sgkabc", "sgk%": "sgk%", "sgk%5": "sgk%5", "sgk%5f": "sgk%5f",
		"sgk_": "sgk_", "sgk_/a": "sgk_/a", "sgk_-a": "sgk_-a", "sgx_abc": "sgx_abc", "SGK_abc": "SGK_abc",
	} {
		for _, start := range []string{"/?x=", "/%20/", "/?x=1#"} {
			if got := MaskURI(start+tail, api.Places); got != start+want {
				t.Errorf("MaskURI(%q) = %q, want %q", start+tail, got, start+want)
			}
		}
	}
	for uri, want := range map[string]string{"/v1/sgk_abc": "/v1/" + Masked, "/v1/sgs_abc": "/v1/" + Masked, "/console/setup/sgi_abc": "/console/setup/" + Masked, "/v1/%73gk%5fabc": "/v1/%73gk%5fabc"} {
		if got := MaskURI(uri, api.Places); got != want {
			t.Errorf("MaskURI(%q) = %q, want %q", uri, got, want)
		}
	}
}

func TestR18_MaskURITakesOtherAPIsPlaces(t *testing.T) {
	t.Parallel()
	token := []dialect.Place{{Location: dialect.Query, Name: "access_token"}}
	pair := []dialect.Place{{Location: dialect.Query, Name: "d", SubKey: "authorization"}}
	both := []dialect.Place{pair[0], {Location: dialect.Query, Name: "p", SubKey: "token"}}
	for _, test := range []struct {
		uri    string
		places []dialect.Place
		want   string
	}{
		{"/?u=1&Access_Token=KEY", token, "/?u=1&Access_Token=" + Masked},
		{"/?u=1", nil, "/?u=1"},
		{"/?authorization=KEY", pair, "/?authorization=" + Masked},
		{"/?AUTHORIZATION=KEY&x=1", pair, "/?AUTHORIZATION=" + Masked + "&x=1"},
		{"/?d=authorization%3DKEY", pair, "/?d=" + Masked},
		{"/?d=authorization%20KEY", pair, "/?d=" + Masked},
		{"/?x=authorization%3DKEY", pair, "/?x=authorization%3DKEY"},
		{"/?d=x", pair, "/?d=x"},
		{"/?d=x;d=y;p=token%3DKEY", both, "/?d=x;d=y;p=" + Masked},
		{"/?p=x;d=y;d=token%3Dx+authorization", both, "/?p=" + Masked},
		{"/?p=authorization;p=token", pair, "/?p=authorization;p=token"},
	} {
		if got := MaskURI(test.uri, test.places); got != test.want {
			t.Errorf("MaskURI(%q) = %q, want %q", test.uri, got, test.want)
		}
	}
}

// A key in a subprotocol has no name, so it is in no URI. A name before a key is masked there, because
// clients put keys of other places into the query by mistake.
func TestR18_MaskURITakesPlacesWithoutAName(t *testing.T) {
	t.Parallel()
	prefix := []dialect.Place{{Location: dialect.Subprotocol, Prefix: "openai-insecure-api-key."}}
	for _, test := range []struct {
		uri    string
		places []dialect.Place
		want   string
	}{
		{"/?=x&a=b", prefix, "/?=x&a=b"},
		{"/?a=b;=c", prefix, "/?a=b;=c"},
		{"/?=x&a=b&key=sgk_abc", prefix, "/?=x&a=b&key=" + Masked},
		{"/?token=KEY&a=b", dialect.Deepgram.Places, "/?token=" + Masked + "&a=b"},
		{"/?=x&Bearer=KEY", dialect.Deepgram.Places, "/?=x&Bearer=" + Masked},
		{"/?authorization=Token%20KEY", dialect.Deepgram.Places, "/?authorization=" + Masked},
	} {
		if got := MaskURI(test.uri, test.places); got != test.want {
			t.Errorf("MaskURI(%q) = %q, want %q", test.uri, got, test.want)
		}
	}
}
