package manage

import (
	"encoding/json"
	"errors"
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

func TestParseKeyLines_ReadsUpTo16MiB(t *testing.T) {
	t.Parallel()
	const line = 1 << 10
	text := strings.Repeat(strings.Repeat("x", line-1)+"\n", MaxKeyText/line)
	if lines, err := ParseKeyLines(text); err != nil || len(lines) != MaxKeyText/line {
		t.Errorf("of 16 MiB it read %d lines, %v", len(lines), err)
	}
	if _, err := ParseKeyLines(text + "\n"); err == nil || err.Error() != "keys is longer than 16 MiB: divide it" {
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
	for _, seed := range []string{"", "\n", "one\ntwo", "\ufeffone\r\n\r\n two ", "\ufeff\ufeffx", "a\u2028b", "\xff\n\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { checkKeyLines(t, text) })
}

// checkKeyLines compares the lines of a text with those of strings.Split.
func checkKeyLines(t rapid.TB, text string) {
	lines, err := ParseKeyLines(text)
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

func TestManager_ImportSaysWhatBecameOfEachLine(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	one, two := newAccount(t, m, "One"), newAccount(t, m, "Two")
	taken := newKey(t, m, NewKey{AccountID: two.ID})
	dead := newKey(t, m, NewKey{AccountID: one.ID})
	must(m.RevokeKey(t.Context(), dead.ID, Revocation{}))(t)

	text := strings.Join([]string{"a-key-of-a-client", "sgk_mistyped", taken.Secret.Reveal(), dead.Secret.Reveal(), "another-key", "a-key-of-a-client"}, "\n")
	lines := must(ParseKeyLines(text))(t)
	n := NewKeys{NewKey: NewKey{AccountID: one.ID, Expires: Never, Allow: []string{"0.0.0.0/0"}}, DryRun: true}
	for range 2 {
		r := must(m.ImportKeys(t.Context(), n, lines))(t)
		if r.DryRun != n.DryRun || len(r.Imported) != 2 || r.Imported[0].Line != 1 || r.Imported[1].Line != 5 || r.Known != 1 || r.Lines != 6 || len(r.Warnings) != 1 {
			t.Fatalf("got %+v", r)
		}
		if hasID := r.Imported[0].ID != ""; hasID == n.DryRun {
			t.Errorf("in a dry run (%v) the key has the ID %q", n.DryRun, r.Imported[0].ID)
		}
		notTaken := r.NotTaken()
		if len(notTaken) != 3 {
			t.Fatalf("got %+v", notTaken)
		}
		for i, want := range []LineNotKey{{2, "", "malformed"}, {3, "", "taken"}, {4, "", "dead"}} {
			if got := notTaken[i]; got.Line != want.Line || got.What != want.What || got.Why == "" || strings.Contains(got.Why, "sgk_") {
				t.Errorf("got %+v, want line %d, %s", got, want.Line, want.What)
			}
		}
		n.DryRun = false
	}
	n.Expires, n.Allow = "30d", nil
	r := must(m.ImportKeys(t.Context(), n, lines[:1]))(t)
	if r.Known != 1 || len(r.Differing) != 1 || r.Differing[0] != 1 {
		t.Errorf("a known key with another expiry: %+v", r)
	}
	text = string(must(json.Marshal(r))(t))
	if want := `{"account_id":"` + one.ID + `","dry_run":false,"imported":[],"known":1,"known_differing":[1],"dead":[],"taken":[],"malformed":[]}`; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if _, err := m.ImportKeys(t.Context(), n, nil); err == nil || err.Error() != "keys is empty: want one key a line" {
		t.Errorf("without lines: %v", err)
	}
	n.AccountID = "acc_none"
	if _, err := m.ImportKeys(t.Context(), n, lines); Text(err, listNames{}) != `there is no account "acc_none": [accounts] shows those there are` {
		t.Errorf("into an account that does not exist: %v", err)
	}
}

func TestManager_ImportTakesDigests(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	lines := []KeyLine{{1, policy.NewSecret("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b")}} // SHA-256 of "secret"
	must(m.ImportKeys(t.Context(), NewKeys{NewKey: NewKey{AccountID: account.ID, Expires: Never}, Digests: true}, lines))(t)
	if _, err := m.Store.FindKey(t.Context(), policy.NewSecret("secret")); err != nil {
		t.Error(err)
	}
	if _, err := m.Store.FindKey(t.Context(), lines[0].Secret); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the digest itself is a key: %v", err)
	}
}
