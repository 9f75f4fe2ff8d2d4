package credential

import (
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// Details of faults in the header of a part.
const (
	notALine  = `the header of a part has a line that is not "name: value", or is folded`
	control   = "the header of a part has a control character"
	twice     = "the header of a part has a field twice"
	noName    = `a part's Content-Disposition has no name on which all parsers agree: want name="…" without escapes`
	charset   = "the part of a key is in a charset that is not based on ASCII: want utf-8"
	encoding  = "the part of a key has a Content-Transfer-Encoding: want none, as RFC 7578 has it"
	nameOfU   = "the name of the part u is spelled in another way, or is in another part's header"
	nameOfD   = "the name of the part d is spelled in another way, or is in another part's header"
	nameOfA   = "the name of the part a is spelled in another way, or is in another part's header"
	nameTwice = `a part's name is in more than one form: want name="…" alone`
)

// How a content is read matters only if the content can be a key. In the header of the
// audio, only the name matters.
func TestR19_WhatAPartsHeaderMayHaveDependsOnThePart(t *testing.T) {
	t.Parallel()
	const other, key, audioPart = 1, 2, 4 // in which part it is accepted
	for _, test := range []struct {
		name, disposition, more string
		passes                  int
		detail                  string // of the fault in the other parts
	}{
		{"a file name", `; filename="t.wav"`, "", other | key | audioPart, ""},
		{"an empty file name", `; filename=""`, "", other | key | audioPart, ""},
		{"two file names", `; filename=a; filename=b`, "", other | key | audioPart, ""},
		{"an unquoted file name that is no token", `; filename=a b/c`, "", other | key | audioPart, ""},
		{"an unknown parameter", `; *=(0`, "", other | key | audioPart, ""},
		{"a file name of a key", `; filename="u"; filename*=utf-8''d`, "", other | key | audioPart, ""},
		{"a file name with an equals sign", `; filename="name=太郎; size=3.wav"`, "", other | key | audioPart, ""},
		{"a file name with an escape", `; filename="a\"b"`, "", other | key | audioPart, ""},
		{"a file name that is not closed", `; filename="a`, "", other | key | audioPart, ""},
		{"a label of a form", "", "Content-Type: multipart/form-data; charset=utf-8", other | key | audioPart, ""},
		{"a tab in another field", "", "X-A:\tb", other | key | audioPart, ""},
		{"another field twice", "", "X-A: b\r\nX-A: c", other | key | audioPart, ""},
		{"binary", "", "Content-Transfer-Encoding: BINARY", other | key | audioPart, ""},
		{"quoted-printable", "", "Content-Transfer-Encoding: quoted-printable", other | key | audioPart, ""},
		{"base64", "", "Content-Transfer-Encoding: base64", other | audioPart, encoding},
		{"a content encoding", "", "Content-Encoding: gzip", other | audioPart, "the part of a key has a Content-Encoding: want none"},
		{"UTF-7", "", "Content-Type: text/plain; charset=utf-7", other | audioPart, charset},
		{"EBCDIC", "", `Content-Type: text/plain; charset="ibm037"`, other | audioPart, charset},
		{"a charset without a semicolon", "", "Content-Type: text/plain charset=utf-7", other | audioPart, charset},
		{"a charset in pieces", "", "Content-Type: text/plain; charset*0=utf-7", other | audioPart, charset},
		{"a charset behind an escape", "", `Content-Type: text/plain; x="\"; charset=utf-7; "`, other | audioPart, charset},
		{"a charset behind an escaped quotation mark", "", `Content-Type: text/plain; x="\"; y="; charset=utf-7; "`, other | audioPart, charset},
		{"a charset behind an open quotation mark", "", `Content-Type: text/plain; x="a; charset=utf-7`, other | audioPart, charset},
		{"a charset in a value", "", `Content-Type: text/plain; x="charset=utf-7"`, other | audioPart, charset},
		{"a charset as the type", "", "Content-Type: charset=utf-7; x=y", other | audioPart, charset},
		{"a charset behind another parameter", "", "Content-Type: text/plain; format=flowed; charset=utf-7", other | audioPart, charset},
		{"two charsets, the second UTF-7", "", "Content-Type: text/plain; charset=utf-8; charset=utf-7", other | audioPart, charset},
		{"UTF-8 behind another parameter", "", `Content-Type: text/plain; format=flowed; charset="UTF-8"`, other | key | audioPart, ""},
		{"Shift_JIS", "", "Content-Type: text/plain;charset=Shift_JIS", other | key | audioPart, ""},
		{"a boundary in a label that is no form", "", "Content-Type: text/plain; boundary=C", other | key | audioPart, ""},
		{"an empty transfer encoding", "", "Content-Transfer-Encoding:", other | key | audioPart, ""},
		{"a file name in another charset", "; filename*=utf-8''u", "", other | key | audioPart, ""},
		{"a space before a colon", "", "X-A : b", audioPart, notALine},
		{"a disposition with a space before its colon", "", "Content-Disposition : attachment", audioPart, notALine},
		{"a content type with a space before its colon", "", "Content-Type : text/plain", audioPart, notALine},
		{"a charset in one piece of pieces", "", "Content-Type: text/plain; charset*0=utf-8", other | audioPart, charset},
		{"another field that ends in -type", "", "Context-Type: multipart/mixed; boundary=C", other | key | audioPart, ""},
		{"a file name behind a space", ` ; filename="t.wav"`, "", other | key | audioPart, ""},
		{"a NUL right behind the colon", "", "X-A:\x00", audioPart, notALine},
		{"a second disposition with a NUL", "", "Content-Disposition: form-data; name=\"x\x00\"", audioPart, notALine},
		{"a key's name behind two equals signs", "", "X-A: a==b; name=u", key, nameOfU},
		{"a key's name behind spaces around the equals sign", "", "X-A: name = u; x=y", key, nameOfU},
		{"a word that ends in name", "", "X-A: username: u; x=y", other | key | audioPart, ""},
		{"a parameter that ends in name", "; username=u", "", key, nameOfU},
		{"two transfer encodings", "", "Content-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: binary", audioPart, twice},
		{"a form of its own", "", "Content-Type: multipart/mixed; boundary=C", audioPart, "a part holds a form of its own"},
		{"a wrong length", "", "Content-Length: 99", audioPart, "a part whose Content-Length is not its length"},
		{"a folded field", "", "X-A: b\r\n c", audioPart, notALine},
		{"a line without a colon", "", "X-A", audioPart, notALine},
		{"a NUL in a field", "", "X-A: \x00", audioPart, notALine},
		{"a control character in a field", "", "Content-Type: text/plai\x10; charset=utf-8", audioPart, control},
		{"a file name in ISO-2022-JP", "; filename=\"\x1b$B2;\x1b(B.wav\"", "", audioPart, control},
		{"a delete character in a file name", "; filename=\"\x7f.wav\"", "", audioPart, control},
		{"a key's name within the file name", `; filename="; name=u"`, "", key, nameOfU},
		{"a key's name in a single-quoted file name", `; filename='x'; name='u'`, "", key, nameOfU},
		{"a key's name in another field", "", `Content-Type: text/plain; name="u"`, key, nameOfU},
		{"a key's name in another field, escaped", "", `X-A: name=%22%75%22`, key, nameOfU},
		{"the audio's name in another field", "", `X-A: name=A`, audioPart, nameOfA},
		{"an encoded word of another name", "", `X-A: name="=?utf-8?B?6Z+z?="`, other | key | audioPart, ""},
		{"a name in pieces behind", `; name*0=x`, "", 0, nameTwice},
		{"an encoded word behind", `; name="=?utf-8?Q?u?="`, "", key, nameOfU},
		{"an encoded word of Japanese mail", "", `X-A: name="=?iso-2022-jp?B?ZA==?="`, 0, nameOfD},
		{"a second disposition", "", "content-disposition: form-data; name=x", 0, twice},
		{"a second disposition in another spelling", "", "Content-Disposition : form-data; name=d", 0, nameOfD},
		{"a boundary", "", "X-A: --B0", 0, "the header of a part has a boundary in it"},
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
			} else if !passes && (fault.Reason != policy.RequestMalformed || fault.Detail != test.detail) {
				t.Errorf("%s in the header of part %s: %v, want %s", test.name, name, fault, test.detail)
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
		detail      string // empty if the form passes
	}{
		{`filename="t.wav"; name="a"`, ""},
		{`filename="a"; name="a"`, ""},
		{`filename=my voice.wav; name=a`, ""},
		{`filename*=utf-8''%E9%9F%B3; filename="音"; name="a"`, ""},
		{"filename=\"\x95\x5c\"; name=\"a\"", ""},
		{"filename=\"\x95\x5c.wav\"; name=\"a\"", ""},
		{`filename="say \"a\".wav"; name="a"`, ""},
		{`filename="C:\dir\"; name="a"`, ""},
		{`filename=""; name="a"`, ""},
		{`filename="t.wav" ; name="a" ; x=y`, ""},
		{`filename="x; name=a`, noName},
		{`filename=a"b; name="a"`, noName},
		{`x y="z"; name="a"`, noName},
		{`filename="u"; name="a"`, nameOfU},
		{`filename="D"; name="a"`, nameOfD},
		{`filename="=?utf-8?Q?u?="; name="a"`, nameOfU},
		{`filename="; name=u"; name="a"`, nameOfU},
		{`filename="x\"; name=\"u\"; x=\""; name="a"`, nameOfU},
		{`filename="x\"; name="c"; y="\"; name="a"`, nameOfA},
		{`filename="x; name="a"`, noName},
		{`filename="a"`, noName},
		{`x; name="a"`, noName},
		{`name="a`, noName},
		{`name="a"x`, noName},
		{`name=`, noName},
	} {
		body := uPart + headed("Content-Disposition: form-data; "+test.disposition, audio) + end
		_, _, fault := find(t, upload("", formType, body), testMaxHead)
		switch {
		case test.detail == "" && fault != nil:
			t.Errorf("%q is refused: %v", test.disposition, fault)
		case test.detail != "" && (fault == nil || fault.Reason != policy.RequestMalformed || fault.Detail != test.detail):
			t.Errorf("%q: %v, want %s", test.disposition, fault, test.detail)
		}
	}
}
