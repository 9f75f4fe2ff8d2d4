package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// newManager returns the operator's manager of an empty keystore.
func newManager(t *testing.T) *Manager {
	t.Helper()
	store, err := keystore.Open(t.Context(), keystore.Config{
		Path: filepath.Join(t.TempDir(), "keystore.db"), Clock: func() policy.Time { return noon }, CommandLine: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Manager{Store: store, Actor: keystore.Actor{Kind: keystore.ActorOperator, ID: "ada"}, Now: noon, Gates: someGates()}
}

// as returns a manager of the same keystore for another actor.
func (m *Manager) as(kind, id string) *Manager {
	other := *m
	other.Actor = keystore.Actor{Kind: kind, ID: id}
	return &other
}

// must returns the value of a call that must not fail.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newAccount(t *testing.T, m *Manager, name string) Account {
	t.Helper()
	return must(m.CreateAccount(t.Context(), NewAccount{Name: name}))(t)
}

func newKey(t *testing.T, m *Manager, n NewKey) Key {
	t.Helper()
	if n.Expires == "" {
		n.Expires = Never
	}
	return must(m.IssueKey(t.Context(), n))(t)
}

func TestManager_OthersThanTheOperatorCannotCallWhatIsForTheOperator(t *testing.T) {
	t.Parallel()
	operator := newManager(t)
	account := newAccount(t, operator, "One")
	key := newKey(t, operator, NewKey{AccountID: account.ID})
	calls := map[string]func(context.Context, *Manager) error{
		"CreateAccount": func(ctx context.Context, m *Manager) error {
			_, err := m.CreateAccount(ctx, NewAccount{Name: "Two"})
			return err
		},
		"RotateAccount": func(ctx context.Context, m *Manager) error {
			_, err := m.RotateAccount(ctx, account.ID, "0")
			return err
		},
		"Accounts": func(ctx context.Context, m *Manager) error { _, err := m.Accounts(ctx, AccountQuery{}); return err },
		"CloseAccount": func(ctx context.Context, m *Manager) error {
			_, err := m.CloseAccount(ctx, account.ID, true)
			return err
		},
		"SuspendAccount": func(ctx context.Context, m *Manager) error {
			_, err := m.SuspendAccount(ctx, account.ID, "")
			return err
		},
		"ResumeAccount": func(ctx context.Context, m *Manager) error { _, err := m.ResumeAccount(ctx, account.ID); return err },
		"RenameAccount": func(ctx context.Context, m *Manager) error {
			_, err := m.RenameAccount(ctx, account.ID, "Two")
			return err
		},
		"SuspendKey": func(ctx context.Context, m *Manager) error { _, err := m.SuspendKey(ctx, key.ID, ""); return err },
		"ResumeKey":  func(ctx context.Context, m *Manager) error { _, err := m.ResumeKey(ctx, key.ID); return err },
		"RotateKey":  func(ctx context.Context, m *Manager) error { _, err := m.RotateKey(ctx, key.ID, "1h"); return err },
		"RevokeKey": func(ctx context.Context, m *Manager) error {
			_, err := m.RevokeKey(ctx, key.ID, Revocation{})
			return err
		},
		"ImportKeys": func(ctx context.Context, m *Manager) error {
			_, err := m.ImportKeys(ctx, NewKeys{NewKey: NewKey{AccountID: account.ID, Expires: Never}}, []KeyLine{{1, policy.NewSecret("some-key-of-a-client")}})
			return err
		},
		"VerifyAudit": func(ctx context.Context, m *Manager) error { _, err := m.VerifyAudit(ctx, ""); return err },
		"Backup":      func(ctx context.Context, m *Manager) error { _, err := m.Backup(ctx, "copy.db"); return err },
		"Restore":     func(ctx context.Context, m *Manager) error { _, err := m.Restore(ctx, "copy.db"); return err },
		"Explain": func(ctx context.Context, m *Manager) error {
			_, err := m.Explain(ctx, ExplainRequest{KeyID: key.ID, ClientIP: "192.0.2.7", Method: "POST", Path: "/v1/recognize", Dialect: "amivoice", Backend: "amivoice"})
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, other := range []*Manager{operator.as(keystore.ActorAccount, account.ID), operator.as(keystore.ActorKey, key.ID), operator.as("", "")} {
				if err := call(t.Context(), other); !errors.Is(err, ErrOperatorOnly) {
					t.Errorf("for an actor of the kind %q: %v", other.Actor.Kind, err)
				}
			}
		})
	}
	t.Cleanup(func() {
		if got := must(operator.Key(context.Background(), key.ID))(t); got.Status != StatusActive {
			t.Errorf("the key is %s afterwards", got.Status)
		}
	})
}

