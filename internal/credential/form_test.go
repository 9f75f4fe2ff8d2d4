package credential

import (
	"net/url"
	"strings"
	"testing"

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
	}{
		{"u before a", "", uPart + aPart + end, policy.Undecided},
		{"in d", "", d + aPart + end, policy.Undecided},
		{"in both, the same", "", uPart + d + aPart + end, policy.Undecided},
		{"in part and query, the same", "u=" + escaped, uPart + aPart + end, policy.Undecided},
		{"in the query alone", "u=" + escaped, part("d", "-a-general") + aPart + end, policy.Undecided},
		{"repeated, the same", "", uPart + uPart + aPart + end, policy.Undecided},
		{"repeated, once empty", "", part("u", "") + uPart + aPart + end, policy.Undecided},
		{"no audio", "", uPart + end, policy.Undecided},
		{"no audio, and no last line break", "", uPart + "--B0--", policy.Undecided},
		{"the last boundary missing", "", uPart + aPart, policy.Undecided},
		{"among 1,000 parts", "", strings.Repeat(part("x", ""), 1000) + uPart + aPart + end, policy.Undecided},
		{"after a", "", aPart + uPart + end, policy.CredentialMissing},
		{"after a, another before", "", uPart + aPart + evil + end, policy.Undecided},
		{"empty", "", part("u", "") + aPart + end, policy.CredentialMissing},
		{"no parts", "", end, policy.CredentialMissing},
		{"repeated, different", "", uPart + evil + aPart + end, policy.CredentialAmbiguous},
		{"u and d, different", "", evil + d + aPart + end, policy.CredentialAmbiguous},
		{"part and query, different", "u=" + otherKey, uPart + aPart + end, policy.CredentialAmbiguous},
		{"d and query, different", "u=" + otherKey, d + aPart + end, policy.CredentialAmbiguous},
		{"a run of spaces in a d without a key", "", uPart + part("d", "x  y") + aPart + end, policy.Undecided},
		{"a d of two lines without a key", "", uPart + part("d", "grammarFileNames=-a-general\r\n\tprofileWords=x\n") + aPart + end, policy.Undecided},
		{"a run of spaces beside a key in d", "", part("d", "x  authorization="+escaped) + aPart + end, policy.RequestMalformed},
		{"a line feed behind a key in d", "", part("d", "authorization="+escaped+"\n") + aPart + end, policy.RequestMalformed},
		{"a line break in the key", "", part("u", "x\r\ny") + aPart + end, policy.CredentialMalformed},
		{"10,000 parts", "", strings.Repeat(part("x", ""), 10_000) + uPart + aPart + end, policy.RequestMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := upload(test.query, formType, test.body)
			if test.want != policy.Undecided {
				refuse(t, r, test.want)
				return
			}
			accept(t, r, replace)
			want := strings.NewReplacer("u\"\r\n\r\n"+clientKey, "u\"\r\n\r\n"+upstreamKey, escaped, url.QueryEscape(upstreamKey)).Replace(test.body)
			if got := readBody(t, r); got != want {
				t.Errorf("went upstream as\n%q, want\n%q", got, want)
			}
		})
	}
}

