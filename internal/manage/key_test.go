package manage

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const day30 = 30 * 24 * time.Hour

func TestKeyQuery_SelectsByTimesFromNow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		query KeyQuery
		want  keystore.KeyList
	}{
		{KeyQuery{}, keystore.KeyList{}},
		{KeyQuery{AccountID: "acc_1", IssuedBy: "key_1", Status: "expired"}, keystore.KeyList{AccountID: "acc_1", IssuerID: "key_1", Status: "expired"}},
		{KeyQuery{Expiring: "1h"}, keystore.KeyList{ExpiresBy: noon.Add(time.Hour)}},
		{KeyQuery{Unused: "30d", Status: "active"}, keystore.KeyList{Status: "active", UnusedSince: noon.Add(-day30)}},
		{KeyQuery{Page: Page{Limit: 7, Cursor: "c"}}, keystore.KeyList{Limit: 7, Cursor: "c"}},
	} {
		test.want.Now = noon
		if got, err := test.query.parse(noon); got != test.want || err != nil {
			t.Errorf("%+v: got %+v, %v; want %+v", test.query, got, err, test.want)
		}
	}
}

func TestManager_ListsKeysInPartsWithoutGapOrRepetition(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	var want []string
	for i := range 7 {
		m.Now = noon.Add(time.Duration(i) * time.Second)
		want = append(want, newKey(t, m, NewKey{AccountID: account.ID, Label: strconv.Itoa(i)}).ID)
	}
	for limit := range 9 {
		var got []string
		q := KeyQuery{Page: Page{Limit: limit}, AccountID: account.ID}
		for {
			part := must(m.Keys(t.Context(), q))(t)
			if limit > 0 && len(part.Items) > limit {
				t.Errorf("a part of %d has %d keys", limit, len(part.Items))
			}
			for _, k := range part.Items {
				got = append(got, k.ID)
			}
			if part.Next == "" {
				break
			}
			q.Cursor = string(part.Next)
		}
		if !slices.Equal(got, want) {
			t.Errorf("in parts of %d: got %v, want %v", limit, got, want)
		}
	}
}

func TestManager_AListOfAnIssuerThatDoesNotExistIsAnError(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	issuer := newKey(t, m, NewKey{AccountID: newAccount(t, m, "One").ID, Issuable: true})
	if got := must(m.Keys(t.Context(), KeyQuery{IssuedBy: issuer.ID}))(t); len(got.Items) != 0 {
		t.Errorf("an issuer without keys has issued %v", got.Items)
	}
	if _, err := m.Keys(t.Context(), KeyQuery{IssuedBy: "key_none"}); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("an issuer that does not exist: %v", err)
	}
	if _, err := m.Keys(t.Context(), KeyQuery{AccountID: "acc_none"}); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("an account that does not exist: %v", err)
	}
}

func TestManager_AKeyHasWhatItWasIssuedWith(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	issued := newKey(t, m, NewKey{
		AccountID: account.ID, Label: "for a test", Expires: "2026-12-31", Allow: []string{"192.0.2.7,192.0.2.8", "2001:db8::/32"}, Issuable: true,
	})
	k := must(m.Key(t.Context(), issued.ID))(t)
	if at, _ := k.ExpiresAt.Time(); at != policy.At(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("it expires at %s", at)
	}
	if k.AccountID != account.ID || k.Label != "for a test" || k.Origin != "console" || !k.Issuable || k.Status != StatusActive ||
		k.CreatedAt.Time != noon || !k.EndedAt.IsZero() || !k.AccountOpen || !strings.HasPrefix(issued.Secret.Reveal(), k.Prefix) || len(k.Allow) != 3 {
		t.Errorf("got %+v", k)
	}
	_, err := m.IssueKey(t.Context(), NewKey{AccountID: "acc_none", Expires: Never})
	if Text(err, listNames{}) != `there is no account "acc_none": [accounts] shows all accounts` {
		t.Errorf("for an account that does not exist: %v", err)
	}
}

