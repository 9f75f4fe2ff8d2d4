package manage

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Each call that takes the ID of an account takes its name as well.
func TestManager_AnAccountHasItsNameInPlaceOfItsID(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "TV station")
	ctx := t.Context()
	if a := must(m.Account(ctx, "TV station"))(t); a.ID != account.ID {
		t.Errorf("got %+v", a)
	}
	key := must(m.IssueKey(ctx, NewKey{AccountID: "TV station", Expires: Never}))(t)
	if key.AccountID != account.ID {
		t.Errorf("the key is for %s", key.AccountID)
	}
	if keys := must(m.Keys(ctx, KeyQuery{AccountID: "TV station"}))(t); len(keys.Items) != 1 {
		t.Errorf("got %+v", keys)
	}
	if err := m.Store.CreateJob(ctx, policy.Job{Backend: "b", ID: "j", AccountID: account.ID, KeyID: key.ID, CreatedAt: noon}); err != nil {
		t.Fatal(err)
	}
	if jobs := must(m.Jobs(ctx, JobQuery{AccountID: "TV station"}))(t); len(jobs.Items) != 1 {
		t.Errorf("got %+v", jobs)
	}
	if audit := must(m.Audit(ctx, AuditQuery{AccountID: "TV station"}))(t); len(audit.Items) != 2 {
		t.Errorf("got %+v", audit)
	}
	imported := must(m.ImportKeys(ctx, NewKeys{NewKey: NewKey{AccountID: "TV station", Expires: Never}}, []KeyLine{{1, policy.NewSecret("some-key-of-a-client")}}))(t)
	if imported.AccountID != account.ID || len(imported.Imported) != 1 {
		t.Errorf("got %+v", imported)
	}
	if a := must(m.RotateAccount(ctx, "TV station", "1h"))(t); a.ID != account.ID || a.PreviousServiceID == "" || a.PreviousUntil.Time != noon.Add(time.Hour) {
		t.Errorf("got %+v", a)
	}
	if a := must(m.SuspendAccount(ctx, "TV station", "why"))(t); a.Already || a.Status != "suspended" || a.SuspendReason != "why" {
		t.Errorf("got %+v", a)
	}
	if a := must(m.SuspendAccount(ctx, account.ID, ""))(t); a.Already && a.SuspendedAt.Time != noon {
		t.Errorf("got %+v", a)
	}
	if a := must(m.ResumeAccount(ctx, "TV station"))(t); a.Already || a.Status != "open" {
		t.Errorf("got %+v", a)
	}
	if a := must(m.ResumeAccount(ctx, "TV station"))(t); !a.Already {
		t.Errorf("got %+v", a)
	}
	if a := must(m.RenameAccount(ctx, "TV station", "Radio"))(t); a.ID != account.ID || a.Name != "Radio" {
		t.Errorf("got %+v", a)
	}
	if a := must(m.CloseAccount(ctx, "Radio", true))(t); a.ID != account.ID || a.Status != "closed" || a.ClosedAt.Time != noon {
		t.Errorf("got %+v", a)
	}
}

func TestManager_ANameOfSeveralAccountsIsRefusedWithTheirIDs(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	one, two := newAccount(t, m, "Twin"), newAccount(t, m, "Twin")
	if _, err := m.CloseAccount(t.Context(), two.ID, true); err != nil {
		t.Fatal(err)
	}
	_, err := m.SuspendAccount(t.Context(), "Twin", "")
	if !errors.Is(err, keystore.ErrInvalid) || !strings.HasPrefix(err.Error(), `2 accounts have the name "Twin": choose one by its ID, of `) ||
		!strings.Contains(err.Error(), one.ID+" (open)") || !strings.Contains(err.Error(), two.ID+" (closed)") {
		t.Errorf("got %v", err)
	}
	if a := must(m.Account(t.Context(), one.ID))(t); a.Status != "open" {
		t.Errorf("got %+v", a)
	}
	_, err = m.Account(t.Context(), "Nobody knows")
	if missing := (*NotFoundError)(nil); !errors.As(err, &missing) || missing.Kind != KindAccount || err.Error() != `there is no account with the ID or name "Nobo…"` {
		t.Errorf("got %v", err)
	}
}

