package credential

import (
	"net/url"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

const formType = "multipart/form-data; boundary=B0"

func part(name, value string) string {
	return "--B0\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
}

// headed returns a part with this header.
func headed(header, value string) string { return "--B0\r\n" + header + "\r\n\r\n" + value + "\r\n" }

var (
	uPart = part("u", clientKey)
	aPart = part("a", audio)
	end   = "--B0--\r\n"
	evil  = part("u", otherKey)
)

func TestR1_TheKeyInAForm(t *testing.T) {
	t.Parallel()
	d := part("d", "-a-general authorization="+escaped)
	for _, test := range []struct {
		name, query, body string
		want              policy.Reason
		detail            string
	}{
		{"u before a", "", uPart + aPart + end, policy.Undecided, ""},
		{"in d", "", d + aPart + end, policy.Undecided, ""},
		{"in d, with an empty one behind", "", part("d", "x authorization="+escaped+" authorization=") + aPart + end, policy.Undecided, ""},
		{"in both, the same", "", uPart + d + aPart + end, policy.Undecided, ""},
		{"in part and query, the same", "u=" + escaped, uPart + aPart + end, policy.Undecided, ""},
		{"in the query alone", "u=" + escaped, part("d", "-a-general") + aPart + end, policy.Undecided, ""},
		{"repeated, the same", "", uPart + uPart + aPart + end, policy.Undecided, ""},
		{"repeated, once empty", "", part("u", "") + uPart + aPart + end, policy.Undecided, ""},
		{"no audio", "", uPart + end, policy.Undecided, ""},
		{"no audio, and no last line break", "", uPart + "--B0--", policy.Undecided, ""},
		{"the last boundary missing", "", uPart + aPart, policy.Undecided, ""},
		{"among 1,000 parts", "", strings.Repeat(part("x", ""), 1000) + uPart + aPart + end, policy.Undecided, ""},
		{"after a", "", aPart + uPart + end, policy.CredentialMissing, noKeyInForm},
		{"after a, another before", "", uPart + aPart + evil + end, policy.Undecided, ""},
		{"empty", "", part("u", "") + aPart + end, policy.CredentialMissing, noKeyInForm},
		{"no parts", "", end, policy.CredentialMissing, noKey},
		{"repeated, different", "", uPart + evil + aPart + end, policy.CredentialAmbiguous, twoKeys},
		{"u and d, different", "", evil + d + aPart + end, policy.CredentialAmbiguous, twoKeys},
		{"part and query, different", "u=" + otherKey, uPart + aPart + end, policy.CredentialAmbiguous, twoKeys},
		{"d and query, different", "u=" + otherKey, d + aPart + end, policy.CredentialAmbiguous, twoKeys},
		{"a run of spaces in a d without a key", "", uPart + part("d", "x  y") + aPart + end, policy.Undecided, ""},
		{"a d of two lines without a key", "", uPart + part("d", "grammarFileNames=-a-general\r\n\tprofileWords=x\n") + aPart + end, policy.Undecided, ""},
		{"a run of spaces beside a key in d", "", part("d", "x  authorization="+escaped) + aPart + end, policy.RequestMalformed, "a run of spaces among name=value pairs"},
		{"a line feed behind a key in d", "", part("d", "authorization="+escaped+"\n") + aPart + end, policy.RequestMalformed, "a control character among name=value pairs"},
		{"a line break in the key", "", part("u", "x\r\ny") + aPart + end, policy.CredentialMalformed, notVisible},
		{"10,000 parts", "", strings.Repeat(part("x", ""), 10_000) + uPart + aPart + end, policy.RequestMalformed, "the form's parts before the audio are larger than max_head"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := upload(test.query, formType, test.body)
			if test.want != policy.Undecided {
				refuse(t, r, test.want, test.detail)
				return
			}
			accept(t, r, replace)
			want := strings.NewReplacer("u\"\r\n\r\n"+clientKey, "u\"\r\n\r\n"+upstreamKey, escaped, url.QueryEscape(upstreamKey)).Replace(test.body)
			if got := readBody(t, r); got != want {
				t.Errorf("went upstream as\n%q, want\n%q", got, want)
			}
			r = upload(test.query, formType, test.body)
			accept(t, r, drop)
			want = strings.NewReplacer(uPart, "", " authorization="+escaped, "").Replace(test.body)
			if got := readBody(t, r); got != want {
				t.Errorf("without its key, went upstream as\n%q, want\n%q", got, want)
			}
		})
	}
}

