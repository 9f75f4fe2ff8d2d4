package signin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/alexedwards/argon2id"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// cheap are the least parameters of argon2id, for tests that are not about its work.
var cheap = argon2id.Params{Memory: 8, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

func noWait() int { return 0 }

func TestPassword_TheFormsOfOneTextAreTheSamePassword(t *testing.T) {
	t.Parallel()
	p := newPasswords(cheap)
	for _, c := range []struct{ name, set, typed string }{
		{"full width", "correct horse", "ｃｏｒｒｅｃｔ　ｈｏｒｓｅ"},
		{"half-width kana", "パスワードパスワード12", "ﾊﾟｽﾜｰﾄﾞﾊﾟｽﾜｰﾄﾞ12"},
		{"composed letters", "caf\u00e9 caf\u00e9 caf\u00e9", "cafe\u0301 cafe\u0301 cafe\u0301"},
		{"longer than the limit as typed", strings.Repeat("ab", 128), strings.Repeat("ａｂ", 128)},
	} {
		for _, forms := range [][2]string{{c.set, c.typed}, {c.typed, c.set}} {
			hash, err := p.hash(t.Context(), secret(forms[0]), &keystore.ConsoleUser{})
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if right, err := p.check(t.Context(), secret(forms[1]), hash, noWait); !right || err != nil {
				t.Errorf("%s: %q is not %q: %v", c.name, forms[1], forms[0], err)
			}
			if right, err := p.check(t.Context(), secret(forms[1]+"x"), hash, noWait); right || err != nil {
				t.Errorf("%s: another password is right: %v", c.name, err)
			}
		}
	}
}

func TestPassword_RulesOfANewPassword(t *testing.T) {
	t.Parallel()
	user := keystore.ConsoleUser{ID: "acc_0123456789", Account: policy.Account{Name: "Ｅｘａｍｐｌｅ Corporation", ServiceID: "example-service"}}
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{"empty", "", ErrShort},
		{"11 characters", "elevenchars", ErrShort},
		{"12 characters", "twelve chars", nil},
		{"11 characters of 3 bytes", "あいうえおかきくけこさ", ErrShort},
		{"12 characters of 3 bytes", "あいうえおかきくけこさし", nil},
		{"12 code points that are 6 letters", strings.Repeat("e\u0301", 5) + "ab", ErrShort},
		{"256 bytes", strings.Repeat("ab", 128), nil},
		{"257 bytes", strings.Repeat("ab", 128) + "c", ErrLong},
		{"257 bytes at a letter of 3 bytes", "ab" + strings.Repeat("あ", 85), ErrLong},
		{"more bytes behind a letter that ends at 257", "ab" + strings.Repeat("あ", 100), ErrLong},
		{"256 bytes that were 768", strings.Repeat("ａｂ", 128), nil},
		{"1 KiB", strings.Repeat("ab", 512), ErrLong},
		{"more than 1 KiB", strings.Repeat("ａｂ", 200), ErrLong},
		{"letters that become longer", strings.Repeat("\ufdfa", 12), ErrLong},
		{"a control character", "twelve\x00chars", ErrChars},
		{"a line break", "twelve\nchars and more", ErrChars},
		{"not UTF-8", "twelve chars\xff", ErrChars},
		{"one character", "aaaaaaaaaaaa", ErrGuessed},
		{"one character of 3 bytes", strings.Repeat("あ", 12), ErrGuessed},
		{"spaces", strings.Repeat(" \u3000", 6), ErrGuessed},
		{"the ID", "ACC_0123456789", ErrGuessed},
		{"the name in another form", "example corporation", ErrGuessed},
		{"the service ID", "example-service", ErrGuessed},
		{"more than the service ID", "example-service!", nil},
	} {
		hash, err := newPasswords(cheap).hash(t.Context(), secret(c.password), &user)
		if !errors.Is(err, c.want) || (err == nil) != (hash != "") {
			t.Errorf("%s: %v, hash %t; want %v", c.name, err, hash != "", c.want)
		}
	}
}

// The hash of a user without a password is no hash that a password can have, and takes as long.
func TestPassword_TheDecoyIsHashedLikeAPassword(t *testing.T) {
	t.Parallel()
	p := New().passwords
	want := argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	hash, err := p.hash(t.Context(), secret(aPassword), &keystore.ConsoleUser{})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"decoy": p.decoy, "password": hash} {
		params, _, _, err := argon2id.DecodeHash(text)
		if err != nil || *params != want {
			t.Errorf("the hash of the %s has %+v, %v; want %+v", name, params, err, want)
		}
	}
	if p.decoy == New().passwords.decoy {
		t.Error("two services have the same decoy")
	}
	for _, password := range []string{"", aPassword, p.decoy} {
		if right, err := p.check(t.Context(), secret(password), "", noWait); right || err != nil {
			t.Errorf("%q for no hash: %t, %v", password, right, err)
		}
	}
}

func TestPassword_TooManyAtOnceAreBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(cheap)
		release, running, done := make(chan struct{}), make(chan struct{}, cap(p.waiting)), make(chan error, cap(p.waiting))
		ctx, cancel := context.WithCancel(t.Context())
		for range cap(p.waiting) - 1 {
			go func() {
				done <- p.run(t.Context(), func() error { running <- struct{}{}; <-release; return nil })
			}()
		}
		synctest.Wait()
		if len(running) != cap(p.slots) {
			t.Errorf("%d passwords are hashed at once, want %d", len(running), cap(p.slots))
		}
		gone := make(chan error, 1)
		go func() { gone <- p.run(ctx, func() error { t.Error("a client that has gone is served"); return nil }) }()
		synctest.Wait()
		if err := p.run(t.Context(), func() error { t.Error("one too many is served"); return nil }); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		if err := <-gone; !errors.Is(err, ErrBusy) {
			t.Errorf("a client that has gone: %v", err)
		}
		close(release)
		for range cap(p.waiting) - 1 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := p.run(t.Context(), func() error { return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("after the rush: %v", err)
		}
	})
}
