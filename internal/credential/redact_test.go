package credential

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

func redactAll(secret string, limit int, pieces ...string) string {
	r := NewRedactor(policy.NewSecret(secret), limit)
	var out []byte
	for _, piece := range pieces {
		p := []byte(piece)
		out = append(out, r.Next(p)...)
		if string(p) != piece {
			panic("the input was changed")
		}
	}
	return string(append(out, r.Rest()...))
}

func TestR18_ASecretIsMaskedInEverySpelling(t *testing.T) {
	t.Parallel()
	const secret = `Up/+=%&"\'<k`
	for _, spelling := range []string{
		secret,
		url.QueryEscape(secret),
		url.PathEscape(secret),
		url.QueryEscape(url.QueryEscape(secret)),
		strings.ToLower(url.QueryEscape(secret[2:]))[:0] + "Up%2f%2b%3d%25%26%22%5c%27%3ck",
		`Up\/\u002b\u003d%\u0026\"\\\u0027\u003ck`,
		`Up/\u002B\u003D%\u0026\u0022\u005C\u0027\u003Ck`,
		`Up/+=%&amp;&quot;\&#039;&lt;k`,
		`Up&#x2F;&#43;&#x3d;%&amp;&#34;\&apos;&lt;k`,
	} {
		text := "before " + spelling + " after"
		want := "before " + strings.Repeat("*", len(spelling)) + " after"
		if got := redactAll(secret, 1<<20, text); got != want {
			t.Errorf("%q is masked as %q", text, got)
		}
		if got := NewRedactor(policy.NewSecret(secret), 1).Text(text); got != want {
			t.Errorf("the text %q is masked as %q", text, got)
		}
	}
}

func TestR18_TheRedactorsLimitIsWhereASecretMayStart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit  int
		pieces []string
		want   string
	}{
		{5, []string{"xxxxSECRET SECRET"}, "xxxx****** SECRET"},
		{5, []string{"xxxxS", "ECRET SECRET"}, "xxxx****** SECRET"},
		{5, []string{"xxxx", "S", "E", "CRE", "T SECRET"}, "xxxx****** SECRET"},
		{4, []string{"xxxxSECRET"}, "xxxxSECRET"},
		{4, []string{"xxxx", "SECRET"}, "xxxxSECRET"},
		{9, []string{"SECRET", "SECRET"}, "************"},
		{0, []string{"SECRET"}, "SECRET"},
		{100, []string{"SECRE"}, "SECRE"},
		{100, []string{"SECSECRET"}, "SEC******"},
		{100, []string{"SECRE", "SECRET", ""}, "SECRE******"},
	} {
		if got := redactAll("SECRET", test.limit, test.pieces...); got != test.want {
			t.Errorf("with limit %d, %q is masked as %q, want %q", test.limit, test.pieces, got, test.want)
		}
	}
}

// A client of a stream must not wait for bytes that are no secret.
func TestR18_OnlyTheBeginningOfASecretIsHeldBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ secret, piece, next, rest string }{
		{"SECRET", "xSECRETy", "x******y", ""},
		{"SECRET", "xSECRET", "x******", ""},
		{"SECRET", "xSECRES", "xSECRE", "S"},
		{"SECRET", "xSECRE", "x", "SECRE"},
		{"SECRET", "xSX", "xSX", ""},
		{"a+b", "aZ", "aZ", ""},
		{"a+b", "a%", "", "a%"},
		{"a+b", "a%3", "a%3", ""},
		{"a+b", "a%2", "", "a%2"},
		{"a~b", "a%7Eb a%7eb a~b", "***** ***** ***", ""},
		{"Ab", "%41b &#65;b", "%41b &#65;b", ""}, // no encoder escapes a letter
	} {
		r := NewRedactor(policy.NewSecret(test.secret), 100)
		next := string(r.Next([]byte(test.piece)))
		rest := string(r.Rest())
		if next != test.next || rest != test.rest || len(r.Rest()) != 0 {
			t.Errorf("%q with the secret %q gives %q and then %q, want %q and %q", test.piece, test.secret, next, rest, test.next, test.rest)
		}
	}
}

func TestR18_TheZeroRedactorMasksNothing(t *testing.T) {
	t.Parallel()
	var zero Redactor
	p := []byte("text")
	if got := zero.Next(p); &got[0] != &p[0] || len(got) != 4 || len(zero.Rest()) != 0 || zero.Text("text") != "text" {
		t.Error("the zero Redactor changed a text")
	}
	if got := redactAll("", 100, "text"); got != "text" {
		t.Error(got)
	}
}

func TestR18_ATextWithoutTheSecretIsNotCopied(t *testing.T) { //nolint:paralleltest // it counts allocations
	r := NewRedactor(policy.NewSecret("SECRET"), 1<<20)
	p := bytes.Repeat([]byte("xSECRE "), 100)
	if allocs := testing.AllocsPerRun(10, func() { r.Next(p) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func checkSplit(t tester, secret, text string, limit int, cuts []int) {
	whole := redactAll(secret, limit, text)
	if len(whole) != len(text) {
		t.Fatalf("%q became %q", text, whole)
	}
	var pieces []string
	rest := text
	for _, cut := range cuts {
		cut = min(max(cut, 0), len(rest))
		pieces, rest = append(pieces, rest[:cut]), rest[cut:]
	}
	if split := redactAll(secret, limit, append(pieces, rest)...); split != whole {
		t.Fatalf("%q in pieces %q became %q, and whole %q", text, pieces, split, whole)
	}
	if i := strings.Index(whole, secret); secret != "" && !strings.Contains(secret, "*") && i >= 0 && i < limit {
		t.Fatalf("%q became %q", text, whole)
	}
}

func TestR18_AnySplitIsMaskedAsTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SampledFrom([]string{"ab", "abab", "a+b", "%25%", `a\/`, "&amp;", "a&b", "%2B"}).Draw(t, "secret")
		piece := rapid.SampledFrom([]string{"a", "b", "ab", "%", "25", "2B", "+", `\`, "/", "&", "amp;", "x", secret, url.QueryEscape(secret), url.QueryEscape(url.QueryEscape(secret))})
		text := strings.Join(rapid.SliceOf(piece).Draw(t, "text"), "")
		checkSplit(t, secret, text, rapid.IntRange(0, 40).Draw(t, "limit"), rapid.SliceOf(rapid.IntRange(0, 8)).Draw(t, "cuts"))
	})
}

func FuzzRedactor(f *testing.F) {
	f.Add("abab", "xababab", 100, 3, 2)
	f.Add("a+/=", "a%2B%2f%253Da+/=", 8, 5, 1)
	f.Add(`"\&`, `&quot;\u005c&amp;"\&`, 50, 7, 7)
	f.Fuzz(func(t *testing.T, secret, text string, limit, first, second int) {
		if len(secret) > 24 || limit < 0 {
			t.Skip("a secret of more than 24 bytes, or a limit below 0")
		}
		checkSplit(t, secret, text, limit, []int{first, second})
	})
}