func TestR19_AFormThatParsersReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	good := uPart + aPart + end
	disposition := "Content-Disposition: form-data; "
	for name, body := range map[string]string{
		"no boundary":                        "audio",
		"an empty body":                      "",
		"a preamble":                         "preamble\r\n" + good,
		"two line breaks in front":           "\r\n\r\n" + good,
		"a bare LF in front":                 "\n" + good,
		"LF only":                            strings.ReplaceAll(good, "\r\n", "\n"),
		"one LF in a header":                 strings.Replace(good, "\r\n\r\n", "\n\r\n", 1),
		"a CR within a header":               headed(disposition+"name=\"x\"\rname=\"u\"", otherKey) + good,
		"a boundary behind a bare LF":        part("x", "y\n--B0\r\n"+disposition+"name=\"u\"\r\n\r\n"+otherKey) + good,
		"a boundary behind a bare CR":        part("x", "y\r--B0\r\n"+disposition+"name=\"u\"\r\n\r\n"+otherKey) + good,
		"a boundary within a line":           part("x", "y--B0\r\n"+disposition+"name=\"u\"\r\n\r\n"+otherKey) + good,
		"a boundary within a header":         headed(disposition+"name=\"x\"\r\nX: --B0", "") + good,
		"a boundary at once":                 "--B0\r\n" + disposition + "name=\"u\"\r\n\r\n--B0\r\n" + good,
		"a boundary with padding":            "--B0 \r\n" + disposition + "name=\"x\"\r\n\r\n\r\n" + good,
		"a longer boundary":                  part("x", "y\r\n--B0X\r\n"+disposition+"name=\"u\"\r\n\r\n"+otherKey) + good,
		"a last boundary with a tail":        uPart + "--B0--x\r\n" + evil,
		"a part after the last boundary":     uPart + end + evil + aPart + end,
		"an epilogue":                        uPart + end + "epilogue",
		"a last boundary with a bare LF":     uPart + strings.TrimSuffix(end, "\r\n") + "\n",
		"a last boundary with a bare CR":     uPart + strings.TrimSuffix(end, "\r\n") + "\r",
		"no part's end":                      "--B0\r\n" + disposition + "name=\"u\"\r\n\r\n" + clientKey,
		"no header's end":                    "--B0\r\n" + disposition + "name=\"u\"",
		"a folded header":                    headed("Content-Disposition: form-data;\r\n name=\"u\"", otherKey) + good,
		"a header folded by a tab":           headed("Content-Disposition: form-data;\r\n\tname=\"u\"", otherKey) + good,
		"a folded first line":                headed(" "+disposition+"name=\"u\"", otherKey) + good,
		"a header without a colon":           headed(disposition+"name=\"x\"\r\nname=u", otherKey) + good,
		"a space before the colon":           headed("Content-Disposition : form-data; name=\"u\"", otherKey) + good,
		"a tab in a header":                  headed("Content-Disposition:\tform-data; name=\"u\"", otherKey) + good,
		"a NUL in a header":                  headed(disposition+"name=\"u\x00x\"", otherKey) + good,
		"a very long header":                 headed("X: "+strings.Repeat("x", 5117)+disposition+"name=\"u\"\r\n"+disposition+"name=\"x\"", otherKey) + good,
		"two Content-Dispositions":           headed(disposition+"name=\"x\"\r\n"+disposition+"name=\"u\"", otherKey) + good,
		"no Content-Disposition":             headed("Content-Type: text/plain", otherKey) + good,
		"an attachment":                      headed("Content-Disposition: attachment; name=\"u\"", otherKey) + good,
		"no name":                            headed("Content-Disposition: form-data", otherKey) + good,
		"an empty name":                      headed(disposition+"name=\"\"", otherKey) + good,
		"name*":                              headed(disposition+"name*=utf-8''u", otherKey) + good,
		"name and name*":                     headed(disposition+"name=\"x\"; name*=utf-8''u", otherKey) + good,
		"a name in pieces":                   headed(disposition+"name*0=\"u\"", otherKey) + good,
		"two names":                          headed(disposition+"name=\"x\"; name=\"u\"", otherKey) + good,
		"two names, in other letters":        headed(disposition+"name=\"x\"; NAME=\"u\"", otherKey) + good,
		"a name behind a file name":          headed(disposition+"filename=\"u\"; name=\"x\"", otherKey) + good,
		"a name within a file name":          headed(disposition+"name=\"x\"; filename=\"; name=u; \"", otherKey) + good,
		"a name within the audio's":          headed(disposition+"name=\"a\"; filename=\"; name=u\"", otherKey) + good,
		"another parameter's name":           headed(disposition+"name=\"x\"; xname=\"u\"", otherKey) + good,
		"an escape in a name":                headed(disposition+`name="\u"`, otherKey) + good,
		"an escaped quote":                   headed(disposition+`name="x\"; name=\"u"`, otherKey) + good,
		"a percent-escape in a name":         headed(disposition+`name="%75"`, otherKey) + good,
		"an encoded word":                    headed(disposition+`name="=?utf-8?Q?u?="`, otherKey) + good,
		"single quotes":                      headed(disposition+`name='u'`, otherKey) + good,
		"single quotes in quotes":            headed(disposition+`name="'u'"`, otherKey) + good,
		"no closing quote":                   headed(disposition+`name="u`, otherKey) + good,
		"text behind a quote":                headed(disposition+`name="u"x`, otherKey) + good,
		"a space in a name":                  headed(disposition+`name=" u"`, otherKey) + good,
		"spaces around the equals sign":      headed(disposition+`name = "u"`, otherKey) + good,
		"an array":                           headed(disposition+`name="u[]"`, otherKey) + good,
		"a capital u":                        headed(disposition+`name="U"`, otherKey) + good,
		"a capital D":                        headed(disposition+`name="D"`, "authorization="+otherKey) + good,
		"a capital A":                        headed(disposition+`name="A"`, "") + good,
		"a name beyond ASCII":                headed(disposition+"name=\"\uff55\"", otherKey) + good,
		"two transfer encodings":             headed(disposition+"name=\"x\"\r\nContent-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: base64", "") + good,
		"a part that sets the charset":       part("_charset_", "utf-7") + good,
		"a nested form":                      headed(disposition+"name=\"x\"\r\nContent-Type: multipart/mixed; boundary=C", "--C\r\n\r\n--C--") + good,
		"a Content-Length that is too large": headed(disposition+"name=\"x\"\r\nContent-Length: 9", "x") + good,
		"a Content-Length that is too small": headed(disposition+"name=\"u\"\r\nContent-Length: 3", clientKey) + aPart + end,
		"a Content-Length that is no number": headed(disposition+"name=\"x\"\r\nContent-Length: +1", "x") + good,
		"an empty Content-Length":            headed(disposition+"name=\"x\"\r\nContent-Length:", "x") + good,
		"two Content-Lengths":                headed(disposition+"name=\"x\"\r\nContent-Length: 1\r\nContent-Length: 9", "x") + good,
		"a header larger than max_head":      headed(disposition+"name=\"x\"\r\n"+strings.Repeat("X: y\r\n", 1<<20/6)+"Y: z", "x") + good,
		"a part larger than max_head":        part("x", strings.Repeat("x", 1<<20)) + good,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuse(t, upload("", formType, body), policy.RequestMalformed)
		})
	}
}

