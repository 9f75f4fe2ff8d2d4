package credential

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestR19_ANameIsTheSameInEverySpellingThatAParserTakes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		raws []string
	}{
		{"u", []string{
			"u", "U", "%75", "%55", "%2575", "%252575", "%u0075", "%U0055", " u", "u ", "+u", "u+", "\tu", "u\u3000", "?u", "[u]", "u]", "[u", "]u", "[[u]]",
			"u[]", "u[0]", "u[x][y]", "u]x", "%5Bu%5D", "%5bu", "u%5D", "u%5B%5D", "%255Bu%255D", "u\x00", "u\x00x", "u%00x", "\u00a0u", "\ufeffu", "u\u200b",
			`"u"`, "'u'", "`u`", `\u`, "\uff55", "\uff35", "%EF%BD%95", "\xffu", "u\xff", "!u",
		}},
		{"authorization", []string{
			"Authorization", "AUTHORIZATION", "author\u0131zation", "author%C4%B1zation", "author%25C4%25B1zation", "AUTHOR\u0130ZATION", "author\u200bization",
			"[authorization]", "authorization]", "\uff41uthorization", "author\u00adization", "author\xffization", "%u0061uthor%u0131zation",
		}},
		{"task", []string{"ta\u017fk", "tas\u212a", "TA\u017f\u212a", "ta%C5%BFk", "tas%E2%84%AA"}},
	} {
		for _, raw := range test.raws {
			if !sameName(raw, test.name) {
				t.Errorf("sameName(%q, %q) is false", raw, test.name)
			}
			if n, _ := countPairs("x "+raw+"=K", test.name); n != 1 && !strings.ContainsAny(decodeAll(raw), "\x00[?!]x") {
				t.Errorf("countPairs(%q) finds %d pairs named %s", raw+"=K", n, test.name)
			}
		}
	}
	for _, raw := range []string{"", "v", "uu", "u_", "_u", "u-", "u.x", "x[u]", "au", "%7575", "%", "%u", "%zz", "ü", "μ", "[]", "u=", "x u"} {
		if sameName(raw, "u") {
			t.Errorf("sameName(%q, u) is true", raw)
		}
	}
}

// The fast path of sameName, for plain names, has the same result as the slow path.
func TestR19_PlainNamesAreComparedAsAllNames(t *testing.T) {
	t.Parallel()
	letters := rapid.StringOfN(rapid.RuneFrom([]rune("uUdD09-_kK")), 1, 5, -1)
	before := rapid.StringOf(rapid.RuneFrom([]rune(" ?[]!\t'\"\\\u200b\ufeff")))
	behind := rapid.StringOf(rapid.RuneFrom([]rune(" \t'\"\\\u200b\ufeff")))
	tail := rapid.SampledFrom([]string{"", "[", "]", "[]", "\x00", "[x]", "]x"})
	rapid.Check(t, func(t *rapid.T) {
		a, b := letters.Draw(t, "a"), letters.Draw(t, "b")
		dressed := before.Draw(t, "before") + a + behind.Draw(t, "behind") + tail.Draw(t, "tail")
		if want := strings.EqualFold(a, b); sameName(a, b) != want || sameName(dressed, b) != want {
			t.Fatalf("%q is %t, and %q is %t, want %t for %q", a, sameName(a, b), dressed, sameName(dressed, b), want, b)
		}
	})
}

// The classes of characters decide what is compared in which way.
func TestR19_TheClassesHaveTheseCharacters(t *testing.T) {
	t.Parallel()
	const lower, upper, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	const others = " !#$%&()*+,-./:;<=>?@[]^_{|}~" + "\"'`\\"
	for name, class := range map[string]struct {
		is         func(string) bool
		characters string
	}{
		"isPlain":             {isPlain, lower + upper + digits + "-_"},
		"isFolded":            {isFolded, lower + digits + others},
		"isLowerAlphanumeric": {isLowerAlphanumeric, lower + digits},
		"isToken":             {isToken, lower + upper + digits + "!#$%&'*+-.^_`|~"},
		"isBoundary":          {isBoundary, lower + upper + digits + "+_-./:="},
		"no needsDecoding":    {func(s string) bool { return !needsDecoding[s[0]] }, strings.NewReplacer(`"`, "", "'", "", "`", "", `\`, "", "%", "").Replace(lower + upper + digits + others)},
		"FitsRequestLine": {FitsRequestLine, lower + upper + digits + others[1:] + func() (s string) {
			for c := 0x80; c < 0x100; c++ {
				s += string([]byte{byte(c)})
			}
			return s
		}()},
	} {
		for c := range 256 {
			if s := string([]byte{byte(c)}); class.is(s) != strings.Contains(class.characters, s) {
				t.Errorf("%s(%q) is %t", name, s, class.is(s))
			}
		}
	}
	if got := fold("\uff01\uff21\uff3a\uff5e \uff61\u3000\u3001\u9fff"); got != "!az~ \uff61 \u3001\u9fff" {
		t.Errorf("folded to %q", got)
	}
}

func TestR19_EscapesAreReadAsLenientParsersDo(t *testing.T) {
	t.Parallel()
	const hex = "0123456789abcdefABCDEF"
	for c := range 256 {
		s := string([]byte{byte(c)})
		for _, text := range []string{"%4" + s, "%" + s + "1", "%u00" + s + "1", "%U0041"[:5] + s} {
			if isEscape := strings.Contains(hex, s); (decodePercent(text) != text) != isEscape {
				t.Errorf("decodePercent(%q) = %q", text, decodePercent(text))
			}
		}
	}
	for text, want := range map[string]string{
		"%4a%4A%4f": "JJO", "%u1041": "\u1041", "%U3042x": "あx", "%u304": "%u304", "%u30g2": "%u30g2", "%x0041": "%x0041", "%v0041": "%v0041",
		"%": "%", "%4": "%4", "a%": "a%", "%%41": "%A", "%e3%81%82": "あ", "%u00e9": "é", "%\x150041": "%\x150041",
	} {
		if got := decodePercent(text); got != want {
			t.Errorf("decodePercent(%q) = %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"%2541": "A", "%252541": "A", "%25": "%", "%2525": "%", "a+b%2B": "a b+", "%25zz": "%zz", "x%25y%2541": "x%yA"} {
		if got := decodeAll(text); got != want {
			t.Errorf("decodeAll(%q) = %q, want %q", text, got, want)
		}
	}
}

// The fast path of countPairs has the same result as the slow path.
func TestR19_PlainPairsAreCountedAsAllPairs(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{"authorization", "Authorization", "AUTHOR", "ization", "=", " ", "+", "]", "[", "a", "x=", ",", "authorizationauthorization="})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(piece).Draw(t, "text"), "")
		pairs, bare := countPairs(text, "authorization")
		if slowly, other := countDecodedPairs(text, "authorization"); pairs != slowly || bare != other {
			t.Fatalf("%q holds %d pairs and %d bare names at once, and %d and %d as any other", text, pairs, bare, slowly, other)
		}
	})
}
