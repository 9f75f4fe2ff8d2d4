package manage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

func TestResults_HaveNullInJSONWhereThereIsNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value any
		want  string
	}{
		{Time{}, `null`},
		{Time{noon}, `"2026-11-23T10:20:30.456Z"`},
		{Expiry{policy.Never()}, `null`},
		{Expiry{policy.ExpiresAt(noon)}, `"2026-11-23T10:20:30.456Z"`},
		{OrNull(""), `null`},
		{OrNull("x"), `"x"`},
		{ShownOnce{policy.NewSecret("shown")}, `"shown"`},
		{List[Key]{Items: []Key{}}, `{"items":[],"next":null}`},
	} {
		if got, err := json.Marshal(test.value); err != nil || string(got) != test.want {
			t.Errorf("%T: got %s, %v; want %s", test.value, got, err, test.want)
		}
	}
	text, err := json.Marshal((&Manager{}).accountOf(policy.Account{ID: "acc_1", CreatedAt: noon}))
	if want := `{"account_id":"acc_1","name":"","service_id":"","status":"open","created_at":"2026-11-23T10:20:30.456Z",` +
		`"closed_at":null,"suspended_at":null,"suspend_reason":null,"previous_service_id":null,"previous_until":null,"limits":[]}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v; want %s", text, err, want)
	}
}

func TestOrNull_IsTheSameInJSONAsAString(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a&b<c>", "\u2028", "\xff", `"`, `\`, "\x00", "\x1f", " ", "~", "\x7f"})).Filter(func(s string) bool { return s != "" }).Draw(t, "text")
		for _, escapeHTML := range []bool{false, true} {
			var got, want bytes.Buffer
			for value, out := range map[any]*bytes.Buffer{OrNull(text): &got, text: &want} {
				enc := json.NewEncoder(out)
				enc.SetEscapeHTML(escapeHTML)
				if err := enc.Encode(value); err != nil {
					t.Fatal(err)
				}
			}
			if got.String() != want.String() {
				t.Fatalf("%q is %s, and as a string %s", text, got.String(), want.String())
			}
		}
	})
}

func TestSecrets_OnlyJSONShowsThem(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	k := newKey(t, m, NewKey{AccountID: newAccount(t, m, "One").ID})
	secret := k.Secret.Reveal()
	text, err := json.Marshal(k)
	if err != nil || !strings.Contains(string(text), `"key":"`+secret+`"`) {
		t.Errorf("JSON of the new key is %s, %v", text, err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if shown := fmt.Sprintf(format, k); strings.Contains(shown, secret) {
			t.Errorf("%s shows the secret: %s", format, shown)
		}
	}
	again := must(m.Key(t.Context(), k.ID))(t)
	if text, err := json.Marshal(again); err != nil || strings.Contains(string(text), `"key"`) {
		t.Errorf("JSON of a key is %s, %v", text, err)
	}
}
