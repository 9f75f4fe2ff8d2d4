package credential

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// However the text is cut into pieces, each secret is masked, also if one begins like the other.
func TestR18_SeveralSecretsAreMasked(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.SampledFrom([]string{"SECRET-ONE", "SECRET", "abcabcab"}).Draw(t, "first")
		second := rapid.SampledFrom([]string{"SECRET-TWO", "ONE-SECRE", "abcabd"}).Draw(t, "second")
		third := "x/y"
		words := rapid.SliceOf(rapid.SampledFrom([]string{first, second, third, `x\/y`, "x%2Fy", " ", "S", "SECRE", "ab", "x", "hello"})).Draw(t, "words")
		text := strings.Join(words, " ")
		want := make([]string, len(words))
		for i, word := range words {
			if want[i] = word; word == first || word == second || word != "x" && strings.HasPrefix(word, "x") {
				want[i] = strings.Repeat("*", len(word))
			}
		}
		r := NewRedactor(policy.NewSecret(first), len(text)+1, policy.NewSecret(second), policy.NewSecret(third))
		if got := r.Text(text); got != strings.Join(want, " ") {
			t.Fatalf("%q is masked as %q", text, got)
		}
		var out []byte
		for rest := []byte(text); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			out = append(out, r.Next(rest[:n])...)
			rest = rest[n:]
		}
		if got := string(append(out, r.Rest()...)); got != strings.Join(want, " ") {
			t.Fatalf("%q in pieces is masked as %q", text, got)
		}
	})
}

// A clone masks all secrets, with a limit of its own.
func TestR18_ACloneMasksSeveralSecrets(t *testing.T) {
	t.Parallel()
	r := NewRedactor(policy.NewSecret("first-key"), 0, policy.NewSecret("second-key")).Clone(12)
	if got := string(r.Next([]byte("first-key, second-key, first-key"))) + string(r.Rest()); got != "*********, **********, first-key" {
		t.Errorf("masked as %q", got)
	}
}
