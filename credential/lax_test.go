package credential

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A name that is plain, which is compared at once, is compared as any other.
func TestR19_PlainNamesAreComparedAsAllAre(t *testing.T) {
	name := rapid.StringOf(rapid.OneOf(
		rapid.RuneFrom([]rune("uUdD09-_kK")),
		rapid.RuneFrom([]rune(" ?\x00[]%\tſK\u200b\ufeff"))))
	rapid.Check(t, func(t *rapid.T) {
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		if rapid.Bool().Draw(t, "alike") {
			a = b + name.Draw(t, "behind")
		}
		// What a lax parser drops in front of a name, at its end, and behind it.
		read := strings.TrimLeftFunc(a, func(r rune) bool { return r == '?' || isInvisible(r) })
		read, _, _ = strings.Cut(read, "\x00")
		read, _, _ = strings.Cut(read, "[")
		read = strings.TrimRightFunc(read, isInvisible)
		if want := strings.EqualFold(read, b); sameName(a, b) != want {
			t.Fatalf("sameName(%q, %q) = %t, want %t", a, b, !want, want)
		}
	})
}
