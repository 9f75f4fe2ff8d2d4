package keystoretest

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// aToken is a token of a key that expires in a minute.
func aToken(k policy.Key, secret string) keystore.NewToken {
	return keystore.NewToken{Backend: "b", Secret: policy.NewSecret(secret), KeyID: k.ID, CreatedAt: start, ExpiresAt: start.Add(time.Minute)}
}

// mint records a token.
func (f fixture) mint(n keystore.NewToken) {
	f.t.Helper()
	reserved := f.ReserveWrite()
	defer reserved.Release()
	if err := f.RecordToken(f.t.Context(), &reserved, n); err != nil {
		f.t.Fatal(err)
	}
}

// byToken decides about a stream with a token at now.
func (f fixture) byToken(now policy.Time, backend, secret string) policy.Reason {
	f.t.Helper()
	token, owner, err := f.FindToken(f.t.Context(), backend, policy.NewSecret(secret))
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return policy.KeyUnknown
	case err != nil:
		f.t.Fatal(err)
	}
	k := owner.Key()
	return policy.Decide(now, &k, &policy.Request{Operation: policy.Stream, Token: &token}, policy.Rules{}).Reason
}

func (f fixture) wantByToken(what string, now policy.Time, secret string, want policy.Reason) {
	f.t.Helper()
	if got := f.byToken(now, "b", secret); got != want {
		f.t.Errorf("%s: decided %v, want %v", what, got, want)
	}
}

func testR10TokenIsThereWhenRecordReturns(t *testing.T, place Place) {
	for name, option := range map[string]func(*keystore.Config){"plain": func(*keystore.Config) {}, "peppered": withPepper("salt")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := place(t)
			f, beside := openStore(t, cfg, option), openStore(t, cfg, option)
			k, secret := f.key(f.account().ID)
			long := strings.Repeat("eyJ.", policy.MaxTokenLen/4)
			for _, token := range []string{"ek_1", long} {
				for range 2 { // absence is not remembered
					f.wantByToken("before the mint", start, token, policy.KeyUnknown)
					beside.wantByToken("before the mint", start, token, policy.KeyUnknown)
				}
				f.mint(aToken(k, token))
				for _, s := range []fixture{f, beside, beside, openStore(t, cfg, option, commandLine)} {
					got, owner, err := s.FindToken(t.Context(), "b", policy.NewSecret(token))
					if want := (policy.Token{CreatedAt: start, ExpiresAt: start.Add(time.Minute)}); err != nil || got != want || owner != *s.find(secret) {
						t.Errorf("the token %+v of %s, %v; want %+v of %s", got, owner.Key().ID, err, want, k.ID)
					}
				}
			}
			if got := f.byToken(start, "another", "ek_1"); got != policy.KeyUnknown {
				t.Errorf("at another backend: %v", got)
			}
			if f.find(policy.NewSecret("ek_1")) != nil {
				t.Error("a token is found as a key")
			}
			if k, err := f.Key(t.Context(), k.ID); err != nil || k.ID == "" {
				t.Errorf("the owner: %v", err)
			}
			if entries, _, err := f.Audit(t.Context(), keystore.AuditList{AccountID: k.AccountID}); err != nil || len(entries) != 2 {
				t.Errorf("%d entries of the audit trail, %v; want the account's and the key's", len(entries), err)
			}
		})
	}
}

