package manage

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestParseKeyLines_LeavesOutEmptyLinesAndWhiteSpace(t *testing.T) {
	t.Parallel()
	lines, err := ParseKeyLines("\ufeffone\r\n\n \t\n  two  \nthree")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		number int
		text   string
	}{{1, "one"}, {4, "two"}, {5, "three"}}
	if len(lines) != len(want) {
		t.Fatalf("got %d lines, want %d", len(lines), len(want))
	}
	for i, w := range want {
		if lines[i].Number != w.number || lines[i].Secret.Reveal() != w.text {
			t.Errorf("got line %d, %q; want line %d, %q", lines[i].Number, lines[i].Secret.Reveal(), w.number, w.text)
		}
	}
}

func TestParseKeyLines_ReadsUpTo64MiB(t *testing.T) {
	t.Parallel()
	const line = 1 << 10
	text := strings.Repeat(strings.Repeat("x", line-1)+"\n", MaxKeyText/line)
	if lines, err := ParseKeyLines(text); err != nil || len(lines) != MaxKeyText/line {
		t.Errorf("of 64 MiB it read %d lines, %v", len(lines), err)
	}
	if _, err := ParseKeyLines(text + "\n"); err == nil || err.Error() != "keys is longer than 64 MiB: divide it" {
		t.Errorf("of a byte more: %v", err)
	}
}

func TestParseKeyLines_NumbersEachLine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOf(rapid.SampledFrom([]string{"", " ", "\t", "a", "a b", "sgk_x", "\u00e9", "\u00a0"})).Draw(t, "lines")
		end := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end")
		checkKeyLines(t, strings.Join(texts, end))
	})
}

func FuzzKeyLines(f *testing.F) {
	for _, seed := range []string{"", "\n", "one\ntwo", "\ufeffone\r\n\r\n two ", "\ufeff\ufeffx", "a\u2028b", "\xff\n\x00", "\xff\xfea\x00", "\xfe\xff\x00a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { checkKeyLines(t, text) })
}

// checkKeyLines compares the lines of a text with those of strings.Split.
func checkKeyLines(t rapid.TB, text string) {
	lines, err := ParseKeyLines(text)
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		if err == nil {
			t.Fatalf("%q, which is UTF-16, has %d lines", text, len(lines))
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		want := strings.TrimSpace(line)
		if want == "" {
			continue
		}
		if len(lines) == 0 || lines[0].Number != i+1 || lines[0].Secret.Reveal() != want {
			t.Fatalf("line %d of %q is missing or wrong", i+1, text)
		}
		lines = lines[1:]
	}
	if len(lines) > 0 {
		t.Fatalf("%q has %d lines too many", text, len(lines))
	}
}

// Lines that are probably no keys, and the beginning of what is said of each.
func TestImport_WeakLinesAreNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"x":           "it has 1 character, and can be guessed: want a key of 8 or more",
		"7c9A-x1":     "it has 7 characters, and can be guessed",
		"12345678":    "it has 8 characters, all of one kind",
		"broadcaster": "it has 11 characters, all of one kind", "BROADCASTER": "it has 11 characters, all of one kind", "tv-station-key": "it has 14 characters, all of one kind",
		"aaaaaaaaaaaaaaaaaaaaaaaa": "it has 1 different character only", "ababcababcababcabacbcabab": "it has 3 different characters only",
		"key": "it is a heading", "Key": "it is a heading", "api_key": "it is a heading", "API-Key": "it is a heading", "AppKey": "it is a heading", "apikeys": "it is a heading",
		"customer_api_key": "it is a heading", "key_sha256": "it is a heading", "SHA-256": "it is a heading", "X-Api-Key": "it is a heading", "digest": "it is a heading",
		"tv-station,7Qm2xZr9Lk4v": "it has a comma", "7Qm2xZr9Lk4v;tv": "it has a comma", `"7Qm2xZr9Lk4v"`: "it has a comma", `{"key":"7Qm2xZr9Lk4v"}`: "it has a comma", "7Qm2xZr9Lk4v|tv": "it has a comma",
		"#7Qm2xZr9Lk4v":             "it begins like a comment",
		"AMIVOICE_KEY=7Qm2xZr9Lk4v": "it has a name and an equals sign", "u=7Qm2xZr9Lk4v": "it has a name and an equals sign",
		"acc_aDjXNgFuCELQo14x2SE4": "it is the public ID", "key_aDjXNgFuCELQo14x2SE4": "it is the public ID", "svc_aDjXNgFuCELQo14x2SE4": "it is the public ID",
		hexOf("a key"):                  isDigest,
		strings.ToUpper(hexOf("a key")): isDigest,
	} {
		malformed, weak := doubts([]KeyLine{{7, policy.NewSecret(text)}}, new(keystore.Import), false)
		if len(malformed) > 0 || len(weak) != 1 || weak[0].Line != 7 || weak[0].What != "weak" || !strings.HasPrefix(weak[0].Why, want) {
			t.Errorf("%s: malformed %v, weak %+v, want %q", text, malformed, weak, want)
			continue
		}
		if weak[0].Digest != digestForm.MatchString(text) {
			t.Errorf("%s has the form of a digest: %t", text, weak[0].Digest)
		}
		if len(text) >= minKey && strings.Contains(weak[0].Why, text) {
			t.Errorf("the reason shows the key: %s", weak[0].Why)
		}
		if malformed, weak := doubts([]KeyLine{{7, policy.NewSecret(text)}}, new(keystore.Import), true); len(malformed)+len(weak) > 0 {
			t.Errorf("%s, which is wanted: %v, %v", text, malformed, weak)
		}
	}
}

