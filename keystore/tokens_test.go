package keystore

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// aToken is a token of a key that expires in a minute.
func aToken(keyID, secret string) NewToken {
	return NewToken{Backend: "b", Secret: policy.NewSecret(secret), KeyID: keyID, CreatedAt: start, ExpiresAt: start.Add(time.Minute)}
}

func (f fixture) mint(n NewToken) {
	f.t.Helper()
	if err := f.RecordToken(f.t.Context(), new(WriteReservation), n); err != nil {
		f.t.Fatal(err)
	}
}

// ownerOf returns the ID of the key that owns the token; "" if there is no such token.
func (f fixture) ownerOf(backend, secret string) string {
	f.t.Helper()
	_, owner, err := f.FindToken(f.t.Context(), backend, policy.NewSecret(secret))
	if err != nil && !errors.Is(err, ErrNotFound) {
		f.t.Fatal(err)
	}
	return owner.Key().ID
}

// A pepper that is added later seals the digests of tokens too, and tokens go on.
func TestPepper_AddedLaterKeepsTokens(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	k, _ := f.key(f.account().ID)
	n := aToken(k.ID, "ek_1")
	f.mint(n)
	n.Backend = "another" // the same token
	f.mint(n)
	if f.ownerOf("b", "ek_1") != k.ID { // cached
		t.Fatal("the token is not found")
	}
	plain := sha256.Sum256([]byte("ek_1"))
	db := rawDB(t, path)
	if n := count(t, db, `SELECT COUNT(*) FROM tokens WHERE digest = $1`, plain[:]); n != 2 {
		t.Fatalf("%d rows have the digest, want 2", n)
	}
	peppered := openStore(t, path, withPepper("salt"))
	for _, backend := range []string{"b", "another"} {
		if id := peppered.ownerOf(backend, "ek_1"); id != k.ID {
			t.Errorf("backend %s: the token belongs to %q, want %s", backend, id, k.ID)
		}
	}
	sealed := mac("salt", plain[:])
	if n := count(t, db, `SELECT COUNT(*) FROM tokens WHERE digest = $1`, sealed[:]); n != 2 {
		t.Errorf("%d rows have the sealed digest, want 2", n)
	}
	peppered.mint(aToken(k.ID, "ek_2"))
	if peppered.ownerOf("b", "ek_2") != k.ID {
		t.Error("a token that was recorded with the pepper is not found")
	}
	// The process without the pepper records no token that no one would find.
	wantIs(t, f.RecordToken(t.Context(), new(WriteReservation), aToken(k.ID, "ek_3")), ErrUnavailable)
}

