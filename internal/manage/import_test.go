package manage

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestManager_ImportSaysWhatBecameOfEachLine(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	one, two := newAccount(t, m, "One"), newAccount(t, m, "Two")
	taken := newKey(t, m, NewKey{AccountID: two.ID})
	dead := newKey(t, m, NewKey{AccountID: one.ID})
	must(m.RevokeKey(t.Context(), dead.ID, Revocation{}))(t)

	text := strings.Join([]string{"a-key-of-1-client", "", taken.Secret.Reveal(), dead.Secret.Reveal(), "another-key-1", "a-key-of-1-client"}, "\n")
	lines := must(ParseKeyLines(text))(t)
	n := NewKeys{NewKey: NewKey{AccountID: one.ID, Expires: Never, Allow: []string{"0.0.0.0/0"}}, DryRun: true}
	for range 2 {
		r := must(m.ImportKeys(t.Context(), n, lines))(t)
		if r.DryRun != n.DryRun || len(r.Imported) != 2 || r.Imported[0].Line != 1 || r.Imported[1].Line != 5 || r.Known != 1 || r.Lines != 5 || r.Refused() || len(r.Warnings) != 1 {
			t.Fatalf("got %+v", r)
		}
		if hasID := r.Imported[0].ID != ""; hasID == n.DryRun {
			t.Errorf("in a dry run (%v) the key has the ID %q", n.DryRun, r.Imported[0].ID)
		}
		notTaken := r.NotTaken()
		if len(notTaken) != 2 {
			t.Fatalf("got %+v", notTaken)
		}
		for i, want := range []LineNotKey{{Line: 3, What: "taken"}, {Line: 4, What: "dead"}} {
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
	if want := `{"account_id":"` + one.ID + `","dry_run":false,"imported":[],"known":1,"known_differing":[1],"dead":[],"taken":[],"malformed":[],"weak":[]}`; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if _, err := m.ImportKeys(t.Context(), n, nil); err == nil || err.Error() != "keys is empty: want one key a line" {
		t.Errorf("without lines: %v", err)
	}
	n.AccountID = "acc_none"
	if _, err := m.ImportKeys(t.Context(), n, lines); Text(err, listNames{}) != `there is no account "acc_none": [accounts] shows all accounts` {
		t.Errorf("into an account that does not exist: %v", err)
	}
}

func TestManager_ImportTakesDigests(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	lines := []KeyLine{{1, policy.NewSecret(hexOf("a-key-of-somebody"))}}
	must(m.ImportKeys(t.Context(), NewKeys{NewKey: NewKey{AccountID: account.ID, Expires: Never}, Digests: true}, lines))(t)
	if _, err := m.Store.FindKey(t.Context(), policy.NewSecret("a-key-of-somebody")); err != nil {
		t.Error(err)
	}
	if _, err := m.Store.FindKey(t.Context(), lines[0].Secret); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the digest itself is a key: %v", err)
	}
}

// If one line cannot be a key or is weak, nothing is imported, and the report names each such
// line and the lines of keys that have ended.
func TestManager_ImportTakesAllLinesOrNone(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	dead := newKey(t, m, NewKey{AccountID: account.ID})
	must(m.RevokeKey(t.Context(), dead.ID, Revocation{}))(t)
	text := "api_key\nclient-key-1-a8d\nsgk_mistyped\n" + dead.Secret.Reveal() + "\nclient-key-2-f7k\nx\n"
	lines := must(ParseKeyLines(text))(t)
	for _, dry := range []bool{true, false} {
		n := NewKeys{NewKey: NewKey{AccountID: account.ID, Expires: Never}, DryRun: dry}
		r := must(m.ImportKeys(t.Context(), n, lines))(t)
		what := ""
		for _, line := range r.NotTaken() {
			what += line.What + " "
		}
		if !r.Refused() || r.DryRun != dry || len(r.Imported) != 0 || what != "weak malformed dead weak " {
			t.Errorf("dry run %v: %q, %+v", dry, what, r)
		}
	}
	n := NewKeys{NewKey: NewKey{AccountID: account.ID, Expires: Never}, Weak: true}
	if r := must(m.ImportKeys(t.Context(), n, lines))(t); len(r.Imported) != 0 || len(r.Weak) != 0 || len(r.Malformed) != 1 {
		t.Errorf("with weak keys and a malformed line: %+v", r)
	}
	for _, secret := range []string{"client-key-1-a8d", "x", "api_key"} {
		if _, err := m.Store.FindKey(t.Context(), policy.NewSecret(secret)); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("%s was imported: %v", secret, err)
		}
	}
	lines = slices.Delete(lines, 2, 3)
	r := must(m.ImportKeys(t.Context(), n, lines))(t)
	if len(r.Imported) != 4 || len(r.Dead) != 1 || r.Refused() {
		t.Errorf("with weak keys: %+v", r)
	}
	for _, secret := range []string{"client-key-1-a8d", "client-key-2-f7k", "x", "api_key"} {
		if _, err := m.Store.FindKey(t.Context(), policy.NewSecret(secret)); err != nil {
			t.Errorf("%s was not imported: %v", secret, err)
		}
	}
}

// A key that the account has already keeps its rules. The result names its line if one of them differs.
func TestManager_ImportNamesKnownKeysWithOtherRules(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	same := NewKey{AccountID: newAccount(t, m, "One").ID, Expires: "30d", Allow: []string{"192.0.2.0/24"}, Limits: []string{"requests=60/m"}}
	lines := must(ParseKeyLines("a-key-of-1-client"))(t)
	must(m.ImportKeys(t.Context(), NewKeys{NewKey: same}, lines))(t)
	for what, change := range map[string]func(*NewKey){
		"":           func(*NewKey) {},
		"expiry":     func(n *NewKey) { n.Expires = "31d" },
		"no expiry":  func(n *NewKey) { n.Expires = Never },
		"addresses":  func(n *NewKey) { n.Allow = []string{"192.0.2.0/25"} },
		"no address": func(n *NewKey) { n.Allow = nil },
		"limits":     func(n *NewKey) { n.Limits = []string{"requests=61/m"} },
		"no limits":  func(n *NewKey) { n.Limits = nil },
	} {
		n := NewKeys{NewKey: same}
		change(&n.NewKey)
		r := must(m.ImportKeys(t.Context(), n, lines))(t)
		if r.Known != 1 || (len(r.Differing) == 1) != (what != "") {
			t.Errorf("another rule (%s): %d keys are known, those of the lines %v differ", what, r.Known, r.Differing)
		}
	}
}
