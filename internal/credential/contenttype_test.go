package credential

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

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
			"a parameter without a value": {"multipart/form-data; boundary=B0; x"},
			"a name with a space":         {"multipart/form-data; x y=z; boundary=B0"},
			"an empty boundary":           {"multipart/form-data; boundary="},
			"a boundary with a comma":     {"multipart/form-data; boundary=B0,B1"},
			"an escape":                   {`multipart/form-data; boundary="B\0"`},
			"spaces around the equals":    {"multipart/form-data; boundary = B0"},
			"no closing quote":            {`multipart/form-data; boundary="B0`},
			"text behind a quote":         {`multipart/form-data; boundary="B0"x`},
			"a boundary beyond ASCII":     {"multipart/form-data; boundary=B\u00e90"},
		},
		"a Content-Type with more than one boundary, a charset that is not based on ASCII, or a parameter beside them": {
			"an empty quoted boundary":        {`multipart/form-data; boundary=""`},
			"two boundaries":                  {"multipart/form-data; boundary=B0; boundary=B1"},
			"two boundaries, other case":      {"multipart/form-data; boundary=B0; Boundary=B1"},
			"an encoded boundary":             {"multipart/form-data; boundary*=utf-8''B0"},
			"a boundary in pieces":            {"multipart/form-data; boundary*0=B; boundary*1=0"},
			"a boundary within a name":        {"multipart/form-data; xboundary=B1; boundary=B0"},
			"a boundary within a value":       {`multipart/form-data; x="boundary=B1"; boundary=B0`},
			"another parameter, of a charset": {"multipart/form-data; boundary=B0; x=utf-8"},
			"another parameter":               {"multipart/form-data; boundary=B0; x=y"},
			"UTF-7":                           {"multipart/form-data; boundary=B0; charset=utf-7"},
			"EBCDIC":                          {"multipart/form-data; charset=ibm037; boundary=B0"},
			"two charsets, one of quotes":     {`multipart/form-data; charset=utf-8; charset="utf-8"; boundary=B0`},
			"two charsets":                    {"multipart/form-data; charset=utf-8; charset=utf-8; boundary=B0"},
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
		{"multipart/form-data; boundary=B0\t ; charset=utf-8", "B0", ""},
		{`multipart/form-data; charset="utf-8" ; boundary=B0`, "B0", ""},
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
	const (
		notWhole = "a boundary that does not follow a CRLF, or is not whole"
		quoted   = "a form that has its boundary in quotation marks too, which some parsers take for part of it"
	)
	for _, test := range []struct {
		parameter, within string
		detail            string // empty if the form passes
	}{
		{"a:b=/c", "\r\n--a\r\n", notWhole},
		{"a:b=/c", "\r\n--a:b\r\n", notWhole},
		{"a:b=/c", "\r\n--a:b=/d\r\n", notWhole},
		{"a:b=/c", "--a", notWhole},
		{"a:b=/c", "\r\n--b\r\n", ""},
		{`"a:b=/c"`, "\r\n--a\r\n", ""},
		{`"a:b=/c"`, "\r\n--\"a:b=/c\"\r\n", quoted},
		{"a:b=/c", "\r\n--\"a:b=/c\"\r\n", ""},
		{"/c", "--a", ""}, // it goes upstream in quotation marks
		{"/c", "\r\n--\"/c\"\r\n", quoted},
	} {
		body := strings.ReplaceAll(part("x", "y"+test.within+"Content-Disposition: form-data; name=\"u\"\r\n\r\n"+otherKey)+uPart+aPart+end, "B0", strings.Trim(test.parameter, `"`))
		r := upload("", "multipart/form-data; boundary="+test.parameter, body)
		if test.detail != "" {
			refuse(t, r, policy.RequestMalformed, test.detail)
		} else if accept(t, r, pass); readBody(t, r) != body {
			t.Errorf("boundary=%s with %q within: the body is another when it is read again", test.parameter, test.within)
		}
	}
}

// A backend could take a body of a GET for the next request on the connection (RFC 9110,
// section 9.3.1).
func TestR19_AMethodWithoutABodyHasNone(t *testing.T) {
	t.Parallel()
	const unexpected = "a body, where the method has none"
	broken := errors.New("the client went away")
	scan := func(method, body string, length int64) (*http.Request, Found) {
		r := upload("u="+escaped, "", body)
		r.Method, r.ContentLength = method, length
		return r, Scan(r, api, nil)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, http.MethodTrace} {
		if _, f := scan(method, "x", 1); f.fault == nil || f.fault.Detail != unexpected || f.NeedsForm() {
			t.Errorf("%s with a body: %v", method, f.fault)
		}
		if _, f := scan(method, "", 0); f.fault != nil || f.NeedsForm() {
			t.Errorf("%s without a body: %v, and the body is read: %t", method, f.fault, f.NeedsForm())
		}
		r, f := scan(method, "x", -1) // as over HTTP/3, where the length is unknown
		if !f.NeedsForm() {
			t.Errorf("%s with a body of unknown length: the body is not read", method)
		}
		if err := f.ReadForm(nil, r, testMaxHead, nil); err != nil || f.fault == nil || f.fault.Detail != unexpected {
			t.Errorf("%s with a body of unknown length: %v, %v", method, f.fault, err)
		}
		r, f = scan(method, "", -1)
		if err := f.ReadForm(nil, r, testMaxHead, nil); err != nil || f.fault != nil || r.Body != http.NoBody || r.ContentLength != 0 {
			t.Errorf("%s with an empty body of unknown length: %v, %v, and the length %d", method, f.fault, err, r.ContentLength)
		}
		r, f = scan(method, "", -1)
		r.Body = io.NopCloser(iotest.ErrReader(broken))
		if err := f.ReadForm(nil, r, testMaxHead, nil); !errors.Is(err, broken) {
			t.Errorf("%s with a body that cannot be read: %v", method, err)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, "PURGE"} {
		if r, f := scan(method, "x", 1); f.fault != nil || readBody(t, r) != "x" {
			t.Errorf("%s with a body: %v", method, f.fault)
		}
	}
}