// Eight letters or digits of one kind can be guessed. A character of another kind makes them a key;
// hyphens, underscores and dots are of no kind.
func TestImport_ShortKeysHaveSeveralKindsOfCharacters(t *testing.T) {
	t.Parallel()
	for base, same := range map[string]string{"BCDEFGHY": "AZ", "bcdefghy": "az", "12345678": "09"} {
		for c := byte('!'); c <= '~'; c++ {
			if strings.IndexByte(`"'`+"`,;|=#", c) >= 0 {
				continue // for another reason
			}
			text := base + string(rune(c))
			_, weak := doubts([]KeyLine{{1, policy.NewSecret(text)}}, new(keystore.Import), false)
			one := strings.IndexByte(base+same+"-_.", c) >= 0 || same[0] < c && c < same[1]
			if one != (len(weak) == 1) || one && !strings.Contains(weak[0].Why, "all of one kind") {
				t.Errorf("%s is of one kind: %t; weak: %+v", text, one, weak)
			}
		}
	}
	if _, weak := doubts([]KeyLine{{1, policy.NewSecret("@!+/@!+/@")}}, new(keystore.Import), false); len(weak) != 1 {
		t.Error("nine characters that are no letters and no digits are of several kinds")
	}
	if _, weak := doubts([]KeyLine{{1, policy.NewSecret("abcdabcdabcdabcd")}}, new(keystore.Import), false); len(weak) != 0 {
		t.Errorf("sixteen characters, of which four are different: %+v", weak)
	}
}

