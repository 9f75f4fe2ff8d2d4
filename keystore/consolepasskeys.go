package keystore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strconv"

	"github.com/speechgate/speechgate/policy"
)

// Passkey is a passkey of a user of the console who has a password: the public key of a pair whose private key only
// an authenticator has.
type Passkey struct {
	// ID is the credential ID: how the authenticator calls the passkey.
	ID []byte
	// Site is the host name that the passkey is for.
	Site string
	// Name is how the user calls the passkey.
	Name string
	// PublicKey is a COSE_Key (RFC 9052).
	PublicKey []byte
	// SignCount is the authenticator's count of signatures at the last use. It is 0 if the
	// authenticator does not count.
	SignCount uint32
	// Synced is true if the passkey can be copied to other devices of the user.
	Synced  bool
	AddedAt policy.Time
	// UsedAt is zero if the passkey was never used to sign in.
	UsedAt policy.Time
}

const (
	// MostPasskeys is how many passkeys a user can have.
	MostPasskeys = 20
	// handleLen is the length of a user's handle, in bytes.
	handleLen = 32
)

const passkeyColumns = `credential, site, name, public_key, sign_count, synced, added_at, COALESCE(used_at, 0)`

func scanPasskey(row scanner) (p Passkey, err error) {
	err = row.Scan(&p.ID, &p.Site, &p.Name, &p.PublicKey, &p.SignCount, &p.Synced, &p.AddedAt, &p.UsedAt)
	return p, err
}

// Passkeys returns the passkeys of a user, the oldest first.
func (s *Store) Passkeys(ctx context.Context, u *ConsoleUser) ([]Passkey, error) {
	return query(ctx, s, scanPasskey, `SELECT `+passkeyColumns+` FROM console_passkeys WHERE kind = $1 AND id = $2 ORDER BY added_at, credential`, u.Kind, u.ID)
}

// FindPasskey returns the passkey with this credential ID, and its user. The error is ErrNotFound
// if there is no such passkey.
func (s *Store) FindPasskey(ctx context.Context, credential []byte) (u ConsoleUser, p Passkey, err error) {
	db, err := s.database()
	if err != nil {
		return ConsoleUser{}, Passkey{}, err
	}
	var kind, id string
	err = db.reader.QueryRowContext(ctx, `SELECT kind, id, `+passkeyColumns+` FROM console_passkeys WHERE credential = $1`, credential).
		Scan(&kind, &id, &p.ID, &p.Site, &p.Name, &p.PublicKey, &p.SignCount, &p.Synced, &p.AddedAt, &p.UsedAt)
	if errors.Is(err, sql.ErrNoRows) {
		return ConsoleUser{}, Passkey{}, ErrNotFound
	}
	if err == nil {
		u, err = s.consoleUser(ctx, db.reader, kind, id)
	}
	if err != nil {
		return ConsoleUser{}, Passkey{}, fault(err)
	}
	return u, p, nil
}

// GiveConsoleHandle gives a user a handle, if the user has none, and returns the handle of the
// user. The error is ErrNotFound if there is no such user.
func (s *Store) GiveConsoleHandle(ctx context.Context, u *ConsoleUser) (handle []byte, err error) {
	random := make([]byte, handleLen)
	_, _ = rand.Read(random) // never fails
	err = s.write(ctx, func(t *txn) error {
		t.exec(`UPDATE console_users SET handle = $1 WHERE kind = $2 AND id = $3 AND handle IS NULL`, random, u.Kind, u.ID)
		if t.err != nil {
			return t.err
		}
		err := t.queryRow(`SELECT handle FROM console_users WHERE kind = $1 AND id = $2`, u.Kind, u.ID).Scan(&handle)
		if errors.Is(err, sql.ErrNoRows) {
			return refuse(ErrNotFound, "there is no user of the console %q", u.ID)
		}
		return err
	})
	return handle, err
}

