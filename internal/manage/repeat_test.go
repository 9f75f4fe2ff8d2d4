package manage

import (
	"errors"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// repeating returns a manager for a request with an idempotency key, some time after the first one.
func (m *Manager) repeating(request string, later time.Duration) *Manager {
	other := *m
	other.Actor.Request = request
	other.Now = m.Now.Add(later)
	return &other
}

// A repeated request to issue a key finds the key of the first one, without its secret. A request for another
// key with the same idempotency key issues none.
func TestManager_AKeyIsIssuedOnceForOneRequest(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	newAccount(t, m, "Two")
	asked := NewKey{AccountID: account.ID, Label: "tv", Expires: "30d", Allow: []string{"192.0.2.0/24"}, Limits: []string{"requests=60/m"}, Issuable: true}
	first := must(m.repeating("r", 0).IssueKey(t.Context(), asked))(t)
	if first.Secret.Empty() || first.Repeated {
		t.Errorf("the first request has the secret: %t, and is a repetition: %t", !first.Secret.Empty(), first.Repeated)
	}
	for _, accountID := range []string{account.ID, "One"} {
		asked.AccountID = accountID
		again := must(m.repeating("r", time.Hour).IssueKey(t.Context(), asked))(t)
		if again.ID != first.ID || !again.Secret.Empty() || !again.Repeated || again.ExpiresAt != first.ExpiresAt || again.CreatedAt != first.CreatedAt {
			t.Errorf("the repeated request has %+v, want %+v without the secret", again, first)
		}
	}
	for what, change := range map[string]func(*NewKey){
		"account":   func(n *NewKey) { n.AccountID = "Two" },
		"label":     func(n *NewKey) { n.Label = "radio" },
		"expiry":    func(n *NewKey) { n.Expires = "31d" },
		"no expiry": func(n *NewKey) { n.Expires = Never },
		"address":   func(n *NewKey) { n.Allow = nil },
		"limits":    func(n *NewKey) { n.Limits = []string{"requests=61/m"} },
		"issuable":  func(n *NewKey) { n.Issuable = false },
	} {
		other := asked
		change(&other)
		if _, err := m.repeating("r", time.Hour).IssueKey(t.Context(), other); !errors.Is(err, ErrOtherRequest) {
			t.Errorf("another %s: %v", what, err)
		}
	}
	if keys := must(m.Keys(t.Context(), KeyQuery{}))(t); len(keys.Items) != 1 {
		t.Errorf("%d keys were issued", len(keys.Items))
	}
	if other := must(m.repeating("another", 0).IssueKey(t.Context(), asked))(t); other.ID == first.ID || other.Repeated {
		t.Errorf("another request has issued no key: %+v", other)
	}
}

func TestManager_AKeyIsRotatedOnceForOneRequest(t *testing.T) {
	t.Parallel()
	for _, overlap := range []string{"24h", "0"} {
		m := newManager(t)
		account := newAccount(t, m, "One")
		key, another := newKey(t, m, NewKey{AccountID: account.ID}), newKey(t, m, NewKey{AccountID: account.ID})
		first := must(m.repeating("r", 0).RotateKey(t.Context(), key.ID, overlap))(t)
		again := must(m.repeating("r", time.Hour).RotateKey(t.Context(), key.ID, overlap))(t)
		if again.ID != first.ID || !again.Secret.Empty() || !again.Repeated || again.Replaces.ID != key.ID || again.Replaces.RevokeFrom != first.Replaces.RevokeFrom {
			t.Errorf("%s: the repeated request has %+v, want %+v without the secret", overlap, again, first)
		}
		for _, other := range []string{"0", "24h", "25h"} {
			if _, err := m.repeating("r", time.Hour).RotateKey(t.Context(), key.ID, other); other != overlap && !errors.Is(err, ErrOtherRequest) {
				t.Errorf("%s: with the overlap %s: %v", overlap, other, err)
			}
		}
		if _, err := m.repeating("r", time.Hour).RotateKey(t.Context(), another.ID, overlap); !errors.Is(err, ErrOtherRequest) {
			t.Errorf("%s: of another key: %v", overlap, err)
		}
		if keys := must(m.Keys(t.Context(), KeyQuery{}))(t); len(keys.Items) != 3 {
			t.Errorf("%s: there are %d keys, want 3", overlap, len(keys.Items))
		}
	}
}

// The successor of a child key has the issuer of the child key, and a key of the operator has none. So the one is no
// answer to a request for the other, also with the same rules.
func TestManager_TheSuccessorOfAChildKeyIsNoKeyOfTheOperator(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	issuer := newKey(t, m, NewKey{AccountID: account.ID, Issuable: true})
	child, _, err := m.Store.IssueKey(t.Context(), noon, m.Actor, keystore.NewKey{AccountID: account.ID, Origin: policy.OriginAPI, Expires: policy.Never(), Issuer: issuer.ID, OutlivesIssuer: true})
	if err != nil {
		t.Fatal(err)
	}
	must(m.repeating("r", 0).RotateKey(t.Context(), child.ID, "0"))(t)
	if k, err := m.repeating("r", 0).IssueKey(t.Context(), NewKey{AccountID: account.ID, Expires: Never}); !errors.Is(err, ErrOtherRequest) {
		t.Errorf("the successor %+v is the answer to a request for a key, %v", k, err)
	}
}

func TestManager_AnAccountIsCreatedOnceForOneRequest(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	password := policy.NewSecret("a-password-1")
	for request, asked := range map[string]NewAccount{
		"new":      {Name: "One"},
		"imported": {Name: "One", ServiceID: "sid-1", ServicePassword: password},
	} {
		first := must(m.repeating(request, 0).CreateAccount(t.Context(), asked))(t)
		again := must(m.repeating(request, time.Hour).CreateAccount(t.Context(), asked))(t)
		if again.ID != first.ID || !again.Repeated || first.Repeated || !again.ServicePassword.Empty() || again.ServiceID != first.ServiceID {
			t.Errorf("%s: the repeated request has %+v, want %+v without the password", request, again, first)
		}
		for what, other := range map[string]NewAccount{
			"name":             {Name: "Two", ServiceID: asked.ServiceID, ServicePassword: asked.ServicePassword},
			"service ID":       {Name: "One", ServiceID: "sid-2", ServicePassword: password},
			"service password": {Name: "One", ServiceID: "sid-1", ServicePassword: policy.NewSecret("a-password-2")},
		} {
			if _, err := m.repeating(request, time.Hour).CreateAccount(t.Context(), other); !errors.Is(err, ErrOtherRequest) {
				t.Errorf("%s: another %s: %v", request, what, err)
			}
		}
	}
	if all := must(m.Accounts(t.Context(), AccountQuery{}))(t); len(all.Items) != 2 {
		t.Errorf("there are %d accounts, want 2", len(all.Items))
	}
}

func TestManager_AnAccountIsRotatedOnceForOneRequest(t *testing.T) {
	t.Parallel()
	for overlap, otherOverlap := range map[string]string{"24h": "0", "0": "24h"} {
		m := newManager(t)
		account, another := newAccount(t, m, "One"), newAccount(t, m, "Two")
		first := must(m.repeating("r", 0).RotateAccount(t.Context(), account.ID, overlap))(t)
		again := must(m.repeating("r", time.Hour).RotateAccount(t.Context(), "One", overlap))(t)
		if again.ServiceID != first.ServiceID || again.ServiceID == account.ServiceID || !again.Repeated || !again.ServicePassword.Empty() || again.PreviousUntil != first.PreviousUntil {
			t.Errorf("%s: the repeated request has %+v, want %+v without the password", overlap, again, first)
		}
		if _, err := m.repeating("r", time.Hour).RotateAccount(t.Context(), account.ID, otherOverlap); !errors.Is(err, ErrOtherRequest) {
			t.Errorf("%s: with the overlap %s: %v", overlap, otherOverlap, err)
		}
		if _, err := m.repeating("r", time.Hour).RotateAccount(t.Context(), another.ID, overlap); !errors.Is(err, ErrOtherRequest) {
			t.Errorf("%s: of another account: %v", overlap, err)
		}
	}
}

// The old service ID of an account is shown as long as it works.
func TestManager_TheOldServiceIDIsShownUntilTheOverlapEnds(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	must(m.RotateAccount(t.Context(), account.ID, "24h"))(t)
	for later, shown := range map[time.Duration]bool{0: true, 24*time.Hour - time.Millisecond: true, 24 * time.Hour: false} {
		a := must(m.repeating("", later).Account(t.Context(), account.ID))(t)
		if (a.PreviousServiceID == OrNull(account.ServiceID)) != shown || a.PreviousUntil.IsZero() == shown {
			t.Errorf("after %s: %q until %s, shown: %t", later, a.PreviousServiceID, a.PreviousUntil, shown)
		}
	}
}
