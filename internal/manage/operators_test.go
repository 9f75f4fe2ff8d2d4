package manage

import (
	"errors"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestManager_AnOperatorIsInvitedSignsInAndIsRemoved(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	want := func(what string, m *Manager, status string, invited policy.Time) {
		t.Helper()
		all := must(m.Operators(t.Context()))(t)
		if len(all) != 1 || all[0].Name != "bo" || all[0].Status != status || all[0].InvitedUntil.Time != invited || all[0].Provider != nil || all[0].CreatedAt.Time != noon {
			t.Errorf("%s: %+v, want the status %s, invited until %s", what, all, status, invited)
		}
	}
	invitation := must(m.InviteOperator(t.Context(), "bo", "https://a/console/"))(t)
	token, isLink := strings.CutPrefix(invitation.SetupURL.Reveal(), "https://a/console/setup/")
	until := invitation.ExpiresAt.Time
	if !isLink || token == "" || until <= noon || invitation.Operator != "bo" {
		t.Fatalf("invited until %s, with a link: %t", until, isLink)
	}
	want("invited", m, "invited", until)
	want("just before the end of the invitation", m.repeating("", until.Std().Sub(noon.Std())-1e6), "invited", until)
	want("at the end of the invitation", m.repeating("", until.Std().Sub(noon.Std())), "invited", 0)

	must(m.Store.SetUpConsoleUser(t.Context(), noon, keystore.Actor{}, policy.NewSecret(token), "$argon2id$"))(t)
	want("with a password", m, "active", 0)
	again := must(m.InviteOperator(t.Context(), "bo", "/console"))(t)
	want("invited again", m, "active", again.ExpiresAt.Time)

	if _, err := m.RemoveOperator(t.Context(), "bo", false); !errors.Is(err, keystore.ErrLastOperator) {
		t.Errorf("the last operator is removed: %v", err)
	}
	if _, err := m.RemoveOperator(t.Context(), "cy", false); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("an operator who does not exist is removed: %v", err)
	}
	if o := must(m.RemoveOperator(t.Context(), "bo", true))(t); o.Status != "removed" || o.RemovedAt.Time != noon || o.Already || !o.Last {
		t.Errorf("removed: %+v", o)
	}
	later := m.repeating("", 1e9)
	if o := must(later.RemoveOperator(t.Context(), "bo", true))(t); o.Status != "removed" || o.RemovedAt.Time != noon || !o.Already {
		t.Errorf("removed again: %+v", o)
	}
}

func TestManager_AnOperatorOfAProviderIsActive(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	const issuer = "https://id.example.com"
	must(m.InviteOperator(t.Context(), "bo", "/console/"))(t)
	must(m.Store.SetUpConsoleIdentity(t.Context(), noon, keystore.Actor{}, "bo", keystore.Identity{Issuer: issuer, Subject: "7"}))(t)
	all := must(m.Operators(t.Context()))(t)
	if len(all) != 1 || all[0].Status != "active" || all[0].Provider == nil || *all[0].Provider != issuer || !all[0].InvitedUntil.IsZero() {
		t.Errorf("%+v", all)
	}
}

// A text that is refused makes no invitation.
func TestManager_AnInvitationNeedsTheConsolesURL(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	for _, url := range []string{"", "console", "ftp://a/"} {
		if _, err := m.InviteOperator(t.Context(), "bo", url); err == nil {
			t.Errorf("an operator is invited to %q", url)
		}
		if _, err := m.InviteAccount(t.Context(), "One", url); err == nil {
			t.Errorf("an account is invited to %q", url)
		}
	}
	if all := must(m.Operators(t.Context()))(t); len(all) != 0 {
		t.Errorf("operators %+v", all)
	}
	invitation := must(m.InviteAccount(t.Context(), "One", "/console/"))(t)
	if invitation.AccountID != account.ID || !strings.HasPrefix(invitation.SetupURL.Reveal(), "/console/setup/") || invitation.ExpiresAt.Time <= noon {
		t.Errorf("account %s is invited until %s", invitation.AccountID, invitation.ExpiresAt)
	}
	must(m.CloseAccount(t.Context(), account.ID, true))(t)
	if _, err := m.InviteAccount(t.Context(), account.ID, "/console/"); err == nil {
		t.Error("a closed account is invited")
	}
}
