package signin

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"golang.org/x/text/unicode/norm"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// The lengths of a password.
const (
	// LeastPassword is the fewest characters of a password.
	LeastPassword = 12
	// MostPassword is the most bytes of a password, in the form in which it is hashed.
	MostPassword = 256
	// mostTyped is the most bytes of a password before [normal] makes it shorter: a letter in
	// full width has three bytes instead of one.
	mostTyped = 4 * MostPassword
)

// The mistakes in a new password. A page says them in its own words.
var (
	ErrShort   = fmt.Errorf("the password is too short: want %d characters or more", LeastPassword)
	ErrLong    = fmt.Errorf("the password is too long: want %d bytes or less", MostPassword)
	ErrChars   = errors.New("the password has characters that cannot be typed everywhere: want printable characters")
	ErrGuessed = errors.New("the password is easy to guess: want one that is not a name of yours, and not one character many times")
)

// hashing are the parameters of argon2id (RFC 9106) that OWASP gives for 19 MiB: a hash takes
// some 20 ms. They are in each hash, so that they can be changed.
var hashing = argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// waitingPerSlot is how many passwords may wait for each that is hashed.
const waitingPerSlot = 16

// passwords hashes and checks passwords: as many at a time as there are processors, because a
// hash takes memory and a whole processor. A limited number of others waits.
type passwords struct {
	slots   chan struct{} // one for each password that is hashed
	waiting chan struct{} // one for each password that is hashed or waits

	params argon2id.Params // of new hashes
	decoy  string          // the hash of no password, for names without a user
}

func newPasswords(params argon2id.Params) *passwords {
	slots := runtime.GOMAXPROCS(0)
	return &passwords{
		slots: make(chan struct{}, slots), waiting: make(chan struct{}, slots*(1+waitingPerSlot)),
		params: params, decoy: newDecoy(params),
	}
}

// newDecoy returns random bytes in the form of a hash. It hashes nothing, so the first try for
// a name without a user takes no longer than the tries after it.
func newDecoy(params argon2id.Params) string {
	random := make([]byte, params.SaltLength+params.KeyLength)
	_, _ = rand.Read(random) // never fails
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", params.Memory, params.Iterations, params.Parallelism,
		encode(random[:params.SaltLength]), encode(random[params.SaltLength:]))
}

// run waits for a slot and calls f. The error is ErrBusy if too many wait already.
func (p *passwords) run(ctx context.Context, f func() error) error {
	select {
	case p.waiting <- struct{}{}:
		defer func() { <-p.waiting }()
	default:
		return ErrBusy
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return ErrBusy
	}
	return f()
}

// check reports whether a password has this hash. It takes as long for an empty hash, which
// no password has. The function wait returns the seconds to wait before the password may be
// tried. It is asked again here, because other passwords have failed while this one waited for
// a slot.
func (p *passwords) check(ctx context.Context, password policy.Secret, hash string, wait func() int) (right bool, err error) {
	text := normal(password)
	err = p.run(ctx, func() error {
		if seconds := wait(); seconds > 0 {
			return &WaitError{seconds}
		}
		against := hash
		if against == "" {
			against = p.decoy
		}
		right, err = argon2id.ComparePasswordAndHash(text, against)
		return err
	})
	return right && hash != "" && len(text) <= MostPassword, err
}

// hash checks a new password of a user, and returns its hash.
func (p *passwords) hash(ctx context.Context, password policy.Secret, user *keystore.ConsoleUser) (hash string, err error) {
	text := normal(password)
	if err := checkPassword(text, user); err != nil {
		return "", err
	}
	err = p.run(ctx, func() error {
		hash, err = argon2id.CreateHash(text, &p.params)
		return err
	})
	return hash, err
}

// normal returns a password in the form in which it is hashed. Different keyboards and input
// methods send the same text in different forms (Unicode, NFKC): letters with accents, and
// letters in full width.
func normal(password policy.Secret) string {
	text := password.Reveal()
	if len(text) > mostTyped {
		return text[:MostPassword+1] // too long, so it is never right
	}
	return norm.NFKC.String(text)
}

func checkPassword(text string, user *keystore.ConsoleUser) error {
	switch {
	case len(text) > MostPassword:
		return ErrLong
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return ErrChars
	case utf8.RuneCountInString(text) < LeastPassword:
		return ErrShort
	case strings.Trim(text, text[:utf8.RuneLen([]rune(text)[0])]) == "":
		return ErrGuessed
	}
	for _, name := range []string{user.ID, user.Account.Name, user.Account.ServiceID} {
		if name != "" && strings.EqualFold(text, norm.NFKC.String(name)) {
			return ErrGuessed
		}
	}
	return nil
}
