package keystore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/speechgate/speechgate/policy"
)

// The first byte of a second factor in the database.
const (
	secondPlain  = 0 // the secret follows
	secondSealed = 1 // the secret follows, encrypted under the pepper
)

var errSecondDamaged = errors.New("the second factor of a user of the console is damaged, or is sealed with another pepper")

// secondCipher returns the cipher for the second factor of a user. Its key depends on the
// pepper.
func (s *Store) secondCipher(kind, id string) (cipher.AEAD, error) {
	key := s.hash.sum([]byte("speechgate second factor\x00" + kind + "\x00" + id))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealSecond returns the form in which the database has a second factor. Without a pepper it
// is not encrypted: the key would be beside it.
func (s *Store) sealSecond(kind, id string, secret policy.Secret) ([]byte, error) {
	if !s.hash.peppered() {
		return append([]byte{secondPlain}, secret.Reveal()...), nil
	}
	aead, err := s.secondCipher(kind, id)
	if err != nil {
		return nil, err
	}
	return aead.Seal([]byte{secondSealed}, nil, //nolint:gosec // the cipher makes a random nonce
		[]byte(secret.Reveal()), []byte(kind+"\x00"+id)), nil
}

func (s *Store) openSecond(kind, id string, stored []byte) (policy.Secret, error) {
	switch {
	case stored == nil:
		return policy.Secret{}, nil
	case len(stored) > 1 && stored[0] == secondPlain:
		return policy.NewSecret(string(stored[1:])), nil
	case len(stored) > 1 && stored[0] == secondSealed && s.hash.peppered():
		aead, err := s.secondCipher(kind, id)
		if err != nil {
			return policy.Secret{}, err
		}
		text, err := aead.Open(nil, nil, stored[1:], []byte(kind+"\x00"+id))
		if err != nil {
			return policy.Secret{}, errSecondDamaged
		}
		return policy.NewSecret(string(text)), nil
	}
	return policy.Secret{}, errSecondDamaged
}

// sealSeconds seals the second factors of a store that gets its pepper.
func (s *Store) sealSeconds(ctx context.Context, t *txn) error {
	users, err := queryRows(ctx, t, s.scanConsoleUser, `SELECT `+consoleUserColumns+` FROM console_users u WHERE second IS NOT NULL`)
	if err != nil {
		return err
	}
	for i := range users {
		u := &users[i]
		sealed, err := s.sealSecond(u.Kind, u.ID, u.SecondFactor)
		if err != nil {
			return err
		}
		t.exec(`UPDATE console_users SET second = $1 WHERE kind = $2 AND id = $3`, sealed, u.Kind, u.ID)
	}
	return nil
}

// SetSecondFactor gives a user a second factor and recovery codes, which replace those before.
// The argument step is the time step of the code with which the user has proved the secret; no
// code of this step or an earlier step is accepted again. All sessions of the user except the
// one with the token keep end. The error is ErrInvalid if the user's password was changed
// since u was read.
func (s *Store) SetSecondFactor(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, secret policy.Secret, step int64, codes []policy.Secret, keep policy.Secret) error {
	sealed, err := s.sealSecond(u.Kind, u.ID, secret)
	if err != nil {
		return err
	}
	return s.changeSecond(ctx, now, from, u, sealed, step, codes, keep, fmt.Sprintf("set up, with %d recovery codes", len(codes)))
}

// RemoveSecondFactor removes the second factor and the recovery codes of a user. The error is
// ErrInvalid if the user's password was changed since u was read.
func (s *Store) RemoveSecondFactor(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, keep policy.Secret) error {
	return s.changeSecond(ctx, now, from, u, nil, 0, nil, keep, "removed")
}

func (s *Store) changeSecond(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, sealed []byte, step int64, codes []policy.Secret, keep policy.Secret, detail string) error {
	return s.write(ctx, func(t *txn) error {
		if err := s.checkPepper(t); err != nil {
			return err
		}
		n, err := t.count(`UPDATE console_users SET second = $1, second_step = CASE WHEN second_step < $2 THEN $2 ELSE second_step END WHERE kind = $3 AND id = $4 AND password = $5`,
			sealed, step, u.Kind, u.ID, u.PasswordHash)
		if err != nil {
			return err
		}
		if n == 0 {
			return errChangedMeanwhile()
		}
		t.exec(`DELETE FROM console_recovery WHERE kind = $1 AND id = $2`, u.Kind, u.ID)
		for _, code := range codes {
			d := s.recoveryDigest(u, code)
			t.exec(`INSERT INTO console_recovery (digest, kind, id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, d[:], u.Kind, u.ID)
		}
		t.endSessions(u.Kind, u.ID, s.sessionDigest(keep))
		t.auditUser(now, from, u, actionConsoleSecond, detail)
		return t.err
	})
}

func (s *Store) recoveryDigest(u *ConsoleUser, code policy.Secret) digest {
	return s.hash.secret(policy.NewSecret(u.Kind + "\x00" + u.ID + "\x00" + code.Reveal()))
}

// SpendSecondStep reports whether the code of this time step may be accepted: no code of the
// step or of a later step was accepted before. A step can be spent once.
func (s *Store) SpendSecondStep(ctx context.Context, u *ConsoleUser, step int64) (spent bool, err error) {
	err = s.write(ctx, func(t *txn) error {
		n, err := t.count(`UPDATE console_users SET second_step = $1 WHERE kind = $2 AND id = $3 AND second IS NOT NULL AND second_step < $1`, step, u.Kind, u.ID)
		spent = n == 1
		return err
	})
	return spent, err
}

// SpendRecoveryCode reports whether this is an unused recovery code of the user. The code
// cannot be used again.
func (s *Store) SpendRecoveryCode(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, code policy.Secret) (spent bool, err error) {
	d := s.recoveryDigest(u, code)
	err = s.write(ctx, func(t *txn) error {
		n, err := t.count(`DELETE FROM console_recovery WHERE kind = $1 AND id = $2 AND digest = $3`, u.Kind, u.ID, d[:])
		if spent = n == 1; err != nil || !spent {
			return err
		}
		t.auditUser(now, from, u, actionConsoleSecond, "a recovery code was used")
		return t.err
	})
	return spent, err
}

// RecoveryCodes returns how many unused recovery codes a user has.
func (s *Store) RecoveryCodes(ctx context.Context, u *ConsoleUser) (n int, err error) {
	db, err := s.database()
	if err != nil {
		return 0, err
	}
	err = db.reader.QueryRowContext(ctx, `SELECT COUNT(*) FROM console_recovery WHERE kind = $1 AND id = $2`, u.Kind, u.ID).Scan(&n)
	return n, fault(err)
}