func testRecordTokenRefuses(t *testing.T, place Place) {
	f := openStore(t, place(t))
	k, _ := f.key(f.account().ID)
	record := func(edit func(*keystore.NewToken)) error {
		n := aToken(k, "ek_secret")
		edit(&n)
		return f.RecordToken(t.Context(), new(keystore.WriteReservation), n)
	}
	for name, edit := range map[string]func(*keystore.NewToken){
		"no backend":                func(n *keystore.NewToken) { n.Backend = "" },
		"a backend that is long":    func(n *keystore.NewToken) { n.Backend = strings.Repeat("b", 513) },
		"no text":                   func(n *keystore.NewToken) { n.Secret = policy.Secret{} },
		"a text that is long":       func(n *keystore.NewToken) { n.Secret = policy.NewSecret(strings.Repeat("x", policy.MaxTokenLen+1)) },
		"a text with a space":       func(n *keystore.NewToken) { n.Secret = policy.NewSecret("ek_ secret") },
		"no creation":               func(n *keystore.NewToken) { n.CreatedAt = 0 },
		"no expiry":                 func(n *keystore.NewToken) { n.ExpiresAt = 0 },
		"an expiry at its creation": func(n *keystore.NewToken) { n.ExpiresAt = n.CreatedAt },
	} {
		err := record(edit)
		if wantIs(t, err, keystore.ErrInvalid); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A key that does not exist, as after the file was replaced.
	wantIs(t, record(func(n *keystore.NewToken) { n.KeyID = "key_none" }), keystore.ErrUnavailable)
	f.wantByToken("after all refusals", start, "ek_secret", policy.KeyUnknown)
}

// A backend that gives one token to two keys would let one of them act for the other.
func testRecordTokenOfAnotherKey(t *testing.T, place Place) {
	f := openStore(t, place(t))
	owner, secret := f.key(f.account().ID)
	sibling, _ := f.key(owner.AccountID)
	stranger, _ := f.key(f.account().ID)
	f.mint(aToken(owner, "ek_1"))
	for _, k := range []policy.Key{sibling, stranger} {
		err := f.RecordToken(t.Context(), new(keystore.WriteReservation), aToken(k, "ek_1"))
		if wantIs(t, err, keystore.ErrTokenExists); err == nil || strings.Contains(err.Error(), "ek_1") {
			t.Errorf("error %v", err)
		}
	}
	if _, got, err := f.FindToken(t.Context(), "b", policy.NewSecret("ek_1")); err != nil || got != *f.find(secret) {
		t.Errorf("the token now belongs to %s, %v", got.Key().ID, err)
	}
	other := aToken(stranger, "ek_1")
	other.Backend = "another"
	f.mint(other)
	for range 2 { // one record takes the place of the other in the cache
		for backend, want := range map[string]string{"b": owner.ID, "another": stranger.ID} {
			if _, got, err := f.FindToken(t.Context(), backend, policy.NewSecret("ek_1")); err != nil || got.Key().ID != want {
				t.Errorf("backend %s: the token of %s, %v; want %s", backend, got.Key().ID, err, want)
			}
		}
	}
}

// A backend may give the same token again. The later expiry counts, in other processes too.
func testRecordTokenAgain(t *testing.T, place Place) {
	cfg := place(t)
	f, beside := openStore(t, cfg), openStore(t, cfg)
	k, _ := f.key(f.account().ID)
	n := aToken(k, "ek_1")
	f.mint(n)
	end := n.ExpiresAt
	for _, s := range []fixture{f, beside} {
		s.wantByToken("before its expiry", end-1, "ek_1", policy.Allowed)
		s.wantByToken("at its expiry", end, "ek_1", policy.KeyExpired)
	}
	n.ExpiresAt = end.Add(time.Minute)
	f.mint(n)
	f.wantByToken("after it was given again", end, "ek_1", policy.Allowed)
	waitFor(t, "another process knows the later expiry", func() bool { return beside.byToken(end, "b", "ek_1") == policy.Allowed })
	n.ExpiresAt = end
	f.mint(n)
	f.wantByToken("after an earlier expiry", end, "ek_1", policy.Allowed)
	f.wantByToken("at the later expiry", end.Add(time.Minute), "ek_1", policy.KeyExpired)
}

// The end of a key or of its account counts for its tokens at once, also for those in a cache,
// and in another process within 250 ms.
func testR2ATokenEndsWithItsOwner(t *testing.T, place Place) {
	for _, c := range []struct {
		name string
		end  func(f fixture, k policy.Key) error
		want policy.Reason
	}{
		{"revoked", func(f fixture, k policy.Key) error {
			_, err := f.RevokeKey(t.Context(), start, operator, k.ID, "")
			return err
		}, policy.KeyRevoked},
		{"deleted", func(f fixture, k policy.Key) error {
			_, err := f.DeleteKey(t.Context(), start, operator, k.ID)
			return err
		}, policy.KeyDeleted},
		{"suspended", func(f fixture, k policy.Key) error {
			_, err := f.SuspendKey(t.Context(), start, operator, k.ID, "")
			return err
		}, policy.KeySuspended},
		{"rotated", func(f fixture, k policy.Key) error {
			_, err := f.RotateKey(t.Context(), start, operator, k.ID, 0)
			return err
		}, policy.KeyRevoked},
		{"account suspended", func(f fixture, k policy.Key) error {
			_, err := f.SuspendAccount(t.Context(), start, operator, k.AccountID, "")
			return err
		}, policy.AccountSuspended},
		{"account closed", func(f fixture, k policy.Key) error {
			_, err := f.CloseAccount(t.Context(), start, operator, k.AccountID)
			return err
		}, policy.AccountClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := place(t)
			f, beside := openStore(t, cfg), openStore(t, cfg)
			k, _ := f.key(f.account().ID)
			f.mint(aToken(k, "ek_1"))
			for _, s := range []fixture{f, f, beside, beside} {
				s.wantByToken("before the end", start, "ek_1", policy.Allowed)
			}
			_, owner, err := beside.FindToken(t.Context(), "b", policy.NewSecret("ek_1"))
			if err != nil {
				t.Fatal(err)
			}
			var notified atomic.Bool
			defer beside.Watch(&owner, func() { notified.Store(true) })()
			if err := c.end(f, k); err != nil {
				t.Fatal(err)
			}
			f.wantByToken("here", start, "ek_1", c.want)
			waitFor(t, "it has ended in another process", func() bool { return beside.byToken(start, "b", "ek_1") == c.want })
			if !notified.Load() {
				t.Error("the watcher of the owner was not notified")
			}
			if r, err := beside.Reread(t.Context(), &owner); err != nil || statusOf(&r, start) == "active" {
				t.Errorf("reread as %s, %v", statusOf(&r, start), err)
			}
		})
	}
}

