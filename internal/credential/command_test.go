package credential

import (
	"runtime"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func findStart(text string) (Command, *Fault) { return ScanCommand(text, "s", "authorization") }

func TestR19_CommandsAreReadAsTheVendorWritesThem(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, key, swapped, dropped string }{
		{"s 16K -a-general authorization=K", "K", "s 16K -a-general authorization=UP", "s 16K -a-general"},
		{"s LSB16K -a-general authorization=K+/==", "K+/==", "s LSB16K -a-general authorization=UP", "s LSB16K -a-general"},
		{"s authorization=K 16K -a-general", "K", "s authorization=UP 16K -a-general", "s 16K -a-general"},
		{"s 16K authorization=K -a-general", "K", "s 16K authorization=UP -a-general", "s 16K -a-general"},
		{"s authorization=K", "K", "s authorization=UP", "s"},
		{"s 16K -a-general authorization=K ", "K", "s 16K -a-general authorization=UP ", "s 16K -a-general "},
		{"s 16K -a-general authorization=K profileId=:x", "K", "s 16K -a-general authorization=UP profileId=:x", "s 16K -a-general profileId=:x"},
		{`s 16K -a-general authorization="K" x=y`, "K", `s 16K -a-general authorization=UP x=y`, `s 16K -a-general x=y`},
		{`s 16K -a-general profileWords="x authorization=FAKE" authorization=K`, "K", `s 16K -a-general profileWords="x authorization=FAKE" authorization=UP`, `s 16K -a-general profileWords="x authorization=FAKE"`},
		{`s 16K -a-general authorization=K profileWords="x authorization=FAKE"`, "K", `s 16K -a-general authorization=UP profileWords="x authorization=FAKE"`, `s 16K -a-general profileWords="x authorization=FAKE"`},
		{`s 16K -a-general authorization=K profileWords="authorization=FAKE"`, "K", `s 16K -a-general authorization=UP profileWords="authorization=FAKE"`, `s 16K -a-general profileWords="authorization=FAKE"`},
		{`s 16K -a-general profileWords="say ""hi"" authorization=FAKE " authorization=K`, "K", `s 16K -a-general profileWords="say ""hi"" authorization=FAKE " authorization=UP`, `s 16K -a-general profileWords="say ""hi"" authorization=FAKE "`},
		{`s 16K -a-general x="" authorization=K`, "K", `s 16K -a-general x="" authorization=UP`, `s 16K -a-general x=""`},
		{`s 16K -a-general x="""" authorization=K`, "K", `s 16K -a-general x="""" authorization=UP`, `s 16K -a-general x=""""`},
		{`s 16K -a-general x= authorization=K`, "K", `s 16K -a-general x= authorization=UP`, `s 16K -a-general x=`},
		{`s 16K ="a  b" authorization=K`, "K", `s 16K ="a  b" authorization=UP`, `s 16K ="a  b"`},
		{`s 16K -a-general x="a  b" authorization=K`, "K", `s 16K -a-general x="a  b" authorization=UP`, `s 16K -a-general x="a  b"`},
		{`s 16K -a-general extension={"a":"b"} authorization=K`, "K", `s 16K -a-general extension={"a":"b"} authorization=UP`, `s 16K -a-general extension={"a":"b"}`},
		{`s 16K -a-general authorization=K extension={"a":"b\"c\""}`, "K", `s 16K -a-general authorization=UP extension={"a":"b\"c\""}`, `s 16K -a-general extension={"a":"b\"c\""}`},
		{`s 16K -a-general extension="{""a"":""b c""}" authorization=K`, "K", `s 16K -a-general extension="{""a"":""b c""}" authorization=UP`, `s 16K -a-general extension="{""a"":""b c""}"`},
		{`s 16K -a-general profileWords="音声 おんせい|認識　にんしき" authorization=K`, "K", `s 16K -a-general profileWords="音声 おんせい|認識　にんしき" authorization=UP`, `s 16K -a-general profileWords="音声 おんせい|認識　にんしき"`},
		{"s 16K -a-general a==b authorization=K", "K", "s 16K -a-general a==b authorization=UP", "s 16K -a-general a==b"},
		{"s 16K -a-general x=100% authorization=K", "K", "s 16K -a-general x=100% authorization=UP", "s 16K -a-general x=100%"},
		{"s 16K -a-general authorization=K%", "K%", "s 16K -a-general authorization=UP", "s 16K -a-general"},
		{"s 16K -a-general authorizations=x authorization=K", "K", "s 16K -a-general authorizations=x authorization=UP", "s 16K -a-general authorizations=x"},
		{"s 16K -a-general x=authorization authorization=K", "K", "s 16K -a-general x=authorization authorization=UP", "s 16K -a-general x=authorization"},
		{`s 16K -a-general x="Authorization=FAKE" authorization=K`, "K", `s 16K -a-general x="Authorization=FAKE" authorization=UP`, `s 16K -a-general x="Authorization=FAKE"`},
		{`s 16K -a-general x="a\b" authorization=K`, "K", `s 16K -a-general x="a\b" authorization=UP`, `s 16K -a-general x="a\b"`},
		{`s 16K -a-general x="a\" authorization=K`, "K", `s 16K -a-general x="a\" authorization=UP`, `s 16K -a-general x="a\"`},
		{"s 16K -a-general authorization=s", "s", "s 16K -a-general authorization=UP", "s 16K -a-general"},
		{"s 16K -a-general authorization=a=b", "a=b", "s 16K -a-general authorization=UP", "s 16K -a-general"},
	} {
		c, fault := findStart(test.text)
		if fault != nil || c.Key().Reveal() != test.key {
			t.Errorf("%q: %v, and the key is not %q", test.text, fault, test.key)
			continue
		}
		if got := c.Rewrite(ReplaceWith(policy.NewSecret("UP"))); got != test.swapped {
			t.Errorf("%q goes on as %q, want %q", test.text, got, test.swapped)
		}
		if got := c.Rewrite(Upstream{Mode: Drop}); got != test.dropped {
			t.Errorf("%q goes on without its key as %q, want %q", test.text, got, test.dropped)
		}
		if got := c.Rewrite(Upstream{Mode: Pass}); got != test.text {
			t.Errorf("%q passes as %q", test.text, got)
		}
	}
}

