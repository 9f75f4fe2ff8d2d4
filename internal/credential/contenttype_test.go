package credential

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func TestR19_AContentTypeThatParsersReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	body := uPart + aPart + end
	for detail, cases := range map[string]map[string][]string{
		"a Content-Type multipart/form-data without a boundary: let the HTTP client write the header, with the boundary that it uses": {
			"no boundary": {"multipart/form-data"},
		},
		"a Content-Type whose parameters break the grammar": {
			"an empty boundary":        {"multipart/form-data; boundary="},
			"a boundary with a comma":  {"multipart/form-data; boundary=B0,B1"},
			"an escape":                {`multipart/form-data; boundary="B\0"`},
			"spaces around the equals": {"multipart/form-data; boundary = B0"},
			"no closing quote":         {`multipart/form-data; boundary="B0`},
			"text behind a quote":      {`multipart/form-data; boundary="B0"x`},
			"a boundary beyond ASCII":  {"multipart/form-data; boundary=B\u00e90"},
		},
		"a Content-Type with more than one boundary, a charset that is not based on ASCII, or a parameter beside them": {
			"an empty quoted boundary":    {`multipart/form-data; boundary=""`},
			"two boundaries":              {"multipart/form-data; boundary=B0; boundary=B1"},
			"two boundaries, other case":  {"multipart/form-data; boundary=B0; Boundary=B1"},
			"an encoded boundary":         {"multipart/form-data; boundary*=utf-8''B0"},
			"a boundary in pieces":        {"multipart/form-data; boundary*0=B; boundary*1=0"},
			"a boundary within a name":    {"multipart/form-data; xboundary=B1; boundary=B0"},
			"a boundary within a value":   {`multipart/form-data; x="boundary=B1"; boundary=B0`},
			"another parameter":           {"multipart/form-data; boundary=B0; x=y"},
			"UTF-7":                       {"multipart/form-data; boundary=B0; charset=utf-7"},
			"EBCDIC":                      {"multipart/form-data; charset=ibm037; boundary=B0"},
			"two charsets, one of quotes": {`multipart/form-data; charset=utf-8; charset="utf-8"; boundary=B0`},
			"two charsets":                {"multipart/form-data; charset=utf-8; charset=utf-8; boundary=B0"},
		},
		"a Content-Type with a boundary that parsers are known to differ on": {
			"a quoted comma":          {`multipart/form-data; boundary="B0,B1"`},
			"a space in the boundary": {`multipart/form-data; boundary="B 0"`},
			"a space before it":       {`multipart/form-data; boundary=" B0"`},
			"a space behind it":       {`multipart/form-data; boundary="B0 "`},
			"single quotes":           {"multipart/form-data; boundary='B0'"},
			"a boundary of 71":        {"multipart/form-data; boundary=" + strings.Repeat("b", 71)},
		},
		"more than one Content-Type": {
			"two Content-Types":            {formType, formType},
			"two Content-Types, one empty": {"", formType},
		},
		"a Content-Type that is multipart, but not multipart/form-data": {
			"a list":                       {"audio/wav, " + formType},
			"a list of audio types":        {"audio/wav, audio/ogg"},
			"a multipart without boundary": {"multipart/mixed"},
			"a boundary without multipart": {"audio/wav; boundary=B0"},
			"a boundary in the type":       {"boundary=B0"},
			"another multipart":            {"multipart/mixed; boundary=B0"},
			"form-data without its family": {"form-data; boundary=B0"},
			"multipart in a parameter":     {`audio/wav; x="multipart/form-data"`},
			"no semicolon":                 {"multipart/form-data boundary=B0"},
		},
	} {
		for name, types := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := upload("u="+escaped, "", body)
				r.Header["Content-Type"] = types
				refuse(t, r, policy.RequestMalformed, detail)
			})
		}
	}
	t.Run("a Content-Encoding", func(t *testing.T) {
		t.Parallel()
		for _, encoding := range []string{"gzip", "identity", ""} {
			r := upload("u="+escaped, formType, body)
			r.Header.Set("Content-Encoding", encoding)
			refuse(t, r, policy.RequestMalformed, "a Content-Encoding: ")
		}
	})
}

// RFC 2046 lets a boundary have 1 to 70 characters of a set of its own. Parsers differ on
// some of this set.
func TestR19_ABoundaryHasOnlyTheCharactersThatParsersAgreeOn(t *testing.T) {
	t.Parallel()
	const differ = "a Content-Type with a boundary that parsers are known to differ on"
	check := func(t *testing.T, boundary string, passes bool) {
		t.Helper()
		for _, quote := range []string{`"`, ""} {
			if quote == "" && !isUnquotedBoundary(boundary) {
				continue // refused for the grammar
			}
			r := upload("", "multipart/form-data; boundary="+quote+boundary+quote, strings.ReplaceAll(uPart+aPart+end, "B0", boundary))
			_, secret, fault := find(t, r, testMaxHead)
			switch {
			case passes && (fault != nil || secret.Reveal() != clientKey):
				t.Errorf("the boundary %s%s%s: %v", quote, boundary, quote, fault)
			case !passes && (fault == nil || fault.Reason != policy.RequestMalformed || fault.Detail != differ):
				t.Errorf("the boundary %s%s%s: %v, want %s", quote, boundary, quote, fault, differ)
			}
		}
	}
	for c := byte(' '); c < 0x7f; c++ {
		if c == '"' || c == '\\' {
			continue // these end or escape the quoted value
		}
		check(t, "B"+string(rune(c))+"0", isAlphanumeric(rune(c)) || strings.IndexByte("+_-./:=", c) >= 0)
	}
	check(t, "B", true)
	check(t, strings.Repeat("b", 70), true)
	check(t, strings.Repeat("b", 71), false)
	check(t, "B音0", false)
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