// How a content is read matters only if the content can be a key. In the header of the
// audio, only the name matters.
func TestR19_WhatAPartsHeaderMayHaveDependsOnThePart(t *testing.T) {
	t.Parallel()
	const other, key, audioPart = 1, 2, 4 // in which part it is accepted
	for _, test := range []struct {
		name, disposition, more string
		passes                  int
	}{
		{"a file name", `; filename="t.wav"`, "", other | key | audioPart},
		{"an empty file name", `; filename=""`, "", other | key | audioPart},
		{"two file names", `; filename=a; filename=b`, "", other | key | audioPart},
		{"an unquoted file name that is no token", `; filename=a b/c`, "", other | key | audioPart},
		{"an unknown parameter", `; *=(0`, "", other | key | audioPart},
		{"a file name of a key", `; filename="u"; filename*=utf-8''d`, "", other | key | audioPart},
		{"a file name with an equals sign", `; filename="name=太郎; size=3.wav"`, "", other | key | audioPart},
		{"a file name with an escape", `; filename="a\"b"`, "", other | key | audioPart},
		{"a file name that is not closed", `; filename="a`, "", other | key | audioPart},
		{"a label of a form", "", "Content-Type: multipart/form-data; charset=utf-8", other | key | audioPart},
		{"a tab in another field", "", "X-A:\tb", other | key | audioPart},
		{"another field twice", "", "X-A: b\r\nX-A: c", other | key | audioPart},
		{"binary", "", "Content-Transfer-Encoding: BINARY", other | key | audioPart},
		{"quoted-printable", "", "Content-Transfer-Encoding: quoted-printable", other | key | audioPart},
		{"base64", "", "Content-Transfer-Encoding: base64", other | audioPart},
		{"a content encoding", "", "Content-Encoding: gzip", other | audioPart},
		{"UTF-7", "", "Content-Type: text/plain; charset=utf-7", other | audioPart},
		{"EBCDIC", "", `Content-Type: text/plain; charset="ibm037"`, other | audioPart},
		{"a charset without a semicolon", "", "Content-Type: text/plain charset=utf-7", other | audioPart},
		{"a charset in pieces", "", "Content-Type: text/plain; charset*0=utf-7", other | audioPart},
		{"two transfer encodings", "", "Content-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: binary", audioPart},
		{"a form of its own", "", "Content-Type: multipart/mixed; boundary=C", audioPart},
		{"a wrong length", "", "Content-Length: 99", audioPart},
		{"a folded field", "", "X-A: b\r\n c", audioPart},
		{"a line without a colon", "", "X-A", audioPart},
		{"a NUL in a field", "", "X-A: \x00", audioPart},
		{"a key's name within the file name", `; filename="; name=u"`, "", key},
		{"a key's name in a single-quoted file name", `; filename='x'; name='u'`, "", key},
		{"a key's name in another field", "", `Content-Type: text/plain; name="u"`, key},
		{"a key's name in another field, escaped", "", `X-A: name=%22%75%22`, key},
		{"the audio's name in another field", "", `X-A: name=A`, audioPart},
		{"an encoded word of another name", "", `X-A: name="=?utf-8?B?6Z+z?="`, other | key | audioPart},
		{"a name in pieces behind", `; name*0=x`, "", 0},
		{"an encoded word behind", `; name="=?utf-8?Q?u?="`, "", key},
		{"an encoded word of Japanese mail", "", `X-A: name="=?iso-2022-jp?B?ZA==?="`, 0},
		{"a second disposition", "", "content-disposition: form-data; name=x", 0},
		{"a second disposition in another spelling", "", "Content-Disposition : form-data; name=d", 0},
		{"a boundary", "", "X-A: --B0", 0},
	} {
		for which, name := range map[int]string{other: "x", key: "u", audioPart: "a"} {
			content := map[int]string{other: "x", key: ourKey, audioPart: audio}[which]
			header := "Content-Disposition: form-data; name=\"" + name + "\"" + test.disposition
			if test.more != "" {
				header += "\r\n" + test.more
			}
			body := part("u", ourKey) + headed(header, content)
			if which != audioPart {
				body += aPart
			}
			_, secret, fault := find(t, upload("", formType, body+end), testMaxHead)
			if passes := test.passes&which != 0; passes != (fault == nil) {
				t.Errorf("%s in the header of part %s: %v, want it to pass: %t", test.name, name, fault, passes)
			} else if passes && secret.Reveal() != ourKey {
				t.Errorf("%s in the header of part %s: the key is %q", test.name, name, secret.Reveal())
			}
		}
	}
}