func TestManager_AnAccountReachesOnlyItsOwnRecords(t *testing.T) {
	t.Parallel()
	operator := newManager(t)
	one, two := newAccount(t, operator, "One"), newAccount(t, operator, "Two")
	mine, theirs := newKey(t, operator, NewKey{AccountID: one.ID}), newKey(t, operator, NewKey{AccountID: two.ID})
	for _, k := range []Key{mine, theirs} {
		if err := operator.Store.CreateJob(t.Context(), policy.Job{ID: "job-" + k.ID, Backend: "amivoice", Dialect: "amivoice", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: noon}); err != nil {
			t.Fatal(err)
		}
	}
	holder := operator.as(keystore.ActorAccount, one.ID)

	for _, accountID := range []string{"", one.ID} {
		keys := must(holder.Keys(t.Context(), KeyQuery{AccountID: accountID}))(t)
		if len(keys.Items) != 1 || keys.Items[0].ID != mine.ID {
			t.Errorf("of the account %q it sees the keys %v", accountID, keys.Items)
		}
		jobs := must(holder.Jobs(t.Context(), JobQuery{AccountID: accountID}))(t)
		if len(jobs.Items) != 1 || jobs.Items[0].KeyID != mine.ID {
			t.Errorf("of the account %q it sees the jobs %v", accountID, jobs.Items)
		}
		for _, e := range must(holder.Audit(t.Context(), AuditQuery{AccountID: accountID}))(t).Items {
			if e.AccountID != OrNull(one.ID) {
				t.Errorf("of the account %q it sees the audit entry %v", accountID, e)
			}
		}
	}
	if got := must(holder.Account(t.Context(), one.ID))(t); got.ID != one.ID {
		t.Errorf("its account is %v", got)
	}
	if got := must(holder.Job(t.Context(), "job-"+mine.ID, ""))(t); got.KeyID != mine.ID {
		t.Errorf("its job is %v", got)
	}

	calls := map[string]func() error{
		"Account":   func() error { _, err := holder.Account(t.Context(), two.ID); return err },
		"Key":       func() error { _, err := holder.Key(t.Context(), theirs.ID); return err },
		"DeleteKey": func() error { _, err := holder.DeleteKey(t.Context(), theirs.ID); return err },
		"IssueKey": func() error {
			_, err := holder.IssueKey(t.Context(), NewKey{AccountID: two.ID, Expires: Never})
			return err
		},
		"Keys":             func() error { _, err := holder.Keys(t.Context(), KeyQuery{AccountID: two.ID}); return err },
		"Keys of a key":    func() error { _, err := holder.Keys(t.Context(), KeyQuery{IssuedBy: theirs.ID}); return err },
		"Jobs":             func() error { _, err := holder.Jobs(t.Context(), JobQuery{AccountID: two.ID}); return err },
		"Job":              func() error { _, err := holder.Job(t.Context(), "job-"+theirs.ID, ""); return err },
		"Job of a backend": func() error { _, err := holder.Job(t.Context(), "job-"+theirs.ID, "amivoice"); return err },
		"Audit":            func() error { _, err := holder.Audit(t.Context(), AuditQuery{AccountID: two.ID}); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("%s with another account's ID: %v", name, err)
		}
	}
	// A record of another account and a record that does not exist have the same error.
	_, foreign := holder.Key(t.Context(), theirs.ID)
	_, unknown := holder.Key(t.Context(), "key_none")
	if got, want := Text(foreign, listNames{}), strings.Replace(Text(unknown, listNames{}), "key_none", theirs.ID, 1); got != want {
		t.Errorf("the error is %q, and of a key that does not exist %q", got, want)
	}
	for _, kind := range []string{keystore.ActorKey, ""} {
		nobody := operator.as(kind, one.ID)
		if _, err := nobody.Keys(t.Context(), KeyQuery{}); !errors.Is(err, ErrOperatorOnly) {
			t.Errorf("an actor of the kind %q lists the keys: %v", kind, err)
		}
		if _, err := nobody.Key(t.Context(), mine.ID); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("an actor of the kind %q sees a key: %v", kind, err)
		}
	}
}

