package keystore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// newKey returns a key to issue, with its secret.
func (f fixture) newKey(by Actor, accountID string) (*newKey, policy.Secret) {
	f.t.Helper()
	secret, err := policy.GenerateSecret(policy.KeyPrefix, rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	id, err := by.newID("key_")
	if err != nil {
		f.t.Fatal(err)
	}
	k := NewKey{AccountID: accountID, Origin: policy.OriginConsole, Label: "batch", Expires: policy.ExpiresAt(start.Add(time.Hour))}
	return &newKey{start, by, k, k.key(start, id, secret.Reveal()[:prefixLen]), f.hash.secret(secret)}, secret
}

// Of the keys of a batch, one that may not be issued is refused alone, and the others are issued
// together, with all their entries. A request that is in the batch twice makes one key.
func TestIssue_KeysOfABatchAreRefusedAlone(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		f := openStore(t, "", place())
		open, closed := f.account(), f.account()
		if _, err := f.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
			t.Fatal(err)
		}
		repeating := operator
		repeating.Request = "once"
		var batch, writes []*write
		var secrets []policy.Secret
		add := func(by Actor, accountID string) {
			n, secret := f.newKey(by, accountID)
			batch, secrets = append(batch, &write{key: n, run: n.issue, done: make(chan error, 1)}), append(secrets, secret)
		}
		for range 20 { // one statement with 16 keys, and one with 4
			add(operator, open.ID)
		}
		add(operator, closed.ID)
		add(repeating, open.ID)
		add(repeating, open.ID)
		add(operator, "acc_none")
		writes = append(writes, batch...) // commit overwrites the slice
		before, err := f.LastAudit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.commits.commit(t.Context(), batch, false)
		issued := 0
		for i, w := range writes {
			err := <-w.done
			r, found := f.FindKey(t.Context(), secrets[i])
			var repeated *RepeatedError
			switch {
			case i == 20 && errors.Is(err, ErrAccountClosed), i == 22 && errors.As(err, &repeated), i == 23 && errors.Is(err, ErrNotFound):
				wantIs(t, found, ErrNotFound)
			case i == 20 || i > 21 || err != nil:
				t.Errorf("key %d: %v", i, err)
			default:
				if issued++; found != nil || statusOf(&r, start) != keyActive {
					t.Errorf("key %d: %v", i, found)
				}
			}
		}
		after, err := f.LastAudit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := after - before; issued != 21 || got != 21 {
			t.Errorf("%d keys with %d entries of the audit trail, want 21 of each", issued, got)
		}
		if _, err := f.VerifyAudit(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

// If a statement for several keys fails, or the check of one of them, each key is issued by itself.
func TestIssue_OneBadKeyDoesNotHurtTheOthers(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		f := openStore(t, "", place())
		account := f.account()
		for what, spoil := range map[string]func(batch []*write){
			"a digest that is there already":           func(batch []*write) { batch[1].key.digest = batch[2].key.digest },
			"an account that the database cannot name": func(batch []*write) { batch[0].key.wanted.AccountID = "acc_\x00" },
		} {
			var batch, writes []*write
			for range 5 {
				n, _ := f.newKey(operator, account.ID)
				batch = append(batch, &write{key: n, run: n.issue, done: make(chan error, 1)})
			}
			spoil(batch)
			writes = append(writes, batch...) // commit overwrites the slice
			f.commits.commit(t.Context(), batch, false)
			failed := 0
			for _, w := range writes {
				if err := <-w.done; err != nil {
					failed++
				}
			}
			if failed != 1 {
				t.Errorf("%s: %d keys are not issued, want one", what, failed)
			}
		}
		if _, err := f.VerifyAudit(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

// All keys that may be issued are issued together: only the others are left to run by themselves.
func TestIssue_OnlyRefusedKeysAreLeft(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		f := openStore(t, "", place())
		account := f.account()
		var batch, left []*write
		for _, id := range []string{account.ID, "acc_none", account.ID} {
			n, _ := f.newKey(operator, id)
			batch = append(batch, &write{key: n, run: n.issue})
		}
		err := f.write(t.Context(), func(t *txn) (fatal error) {
			left, fatal = t.issueKeys(batch)
			return fatal
		})
		if err != nil || len(left) != 1 || left[0] != batch[1] {
			t.Errorf("%d keys are left, %v; want the one of no account", len(left), err)
		}
	})
}

// issueParties has accounts and keys for which keys are issued, or refused.
type issueParties struct {
	accounts []string // open, closed, suspended, none, and one that the database cannot name
	issuers  []string // none, one of the open account, one without the right, one of another account
}

func (f fixture) issueParties() (p issueParties) {
	f.t.Helper()
	open, closed, suspended := f.account(), f.account(), f.account()
	issuer := func(accountID string, issuable bool) string {
		k, _, err := f.IssueKey(f.t.Context(), start, operator, NewKey{AccountID: accountID, Origin: policy.OriginConsole, Expires: policy.Never(), Issuable: issuable})
		if err != nil {
			f.t.Fatal(err)
		}
		return k.ID
	}
	p.issuers = []string{"", issuer(open.ID, true), issuer(open.ID, false), issuer(suspended.ID, true)}
	if _, err := f.CloseAccount(f.t.Context(), start, operator, closed.ID); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.SuspendAccount(f.t.Context(), start, operator, suspended.ID, ""); err != nil {
		f.t.Fatal(err)
	}
	p.accounts = []string{open.ID, closed.ID, suspended.ID, "acc_none", "acc_\x00"}
	return p
}

// outcome names how a key was issued or refused.
func outcome(err error) string {
	if _, repeated := errors.AsType[*RepeatedError](err); repeated {
		return "repeated"
	}
	for _, kind := range []error{ErrNotFound, ErrAccountClosed, ErrAccountSuspended, ErrInvalid, ErrUnavailable} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	if err != nil {
		return err.Error()
	}
	return "issued"
}

// A batch of keys has the same results as the same keys one after another.
func TestIssue_ABatchIsAsOneByOne(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		f := openStore(t, "", place())
		together, single := f.issueParties(), f.issueParties()
		round := 0
		rapid.Check(t, func(r *rapid.T) {
			round++
			var batch, writes, alone []*write
			for range rapid.IntRange(1, 40).Draw(r, "keys") {
				account := rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 2, 3, 4}).Draw(r, "account")
				issuer := rapid.SampledFrom([]int{0, 0, 0, 1, 1, 1, 2, 3}).Draw(r, "issuer")
				request := rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(r, "request")
				if request > 0 { // a repeated request asks for the same
					account, issuer = 0, request-1
				}
				twin := rapid.IntRange(0, 30).Draw(r, "twin") == 0 && len(batch) > 0
				add := func(to []*write, who string, p issueParties) []*write {
					by := operator
					if request > 0 {
						by.Request = fmt.Sprintf("%s of round %d: %d", who, round, request)
					}
					n, _ := f.newKey(by, p.accounts[account])
					n.wanted.Issuer, n.key.IssuerID = p.issuers[issuer], p.issuers[issuer]
					if twin {
						n.digest = to[0].key.digest
					}
					return append(to, &write{key: n, run: n.issue, done: make(chan error, 1)})
				}
				batch, alone = add(batch, "batch", together), add(alone, "alone", single)
			}
			writes = append(writes, batch...) // commit overwrites the slice
			entries := func(commit func()) int64 {
				before, err := f.LastAudit(t.Context())
				if err != nil {
					r.Fatal(err)
				}
				commit()
				after, err := f.LastAudit(t.Context())
				if err != nil {
					r.Fatal(err)
				}
				return after - before
			}
			got := entries(func() { f.commits.commit(t.Context(), batch, false) })
			want := entries(func() {
				for _, w := range alone {
					f.commits.commit(t.Context(), []*write{w}, false)
				}
			})
			issued := int64(0)
			for i, w := range writes {
				one, other := outcome(<-w.done), outcome(<-alone[i].done)
				if one != other {
					r.Errorf("key %d: %s in a batch, %s alone", i, one, other)
				}
				if one == "issued" {
					issued++
				}
			}
			if got != want || got != issued {
				r.Errorf("%d entries of the audit trail, %d one by one, for %d keys", got, want, issued)
			}
		})
		if check, err := f.VerifyAudit(t.Context(), nil); err != nil || check.Fault != "" {
			t.Errorf("%q, %v", check.Fault, err)
		}
	})
}