func TestR19_AFileNameBeforeTheNameIsNotTheName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		disposition string
		want        policy.Reason
	}{
		{`filename="t.wav"; name="a"`, policy.Undecided},
		{`filename="a"; name="a"`, policy.Undecided},
		{`filename=my voice.wav; name=a`, policy.Undecided},
		{`filename*=utf-8''%E9%9F%B3; filename="音"; name="a"`, policy.Undecided},
		{"filename=\"\x95\x5c\"; name=\"a\"", policy.Undecided},
		{"filename=\"\x95\x5c.wav\"; name=\"a\"", policy.Undecided},
		{`filename="say \"a\".wav"; name="a"`, policy.Undecided},
		{`filename="C:\dir\"; name="a"`, policy.Undecided},
		{`filename="u"; name="a"`, policy.RequestMalformed},
		{`filename="D"; name="a"`, policy.RequestMalformed},
		{`filename="=?utf-8?Q?u?="; name="a"`, policy.RequestMalformed},
		{`filename="; name=u"; name="a"`, policy.RequestMalformed},
		{`filename="x\"; name=\"u\"; x=\""; name="a"`, policy.RequestMalformed},
		{`filename="x\"; name="c"; y="\"; name="a"`, policy.RequestMalformed},
		{`filename="x; name="a"`, policy.RequestMalformed},
		{`filename="a"`, policy.RequestMalformed},
		{`x; name="a"`, policy.RequestMalformed},
		{`name="a`, policy.RequestMalformed},
		{`name="a"x`, policy.RequestMalformed},
		{`name=`, policy.RequestMalformed},
	} {
		body := uPart + headed("Content-Disposition: form-data; "+test.disposition, audio) + end
		_, _, fault := find(t, upload("", formType, body), testMaxHead)
		switch {
		case test.want == policy.Undecided && fault != nil:
			t.Errorf("%q is refused: %v", test.disposition, fault)
		case test.want != policy.Undecided && (fault == nil || fault.Reason != test.want):
			t.Errorf("%q: %v, want %v", test.disposition, fault, test.want)
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

func TestR19_AContentTypeThatParsersReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	body := uPart + aPart + end
	for name, types := range map[string][]string{
		"no boundary":                  {"multipart/form-data"},
		"an empty boundary":            {"multipart/form-data; boundary="},
		"an empty quoted boundary":     {`multipart/form-data; boundary=""`},
		"two boundaries":               {"multipart/form-data; boundary=B0; boundary=B1"},
		"two boundaries, other case":   {"multipart/form-data; boundary=B0; Boundary=B1"},
		"an encoded boundary":          {"multipart/form-data; boundary*=utf-8''B0"},
		"a boundary in pieces":         {"multipart/form-data; boundary*0=B; boundary*1=0"},
		"a boundary within a name":     {"multipart/form-data; xboundary=B1; boundary=B0"},
		"a boundary within a value":    {`multipart/form-data; x="boundary=B1"; boundary=B0`},
		"another parameter":            {"multipart/form-data; boundary=B0; x=y"},
		"a boundary with a comma":      {"multipart/form-data; boundary=B0,B1"},
		"a quoted comma":               {`multipart/form-data; boundary="B0,B1"`},
		"a space in the boundary":      {`multipart/form-data; boundary="B 0"`},
		"a space before it":            {`multipart/form-data; boundary=" B0"`},
		"a space behind it":            {`multipart/form-data; boundary="B0 "`},
		"single quotes":                {"multipart/form-data; boundary='B0'"},
		"an escape":                    {`multipart/form-data; boundary="B\0"`},
		"spaces around the equals":     {"multipart/form-data; boundary = B0"},
		"no closing quote":             {`multipart/form-data; boundary="B0`},
		"text behind a quote":          {`multipart/form-data; boundary="B0"x`},
		"a boundary beyond ASCII":      {"multipart/form-data; boundary=B\u00e90"},
		"a boundary of 71":             {"multipart/form-data; boundary=" + strings.Repeat("b", 71)},
		"UTF-7":                        {"multipart/form-data; boundary=B0; charset=utf-7"},
		"EBCDIC":                       {"multipart/form-data; charset=ibm037; boundary=B0"},
		"two charsets":                 {"multipart/form-data; charset=utf-8; charset=utf-8; boundary=B0"},
		"two Content-Types":            {formType, formType},
		"two Content-Types, one empty": {"", formType},
		"a list":                       {"audio/wav, " + formType},
		"another multipart":            {"multipart/mixed; boundary=B0"},
		"form-data without its family": {"form-data; boundary=B0"},
		"multipart in a parameter":     {`audio/wav; x="multipart/form-data"`},
		"no semicolon":                 {"multipart/form-data boundary=B0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := upload("u="+escaped, "", body)
			r.Header["Content-Type"] = types
			refuse(t, r, policy.RequestMalformed)
		})
	}
	t.Run("a Content-Encoding", func(t *testing.T) {
		t.Parallel()
		for _, encoding := range []string{"gzip", "identity", ""} {
			r := upload("u="+escaped, formType, body)
			r.Header.Set("Content-Encoding", encoding)
			refuse(t, r, policy.RequestMalformed)
		}
	})
}

