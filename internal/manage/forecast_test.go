package manage

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// forecastManager returns a manager of a keystore with a key that ends in a day and on which
// much hangs, and with a key of another account that ends in two days.
func forecastManager(t *testing.T) (m *Manager, busy, other Key, children []string) {
	t.Helper()
	cfg := storetest.New(t).CommandLine()
	cfg.Clock = func() policy.Time { return noon }
	open := func() *Manager {
		store := must(keystore.Open(t.Context(), cfg))(t)
		return &Manager{Store: store, Actor: keystore.Actor{Kind: keystore.ActorOperator, ID: "ada"}, Now: noon, Gates: someGates()}
	}
	m = open()
	account := newAccount(t, m, "One")
	busy = newKey(t, m, NewKey{AccountID: account.ID, Expires: "1d", Issuable: true, Limits: []string{"requests=60/m audio=100s/d audio-total=36000s"}})
	other = newKey(t, m, NewKey{AccountID: newAccount(t, m, "Two").ID, Expires: "2d"})
	newKey(t, m, NewKey{AccountID: account.ID, Expires: "15d"})
	for range 12 {
		k, _, err := m.Store.IssueKey(t.Context(), noon, m.Actor, keystore.NewKey{
			AccountID: account.ID, Origin: policy.OriginAPI, Expires: policy.ExpiresAt(noon.Add(30 * 24 * time.Hour)), Issuer: busy.ID, OutlivesIssuer: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, k.ID)
	}
	for i, state := range []policy.JobState{policy.JobQueued, policy.JobCompleted, policy.JobUnseen} {
		j := policy.Job{Backend: "amivoice", ID: []string{"one", "two", "three"}[i], Dialect: "amivoice", AccountID: account.ID, KeyID: busy.ID, CreatedAt: noon.Add(time.Duration(i) * time.Hour), State: state}
		if state.Ended() {
			j.EndedAt = noon
		}
		if err := m.Store.CreateJob(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	used := keystore.UsageOf{KeyID: busy.ID, AccountID: account.ID, Operation: policy.Recognize, Reason: policy.Allowed}
	m.Store.CountUsage(noon.Add(-6*24*time.Hour), &used, keystore.UsageCounts{Requests: 3, AudioTime: 20 * time.Second})
	m.Store.CountUsage(noon, &used, keystore.UsageCounts{Requests: 2, Refused: 1, AudioTime: 101500 * time.Millisecond, StreamTime: time.Second})
	if err := m.Store.Close(); err != nil { // writes the usage
		t.Fatal(err)
	}
	m = open()
	t.Cleanup(func() { _ = m.Store.Close() })
	return m, busy, other, children
}

func TestManager_Forecast(t *testing.T) {
	t.Parallel()
	m, busy, other, children := forecastManager(t)
	busy.Secret, other.Secret = ShownOnce{}, ShownOnce{}
	used := func(n int64) *int64 { return &n }
	grace, _ := m.Gates.graceUntil(&policy.Job{Backend: "amivoice", CreatedAt: noon.Add(2 * time.Hour)})
	if grace.IsZero() {
		t.Fatal("the test's gates have no grace")
	}
	wantBusy := EndingKey{
		Key: busy, AccountName: "One", EndsAt: Time{noon.Add(24 * time.Hour)}, EndsBy: "expiry",
		Requests: 5, Refused: 1, AudioSeconds: 121.5, StreamSeconds: 1,
		Jobs: 2, JobIDs: []string{"three", "one"}, GraceUntil: Time{grace},
		Children: 12, ChildIDs: children[:10],
		LimitsUsed: []UsedLimit{{"requests=60/m", "key", nil}, {"audio=100s/d", "key", used(101)}, {"audio-total=36000s", "key", used(121)}},
	}
	wantOther := EndingKey{
		Key: other, AccountName: "Two", EndsAt: Time{noon.Add(48 * time.Hour)}, EndsBy: "expiry",
		JobIDs: []string{}, ChildIDs: []string{}, LimitsUsed: []UsedLimit{},
	}
	for name, c := range map[string]struct {
		m    *Manager
		q    ForecastQuery
		want []EndingKey
	}{
		"two weeks":               {m, ForecastQuery{}, []EndingKey{wantBusy, wantOther}},
		"a day":                   {m, ForecastQuery{Within: "1d"}, []EndingKey{wantBusy}},
		"an account by its name":  {m, ForecastQuery{AccountID: "Two"}, []EndingKey{wantOther}},
		"the account itself":      {m.as(keystore.ActorAccount, other.AccountID), ForecastQuery{}, []EndingKey{wantOther}},
		"less than the first end": {m, ForecastQuery{Within: "23h"}, []EndingKey{}},
	} {
		list := must(c.m.Forecast(t.Context(), c.q))(t)
		if diff := cmp.Diff(c.want, list.Items, cmpopts.EquateComparable(policy.Secret{}, policy.Expiry{})); diff != "" || list.Next != "" {
			t.Errorf("%s, next %q (-want +got):\n%s", name, list.Next, diff)
		}
	}
}

func TestManager_ForecastInParts(t *testing.T) {
	t.Parallel()
	m, busy, other, _ := forecastManager(t)
	all := must(All(func(p Page) (List[EndingKey], error) {
		p.Limit = 1
		return m.Forecast(t.Context(), ForecastQuery{Page: p})
	}))(t)
	ids := make([]string, len(all))
	for i, k := range all {
		ids[i] = k.ID
	}
	if !slices.Equal(ids, []string{busy.ID, other.ID}) {
		t.Errorf("got %v", ids)
	}
}

func TestManager_ForecastOfARotation(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	issuer := newKey(t, m, NewKey{AccountID: account.ID, Issuable: true})
	child, _, err := m.Store.IssueKey(t.Context(), noon, m.Actor, keystore.NewKey{AccountID: account.ID, Origin: policy.OriginAPI, Expires: policy.ExpiresAt(noon.Add(30 * 24 * time.Hour)), Issuer: issuer.ID})
	if err != nil {
		t.Fatal(err)
	}
	must(m.RotateKey(t.Context(), issuer.ID, "3d"))(t)
	list := must(m.Forecast(t.Context(), ForecastQuery{}))(t)
	if len(list.Items) != 2 || list.Items[0].ID != issuer.ID || list.Items[0].EndsBy != "rotation" || list.Items[1].ID != child.ID || list.Items[1].EndsBy != "issuer" {
		t.Errorf("got %+v", list.Items)
	}
	for _, k := range list.Items {
		if k.EndsAt.Time != noon.Add(3*24*time.Hour) {
			t.Errorf("key %s ends at %s", k.ID, k.EndsAt)
		}
	}
}

func TestManager_ForecastRefusesMistakes(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	for want, q := range map[string]ForecastQuery{
		`within "soon": `:              {Within: "soon"},
		`within: that is no time`:      {Within: "0"},
		`limit -1: want the number`:    {Page: Page{Limit: -1}},
		`cursor: want one that this`:   {Page: Page{Cursor: "k1.eA"}},
		`account_id "key_x" is a key`:  {AccountID: "key_x"},
		`there is no account with the`: {AccountID: "nobody"},
	} {
		_, err := m.Forecast(t.Context(), q)
		if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	account := m.as(keystore.ActorAccount, newAccount(t, m, "One").ID)
	if _, err := account.Forecast(t.Context(), ForecastQuery{AccountID: newAccount(t, m, "Two").ID}); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("of another account: %v", err)
	}
}
