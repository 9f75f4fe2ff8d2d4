package words

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	words := []string{"--account", "--allow", "--expires", "--label", "--issued-by"}
	tests := []struct{ typed, want string }{
		{"--acount", "--account"},
		{"--accuont", "--account"}, // two letters swapped
		{"--Label", "--label"},
		{"--expire", "--expires"},
		{"--issuedby", "--issued-by"},
		{"--alow", "--allow"},
		{"--name", ""},
		{"--", ""},
		{"", ""},
		{"--音声", ""},
	}
	for _, test := range tests {
		if got := Nearest(test.typed, words); got != test.want {
			t.Errorf("nearest(%q) is %q, want %q", test.typed, got, test.want)
		}
	}
}

func TestAlternatives(t *testing.T) {
	t.Parallel()
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := Alternatives(words); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