// A parameter of the query and a part can have the same name, and only one of them a key.
func TestR1_APlaceOfTheQueryIsNoPart(t *testing.T) {
	t.Parallel()
	places := []dialect.Place{{Location: dialect.Query, Name: "q"}, {Location: dialect.Part, Name: "p"}}
	for body, want := range map[string]string{
		part("q", "other") + part("p", "K"): "K",
		part("Q", "other") + part("p", "K"): "K",
		part("q", "other"):                  "",
	} {
		r := upload("p=other", formType, body+aPart+end)
		f := Scan(r, &dialect.API{Places: places, Audio: "a"}, &dialect.Route{Keys: places})
		if err := f.ReadForm(nil, r, testMaxHead, nil); err != nil {
			t.Fatal(err)
		}
		secret, fault := f.Key()
		if secret.Reveal() != want || (fault == nil) != (want != "") || fault != nil && fault.Reason != policy.CredentialMissing {
			t.Errorf("%q: the key is %q, %v", body, secret.Reveal(), fault)
		}
	}
}

func TestR19_AFormThatParsersReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	good := uPart + aPart + end
	disposition := "Content-Disposition: form-data; "
	for detail, cases := range map[string]map[string]string{
		"a body that does not begin with its boundary": {
			"no boundary":              "audio without a boundary",
			"a preamble":               "preamble\r\n" + good,
			"two line breaks in front": "\r\n\r\n" + good,
			"a bare LF in front":       "\n" + good,
		},
		"a body that ends before its form does": {
			"an empty body":                    "",
			"a last boundary with a bare CR":   uPart + strings.TrimSuffix(end, "\r\n") + "\r",
			"no part's end":                    "--B0\r\n" + disposition + "name=\"u\"\r\n\r\n" + clientKey,
			"no header's end":                  "--B0\r\n" + disposition + "name=\"u\"",
			"a body shorter than its boundary": "--B",
		},
		"a boundary that is followed by something else than a line break": {
			"LF only":                 strings.ReplaceAll(good, "\r\n", "\n"),
			"a boundary with padding": "--B0 \r\n" + disposition + "name=\"x\"\r\n\r\n\r\n" + good,
			"a longer boundary":       part("x", "y\r\n--B0X\r\n"+disposition+"name=\"u\"\r\n\r\n"+otherKey) + good,
		},
		"a line of a part's header that does not end in CRLF": {
			"one LF in a header":           strings.Replace(good, "\r\n\r\n", "\n\r\n", 1),
			"an empty line with a bare LF": "--B0\r\n" + disposition + "name=\"x\"\r\n\n" + otherKey + "\r\n" + good,
			"a second line with a bare LF": headed(disposition+"name=\"x\"\r\nX: y\nY: z", otherKey) + good,
			"a CR within a header":         headed(disposition+"name=\"x\"\r\nX: y\rz", otherKey) + good,
			"a CR in front of a header":    headed(disposition+"name=\"x\"\r\n\rX: y", otherKey) + good,
			"a CR before the CRLF":         headed(disposition+"name=\"x\"\r\nX: y\r", otherKey) + good,
		},
		"a boundary that does not follow a CRLF, or is not whole": {
			"a boundary behind a bare LF": part("x", "y\n--B0\r\n"+disposition+"name=\"u\"\r\n\r\n"+otherKey) + good,
			"a boundary behind a bare CR": part("x", "y\r--B0\r\n"+disposition+"name=\"u\"\r\n\r\n"+otherKey) + good,
			"a boundary within a line":    part("x", "y--B0\r\n"+disposition+"name=\"u\"\r\n\r\n"+otherKey) + good,
			"a boundary at once":          "--B0\r\n" + disposition + "name=\"u\"\r\n\r\n--B0\r\n" + good,
		},
		"the header of a part has a boundary in it": {
			"a boundary within a header": headed(disposition+"name=\"x\"\r\nX: --B0", "") + good,
		},
		"a form that goes on behind its last boundary": {
			"a last boundary with a tail":    uPart + "--B0--x\r\n" + evil,
			"a part after the last boundary": uPart + end + evil + aPart + end,
			"an epilogue":                    uPart + end + "epilogue",
			"a last boundary with a bare LF": uPart + strings.TrimSuffix(end, "\r\n") + "\n",
		},
		`a part's Content-Disposition has no name on which all parsers agree: want name="…" without escapes`: {
			"no name":                              headed("Content-Disposition: form-data", otherKey) + good,
			"an empty name":                        headed(disposition+"name=\"\"", otherKey) + good,
			"name*":                                headed(disposition+"name*=utf-8''u", otherKey) + good,
			"a name in pieces":                     headed(disposition+"name*0=\"u\"", otherKey) + good,
			"an escape in a name":                  headed(disposition+`name="\u"`, otherKey) + good,
			"an escaped quote":                     headed(disposition+`name="x\"; name=\"u"`, otherKey) + good,
			"no closing quote":                     headed(disposition+`name="u`, otherKey) + good,
			"text behind a quote":                  headed(disposition+`name="u"x`, otherKey) + good,
			"spaces around the equals sign":        headed(disposition+`name = "u"`, otherKey) + good,
			"a disposition folded before its name": headed("Content-Disposition: form-data;\r\n name=\"u\"", otherKey) + good,
			"a disposition folded by a tab":        headed("Content-Disposition: form-data;\r\n\tname=\"u\"", otherKey) + good,
		},
		`the header of a part has a line that is not "name: value", or is folded`: {
			"a folded first line":                           headed(" "+disposition+"name=\"u\"", otherKey) + good,
			"a space before the colon":                      headed("Content-Disposition : form-data; name=\"u\"", otherKey) + good,
			"a folded header":                               headed(disposition+"name=\"x\"\r\n X: y", otherKey) + good,
			"a header folded by a tab":                      headed(disposition+"name=\"x\"\r\n\tX: y", otherKey) + good,
			"a header without a colon":                      headed(disposition+"name=\"x\"\r\nX", otherKey) + good,
			"a NUL in a header":                             headed(disposition+"name=\"x\"\r\nX: y\x00", otherKey) + good,
			"a NUL in a disposition":                        headed(disposition+"name=\"u\x00x\"", otherKey) + good,
			"a space before the colon behind a disposition": headed(disposition+"name=\"x\"\r\nContent-Disposition : attachment", otherKey) + good,
			"no name before the colon":                      headed(disposition+"name=\"x\"\r\n: y", otherKey) + good,
		},
		"the name of the part u is spelled in another way, or is in another part's header": {
			"two names":                   headed(disposition+"name=\"x\"; name=\"u\"", otherKey) + good,
			"two names, in other letters": headed(disposition+"name=\"x\"; NAME=\"u\"", otherKey) + good,
			"a name behind a file name":   headed(disposition+"filename=\"u\"; name=\"x\"", otherKey) + good,
			"a name within a file name":   headed(disposition+"name=\"x\"; filename=\"; name=u; \"", otherKey) + good,
			"a name within the audio's":   headed(disposition+"name=\"a\"; filename=\"; name=u\"", otherKey) + good,
			"another parameter's name":    headed(disposition+"name=\"x\"; xname=\"u\"", otherKey) + good,
			"a percent-escape in a name":  headed(disposition+`name="%75"`, otherKey) + good,
			"single quotes":               headed(disposition+`name='u'`, otherKey) + good,
			"single quotes in quotes":     headed(disposition+`name="'u'"`, otherKey) + good,
			"a space in a name":           headed(disposition+`name=" u"`, otherKey) + good,
			"an array":                    headed(disposition+`name="u[]"`, otherKey) + good,
			"a capital u":                 headed(disposition+`name="U"`, otherKey) + good,
			"a name beyond ASCII":         headed(disposition+"name=\"\uff55\"", otherKey) + good,
		},
		"a part's Content-Disposition is not form-data": {
			"a tab in a header": headed("Content-Disposition:\tform-data; name=\"u\"", otherKey) + good,
			"an attachment":     headed("Content-Disposition: attachment; name=\"u\"", otherKey) + good,
		},
		"a line of a part's header that is longer than parsers agree on": {
			"a very long header": headed(disposition+"name=\"x\"\r\nX: "+strings.Repeat("x", maxLine), otherKey) + good,
		},
		"the header of a part has a field twice": {
			"two Content-Dispositions": headed(disposition+"name=\"x\"\r\n"+disposition+"name=\"u\"", otherKey) + good,
			"two transfer encodings":   headed(disposition+"name=\"x\"\r\nContent-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: base64", "") + good,
			"two Content-Lengths":      headed(disposition+"name=\"x\"\r\nContent-Length: 1\r\nContent-Length: 9", "x") + good,
		},
		"a part has no Content-Disposition": {
			"no Content-Disposition": headed("Content-Type: text/plain", otherKey) + good,
		},
		`a part's name is in more than one form: want name="…" alone`: {
			"name and name*": headed(disposition+"name=\"x\"; name*=utf-8''u", otherKey) + good,
		},
		"a part's name has a control character or an encoded word": {
			"a control character": headed(disposition+"name=\"x\x01\"", otherKey) + good,
			"an encoded word":     headed(disposition+`name="=?utf-8?Q?u?="`, otherKey) + good,
		},
		"the name of the part d is spelled in another way, or is in another part's header": {
			"a capital D": headed(disposition+`name="D"`, "authorization="+otherKey) + good,
		},
		"the name of the part a is spelled in another way, or is in another part's header": {
			"a capital A": headed(disposition+`name="A"`, "") + good,
		},
		"the part _charset_ sets the charset of other parts": {
			"a part that sets the charset": part("_charset_", "utf-7") + good,
		},
		"a part holds a form of its own": {
			"a nested form": headed(disposition+"name=\"x\"\r\nContent-Type: multipart/mixed; boundary=C", "--C\r\n\r\n--C--") + good,
		},
		"a part whose Content-Length is not its length": {
			"a Content-Length that is too large": headed(disposition+"name=\"x\"\r\nContent-Length: 9", "x") + good,
			"a Content-Length that is too small": headed(disposition+"name=\"u\"\r\nContent-Length: 3", clientKey) + aPart + end,
			"a Content-Length that is no number": headed(disposition+"name=\"x\"\r\nContent-Length: +1", "x") + good,
			"an empty Content-Length":            headed(disposition+"name=\"x\"\r\nContent-Length:", "x") + good,
		},
		"the form's parts before the audio are larger than max_head": {
			"a header larger than max_head": headed(disposition+"name=\"x\"\r\n"+strings.Repeat("X: y\r\n", 1<<20/6)+"Y: z", "x") + good,
			"a part larger than max_head":   part("x", strings.Repeat("x", 1<<20)) + good,
		},
	} {
		for name, body := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				refuse(t, upload("", formType, body), policy.RequestMalformed, detail)
			})
		}
	}
}