func TestR19_AFormGoesUpstreamUnderTheClientsSpellingOfItsType(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ contentType, boundary, want string }{
		{formType, "B0", formType},
		{"Multipart/Form-Data ;\tBOUNDARY=B0", "B0", ""},
		{"multipart/form-data;boundary=B0; ", "B0", ""},
		{`multipart/form-data;charset="utf-8";boundary=B0`, "B0", ""},
		{"multipart/form-data; boundary=a:b=/c", "a:b=/c", ""},
		{`multipart/form-data; boundary="a:b=/c"`, "a:b=/c", ""},
		{`multipart/form-data; charset=utf-8; boundary="a:b=/c"`, "a:b=/c", ""},
		// Some parsers take quotation marks for part of the boundary.
		{`multipart/form-data; boundary="B0"`, "B0", formType},
		{`multipart/form-data; charset=utf-8; boundary="B0"`, "B0", formType + "; charset=utf-8"},
		// Some parsers read an empty boundary if the first character is no token character.
		{"multipart/form-data; boundary=/B0", "/B0", `multipart/form-data; boundary="/B0"`},
	} {
		if test.want == "" {
			test.want = test.contentType
		}
		for _, up := range upstreams {
			r := upload("", test.contentType, strings.ReplaceAll(uPart+aPart+end, "B0", test.boundary))
			accept(t, r, up)
			if got := r.Header.Get("Content-Type"); got != test.want {
				t.Errorf("%q went upstream as %q, want %q", test.contentType, got, test.want)
			}
		}
	}
}