// A scheduled revocation of the owner ends the token at its instant.
func testR2ATokenEndsWithTheScheduleOfItsOwner(t *testing.T, place Place) {
	f := openStore(t, place(t))
	k, _ := f.key(f.account().ID)
	f.mint(aToken(k, "ek_1"))
	if _, err := f.RotateKey(t.Context(), start, operator, k.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	f.wantByToken("before the revocation", start+999, "ek_1", policy.Allowed)
	f.wantByToken("from the revocation on", start+1000, "ek_1", policy.KeyRevoked)
}

func testPruneRemovesExpiredTokens(t *testing.T, place Place) {
	cfg := place(t)
	f, beside := openStore(t, cfg), openStore(t, cfg)
	k, _ := f.key(f.account().ID, func(k *keystore.NewKey) { k.Expires = policy.Never() })
	other, _ := f.key(k.AccountID)
	var wg sync.WaitGroup
	for i := range 450 { // more than two batches
		wg.Go(func() { f.mint(aToken(k, "ek_"+strings.Repeat("x", i+1))) })
	}
	wg.Wait()
	living := aToken(k, "ek_living")
	living.ExpiresAt = start.Add(24 * time.Hour)
	f.mint(living)
	last := "ek_" + strings.Repeat("x", 450)
	expired := start.Add(time.Minute)
	for _, c := range []struct {
		after time.Duration
		want  policy.Reason
	}{{time.Hour - 1e6, policy.KeyExpired}, {time.Hour, policy.KeyUnknown}} {
		beside.wantByToken("cached elsewhere", expired, last, policy.KeyExpired)
		if err := f.Prune(t.Context(), expired.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		f.wantByToken("an expired token", expired, "ek_x", c.want)
		f.wantByToken("an expired token", expired, last, c.want)
		f.wantByToken("a living token", expired, "ek_living", policy.Allowed)
	}
	// Its text is free again, and no process has the old record.
	f.mint(aToken(other, last))
	waitFor(t, "another process knows the new owner", func() bool {
		_, owner, err := beside.FindToken(t.Context(), "b", policy.NewSecret(last))
		return err == nil && owner.Key().ID == other.ID
	})
}

func testPruneOfAKeyRemovesItsTokens(t *testing.T, place Place) {
	f := openStore(t, place(t), func(c *keystore.Config) { c.Retention = time.Hour })
	k, secret := f.key(f.account().ID)
	n := aToken(k, "ek_1")
	n.ExpiresAt = start.Add(365 * day)
	f.mint(n)
	f.wantByToken("before the end", start, "ek_1", policy.Allowed)
	if _, err := f.RevokeKey(t.Context(), start, operator, k.ID, ""); err != nil {
		t.Fatal(err)
	}
	if err := f.Prune(t.Context(), start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if f.find(secret) != nil {
		t.Fatal("the key was not pruned: a token must not keep it")
	}
	f.wantByToken("of a pruned key", start, "ek_1", policy.KeyUnknown)
}

// A restore brings no token back. The tokens of keys that stay go on.
func testRestoreBringsNoTokenBack(t *testing.T, place Place) {
	cfg := place(t)
	f := openStore(t, cfg)
	empty := f.backup()
	k, _ := f.key(f.account().ID)
	ended, _ := f.key(k.AccountID)
	f.mint(aToken(k, "ek_kept"))
	f.mint(aToken(ended, "ek_ended"))
	full := f.backup()
	if _, err := f.RevokeKey(t.Context(), start, operator, ended.ID, ""); err != nil {
		t.Fatal(err)
	}
	f.mint(aToken(k, "ek_since"))

	f.restore(full.Path, later)
	f.wantByToken("of a key that stays", later, "ek_kept", policy.Allowed)
	f.wantByToken("minted since the backup", later, "ek_since", policy.Allowed)
	f.wantByToken("of a key that ended since", later, "ek_ended", policy.KeyRevoked)

	f.restore(empty.Path, later+1)
	f.wantByToken("of a removed key", later+1, "ek_kept", policy.KeyUnknown)
	f.restore(full.Path, later+2)
	if k, err := f.Key(t.Context(), k.ID); err != nil || k.Status(later+2) != "active" {
		t.Fatalf("the key did not come back: %+v, %v", k, err)
	}
	for _, token := range []string{"ek_kept", "ek_ended", "ek_since"} {
		f.wantByToken(token+", of a key that was brought back", later+2, token, policy.KeyUnknown)
	}
	f.mint(aToken(k, "ek_kept"))
	f.wantByToken("given again", later+2, "ek_kept", policy.Allowed)

	cfg = place(t)
	if _, err := keystore.RestoreNew(t.Context(), cfg, later, operator, full.Path); err != nil {
		t.Fatal(err)
	}
	fresh := openStore(t, cfg)
	if _, err := fresh.Key(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	fresh.wantByToken("where there was no store", later, "ek_kept", policy.KeyUnknown)
	fresh.wantByToken("of a key whose end is forgotten", later, "ek_ended", policy.KeyUnknown)
}