func TestR19_CommandsThatParsersReadDifferentlyAreRefused(t *testing.T) {
	t.Parallel()
	for _, group := range []struct {
		reason policy.Reason
		detail string
		texts  []string
	}{
		{policy.CredentialMissing, "the command has no pair authorization, or an empty one", []string{
			"s",
			"s ",
			"s 16K -a-general",
			"s 16K -a-general authorization=",
			`s 16K -a-general authorization=""`,
			`s 16K -a-general profileWords="x authorization=FAKE"`,
			"s 16K -a-general Xauthorizations=K",
		}},
		{policy.CredentialAmbiguous, "two keys that differ", []string{
			"s authorization=K authorization=L",
			"s authorization= authorization=K",
			"s authorization=K authorization=",
		}},
		{policy.CredentialAmbiguous, "the pair authorization twice", []string{
			"s authorization=K authorization=K",
			"s authorization=K x=y authorization=K",
			`s authorization=K authorization="K"`,
		}},
		{policy.RequestMalformed, "a command that does not begin with the word s", []string{
			"",
			"e",
			"start authorization=K",
			" s authorization=K",
			"S authorization=K",
		}},
		{policy.RequestMalformed, "a run of spaces in a command, where single spaces separate its tokens", []string{
			"s  16K authorization=K",
			"s 16K  -a-general authorization=K",
			"s 16K authorization=K  x=y",
			"s authorization=K  ",
			"s  ",
		}},
		{policy.RequestMalformed, "a control character in a command", []string{
			"s\t16K authorization=K",
			"s 16K\tauthorization=K",
			"s 16K authorization=K\n",
			"s 16K authorization=K\r\n",
			"s 16K\x00 authorization=K",
			"s 16K x=\x7f authorization=K",
			"s 16K x=\u0085 authorization=K",
			"s 16K x=\"a\tb\" authorization=K",
			"s 16K x=\"a\nauthorization=L\" authorization=K",
		}},
		{policy.RequestMalformed, "a command that is no UTF-8", []string{
			"s 16K x=\xff authorization=K",
			"s 16K authorization=K\xc3",
		}},
		{policy.RequestMalformed, "a quotation mark in a command that is not closed", []string{
			`s x="a authorization=K`,
			`s x=" authorization=K y=`,
			`s x="a""b authorization=K`,
			`s authorization="K`,
		}},
		{policy.RequestMalformed, "text after a closing quotation mark in a command, where a space or the end should be", []string{
			`s x="a"b authorization=K`,
			`s x="a"authorization=K`,
			`s authorization="K"L`,
		}},
		{policy.RequestMalformed, "a quotation mark in the value of the pair authorization", []string{
			`s authorization="K""L"`,
			`s authorization=K"L"`,
		}},
		{policy.CredentialMalformed, "the key has a space, a control character or a character that is not ASCII: want visible ASCII characters only", []string{
			`s authorization="K L"`,
			"s authorization=鍵",
		}},
		{policy.RequestMalformed, "a quotation mark in a token that is not closed before its end", []string{
			`s authorization=K"`,
			`s x=a"b authorization=K`,
			`s x=a"b authorization=K y=c"d`,
			`s extension={"a":"b authorization=L"} authorization=K`,
			`s "x=a authorization=K"`,
		}},
		{policy.RequestMalformed, "the pair of the key is spelled in another way, or hidden", []string{
			`s "authorization=K"`,
			`s "authorization"=K`,
			"s Authorization=K",
			"s authorization=K AUTHORIZATION=L",
			`s authorization=K Authorization="L"`,
			"s authorization%3DK",
			"s authorization%3dL authorization=K",
			"s %61uthorization=L authorization=K",
			"s %2561uthorization=L authorization=K",
			"s x%20authorization=L authorization=K",
			"s x+authorization=L authorization=K",
			"s x,authorization=L authorization=K",
			"s x=authorization=L authorization=K",
			"s authorızatıon=L authorization=K",
			"s [authorization]=L authorization=K",
			"s authorization]=L authorization=K",
			"s \uff41uthorization=L authorization=K",
			"s author\u200bization=L authorization=K",
			"s author%C4%B1zation=L authorization=K",
			"s x\u3000authorization=L authorization=K",
			"s \u00a0authorization=L authorization=K",
			"s \u200bauthorization=L authorization=K",
			"s authorization =K",
			"s authorization authorization=K",
			"s Authorization authorization=K",
			"s authorization=authorization=K",
			"s authorization=Kauthorization=K",
		}},
		{policy.RequestMalformed, "the pair authorization in a quoted value, beside a backslash before a quotation mark", []string{
			`s x="a\" authorization=K y=" authorization=L "`,
			`s x="a\"" authorization=L z=" authorization=K y="c"`,
		}},
		{policy.RequestMalformed, "a percent-escape in the value of the pair authorization, where nothing is escaped", []string{
			"s authorization=K%2B",
			"s authorization=%4b",
		}},
		{policy.CredentialMalformed, "the key has the form of a Speechgate key, but its checksum is wrong: it was mistyped or cut off", []string{
			"s authorization=sgk_0123",
		}},
		{policy.CredentialMalformed, "the key is longer than 1024 bytes", []string{
			"s authorization=" + strings.Repeat("K", policy.MaxSecretLen+1),
		}},
	} {
		for _, text := range group.texts {
			c, fault := findStart(text)
			if fault == nil || fault.Reason != group.reason || fault.Detail != group.detail || c != (Command{}) {
				t.Errorf("%q: %v, want %v: %s", text, fault, group.reason, group.detail)
			}
		}
	}
}