func TestManager_AKeySaysWhenItEnded(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	issue := func() string { return newKey(t, m, NewKey{AccountID: account.ID}).ID }
	deleted, revoked, rotated, closed := issue(), issue(), issue(), issue()
	m.Now = noon.Add(time.Minute)
	first := m.Now

	k := must(m.DeleteKey(t.Context(), deleted))(t)
	if k.Already || k.At.Time != first || k.Status != "deleted" || k.EndedAt.Time != first {
		t.Errorf("deleted: %+v", k)
	}
	k = must(m.RevokeKey(t.Context(), revoked, Revocation{Reason: "a test"}))(t)
	if k.Already || k.At.Time != first || k.Status != "revoked" || k.EndedAt.Time != first || k.Children != nil {
		t.Errorf("revoked: %+v", k)
	}
	r := must(m.RotateKey(t.Context(), rotated, "1h"))(t)
	if r.Replaces.ID != rotated || r.Replaces.RevokeFrom.Time != first.Add(time.Hour) || r.Replaces.Status != StatusActive || r.Secret.Empty() || r.ID == rotated {
		t.Errorf("rotated: %+v", r)
	}

	m.Now = noon.Add(2 * time.Minute)
	if k = must(m.DeleteKey(t.Context(), deleted))(t); !k.Already || k.At.Time != first {
		t.Errorf("deleted again: %+v", k)
	}
	if k = must(m.RevokeKey(t.Context(), revoked, Revocation{WithChildren: true}))(t); !k.Already || k.At.Time != first || k.Children == nil || *k.Children != 0 {
		t.Errorf("revoked again: %+v", k)
	}
	if text := string(must(json.Marshal(k))(t)); !strings.HasSuffix(text, `"children_revoked":0}`) || strings.Contains(text, `"Already"`) {
		t.Errorf("revoked in JSON: %s", text)
	}
	m.Now = noon.Add(2 * time.Hour)
	if k := must(m.Key(t.Context(), rotated))(t); k.Status != "revoked" || k.EndedAt.Time != first.Add(time.Hour) {
		t.Errorf("rotated, after the overlap: %+v", k)
	}
	must(m.CloseAccount(t.Context(), account.ID, true))(t)
	for _, id := range []string{closed, deleted} { // the account's end is the key's, also if the key was deleted before
		if k := must(m.Key(t.Context(), id))(t); k.Status != "revoked" || !k.EndedAt.IsZero() || k.AccountOpen {
			t.Errorf("of a closed account: %+v", k)
		}
	}
}

func TestManager_ListsOfAnEmptyKeystoreAreEmpty(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	keys, accounts, jobs := must(m.Keys(t.Context(), KeyQuery{}))(t), must(m.Accounts(t.Context(), AccountQuery{}))(t), must(m.Jobs(t.Context(), JobQuery{}))(t)
	if len(keys.Items)+len(accounts.Items)+len(jobs.Items) != 0 || keys.Next+accounts.Next+jobs.Next != "" {
		t.Errorf("%+v, %+v, %+v", keys, accounts, jobs)
	}
}

// The holder of an account does not learn the fingerprint of the operator's upstream key.
func TestManager_OnlyTheOperatorSeesTheUpstreamKeyOfAJob(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	key := newKey(t, m, NewKey{AccountID: newAccount(t, m, "One").ID})
	job := policy.Job{ID: "j", Backend: "amivoice", Dialect: "amivoice", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: noon, Client: netip.MustParseAddr("192.0.2.7"), UpstreamKey: 0xabc}
	if err := m.Store.CreateJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		m    *Manager
		want OrNull
	}{{m, "00000abc"}, {m.as(keystore.ActorAccount, key.AccountID), ""}} {
		one := must(test.m.Job(t.Context(), "j", ""))(t)
		list := must(test.m.Jobs(t.Context(), JobQuery{}))(t)
		if one.UpstreamKey != test.want || one.ClientIP != "192.0.2.7" || len(list.Items) != 1 || list.Items[0] != one {
			t.Errorf("%s sees %+v, and in the list %+v", test.m.Actor.Kind, one, list.Items)
		}
	}
}

// Jobs on grace are those that a key may still read although it has expired.
func TestManager_JobsOnGraceAreThoseOfExpiredKeys(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	expires := newKey(t, m, NewKey{AccountID: account.ID, Expires: "1h"})
	revoked := newKey(t, m, NewKey{AccountID: account.ID, Expires: "1h"})
	stays := newKey(t, m, NewKey{AccountID: account.ID})
	must(m.RevokeKey(t.Context(), revoked.ID, Revocation{}))(t)
	for id, job := range map[string]policy.Job{
		"read":     {Backend: "amivoice", KeyID: expires.ID},
		"no grace": {Backend: "none", KeyID: expires.ID},
		"revoked":  {Backend: "amivoice", KeyID: revoked.ID},
		"stays":    {Backend: "amivoice", KeyID: stays.ID},
	} {
		job.ID, job.Dialect, job.AccountID, job.CreatedAt = id, "amivoice", account.ID, noon
		if err := m.Store.CreateJob(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
	for later, want := range map[time.Duration]int{0: 0, time.Hour: 1, 2*time.Hour - time.Millisecond: 1, 2 * time.Hour: 0} {
		list := must(m.repeating("", later).JobsOnGrace(t.Context(), Page{Limit: 10}))(t)
		if len(list.Items) != want || want > 0 && (list.Items[0].ID != "read" || list.Items[0].KeyExpiredAt.Time != noon.Add(time.Hour) || list.Items[0].GraceUntil.Time != noon.Add(2*time.Hour)) {
			t.Errorf("after %s: %+v, want %d", later, list.Items, want)
		}
	}
	without := m.repeating("", time.Hour)
	without.Gates = GateConfigs{Gates: []GateConfig{gateWith("amivoice", policy.Grace{})}}
	if list := must(without.JobsOnGrace(t.Context(), Page{Limit: 10}))(t); len(list.Items) != 0 {
		t.Errorf("without grace: %+v", list.Items)
	}
	for field, page := range map[string]Page{"limit": {}, "cursor": {Limit: 1, Cursor: "x"}} {
		var wrong *FieldError
		if _, err := m.JobsOnGrace(t.Context(), page); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%+v: %v, want an error about %s", page, err, field)
		}
	}
}
