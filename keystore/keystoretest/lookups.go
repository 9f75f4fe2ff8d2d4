package keystoretest

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// A change of another process counts here within 250 ms.
func testR2AnotherProcessesChangesCount(t *testing.T, place Place) {
	path := place(t)
	f, command := openStore(t, path), openStore(t, path, commandLine)
	a := command.account()
	for range 5 {
		key, secret := command.key(a.ID)
		if f.find(secret) == nil || command.find(secret) == nil {
			t.Fatal("not found")
		}
		if _, err := command.RevokeKey(t.Context(), start, operator, key.ID, ""); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the revocation counts", func() bool {
			return !f.find(secret).Key().RevokedAt.IsZero()
		})
		if command.find(secret).Key().RevokedAt.IsZero() {
			t.Error("the command line caches")
		}
	}
}

func testR2SimilarSecretsDoNotCrossHit(t *testing.T, place Place) {
	f := openStore(t, place(t))
	_, secret := f.key(f.account().ID)
	f.find(secret)
	text := secret.Reveal()
	for _, other := range []string{text[:len(text)-1], text + "x", "x" + text, text[:len(text)-1] + "~", "~" + text[1:], text + "\x00", ""} {
		for range 2 {
			if r := f.find(policy.NewSecret(other)); r != nil {
				t.Errorf("%d characters like the key's found key %s", len(other), r.Key().ID)
			}
		}
	}
}

// A lookup that begins after a revocation has returned sees the revocation.
func testR2RevokedKeyNeverSurvives(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	type subject struct {
		id      string
		secret  policy.Secret
		revoked atomic.Bool
	}
	subjects := make([]*subject, 64)
	for i := range subjects {
		k, secret := f.key(a.ID)
		subjects[i] = &subject{id: k.ID, secret: secret}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				for _, s := range subjects {
					before := s.revoked.Load()
					r, err := f.FindKey(t.Context(), s.secret)
					if err != nil {
						t.Error(err)
						return
					}
					if before && r.Key().RevokedAt.IsZero() {
						t.Error("a revoked key was found unrevoked")
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i, s := range subjects {
		if i%8 == 0 {
			f.key(a.ID) // issuing goes on
		}
		if _, err := f.RevokeKey(t.Context(), start, operator, s.id, ""); err != nil {
			t.Error(err)
		}
		s.revoked.Store(true)
	}
	close(done)
	wg.Wait()
	for _, s := range subjects {
		if r := f.find(s.secret); r.Key().RevokedAt.IsZero() {
			t.Error("a revoked key survived in the cache")
		}
	}
}