func TestManager_MistakesNameTheField(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	good := ExplainRequest{KeyID: "key_x", ClientIP: "192.0.2.7", Method: "POST", Path: "/v1/recognize", Dialect: "amivoice"}
	explain := func(change func(*ExplainRequest)) error {
		r := good
		change(&r)
		_, err := m.Explain(t.Context(), r)
		return err
	}
	issue := func(n NewKey) error { _, err := m.IssueKey(t.Context(), n); return err }
	keys := func(q KeyQuery) error { _, err := m.Keys(t.Context(), q); return err }
	for name, test := range map[string]struct {
		err  error
		want string // the field, and after a space the beginning of the message
	}{
		"no account's name":    {(&NewAccount{}).Validate(), "name name is missing: want the customer's name"},
		"no account":           {issue(NewKey{Expires: Never}), "account_id account_id is missing: want the account's ID"},
		"a key as an account":  {issue(NewKey{AccountID: "key_x", Expires: Never}), `account_id account_id "key_x" is a key ID: want an account ID, acc_…`},
		"no expiry":            {issue(NewKey{AccountID: account.ID}), `expires expires "": that is no time`},
		"a wrong address":      {issue(NewKey{AccountID: account.ID, Expires: Never, Allow: []string{"10.0.0.1/8"}}), `allow allow: address "10.0.0.1/8": bits are set`},
		"an empty address":     {issue(NewKey{AccountID: account.ID, Expires: Never, Allow: []string{""}}), "allow allow is empty: leave it out"},
		"a misspelled status":  {keys(KeyQuery{Status: "actve"}), `status status "actve": did you mean active?`},
		"another status":       {keys(KeyQuery{Status: "gone"}), `status status "gone": want active, suspended, expired, deleted or revoked`},
		"two that exclude":     {keys(KeyQuery{Status: "revoked", Unused: "2w"}), "status status revoked and unused: no key is both"},
		"two others":           {keys(KeyQuery{Status: "expired", Expiring: "2w", Unused: "1h"}), "status status expired and expiring: no key is both"},
		"no time":              {keys(KeyQuery{Expiring: "14"}), `expiring expiring "14": that is no duration: want a duration such as 90s, 24h or 7d`},
		"a secret as a key ID": {keys(KeyQuery{IssuedBy: "sgk_0123456789abcdefghijklmnopqrstuvABCDEF"}), `issued_by issued_by "sgk_…" is an API key itself`},
		"a negative limit":     {keys(KeyQuery{Page: Page{Limit: -1}}), "limit limit -1: want the number of entries"},
		"another's cursor":     {keys(KeyQuery{Page: Page{Cursor: "x"}}), "cursor cursor: want one that this list returned"},
		"no such overlap":      {CheckOverlap("-1h"), `overlap overlap "-1h": that is negative`},
		"no head":              {func() error { _, err := CheckHead("12"); return err }(), `head head "12": want a number, a colon and 64 hexadecimal digits`},
		"no address":           {explain(func(r *ExplainRequest) { r.ClientIP = "" }), "client_ip client_ip is missing: want the client's address"},
		"an address with port": {explain(func(r *ExplainRequest) { r.ClientIP = "192.0.2.7:80" }), `client_ip client_ip "192.0.2.7:80": want the address without the port, 192.0.2.7`},
		"a small method":       {explain(func(r *ExplainRequest) { r.Method = "post" }), `method method "post": want a method in capitals`},
		"a query":              {explain(func(r *ExplainRequest) { r.Path = "/v1/recognize?u=x" }), `path path "/v1/…": want a path`},
		"an unknown API":       {explain(func(r *ExplainRequest) { r.Dialect = "amivoise" }), `dialect dialect "amivoise": did you mean amivoice?`},
		"no instant":           {explain(func(r *ExplainRequest) { r.At = "soon" }), `at at "soon": that is no time: want an instant such as 2026-11-23T10:00:00Z`},
	} {
		field, message, _ := strings.Cut(test.want, " ")
		wrong := (*FieldError)(nil)
		if !errors.As(test.err, &wrong) || wrong.Field != field || !strings.HasPrefix(wrong.Error(), message) {
			t.Errorf("%s: got %v, want an error of the field %s that begins with %s", name, test.err, field, message)
		}
		if !errors.Is(test.err, keystore.ErrInvalid) {
			t.Errorf("%s: the error is not an ErrInvalid", name)
		}
	}
}