// AddPasskey gives a user a passkey. All sessions of the user except the one with the token keep
// end. The error is ErrInvalid if the name is empty or cannot be shown, if the authenticator's
// passkey belongs to a user already, if the user has [MostPasskeys], or if the user's password was
// changed since u was read.
func (s *Store) AddPasskey(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, p *Passkey, keep policy.Secret) error {
	if err := CheckPasskeyName(p.Name); err != nil {
		return err
	}
	return s.write(ctx, func(t *txn) error {
		current, err := s.unchanged(t, u)
		if err != nil {
			return err
		}
		if current.PasswordHash == "" {
			return errChangedMeanwhile()
		}
		if current.Passkeys >= MostPasskeys {
			return refuse(ErrInvalid, "the user has %d passkeys already: remove one first", current.Passkeys)
		}
		n, err := t.count(`INSERT INTO console_passkeys (credential, kind, id, site, name, public_key, sign_count, synced, added_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
			p.ID, u.Kind, u.ID, p.Site, p.Name, p.PublicKey, p.SignCount, p.Synced, now)
		if err != nil {
			return err
		}
		if n == 0 {
			return refuse(ErrInvalid, "the passkey belongs to a user already")
		}
		t.endSessions(u.Kind, u.ID, s.sessionDigest(keep))
		t.auditUser(now, from, u, actionConsolePasskey, "added "+strconv.Quote(p.Name))
		return t.err
	})
}

// CheckPasskeyName refuses a text that cannot be the name of a passkey: want up to 200 bytes of
// printable UTF-8. The error is ErrInvalid.
func CheckPasskeyName(name string) error {
	if name == "" {
		return refuse(ErrInvalid, "the passkey's name is empty: want one by which its user knows it, such as laptop")
	}
	return CheckText("the passkey's name", name)
}

// RemovePasskey removes a passkey of a user. All sessions of the user except the one with the
// token keep end. The error is ErrNotFound if the user has no such passkey, and ErrInvalid if the
// user's password was changed since u was read.
func (s *Store) RemovePasskey(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, credential []byte, keep policy.Secret) error {
	return s.writeEnding(ctx, func(t *txn) error {
		if _, err := s.unchanged(t, u); err != nil {
			return err
		}
		var name string
		err := t.queryRow(`DELETE FROM console_passkeys WHERE credential = $1 AND kind = $2 AND id = $3 RETURNING name`, credential, u.Kind, u.ID).Scan(&name)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		t.endSessions(u.Kind, u.ID, s.sessionDigest(keep))
		t.auditUser(now, from, u, actionConsolePasskey, "removed "+strconv.Quote(name))
		return t.err
	})
}

// removePasskeys removes all passkeys of a user.
func (t *txn) removePasskeys(kind, id string) {
	t.exec(`DELETE FROM console_passkeys WHERE kind = $1 AND id = $2`, kind, id)
}

// BeginPasskeySession does what [Store.BeginConsoleSession] does, for a user who has signed in
// with a passkey, and notes the use. The argument begun is when the challenge was made that the passkey
// has answered, and count is the authenticator's count of signatures now. The error is ErrInvalid also if
// the passkey was removed, or has been used since begun, or with this count or a higher one. So an answer
// counts once, also if the servers' clocks differ: the use counts as later than the challenge.
func (s *Store) BeginPasskeySession(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, p *Passkey, begun policy.Time, count uint32, until policy.Time, replaces policy.Secret) (token policy.Secret, err error) {
	return s.beginSession(ctx, now, from, u, true, until, replaces, "with the passkey "+strconv.Quote(p.Name), func(t *txn) error {
		n, err := t.count(`UPDATE console_passkeys SET sign_count = $1, used_at = $2
			WHERE credential = $3 AND kind = $4 AND id = $5 AND (sign_count < $1 OR sign_count = 0 AND $1 = 0) AND COALESCE(used_at, 0) <= $6`,
			count, max(now, begun+1), p.ID, u.Kind, u.ID, begun)
		if err == nil && (n == 0 || u.PasswordHash == "") {
			err = errChangedMeanwhile()
		}
		return err
	})
}
