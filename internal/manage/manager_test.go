package manage

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// newManager returns the operator's manager of an empty keystore.
func newManager(t *testing.T) *Manager {
	t.Helper()
	cfg := storetest.New(t).CommandLine()
	cfg.Clock = func() policy.Time { return noon }
	store, err := keystore.Open(t.Context(), cfg)
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
		"Operators": func(ctx context.Context, m *Manager) error { _, err := m.Operators(ctx); return err },
		"InviteOperator": func(ctx context.Context, m *Manager) error {
			_, err := m.InviteOperator(ctx, "eve", "/console/")
			return err
		},
		"RemoveOperator": func(ctx context.Context, m *Manager) error { _, err := m.RemoveOperator(ctx, "ada", true); return err },
		"CutStream":      func(ctx context.Context, m *Manager) error { _, err := m.CutStream(ctx, "str_1"); return err },
		"NoteCut":        func(ctx context.Context, m *Manager) error { return m.NoteCut(ctx, account.ID, "str_1", 1) },
		"StoreHealth":    func(ctx context.Context, m *Manager) error { _, err := m.StoreHealth(ctx); return err },
		"JobsOnGrace":    func(ctx context.Context, m *Manager) error { _, err := m.JobsOnGrace(ctx, Page{Limit: 1}); return err },
		"Leaked":         func(ctx context.Context, m *Manager) error { _, err := m.Leaked(ctx, key.Secret.Secret); return err },
		"VerifyAudit":    func(ctx context.Context, m *Manager) error { _, err := m.VerifyAudit(ctx, ""); return err },
		"Backup":         func(ctx context.Context, m *Manager) error { _, err := m.Backup(ctx, "copy.db"); return err },
		"Restore":        func(ctx context.Context, m *Manager) error { _, err := m.Restore(ctx, "copy.db"); return err },
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
