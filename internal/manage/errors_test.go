package manage

import (
	"errors"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

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
	secret := newKey(t, m, NewKey{AccountID: account.ID}).Secret.Reveal()
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
		"no such actor":        {(&AuditQuery{Actor: "the operator"}).Validate(), `actor actor "the …": want account, key, operator or store, an ID or a name, or both as in "operator tanaka"`},
		"a misspelled action":  {(&AuditQuery{Action: "key_isue"}).Validate(), `action action "key_isue": did you mean key_issue?`},
		"a secret as actor":    {(&AuditQuery{Actor: "key " + secret}).Validate(), "actor the actor has a key or service password in it, which is a secret"},
		"a secret as subject":  {(&AuditQuery{Subject: secret}).Validate(), "subject the subject has a key or service password in it, which is a secret"},
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

func TestText_HasTheNamesOfTheInterface(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	_, noKey := m.Key(t.Context(), "key_none")
	for want, err := range map[string]error{
		`<account_id> "x" is not an account ID: want an account ID, acc_…, as [accounts] shows it`:                     CheckID("account_id", KindAccount, "x"),
		`there is no key "key_none": [keys] shows all keys`:                                                            noKey,
		`deep: there is no key "key_none": [keys] shows all keys; try again`:                                           wrapped("deep: ", noKey, "; try again"),
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

// listNames are names for the tests of Text.
type listNames struct{}

func (listNames) Field(name string) string {
	if name == "job_id" {
		return ""
	}
	return "<" + name + ">"
}

func (listNames) List(of Kind) string { return "[" + string(of) + "s]" }

// wrapping is an error around another.
type wrapping struct {
	before, after string
	err           error
}

func wrapped(before string, err error, after string) error { return &wrapping{before, after, err} }

func (w *wrapping) Error() string { return w.before + w.err.Error() + w.after }

func (w *wrapping) Unwrap() error { return w.err }
