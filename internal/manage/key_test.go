package manage

import (
	"encoding/json"
	"errors"
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
	if k := must(m.Key(t.Context(), closed))(t); k.Status != "revoked" || !k.EndedAt.IsZero() || k.AccountOpen {
		t.Errorf("of a closed account: %+v", k)
	}
}