func TestManager_ASecretInPlaceOfAnIDIsNotShown(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	ctx := t.Context()
	for _, secret := range []string{"sgk_0123456789abcdefghijklmnopqrstuvABCDEF", "sgs_0123456789abcdefghijklmnopqrstuvABCDEF"} {
		for name, call := range map[string]func() error{
			"Account":        func() error { _, err := m.Account(ctx, secret); return err },
			"RotateAccount":  func() error { _, err := m.RotateAccount(ctx, secret, "0"); return err },
			"CloseAccount":   func() error { _, err := m.CloseAccount(ctx, secret, true); return err },
			"SuspendAccount": func() error { _, err := m.SuspendAccount(ctx, secret, ""); return err },
			"ResumeAccount":  func() error { _, err := m.ResumeAccount(ctx, secret); return err },
			"RenameAccount":  func() error { _, err := m.RenameAccount(ctx, secret, "x"); return err },
			"SuspendKey":     func() error { _, err := m.SuspendKey(ctx, secret, ""); return err },
			"ResumeKey":      func() error { _, err := m.ResumeKey(ctx, secret); return err },
			"RenameKey":      func() error { _, err := m.RenameKey(ctx, secret, "x"); return err },
			"IssueKey":       func() error { _, err := m.IssueKey(ctx, NewKey{AccountID: secret, Expires: Never}); return err },
			"Key":            func() error { _, err := m.Key(ctx, secret); return err },
			"RotateKey":      func() error { _, err := m.RotateKey(ctx, secret, "1h"); return err },
			"DeleteKey":      func() error { _, err := m.DeleteKey(ctx, secret); return err },
			"RevokeKey":      func() error { _, err := m.RevokeKey(ctx, secret, Revocation{}); return err },
			"Keys":           func() error { _, err := m.Keys(ctx, KeyQuery{AccountID: secret}); return err },
			"Jobs":           func() error { _, err := m.Jobs(ctx, JobQuery{AccountID: secret}); return err },
			"Job":            func() error { _, err := m.Job(ctx, secret, ""); return err },
			"Audit":          func() error { _, err := m.Audit(ctx, AuditQuery{AccountID: secret}); return err },
			"Explain":        func() error { _, err := m.Explain(ctx, ExplainRequest{KeyID: secret}); return err },
		} {
			err := call()
			if wrong := (*FieldError)(nil); !errors.As(err, &wrong) || strings.Contains(err.Error(), secret[4:]) || !strings.Contains(err.Error(), "which is a secret") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// listNames are names for the tests of Text.
type listNames struct{}

func (listNames) Field(name string) string {
	if name == "job_id" {
		return ""
	}
	return "<" + name + ">"
}
func (listNames) List(of Kind) string { return "[" + string(of) + "s]" }

func TestText_HasTheNamesOfTheInterface(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	_, noKey := m.Key(t.Context(), "key_none")
	for want, err := range map[string]error{
		`<account_id> "x" is not an account ID: want an account ID, acc_…, as [accounts] shows it`:                     CheckID("account_id", KindAccount, "x"),
		`there is no key "key_none": [keys] shows those there are`:                                                     noKey,
		`deep: there is no key "key_none": [keys] shows those there are; try again`:                                    wrapped("deep: ", noKey, "; try again"),
		`"key_x" is a key ID: want a job ID, as [jobs] shows it`:                                                       noJob("key_x", ""),
		`there is no record of a job "x" of backend "b": it may have been pruned, or not created through this gateway`: noJob("x", "b"),
		`<status> revoked and <unused>: no key is both, since the latter lists active keys`:                            (&KeyQuery{Status: "revoked", Unused: "1h"}).Validate(),
		`another error`: errors.New("another error"),
	} {
		if got := Text(err, listNames{}); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// wrapping is an error around another.
type wrapping struct {
	before, after string
	err           error
}

func wrapped(before string, err error, after string) error { return &wrapping{before, after, err} }
func (w *wrapping) Error() string                          { return w.before + w.err.Error() + w.after }
func (w *wrapping) Unwrap() error                          { return w.err }

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
		`"closed_at":null,"suspended_at":null,"suspend_reason":null,"previous_service_id":null,"previous_until":null}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v; want %s", text, err, want)
	}
}

func TestOrNull_IsTheSameInJSONAsAString(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a&b<c>", "\u2028", "\xff", `"\`, "\x7f"})).Filter(func(s string) bool { return s != "" }).Draw(t, "text")
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

func TestAll_ReadsUntilThereIsNoNextPart(t *testing.T) {
	t.Parallel()
	parts := map[string]List[int]{"": {[]int{1, 2}, "a"}, "a": {[]int{}, "b"}, "b": {[]int{3}, ""}}
	all, err := All(func(page Page) (List[int], error) { return parts[page.Cursor], nil })
	if !slices.Equal(all, []int{1, 2, 3}) || err != nil {
		t.Errorf("got %v, %v", all, err)
	}
	fails := errors.New("the second part fails")
	all, err = All(func(page Page) (List[int], error) {
		if page.Cursor != "" {
			return List[int]{}, fails
		}
		return List[int]{[]int{1}, "a"}, nil
	})
	if all != nil || !errors.Is(err, fails) {
		t.Errorf("got %v, %v; want no entries, and the error", all, err)
	}
}
