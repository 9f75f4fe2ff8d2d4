package words

import "testing"

func TestNearest_FindsTheWordThatWasMeant(t *testing.T) {
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

func TestAlternatives_JoinsAsASentenceDoes(t *testing.T) {
	t.Parallel()
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := Alternatives(words); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestQuote_HidesWhatMayBeASecret(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{"acount", `"acount"`},
		{"key_0123456789abcdefghij", `"key_0123456789abcdefghij"`},
		{"sgk_0123456789abcdefghijklmnopqrstuvABCDEF", `"sgk_…"`},
		{"0123456789abcdef0123456789abcdef", `"0123…"`},
		{"two\nlines", `"two\nlines"`},
		{"2027-01-01T00:00:00", `"2027-01-01T00:00:00"`},
		{"2027-01-01 00:00:00 +09:00", `"2027-01-01 00:00:00 +09:00"`},
		{"192.0.2.0/24;198.51.100.0/24", `"192.0.2.0/24;198.51.100.0/24"`},
		{"2001:db8:0:0:0:0:0:1:2/64", `"2001:db8:0:0:0:0:0:1:2/64"`},
		{"f81d4fae-7dec-11d0-a765-00a0c91e6bf6", `"f81d…"`},
		{"12345678901234567", `"1234…"`},
		{"correct horse battery", `"corr…"`},
	}
	for _, test := range tests {
		if got := Quote(test.text); got != test.want {
			t.Errorf("Quote(%q) is %s, want %s", test.text, got, test.want)
		}
	}
	// A service password that a person chose, where an ID or nothing belongs.
	if got := QuoteArgument("sunshine"); got != `"suns…"` {
		t.Errorf("an argument is shown as %s", got)
	}
	for text, want := range map[string]string{"account-list": `"account-list"`, "sunshine1": `"suns…"`, "Sunshine": `"Suns…"`, "x": `"x"`} {
		if got := QuoteWord(text); got != want {
			t.Errorf("the word %q is shown as %s, want %s", text, got, want)
		}
	}
}
