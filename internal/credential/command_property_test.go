package credential

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// tokenize is another parser of commands. It reads character by character, and returns the
// tokens without quoting.
func tokenize(text string) (tokens []string, ok bool) {
	var token []rune
	const (
		plain = iota
		value // just after the first "="
		quoted
		closing // just after a quotation mark within quotes
	)
	state, named := plain, false
	for _, r := range text + " " {
		switch {
		case state == quoted && r == '"':
			state = closing
		case state == quoted:
			token = append(token, r)
		case state == closing && r == '"':
			token, state = append(token, r), quoted
		case state == closing && r != ' ':
			return nil, false
		case r == ' ':
			tokens = append(tokens, string(token))
			token, state, named = nil, plain, false
		case state == value && r == '"':
			state = quoted
		case r == '=' && !named:
			token, state, named = append(token, r), value, true
		default:
			token, state = append(token, r), plain
		}
	}
	return tokens, state == plain && len(token) == 0
}

// shellTokens is a parser in which every quotation mark opens or closes a quoted text.
func shellTokens(text string) (tokens []string) {
	var token strings.Builder
	inside := false
	for _, r := range text + " " {
		switch {
		case r == '"':
			inside = !inside
		case r == ' ' && !inside:
			tokens = append(tokens, token.String())
			token.Reset()
		default:
			token.WriteRune(r)
		}
	}
	return append(tokens, token.String())
}

// keysIn returns the keys that a parser which ignores case finds in tokens.
func keysIn(tokens []string) (keys []string) {
	for _, token := range tokens {
		name, value, ok := strings.Cut(token, "=")
		if name = strings.ToLower(decodePercent(name)); ok && strings.TrimSpace(name) == "authorization" {
			keys = append(keys, value)
		}
		if strings.HasPrefix(name, "authorization=") {
			keys = append(keys, value)
		}
	}
	return keys
}

// checkCommand checks that no parser finds another key than the upstream key in a
// rewritten command, and that nothing else in it has changed.
func checkCommand(t tester, text string) (found bool) {
	const key = "UPSTREAM"
	c, fault := findStart(text)
	if fault != nil {
		return false
	}
	before, ok := tokenize(text)
	at := slices.Index(before, "authorization="+c.Key().Reveal())
	if !ok || at < 1 {
		t.Fatalf("%q has a key for us, and none for another reader: %q", text, before)
	}
	out := c.Rewrite(ReplaceWith(policy.NewSecret(key)))
	after, ok := tokenize(out)
	want := slices.Clone(before)
	want[at] = "authorization=" + key
	if !ok || !slices.Equal(after, want) {
		t.Fatalf("%q goes on as %q: tokens %q, want %q", text, out, after, want)
	}
	for name, tokens := range map[string][]string{"one with quotation marks": after, "a shell": shellTokens(out)} {
		if keys := keysIn(tokens); !slices.Equal(keys, []string{key}) {
			t.Fatalf("%q goes on as %q, in which the reader %s finds the keys %q", text, out, name, keys)
		}
	}
	again, fault := findStart(out)
	if fault != nil || again.Key().Reveal() != key {
		t.Fatalf("%q goes on as %q, which is refused: %v", text, out, fault)
	}
	dropped := c.Rewrite(Upstream{Mode: Drop})
	if rest, ok := tokenize(dropped); !ok || !slices.Equal(rest, slices.Delete(slices.Clone(before), at, at+1)) {
		t.Fatalf("%q goes on without its key as %q", text, dropped)
	}
	return true
}

func TestR19_NoReaderSeesAnotherKeyInACommand(t *testing.T) {
	t.Parallel()
	pieces := []string{
		" ", " ", " ", "authorization=", "authorization=K", "Authorization=L", `"`, `""`, `\`, "=", "x=", `x="`, `" `, "16K", "-a-general",
		"音声", "%3D", "%61", "+", `extension={"a":"b"}`, "\t", "\u3000", "profileWords=", "authorization", ",", "L",
	}
	sound := 0
	rapid.Check(t, func(t *rapid.T) {
		text := "s " + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(t, "pieces"), "")
		if rapid.Bool().Draw(t, "sound") {
			base := `s 16K -a-general x="a ""b"" authorization=F" authorization=K y=z`
			at := rapid.IntRange(1, len(base)).Draw(t, "at")
			text = base[:at] + rapid.SampledFrom(pieces).Draw(t, "piece") + base[at:]
		}
		if checkCommand(t, text) {
			sound++
		}
	})
	if sound == 0 {
		t.Error("no random command was sound")
	}
}

func FuzzCommand(f *testing.F) {
	for _, seed := range []string{
		"s 16K -a-general authorization=K", `s 16K -a-general profileWords="x authorization=FAKE" authorization=K`,
		`s x="a""b" authorization="K" y`, `s extension={"a":"b"} authorization=K`, "s authorization%3DL authorization=K",
		`s x="a\" authorization=L z="b" authorization=K`, "s authorization=K ", "s", "e", "s authorization=K authorization=K",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { checkCommand(t, text) })
}