// Keys of the forms that other systems make are taken as they are.
func TestImport_RealKeysAreNotWeak(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"tv-app-7Qm2xZr9Lk4v", "opaque-key-of-a-client-1", "8a6f8d2c-97a1-4e4e-9b2b-6b1d0c1f2e3d", "8A6F8D2C97A14E4E9B2B6B1D0C1F2E3D",
		"c2VjcmV0LWtleQ==", "c2VjcmV0+2V5/w==", "sk_live_51H8x0aB", "key_live_51H8x0aBcdefg", "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
		"xoxb-1234567890-abcdefGHIJ", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "a1B2c3D4", "p@ssw0rd", "$2b$10$abcdefghij", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
		"0123456789012345", "qwertyuiopasdfgh", "API-KEY-OF-TV-42", "B1BA92A9" + strings.Repeat("0123456789ABCDEF", 7), "name:p4ssw0rd",
	} {
		if malformed, weak := doubts([]KeyLine{{1, policy.NewSecret(text)}}, new(keystore.Import), false); len(malformed)+len(weak) > 0 {
			t.Errorf("%s: malformed %v, weak %v", text, malformed, weak)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[0-9A-Za-z_+/.-]{22,60}`).Filter(func(random string) bool {
			_, variety := characters(random + "a1")
			return variety >= 8
		}).Draw(t, "key") + "a1"
		if malformed, weak := doubts([]KeyLine{{1, policy.NewSecret(text)}}, new(keystore.Import), false); len(malformed)+len(weak) > 0 {
			t.Fatalf("%s: malformed %v, weak %v", text, malformed, weak)
		}
	})
}

func TestImport_DigestsOfNoKeysAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, malformed, weak string }{
		{text: hexOf("a key of somebody")},
		{text: strings.ToUpper(hexOf("a key of somebody"))},
		{text: hexOf(""), malformed: "it is the digest of an empty line, and not of a key"},
		{text: strings.ToUpper(hexOf("")), malformed: "it is the digest of an empty line"},
		{text: hexOf("\n"), malformed: "it is the digest of an empty line"},
		{text: hexOf("\r"), malformed: "it is the digest of an empty line"},
		{text: hexOf("\r\n"), malformed: "it is the digest of an empty line"},
		{text: hexOf("\ufeff"), malformed: "it is the digest of an empty line"},
		{text: hexOf("x") + "  -", malformed: "it has more than a digest in it: want the 64 hexadecimal digits alone"},
		{text: hexOf("x") + " *keys.txt", malformed: "it has more than a digest in it"},
		{text: "da39a3ee5e6b4b0d3255bfef95601890afd80709", malformed: "it has 40 digits, and is not a SHA-256 digest: want 64 hexadecimal digits"},
		{text: "a-key-of-somebody", malformed: "it is not a SHA-256 digest"},
		{text: "sha256:" + hexOf("x"), malformed: "it is not a SHA-256 digest"},
		{text: hexOf("x"), weak: "it is the digest of one character"},
		{text: hexOf("!"), weak: "it is the digest of one character"},
		{text: hexOf("~"), weak: "it is the digest of one character"},
		{text: hexOf("api_key\n"), weak: "it is the digest of a heading"},
		{text: hexOf("key\r"), weak: "it is the digest of a heading"},
	} {
		for _, wanted := range []bool{false, true} {
			malformed, weak := doubts([]KeyLine{{3, policy.NewSecret(c.text)}}, &keystore.Import{Digests: true}, wanted)
			checkDoubt(t, c.text, malformed, c.malformed)
			if wanted {
				c.weak = ""
			}
			checkDoubt(t, c.text, weak, c.weak)
		}
	}
}

func checkDoubt(t *testing.T, text string, got []LineNotKey, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("%s: got %+v", text, got)
	case want != "" && (len(got) != 1 || got[0].Line != 3 || !strings.HasPrefix(got[0].Why, want)):
		t.Errorf("%s: got %+v, want %q", text, got, want)
	}
}

func hexOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// The loop of docs/migrating.md makes the digests of the keys that an import of the same file
// would read.
func TestImport_TheDocumentedLoopReadsLinesAsTheImportDoes(t *testing.T) {
	t.Parallel()
	loop := documentedLoop(t)
	const keys = "tv-app-7Qm2xZr9Lk4v\n\n  two-7Qm2xZr9Lk4v \t\nback\\slash-7Qm2\n \t \n-n\n%s%d-7Qm2xZr9\n$HOME-`id`-*\nlast-7Qm2xZr9Lk4v"
	dos := strings.ReplaceAll(keys, "\n", "\r\n")
	for _, text := range []string{keys, keys + "\n", dos, dos + "\r\n", "\ufeff" + keys, "\ufeff" + dos, "\ufeff\n" + keys, "\n\n" + keys + "\n\n\n", "one-7Qm2xZr9Lk4v", "", "\r\n", "\ufeff"} {
		lines := must(ParseKeyLines(text))(t)
		want := ""
		for _, line := range lines {
			want += hexOf(line.Secret.Reveal()) + "\n"
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tv-station.txt"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		shell := exec.CommandContext(t.Context(), "sh", "-c", loop)
		shell.Dir = dir
		if out, err := shell.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, err := os.ReadFile(filepath.Join(dir, "digests.txt"))
		if err != nil || string(got) != want {
			t.Errorf("of %q the loop makes\n%s, and the import reads the keys with the digests\n%s(%v)", text, got, want, err)
		}
	}
}

// documentedLoop returns the shell commands on the page that make digests of keys.
func documentedLoop(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)\n    \$ (tr [^\n]*tv-station\.txt.*?> digests\.txt)\n`).FindSubmatch(page)
	if m == nil {
		t.Fatal("the page has no loop that makes digests.txt")
	}
	return regexp.MustCompile(`(?m)^    > `).ReplaceAllString(string(m[1]), "")
}
