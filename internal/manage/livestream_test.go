package manage

import (
	"context"
	"errors"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

func TestManager_CutStreamIsInTheAuditTrailAlsoIfTheRequestHasEnded(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	ctx, cancel := context.WithCancel(t.Context())
	m.Cut = func(id string) (string, bool) {
		cancel() // the operator closes the page
		return account.ID, id == "str_1"
	}
	if cut, err := m.CutStream(ctx, "str_2"); cut || err != nil {
		t.Errorf("of another stream: %t, %v", cut, err)
	}
	if cut, err := m.CutStream(ctx, "str_1"); !cut || err != nil {
		t.Errorf("%t, %v", cut, err)
	}
	entries := must(m.Audit(t.Context(), AuditQuery{}))(t).Items
	if e := entries[0]; e.Action != "stream_cut" || e.Subject != "str_1" || e.AccountID != OrNull(account.ID) || e.ActorID != "ada" || entries[1].Action == "stream_cut" {
		t.Errorf("the last entries are %+v", entries[:2])
	}
}

func TestManager_WithoutAServerThereAreNoLiveStreams(t *testing.T) {
	t.Parallel()
	if cut, err := newManager(t).CutStream(t.Context(), "str_1"); cut || err != nil {
		t.Errorf("%t, %v", cut, err)
	}
}

// The holder of an account cuts no stream, also not one of the own account.
func TestManager_OnlyTheOperatorCutsStreams(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	for _, other := range []*Manager{m.as(keystore.ActorAccount, account.ID), m.as(keystore.ActorKey, "key_1")} {
		other.Cut = func(id string) (string, bool) {
			t.Errorf("%s has cut %s", other.Actor.Kind, id)
			return account.ID, true
		}
		if cut, err := other.CutStream(t.Context(), "str_1"); cut || !errors.Is(err, ErrOperatorOnly) {
			t.Errorf("%s cuts a stream: %t, %v", other.Actor.Kind, cut, err)
		}
	}
}