// If a boundary is no token, some parsers read a shorter one, and others a longer one with
// quotation marks.
func TestR19_ABoundaryWithinABoundaryIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		contentType, within string
		passes              bool
	}{
		{"multipart/form-data; boundary=a:b=/c", "\r\n--a\r\n", false},
		{"multipart/form-data; boundary=a:b=/c", "\r\n--a:b\r\n", false},
		{"multipart/form-data; boundary=a:b=/c", "--a", false},
		{"multipart/form-data; boundary=a:b=/c", "\r\n--b\r\n", true},
		{`multipart/form-data; boundary="a:b=/c"`, "\r\n--a\r\n", true},
		{`multipart/form-data; boundary="a:b=/c"`, "\r\n--\"a:b=/c\"\r\n", false},
		{"multipart/form-data; boundary=a:b=/c", "\r\n--\"a:b=/c\"\r\n", true},
	} {
		body := strings.ReplaceAll(part("x", "y"+test.within+"Content-Disposition: form-data; name=\"u\"\r\n\r\n"+otherKey)+uPart+aPart+end, "B0", "a:b=/c")
		if _, _, fault := find(t, upload("", test.contentType, body), testMaxHead); (fault == nil) != test.passes {
			t.Errorf("%q with %q within: %v, want it to pass: %t", test.contentType, test.within, fault, test.passes)
		}
	}
}