// A name tells nothing of other accounts.
func TestManager_AnAccountKnowsItsOwnNameOnly(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	own, other := newAccount(t, m, "Own"), newAccount(t, m, "Other")
	newAccount(t, m, "Own")
	holder := m.as(keystore.ActorAccount, own.ID)
	if a := must(holder.Account(t.Context(), "Own"))(t); a.ID != own.ID {
		t.Errorf("got %+v", a)
	}
	for _, name := range []string{"Other", other.ID, "None"} {
		if _, err := holder.Account(t.Context(), name); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManager_AKeyIsFoundByItsSecret(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	key := newKey(t, m, NewKey{AccountID: account.ID})
	if id := must(m.KeyIDOf(t.Context(), key.Secret.Secret))(t); id != key.ID {
		t.Errorf("got %s", id)
	}
	other := m.as(keystore.ActorAccount, newAccount(t, m, "Two").ID)
	if _, err := other.KeyIDOf(t.Context(), key.Secret.Secret); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("for another account: %v", err)
	}
	if _, err := m.KeyIDOf(t.Context(), policy.NewSecret("a-clients-key-from-elsewhere")); err == nil || !strings.HasPrefix(err.Error(), "the keystore has no such key: it was never issued") {
		t.Errorf("a key from elsewhere: %v", err)
	}
	for _, secret := range []string{"a-clients-key-from-elsewhere", key.Secret.Reveal()[:41] + "_", "with space"} {
		_, err := m.KeyIDOf(t.Context(), policy.NewSecret(secret))
		if err == nil || strings.Contains(err.Error(), secret) || !errors.Is(err, keystore.ErrNotFound) && !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
}

func TestManager_SuspendsAndResumesAKey(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	key := newKey(t, m, NewKey{AccountID: newAccount(t, m, "One").ID, Label: "old"})
	ctx := t.Context()
	if k := must(m.SuspendKey(ctx, key.ID, "why"))(t); k.Already || k.Status != "suspended" || k.SuspendedAt.Time != noon || k.SuspendReason != "why" {
		t.Errorf("got %+v", k)
	}
	if keys := must(m.Keys(ctx, KeyQuery{Status: "suspended"}))(t); len(keys.Items) != 1 {
		t.Errorf("got %+v", keys)
	}
	if k := must(m.ResumeKey(ctx, key.ID))(t); k.Already || k.Status != "active" {
		t.Errorf("got %+v", k)
	}
	if k := must(m.ResumeKey(ctx, key.ID))(t); !k.Already {
		t.Errorf("got %+v", k)
	}
	if k := must(m.RenameKey(ctx, key.ID, "new"))(t); k.Label != "new" {
		t.Errorf("got %+v", k)
	}
	revoked := must(m.RevokeKey(ctx, key.ID, Revocation{Reason: "leaked"}))(t)
	if revoked.RevokedAt.Time != noon || revoked.RevokeReason != "leaked" || !revoked.DeletedAt.IsZero() {
		t.Errorf("got %+v", revoked)
	}
	deleted := newKey(t, m, NewKey{AccountID: key.AccountID})
	if k := must(m.DeleteKey(ctx, deleted.ID))(t); k.DeletedAt.Time != noon || !k.RevokedAt.IsZero() {
		t.Errorf("got %+v", k)
	}
}

func TestKeys_AreFilteredByLabelAndOrigin(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	labels := []string{"Call Centre", "call centre 2", "100%", "a_b", `back\slash`, ""}
	for i, label := range labels {
		m.Now = noon.Add(time.Duration(i) * time.Second)
		newKey(t, m, NewKey{AccountID: account.ID, Label: label})
	}
	if _, err := m.ImportKeys(t.Context(), NewKeys{NewKey: NewKey{AccountID: account.ID, Expires: Never, Label: "imported"}}, []KeyLine{{1, policy.NewSecret("some-key-of-a-client")}}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		query KeyQuery
		want  []string
	}{
		{KeyQuery{Label: "call"}, []string{"Call Centre", "call centre 2"}},
		{KeyQuery{Label: "CENTRE 2"}, []string{"call centre 2"}},
		{KeyQuery{Label: "%"}, []string{"100%"}},
		{KeyQuery{Label: "_"}, []string{"a_b"}},
		{KeyQuery{Label: `\`}, []string{`back\slash`}},
		{KeyQuery{Label: "' OR 1=1"}, nil},
		{KeyQuery{Origin: "initial"}, []string{"imported"}},
		{KeyQuery{Origin: "console", Label: "a"}, []string{"Call Centre", "call centre 2", "a_b", `back\slash`}},
		{KeyQuery{NewestFirst: true, Origin: "console", Page: Page{Limit: 2}}, []string{"", `back\slash`}},
	} {
		var got []string
		for _, k := range must(m.Keys(t.Context(), test.query))(t).Items {
			got = append(got, k.Label)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v: got %q, want %q", test.query, got, test.want)
		}
	}
	_, err := m.Keys(t.Context(), KeyQuery{Origin: "consol"})
	if wrong := (*FieldError)(nil); !errors.As(err, &wrong) || err.Error() != `origin "consol": did you mean console?` {
		t.Errorf("got %v", err)
	}
}

func TestLists_NewestFirstAreTheSameTurnedAround(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	for i := range 5 {
		m.Now = noon.Add(time.Duration(i/2) * time.Second) // some at the same instant
		key := newKey(t, m, NewKey{AccountID: newAccount(t, m, "x").ID})
		if err := m.Store.CreateJob(t.Context(), policy.Job{Backend: "b", ID: key.ID, AccountID: key.AccountID, KeyID: key.ID, CreatedAt: m.Now}); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	lists := map[string]func(Page, bool) (ids []string, next OrNull){
		"accounts": func(p Page, newest bool) (ids []string, next OrNull) {
			l := must(m.Accounts(ctx, AccountQuery{Page: p, NewestFirst: newest}))(t)
			for _, a := range l.Items {
				ids = append(ids, a.ID)
			}
			return ids, l.Next
		},
		"keys": func(p Page, newest bool) (ids []string, next OrNull) {
			l := must(m.Keys(ctx, KeyQuery{Page: p, NewestFirst: newest}))(t)
			for _, k := range l.Items {
				ids = append(ids, k.ID)
			}
			return ids, l.Next
		},
		"jobs": func(p Page, newest bool) (ids []string, next OrNull) {
			l := must(m.Jobs(ctx, JobQuery{Page: p, NewestFirst: newest}))(t)
			for _, j := range l.Items {
				ids = append(ids, j.ID)
			}
			return ids, l.Next
		},
	}
	for name, list := range lists {
		want, _ := list(Page{}, false)
		slices.Reverse(want)
		var got []string
		for page := (Page{Limit: 2}); ; {
			ids, next := list(page, true)
			got = append(got, ids...)
			if next == "" {
				break
			}
			page.Cursor = string(next)
		}
		if len(want) != 5 || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestJobs_OfOneKey(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "x")
	one, two := newKey(t, m, NewKey{AccountID: account.ID}), newKey(t, m, NewKey{AccountID: account.ID})
	for _, key := range []Key{one, two} {
		if err := m.Store.CreateJob(t.Context(), policy.Job{Backend: "b", ID: key.ID, AccountID: account.ID, KeyID: key.ID, CreatedAt: noon}); err != nil {
			t.Fatal(err)
		}
	}
	if jobs := must(m.Jobs(t.Context(), JobQuery{KeyID: two.ID}))(t); len(jobs.Items) != 1 || jobs.Items[0].KeyID != two.ID || jobs.Items[0].GraceKnown {
		t.Errorf("got %+v", jobs)
	}
	if _, err := m.Jobs(t.Context(), JobQuery{KeyID: "key_none"}); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if open := must(m.Accounts(t.Context(), AccountQuery{Status: "open"}))(t); len(open.Items) != 1 {
		t.Errorf("got %+v", open)
	}
	if closed := must(m.Accounts(t.Context(), AccountQuery{Status: "closed"}))(t); len(closed.Items) != 0 {
		t.Errorf("got %+v", closed)
	}
}