// The Indy library labels every part quoted-printable, and most parsers do not decode it.
func TestR19_QuotedPrintableHasAKeyOnlyIfItReadsAlike(t *testing.T) {
	t.Parallel()
	label := "\r\nContent-Transfer-Encoding: quoted-printable"
	d := func(text string) string { return headed("Content-Disposition: form-data; name=\"d\""+label, text) }
	for body, passes := range map[string]bool{
		headed("Content-Disposition: form-data; name=\"u\""+label, ourKey): true,
		part("u", ourKey) + d("-a-general"):                                true,
		part("u", ourKey) + d("grammarFileNames=3D-a-general"):             true,
		part("u", ourKey) + d("x=3D=\r\ny"):                                true,
		part("u", ourKey) + d("authorization=3D"+ourKey):                   false,
		part("u", ourKey) + d("author=69zation=3D"+ourKey):                 false,
		part("u", ourKey) + d("author=\r\nization=3D"+ourKey):              false,
		part("u", ourKey) + d("authorization="+ourKey):                     false,
		headed("Content-Disposition: form-data; name=\"u\""+label, "K=3D"): false,
	} {
		if _, _, fault := find(t, upload("", formType, body+aPart+end), testMaxHead); (fault == nil) != passes {
			t.Errorf("%q: %v, want it to pass: %t", body, fault, passes)
		}
	}
}