func TestR18_AFaultOfACommandQuotesNothingOfIt(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"s x=VERYSECRET  ", `s authorization=VERY"SECRET"`, "s authorization=VERYSECRET authorization=VERYSECRET2", "VERYSECRET"} {
		if _, fault := findStart(text); fault == nil || strings.Contains(fault.Error(), "SECRET") {
			t.Errorf("the fault of a command quotes it: %v", fault)
		}
	}
}

// An earlier version copied the rest of the command for each token, so this test counts
// the bytes allocated.
func TestR21_ReadingACommandIsLinear(t *testing.T) { //nolint:paralleltest // it reads the memory statistics of the process
	const size, perByte = 64 << 10, 100
	for _, token := range []string{" x", ` x=""`, ` x="a""b"`, " abcdefghijklmn", " %25%25%25%25%25", ` x="\"" authorization="`} {
		text := "s" + strings.Repeat(token, size/len(token))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, fault := findStart(text)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; fault == nil || n > perByte*size {
			t.Errorf("%d bytes allocated for %d bytes of %q, %v", n, len(text), token, fault)
		}
	}
}

func TestR19_AnUpstreamKeyOfAnyFormIsOneToken(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"UP", `U"P`, `"UP`, `"`, `"UP"`, `UP""`, "U=P", `{"U":"P"}`} {
		c, fault := findStart(`s 16K authorization=K x="y z"`)
		if fault != nil {
			t.Fatal(fault)
		}
		tokens, ok := tokenize(c.Rewrite(ReplaceWith(policy.NewSecret(key))))
		if !ok || len(tokens) != 4 || tokens[2] != "authorization="+key || tokens[3] != "x=y z" {
			t.Errorf("a key goes on as the tokens %q", tokens)
		}
	}
}