// No part of the store has the text of a token.
func TestR18_TheStoreHasNoToken(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	k, _ := f.key(f.account().ID)
	f.mint(aToken(k.ID, "ek_never_on_the_disk"))
	if strings.Contains(contentsOf(t, path), "never_on_the_disk") {
		t.Error("the store has the token")
	}
	d := sha256.Sum256([]byte("ek_never_on_the_disk"))
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM tokens WHERE digest = $1`, d[:]); n != 1 {
		t.Error("the store does not have its digest")
	}
}

// A token and its owner are read once, and then come from the cache. If the feed is lost, they
// are read again.
func TestR2_TokensAreCached(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	k, _ := f.key(f.account().ID)
	f.mint(aToken(k.ID, "ek_1"))
	f.takeOverPolling()
	reads := 0
	f.loaded = func() { reads++ }
	find := func(want int) {
		t.Helper()
		if reads = 0; f.ownerOf("b", "ek_1") != k.ID || reads != want {
			t.Errorf("%d reads of the database, want %d", reads, want)
		}
	}
	find(2) // the token and its owner
	find(0)
	if _, err := f.RevokeKey(t.Context(), start, operator, k.ID, ""); err != nil {
		t.Fatal(err)
	}
	find(1) // the owner
	find(0)
	f.feed.until.Store(0)
	find(2)
}

// A lookup that was reading a token when the token changed reads it again.
func TestR2_AnOvertakenTokenIsReadAgain(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	k, _ := f.key(f.account().ID)
	n := aToken(k.ID, "ek_1")
	f.mint(n)
	f.takeOverPolling()
	n.ExpiresAt++
	f.loaded = func() {
		f.loaded = nil
		f.mint(n)
	}
	for range 2 {
		if token, _, err := f.FindToken(t.Context(), "b", n.Secret); err != nil || token.ExpiresAt != n.ExpiresAt {
			t.Errorf("the token expires at %s, %v; want %s", token.ExpiresAt, err, n.ExpiresAt)
		}
	}
}

// A token of the file before is not found in a file that takes its place.
func TestR2_ATokenOfAReplacedFileIsNotFound(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path, other := newPath(t), newPath(t)
	f := openStore(t, path)
	k, _ := f.key(f.account().ID)
	f.mint(aToken(k.ID, "ek_1"))
	vacuumInto(t, path, other)
	copied := rawDB(t, other)
	mustExec(t, copied, `DELETE FROM tokens`)
	if err := copied.Close(); err != nil { // the file is then whole without its -wal
		t.Fatal(err)
	}
	if f.ownerOf("b", "ek_1") != k.ID { // cached
		t.Fatal("the token is not found")
	}
	first := f.state.Load()
	replaceFile(t, other, path)
	testutil.Eventually(t, "the new file is open", func() bool {
		st := f.state.Load()
		return st != first && st.fault == nil
	})
	if id := f.ownerOf("b", "ek_1"); id != "" {
		t.Errorf("the token of the file before is found, of key %s", id)
	}
	if _, err := f.Key(t.Context(), k.ID); err != nil {
		t.Errorf("its owner: %v", err)
	}
}

// A new token changes nothing that a cache can have, so it costs other processes nothing.
func TestRecordToken_AddsNothingToTheFeed(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	k, _ := f.key(f.account().ID)
	db := rawDB(t, path)
	before := count(t, db, `SELECT COALESCE(MAX(seq), 0) FROM feed`)
	f.mint(aToken(k.ID, "ek_1"))
	f.mint(aToken(k.ID, "ek_1"))
	if after := count(t, db, `SELECT COALESCE(MAX(seq), 0) FROM feed`); after != before {
		t.Errorf("%d entries of the feed, %d before", after, before)
	}
}

// A damaged row is an error of the store, and never another key's token.
func TestR17_ADamagedOwnerIsAnError(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	k, _ := f.key(f.account().ID)
	f.mint(aToken(k.ID, "ek_1"))
	mustExec(t, rawDB(t, path), `UPDATE api_keys SET digest = $1`, []byte{0})
	_, _, err := f.FindToken(t.Context(), "b", policy.NewSecret("ek_1"))
	wantIs(t, err, ErrUnavailable)
}

func TestRecordToken_ClosedStore(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	k, _ := f.key(f.account().ID)
	f.mint(aToken(k.ID, "ek_1"))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantIs(t, f.RecordToken(t.Context(), new(WriteReservation), aToken(k.ID, "ek_2")), ErrClosed)
	_, _, err := f.FindToken(t.Context(), "b", policy.NewSecret("ek_1"))
	wantIs(t, err, ErrClosed)
}

func TestPackedToken_UnpacksThePackedToken(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := foundToken{Token: policy.Token{CreatedAt: anInstant().Draw(t, "created"), ExpiresAt: anInstant().Draw(t, "expires")}, owner: digest{3, 31: 4}}
		backend := rapid.StringN(1, -1, maxJobName).Draw(t, "backend")
		p := packToken(digest{1, 31: 2}, &want, backend)
		if p.token() != want || p.backend() != backend || digest([]byte(p[:digestLen])) != (digest{1, 31: 2}) {
			t.Fatalf("%+v of %q, want %+v of %q", p.token(), p.backend(), want, backend)
		}
	})
}

// Finding a cached token allocates nothing, except for a token of more than 128 bytes, which is
// copied to be hashed.
func TestFindToken_CachedAllocatesNothing(t *testing.T) { //nolint:paralleltest // measures allocations
	f := openStore(t, newPath(t))
	k, _ := f.key(f.account().ID)
	for text, want := range map[string]float64{"ek_1": 0, strings.Repeat("eyJ.", 400): 1} {
		f.mint(aToken(k.ID, text))
		secret := policy.NewSecret(text)
		find := func() {
			if _, _, err := f.FindToken(t.Context(), "b", secret); err != nil {
				t.Fatal(err)
			}
		}
		find()
		if n := testing.AllocsPerRun(100, find); n > want {
			t.Errorf("a token of %d bytes: %.0f allocations, want at most %.0f", len(text), n, want)
		}
	}
}
