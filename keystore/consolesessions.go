package keystore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// ConsoleSession is a session of a user at the console.
type ConsoleSession struct {
	User ConsoleUser
	// Passed is true if the user may use the console. It is false if the user has given the
	// password, and must give a code of the second factor next.
	Passed  bool
	BegunAt policy.Time
	SeenAt  policy.Time // accurate to a minute
	Until   policy.Time
}

// seenEvery is how often a session is noted as seen.
const seenEvery = time.Minute

// sessionPrefix is the beginning of the token of a session.
const sessionPrefix = "sgc_"

// sessionDigest returns the digest of the token of a session, or nil for an empty token.
func (s *Store) sessionDigest(token policy.Secret) []byte {
	if token.Empty() {
		return nil
	}
	d := s.hash.secret(token)
	return d[:]
}

// BeginConsoleSession begins a session of a user until an instant, and ends the session with
// the token replaces, if that is not empty. It returns the token of the session; the store has
// its digest only. The error is ErrInvalid if the user's password, identity or second factor was
// changed since u was read, or if the user has neither a password nor an identity, or may not be
// signed in any more.
func (s *Store) BeginConsoleSession(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, passed bool, until policy.Time, replaces policy.Secret) (token policy.Secret, err error) {
	return s.beginSession(ctx, now, from, u, passed, until, replaces, u.Identity.Issuer, func(*txn) error { return nil })
}

// beginSession begins a session. The function note is called in the same transaction; after an
// error of it there is no session. The detail is for the audit trail.
func (s *Store) beginSession(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, passed bool, until policy.Time, replaces policy.Secret, detail string, note func(*txn) error) (token policy.Secret, err error) {
	if token, err = policy.GenerateSecret(sessionPrefix, rand.Reader); err != nil {
		return policy.Secret{}, err
	}
	err = s.write(ctx, func(t *txn) error {
		if err := s.checkPepper(t); err != nil {
			return err
		}
		current, err := s.unchanged(t, u)
		if err != nil {
			return err
		}
		if current.SecondFactor.Reveal() != u.SecondFactor.Reveal() {
			return errChangedMeanwhile()
		}
		if err := note(t); err != nil {
			return err
		}
		t.exec(`INSERT INTO console_sessions (digest, kind, id, passed, begun_at, seen_at, until) VALUES ($1, $2, $3, $4, $5, $5, $6)`,
			s.sessionDigest(token), u.Kind, u.ID, passed, now, until)
		if old := s.sessionDigest(replaces); old != nil {
			t.exec(`DELETE FROM console_sessions WHERE digest = $1`, old)
		}
		if passed {
			t.exec(`UPDATE console_users SET signed_in_at = $1 WHERE kind = $2 AND id = $3`, now, u.Kind, u.ID)
			t.auditUser(now, from, u, actionConsoleSignIn, detail)
		}
		return t.err
	})
	if err != nil {
		return policy.Secret{}, err
	}
	return token, nil
}

// unchanged returns a user as the transaction sees it. The error is ErrInvalid if the user's password
// or identity was changed since u was read, or if the user has neither, or may not be signed in any
// more.
func (s *Store) unchanged(t *txn, u *ConsoleUser) (current ConsoleUser, err error) {
	current, err = s.consoleUser(t.ctx, t, u.Kind, u.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return current, err
	}
	able := current.PasswordHash != "" || current.Identity != (Identity{})
	same := err == nil && able && current.PasswordHash == u.PasswordHash && current.Identity == u.Identity
	if !same || !current.Reached() {
		return current, errChangedMeanwhile()
	}
	return current, nil
}

// FindConsoleSession returns the session with this token, if it goes on at now: its time is not
// over, it was seen within the span idle, and its user may be signed in. The error is
// ErrNotFound otherwise. The session is noted as seen at now.
func (s *Store) FindConsoleSession(ctx context.Context, now policy.Time, token policy.Secret, idle time.Duration) (ConsoleSession, error) {
	c, err := s.PeekConsoleSession(ctx, now, token, idle)
	if err == nil && now >= c.SeenAt.Add(seenEvery) {
		// If this fails, the session ends a little earlier.
		_ = s.writeRelaxed(ctx, func(t *txn) error {
			t.exec(`UPDATE console_sessions SET seen_at = $1 WHERE digest = $2 AND seen_at < $1`, now, s.sessionDigest(token))
			return t.err
		})
	}
	return c, err
}

// PeekConsoleSession does what FindConsoleSession does, and does not note the session as seen. It
// is for requests that a page makes by itself, without its reader.
func (s *Store) PeekConsoleSession(ctx context.Context, now policy.Time, token policy.Secret, idle time.Duration) (ConsoleSession, error) {
	db, err := s.database()
	if err != nil {
		return ConsoleSession{}, err
	}
	var c ConsoleSession
	err = db.reader.QueryRowContext(ctx, `SELECT kind, id, passed, begun_at, seen_at, until FROM console_sessions WHERE digest = $1`, s.sessionDigest(token)).
		Scan(&c.User.Kind, &c.User.ID, &c.Passed, &c.BegunAt, &c.SeenAt, &c.Until)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ConsoleSession{}, ErrNotFound
	case err != nil:
		return ConsoleSession{}, fault(err)
	case now >= c.Until || now >= c.SeenAt.Add(idle):
		return ConsoleSession{}, ErrNotFound
	}
	if c.User, err = s.consoleUser(ctx, db.reader, c.User.Kind, c.User.ID); err != nil {
		return ConsoleSession{}, fault(err)
	}
	if !c.User.Reached() {
		return ConsoleSession{}, ErrNotFound
	}
	return c, nil
}

// EndConsoleSession ends the session with this token, if there is one.
func (s *Store) EndConsoleSession(ctx context.Context, token policy.Secret) error {
	return s.writeEnding(ctx, func(t *txn) error {
		t.exec(`DELETE FROM console_sessions WHERE digest = $1`, s.sessionDigest(token))
		return t.err
	})
}

// EndConsoleSessions ends all sessions of a user.
func (s *Store) EndConsoleSessions(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser) error {
	return s.writeEnding(ctx, func(t *txn) error {
		t.endSessions(u.Kind, u.ID, nil)
		t.auditUser(now, from, u, actionConsoleSignOut, "everywhere")
		return t.err
	})
}

// endSessions ends the sessions of a user, except the one with the digest keep.
func (t *txn) endSessions(kind, id string, keep []byte) {
	if keep == nil {
		keep = []byte{} // compares with every digest, which NULL does not
	}
	t.exec(`DELETE FROM console_sessions WHERE kind = $1 AND id = $2 AND digest <> $3`, kind, id, keep)
}

// pruneSessions removes sessions whose time is over.
func (s *Store) pruneSessions(ctx context.Context, now policy.Time) (more bool, err error) {
	err = s.write(ctx, func(t *txn) error {
		n, err := t.count(`DELETE FROM console_sessions WHERE digest IN
			(SELECT digest FROM console_sessions WHERE until <= $1 LIMIT $2)`, now, pruneBatch)
		more = n == pruneBatch
		return err
	})
	return more, err
}
