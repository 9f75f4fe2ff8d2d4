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
	const missing, ambiguous, malformed, mistyped = policy.CredentialMissing, policy.CredentialAmbiguous, policy.RequestMalformed, policy.CredentialMalformed
	for _, test := range []struct {
		text   string
		reason policy.Reason
	}{
		{"s", missing},
		{"s ", missing},
		{"s 16K -a-general", missing},
		{"s 16K -a-general authorization=", missing},
		{`s 16K -a-general authorization=""`, missing},
		{`s 16K -a-general profileWords="x authorization=FAKE"`, missing},
		{"s 16K -a-general Xauthorizations=K", missing},

		{"s authorization=K authorization=L", ambiguous},
		{"s authorization=K authorization=K", ambiguous},
		{"s authorization=K x=y authorization=K", ambiguous},
		{`s authorization=K authorization="K"`, ambiguous},
		{"s authorization= authorization=K", ambiguous},
		{"s authorization=K authorization=", ambiguous},

		{"", malformed},
		{"e", malformed},
		{"start authorization=K", malformed},
		{" s authorization=K", malformed},
		{"S authorization=K", malformed},
		{"s  16K authorization=K", malformed},
		{"s 16K  -a-general authorization=K", malformed},
		{"s 16K authorization=K  x=y", malformed},
		{"s authorization=K  ", malformed},
		{"s  ", malformed},
		{"s\t16K authorization=K", malformed},
		{"s 16K\tauthorization=K", malformed},
		{"s 16K authorization=K\n", malformed},
		{"s 16K authorization=K\r\n", malformed},
		{"s 16K\x00 authorization=K", malformed},
		{"s 16K x=\x7f authorization=K", malformed},
		{"s 16K x=\u0085 authorization=K", malformed},
		{"s 16K x=\"a\tb\" authorization=K", malformed},
		{"s 16K x=\"a\nauthorization=L\" authorization=K", malformed},
		{"s 16K x=\xff authorization=K", malformed},
		{"s 16K authorization=K\xc3", malformed},
		{`s x="a authorization=K`, malformed},
		{`s x=" authorization=K y=`, malformed},
		{`s x="a"b authorization=K`, malformed},
		{`s x="a"authorization=K`, malformed},
		{`s x="a""b authorization=K`, malformed},
		{`s authorization="K`, malformed},
		{`s authorization="K"L`, malformed},
		{`s authorization="K""L"`, malformed},
		{`s authorization="K L"`, mistyped},
		{`s authorization=K"L"`, malformed},
		{`s authorization=K"`, malformed},
		{`s x=a"b authorization=K`, malformed},
		{`s x=a"b authorization=K y=c"d`, malformed},
		{`s extension={"a":"b authorization=L"} authorization=K`, malformed},
		{`s "authorization=K"`, malformed},
		{`s "authorization"=K`, malformed},
		{`s "x=a authorization=K"`, malformed},
		{`s x="a\" authorization=K y=" authorization=L "`, malformed},
		{`s x="a\"" authorization=L z=" authorization=K y="c"`, malformed},
		{"s Authorization=K", malformed},
		{"s authorization=K AUTHORIZATION=L", malformed},
		{`s authorization=K Authorization="L"`, malformed},
		{"s authorization%3DK", malformed},
		{"s authorization%3dL authorization=K", malformed},
		{"s %61uthorization=L authorization=K", malformed},
		{"s %2561uthorization=L authorization=K", malformed},
		{"s x%20authorization=L authorization=K", malformed},
		{"s x+authorization=L authorization=K", malformed},
		{"s x,authorization=L authorization=K", malformed},
		{"s x=authorization=L authorization=K", malformed},
		{"s authorızatıon=L authorization=K", malformed},
		{"s [authorization]=L authorization=K", malformed},
		{"s authorization]=L authorization=K", malformed},
		{"s \uff41uthorization=L authorization=K", malformed},
		{"s author\u200bization=L authorization=K", malformed},
		{"s author%C4%B1zation=L authorization=K", malformed},
		{"s x\u3000authorization=L authorization=K", malformed},
		{"s \u00a0authorization=L authorization=K", malformed},
		{"s \u200bauthorization=L authorization=K", malformed},
		{"s authorization =K", malformed},
		{"s authorization authorization=K", malformed},
		{"s Authorization authorization=K", malformed},
		{"s authorization=K%2B", malformed},
		{"s authorization=%4b", malformed},
		{"s authorization=authorization=K", malformed},
		{"s authorization=Kauthorization=K", malformed},
		{"s authorization=鍵", mistyped},
		{"s authorization=sgk_0123", mistyped},
		{"s authorization=" + strings.Repeat("K", policy.MaxSecretLen+1), mistyped},
	} {
		c, fault := findStart(test.text)
		if fault == nil {
			t.Errorf("%q is not refused", test.text)
			continue
		}
		if fault.Reason != test.reason || c != (Command{}) {
			t.Errorf("%q: %v, want %v", test.text, fault, test.reason)
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
