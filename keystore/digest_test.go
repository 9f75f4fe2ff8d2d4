package keystore

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"testing"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// mac is HMAC-SHA-256, by the standard library alone.
func mac(key string, data []byte) (d digest) {
	h := hmac.New(sha256.New, []byte(key))
	h.Write(data)
	return digest(h.Sum(nil))
}

// A digest is SHA-256, and HMAC-SHA-256 over that if there is a pepper. Backups and other
// processes depend on it.
func TestHasher_IsSHA256AndHMAC(t *testing.T) {
	t.Parallel()
	sum := func(text string) digest { return sha256.Sum256([]byte(text)) }
	plain, peppered := newHasher(policy.Secret{}), newHasher(policy.NewSecret("salt"))
	var wg sync.WaitGroup
	for _, text := range []string{"one", "two", "one"} {
		wg.Go(func() {
			d := sum(text)
			for what, is := range map[string]bool{
				"secret":           plain.secret(policy.NewSecret(text)) == d,
				"secret, peppered": peppered.secret(policy.NewSecret(text)) == mac("salt", d[:]),
				"seal":             plain.seal(d) == d,
				"seal, peppered":   peppered.seal(d) == mac("salt", d[:]),
				"sum":              plain.sum([]byte(text)) == d,
				"sum, peppered":    peppered.sum([]byte(text)) == mac("salt", []byte(text)),
			} {
				if !is {
					t.Errorf("%s of %q is another", what, text)
				}
			}
		})
	}
	wg.Wait()
}

// A store recognizes its pepper, and no other store's.
func TestHasher_AcceptsTheStoresPepper(t *testing.T) {
	t.Parallel()
	salt, sugar := newHasher(policy.NewSecret("salt")), newHasher(policy.NewSecret("sugar"))
	want := mac("salt", []byte("speechgate pepper check\x00store"))
	check := salt.check("store")
	if check != hex.EncodeToString(want[:]) {
		t.Errorf("the check value is %s", check)
	}
	for _, c := range []struct {
		name   string
		h      hasher
		check  string
		accept bool
	}{
		{"the pepper", salt, check, true},
		{"another pepper", sugar, check, false},
		{"the pepper, for another store", salt, salt.check("other"), false},
		{"the pepper, for a store without one", salt, "", false},
		{"no pepper, for a store without one", hasher{}, "", true},
		{"no pepper, for a store with one", hasher{}, check, false},
	} {
		if got := c.h.accepts(c.check, "store"); got != c.accept {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// The database has only digests that depend on the pepper.
func TestPepper_SealsWhatIsStored(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, withPepper("salt"))
	_, secret := f.key(f.account().ID)
	plain := sha256.Sum256([]byte(secret.Reveal()))
	sealed := mac("salt", plain[:])
	db := rawDB(t, path)
	if n := count(t, db, `SELECT COUNT(*) FROM api_keys WHERE digest = $1`, sealed[:]); n != 1 {
		t.Error("the key is not stored under its sealed digest")
	}
}

// A process that was opened before the pepper was added stores no digest without it: not
// in the first write of a transaction, and not in those after it.
func TestPepper_NoWriteOfABatchGoesWithoutIt(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	a := f.account()
	openStore(t, path, withPepper("salt"))
	release := f.hold()
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		wg.Go(func() {
			k := NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never()}
			_, _, errs[i] = f.IssueKey(context.Background(), start, operator, k)
		})
	}
	testutil.Eventually(t, "the writes wait", func() bool { return len(f.commits.queue) == len(errs) })
	release()
	wg.Wait()
	for i, err := range errs {
		if wantIs(t, err, ErrUnavailable); !isPepper(err) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM api_keys`); n != 0 {
		t.Errorf("%d keys were stored", n)
	}
}
