package manage

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// usageManager returns a manager of a keystore with two accounts. The key of the first account has
// recognized 90 seconds, the key of the second one was refused once.
func usageManager(t *testing.T) (m *Manager, one, two Key) {
	t.Helper()
	cfg := storetest.New(t).CommandLine()
	cfg.Clock = func() policy.Time { return noon }
	open := func() *Manager {
		store := must(keystore.Open(t.Context(), cfg))(t)
		return &Manager{Store: store, Actor: keystore.Actor{Kind: keystore.ActorOperator, ID: "ada"}, Now: noon}
	}
	m = open()
	one = newKey(t, m, NewKey{AccountID: newAccount(t, m, "One").ID})
	two = newKey(t, m, NewKey{AccountID: newAccount(t, m, "Two").ID})
	m.Store.CountUsage(noon, &keystore.UsageOf{KeyID: one.ID, AccountID: one.AccountID, Operation: policy.Recognize, Reason: policy.Allowed},
		keystore.UsageCounts{Requests: 2, AudioBytes: 7, AudioTime: 90500 * time.Millisecond})
	m.Store.CountUsage(noon.Add(-48*time.Hour), &keystore.UsageOf{KeyID: two.ID, AccountID: two.AccountID, Operation: policy.ReadJob, Reason: policy.KeyExpired},
		keystore.UsageCounts{Requests: 1, Refused: 1})
	if err := m.Store.Close(); err != nil { // writes the usage
		t.Fatal(err)
	}
	m = open()
	t.Cleanup(func() { _ = m.Store.Close() })
	return m, one, two
}

func allUsage(t *testing.T, m *Manager, q UsageQuery) (all []Usage) {
	t.Helper()
	if err := m.Usage(t.Context(), q, func(u *Usage) error {
		all = append(all, *u)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestManager_Usage(t *testing.T) {
	t.Parallel()
	m, one, two := usageManager(t)
	heard := Usage{Requests: 2, AudioBytes: 7, AudioSeconds: 90.5}
	refused := Usage{Requests: 1, Refused: 1}
	of := func(u Usage, k *Key) Usage {
		u.AccountID, u.KeyID = OrNull(k.AccountID), OrNull(k.ID)
		return u
	}
	ofAccount := func(u Usage, k *Key) Usage {
		u.AccountID = OrNull(k.AccountID)
		return u
	}
	for name, c := range map[string]struct {
		m    *Manager
		q    UsageQuery
		want []Usage
	}{
		"all":                     {m, UsageQuery{}, []Usage{{Requests: 3, Refused: 1, AudioBytes: 7, AudioSeconds: 90.5}}},
		"since":                   {m, UsageQuery{Since: "1d"}, []Usage{heard}},
		"an account by its name":  {m, UsageQuery{AccountID: "Two"}, []Usage{ofAccount(refused, &two)}},
		"a key":                   {m, UsageQuery{KeyID: one.ID}, []Usage{of(heard, &one)}},
		"a key of an account":     {m, UsageQuery{KeyID: one.ID, AccountID: "One"}, []Usage{of(heard, &one)}},
		"keys":                    {m, UsageQuery{By: "key"}, []Usage{of(heard, &one), of(refused, &two)}},
		"the busiest key":         {m, UsageQuery{By: "key", Limit: 1}, []Usage{of(heard, &one)}},
		"the account itself":      {m.as(keystore.ActorAccount, two.AccountID), UsageQuery{}, []Usage{ofAccount(refused, &two)}},
		"the keys of the account": {m.as(keystore.ActorAccount, two.AccountID), UsageQuery{By: "key"}, []Usage{of(refused, &two)}},
	} {
		if diff := cmp.Diff(c.want, allUsage(t, c.m, c.q)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	days := allUsage(t, m, UsageQuery{By: "day"})
	if len(days) != 2 || days[0].At.String() >= days[1].At.String() || days[1].At.Time > noon || days[0].Refused != 1 {
		t.Errorf("days %+v", days)
	}
	text, err := json.Marshal(allUsage(t, m, UsageQuery{By: "reason", KeyID: two.ID})[0])
	want := `{"at":null,"account_id":"` + two.AccountID + `","key_id":"` + two.ID + `","operation":null,"reason":"key_expired","requests":1,"refused":1,"audio_bytes":0,"audio_seconds":0,"stream_seconds":0}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
}

func TestManager_UsageOfAnotherAccountDoesNotExist(t *testing.T) {
	t.Parallel()
	m, one, two := usageManager(t)
	none := func(*Usage) error {
		t.Error("there is usage")
		return nil
	}
	for _, q := range []UsageQuery{{AccountID: one.AccountID}, {AccountID: "One"}, {KeyID: one.ID}} {
		if err := m.as(keystore.ActorAccount, two.AccountID).Usage(t.Context(), q, none); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("%+v: error %v", q, err)
		}
	}
	if err := m.as(keystore.ActorKey, one.ID).Usage(t.Context(), UsageQuery{}, none); !errors.Is(err, ErrOperatorOnly) {
		t.Errorf("a key sees usage: %v", err)
	}
}

func TestManager_UsageRefuses(t *testing.T) {
	t.Parallel()
	m, one, two := usageManager(t)
	for field, q := range map[string]UsageQuery{
		"account_id": {AccountID: one.ID},
		"key":        {KeyID: one.ID, AccountID: two.AccountID},
		"since":      {Since: "soon"},
		"by":         {By: "week"},
		"limit":      {Limit: 5},
	} {
		var wrong *FieldError
		if err := m.Usage(t.Context(), q, nil); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%+v: error %v, want one about %s", q, err, field)
		}
	}
	stop := errors.New("stop") // of the caller
	if err := m.Usage(t.Context(), UsageQuery{}, func(*Usage) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v, want the caller's", err)
	}
}
