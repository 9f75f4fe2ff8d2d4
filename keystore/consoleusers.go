package keystore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// ConsoleUser is a person who can sign in at the console: the holder of an account, or an
// operator.
type ConsoleUser struct {
	// Kind is ActorAccount or ActorOperator.
	Kind string
	// ID is the ID of the account, or the name of the operator.
	ID        string
	CreatedAt policy.Time
	// PasswordHash is the hash of the console password, in PHC format. It is empty until the
	// user has set a password.
	PasswordHash string
	// Identity is who the operator is at an OpenID Connect provider. It is zero for a user who
	// signs in with a password.
	Identity Identity
	// SetupUntil is until when the open invitation of the user works. It is zero if no
	// invitation is open.
	SetupUntil policy.Time
	// RemovedAt is when the operator was removed; zero for other users.
	RemovedAt policy.Time
	// SignedInAt is when the user has signed in last, with the second factor if the user has one.
	// It is zero if the user never has.
	SignedInAt policy.Time
	// SecondFactor is the secret of the second factor. It is empty if the user has none.
	SecondFactor policy.Secret
	// Passkeys is how many passkeys the user has.
	Passkeys int
	// Handle are random bytes by which authenticators tell users apart. It is empty if the user
	// has never had a passkey.
	Handle []byte
	// Account is the user's account. It is the zero Account for an operator.
	Account policy.Account
}

// Identity is a person at an OpenID Connect provider. The zero Identity is nobody.
type Identity struct {
	Issuer  string // the URL of the provider
	Subject string // the person's ID there
}

// Reached reports whether the user may be signed in: an operator who was not removed, or the
// holder of an account that is open and not suspended.
func (u *ConsoleUser) Reached() bool {
	if !u.RemovedAt.IsZero() {
		return false
	}
	return u.Kind == ActorOperator || u.Kind == ActorAccount && u.Account.Open() && u.Account.SuspendedAt.IsZero()
}

// InvitationTime is how long the set-up link of an invitation works.
const InvitationTime = 24 * time.Hour

const consoleUserColumns = `u.kind, u.id, u.created_at, COALESCE(u.password, ''), COALESCE(u.setup_until, 0), COALESCE(u.removed_at, 0), COALESCE(u.signed_in_at, 0), COALESCE(u.issuer, ''), COALESCE(u.subject, ''), u.second, u.handle,
	(SELECT COUNT(*) FROM console_passkeys p WHERE p.kind = u.kind AND p.id = u.id)`

func (s *Store) scanConsoleUser(row scanner) (u ConsoleUser, err error) {
	var second []byte
	if err = row.Scan(&u.Kind, &u.ID, &u.CreatedAt, &u.PasswordHash, &u.SetupUntil, &u.RemovedAt, &u.SignedInAt, &u.Identity.Issuer, &u.Identity.Subject, &second, &u.Handle, &u.Passkeys); err != nil {
		return u, err
	}
	u.SecondFactor, err = s.openSecond(u.Kind, u.ID, second)
	return u, err
}

// InviteConsoleUser lets a user set a console password with the token that it returns, until
// the end of [InvitationTime]. An earlier token of the user ends. The user's password, second
// factor, passkeys and sessions stay until the token is used. The argument id is the ID of an account
// that is open, or the name of an operator, as kind says. Only the operator may call it. The
// error is ErrNotFound if there is no such account, and ErrAccountClosed if it is closed.
func (s *Store) InviteConsoleUser(ctx context.Context, now policy.Time, by Actor, kind, id string) (token policy.Secret, until policy.Time, err error) {
	none := func(err error) (policy.Secret, policy.Time, error) { return policy.Secret{}, 0, err }
	if err := operatorOnly(by, "inviting a user of the console"); err != nil {
		return none(err)
	}
	if kind == ActorOperator {
		if err := CheckOperatorName(id); err != nil {
			return none(err)
		}
	}
	if token, err = policy.GenerateSecret(policy.SetupPrefix, rand.Reader); err != nil {
		return none(err)
	}
	d := s.hash.secret(token)
	until = now.Add(InvitationTime)
	err = s.write(ctx, func(t *txn) error {
		if err := s.checkPepper(t); err != nil {
			return err
		}
		accountID := ""
		if kind == ActorAccount {
			a, err := readAccount(t.ctx, t, id)
			if err != nil {
				return err
			}
			if !a.Open() {
				return refuse(ErrAccountClosed, "account %s was closed at %s: its holder cannot sign in", a.ID, a.ClosedAt)
			}
			accountID = id
		}
		t.exec(`INSERT INTO console_users (kind, id, created_at, setup_digest, setup_until) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (kind, id) DO UPDATE SET setup_digest = excluded.setup_digest, setup_until = excluded.setup_until, removed_at = NULL`,
			kind, id, now, d[:], until)
		t.audit(now, by, actionConsoleInvite, accountID, id, "the set-up link works until "+until.String())
		return t.err
	})
	if err != nil {
		return none(err)
	}
	return token, until, nil
}

// maxOperatorName is the longest name of an operator, in bytes.
const maxOperatorName = 64

// CheckOperatorName refuses a text that cannot be the name of an operator at the console. The
// error is ErrInvalid.
func CheckOperatorName(name string) error {
	plain := true
	for i := range len(name) {
		c := name[i]
		plain = plain && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || i > 0 && (c == '.' || c == '_' || c == '-' || c == '@' || c == '+'))
	}
	if policy.HoldsSecret(name) {
		return refuse(ErrInvalid, "the operator's name has a key or service password in it, which is a secret: leave it out")
	}
	if name == "" || len(name) > maxOperatorName || !plain {
		return refuse(ErrInvalid, "operator's name %.80q: want 1 to %d letters, digits, and . _ - @ + behind the first of them, such as tanaka", name, maxOperatorName)
	}
	return nil
}

// RemoveConsoleOperator keeps an operator from signing in, and ends the operator's sessions.
// Another invitation lets the operator in again, with another password. Only the operator may
// call it. If the operator is the last one who can sign in, last is true, and the error is
// ErrLastOperator unless evenLast is true. The function isProvider reports whether operators can
// sign in at the provider with an issuer; if it is nil, they can at each. The error is ErrNotFound
// if no such operator was invited. If the operator was removed already, nothing changes.
func (s *Store) RemoveConsoleOperator(ctx context.Context, now policy.Time, by Actor, name string, evenLast bool, isProvider func(issuer string) bool) (u ConsoleUser, last bool, err error) {
	if err := operatorOnly(by, "removing an operator"); err != nil {
		return ConsoleUser{}, false, err
	}
	err = s.writeEnding(ctx, func(t *txn) (err error) {
		last = false
		if u, err = s.consoleUser(t.ctx, t, ActorOperator, name); err != nil || !u.RemovedAt.IsZero() {
			return err
		}
		able, err := t.ableOperators(isProvider)
		if err != nil {
			return err
		}
		if last = len(able) == 1 && able[0] == name; last && !evenLast {
			return refuse(ErrLastOperator, "operator %s is the last one who can sign in", name)
		}
		u.RemovedAt, u.PasswordHash, u.Identity, u.SetupUntil, u.SecondFactor, u.Passkeys = now, "", Identity{}, 0, policy.Secret{}, 0
		t.exec(`UPDATE console_users SET removed_at = $1, password = NULL, issuer = NULL, subject = NULL, second = NULL, setup_digest = NULL, setup_until = NULL WHERE kind = $2 AND id = $3`,
			now, ActorOperator, name)
		t.exec(`DELETE FROM console_recovery WHERE kind = $1 AND id = $2`, ActorOperator, name)
		t.removePasskeys(ActorOperator, name)
		t.endSessions(ActorOperator, name, nil)
		t.audit(now, by, actionConsoleRemove, "", name, "")
		return t.err
	})
	if err != nil {
		return ConsoleUser{}, last, err
	}
	return u, last, nil
}

// ableOperators returns the names of the operators who can sign in: with a password, or at a
// provider that isProvider reports, or at any if isProvider is nil.
func (t *txn) ableOperators(isProvider func(issuer string) bool) (names []string, err error) {
	type operator struct{ name, issuer string }
	all, err := queryRows(t.ctx, t, func(row scanner) (o operator, err error) {
		err = row.Scan(&o.name, &o.issuer)
		return o, err
	}, `SELECT id, CASE WHEN password IS NULL THEN issuer ELSE '' END FROM console_users WHERE kind = $1 AND (password IS NOT NULL OR issuer IS NOT NULL)`, ActorOperator)
	for _, o := range all {
		if o.issuer == "" || isProvider == nil || isProvider(o.issuer) {
			names = append(names, o.name)
		}
	}
	return names, err
}

// ConsoleOperators returns the operators that were invited to the console, by name.
func (s *Store) ConsoleOperators(ctx context.Context) ([]ConsoleUser, error) {
	return query(ctx, s, s.scanConsoleUser, `SELECT `+consoleUserColumns+` FROM console_users u WHERE u.kind = $1 ORDER BY u.id`, ActorOperator)
}

// ConsoleUser returns a user of the console. The error is ErrNotFound if no such user was
// invited.
func (s *Store) ConsoleUser(ctx context.Context, kind, id string) (ConsoleUser, error) {
	db, err := s.database()
	if err != nil {
		return ConsoleUser{}, err
	}
	u, err := s.consoleUser(ctx, db.reader, kind, id)
	return u, fault(err)
}

func (s *Store) consoleUser(ctx context.Context, q querier, kind, id string) (ConsoleUser, error) {
	u, err := s.scanConsoleUser(q.QueryRowContext(ctx, `SELECT `+consoleUserColumns+` FROM console_users u WHERE u.kind = $1 AND u.id = $2`, kind, id))
	if errors.Is(err, sql.ErrNoRows) {
		return u, refuse(ErrNotFound, "there is no user of the console %q", id)
	}
	if err == nil && kind == ActorAccount {
		u.Account, err = readAccount(ctx, q, id)
	}
	return u, err
}

// FindConsoleUser returns the user who signs in with this name: the name of an operator, or
// the service ID, the ID or the name of an account. An operator comes before an account, and
// the service ID or the ID of an account comes before a name. The error is ErrNotFound if
// there is no such user, or if several users have the name of their account in common.
func (s *Store) FindConsoleUser(ctx context.Context, name string) (ConsoleUser, error) {
	db, err := s.database()
	if err != nil {
		return ConsoleUser{}, err
	}
	type found struct {
		kind, id string
		rank     int
	}
	all, err := queryRows(ctx, db.reader, func(row scanner) (f found, err error) {
		err = row.Scan(&f.kind, &f.id, &f.rank)
		return f, err
	}, `SELECT kind, id, 1 AS rank FROM console_users WHERE kind = $1 AND id = $2
		UNION ALL SELECT u.kind, u.id, 2 FROM console_users u JOIN accounts a ON a.id = u.id WHERE u.kind = $3 AND (a.service_id = $2 OR a.id = $2)
		UNION ALL SELECT u.kind, u.id, 3 FROM console_users u JOIN accounts a ON a.id = u.id WHERE u.kind = $3 AND a.name = $2
		ORDER BY rank LIMIT 2`, ActorOperator, name, ActorAccount)
	switch {
	case err != nil && !s.engine.Unstorable(err):
		return ConsoleUser{}, fault(err)
	case len(all) == 0, len(all) == 2 && all[0].rank == all[1].rank:
		return ConsoleUser{}, ErrNotFound
	}
	u, err := s.consoleUser(ctx, db.reader, all[0].kind, all[0].id)
	return u, fault(err)
}

// FindSetup returns the user who was invited with this token. The error is ErrNotFound if the
// token is unknown, was used, or has expired at now, or if the user may not be signed in.
func (s *Store) FindSetup(ctx context.Context, now policy.Time, token policy.Secret) (ConsoleUser, error) {
	db, err := s.database()
	if err != nil {
		return ConsoleUser{}, err
	}
	u, err := s.findSetup(ctx, db.reader, now, token)
	return u, fault(err)
}

func (s *Store) findSetup(ctx context.Context, q querier, now policy.Time, token policy.Secret) (ConsoleUser, error) {
	d := s.hash.secret(token)
	var kind, id string
	err := q.QueryRowContext(ctx, `SELECT kind, id FROM console_users WHERE setup_digest = $1 AND setup_until > $2`, d[:], now).Scan(&kind, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return ConsoleUser{}, ErrNotFound
	}
	if err != nil {
		return ConsoleUser{}, err
	}
	u, err := s.consoleUser(ctx, q, kind, id)
	if err == nil && !u.Reached() {
		return ConsoleUser{}, ErrNotFound
	}
	return u, err
}

// SetUpConsoleUser sets the password of the user who was invited with this token, and ends
// the invitation, the second factor, the passkeys, the identity at a provider and the sessions of the user. The
// argument hash is the hash of the password in PHC format; from is the address of the user. The
// error is ErrNotFound as that of [Store.FindSetup].
func (s *Store) SetUpConsoleUser(ctx context.Context, now policy.Time, from Actor, token policy.Secret, hash string) (u ConsoleUser, err error) {
	err = s.write(ctx, func(t *txn) (err error) {
		if u, err = s.findSetup(t.ctx, t, now, token); err != nil {
			return err
		}
		u.PasswordHash, u.Identity, u.SetupUntil, u.SecondFactor, u.Passkeys = hash, Identity{}, 0, policy.Secret{}, 0
		t.exec(`UPDATE console_users SET password = $1, issuer = NULL, subject = NULL, second = NULL, second_step = 0, setup_digest = NULL, setup_until = NULL WHERE kind = $2 AND id = $3`,
			hash, u.Kind, u.ID)
		t.exec(`DELETE FROM console_recovery WHERE kind = $1 AND id = $2`, u.Kind, u.ID)
		t.removePasskeys(u.Kind, u.ID)
		t.endSessions(u.Kind, u.ID, nil)
		t.auditUser(now, from, &u, actionConsoleSetup, "")
		return t.err
	})
	if err != nil {
		return ConsoleUser{}, err
	}
	return u, nil
}

// ChangeConsolePassword replaces the hash of the password of a user, and ends all sessions of
// the user except the one with the token keep. The error is ErrInvalid if the hash is no longer
// the one in u, because the password was changed since u was read.
func (s *Store) ChangeConsolePassword(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, hash string, keep policy.Secret) error {
	return s.write(ctx, func(t *txn) error {
		n, err := t.count(`UPDATE console_users SET password = $1 WHERE kind = $2 AND id = $3 AND password = $4`, hash, u.Kind, u.ID, u.PasswordHash)
		if err != nil {
			return err
		}
		if n == 0 {
			return errChangedMeanwhile()
		}
		t.endSessions(u.Kind, u.ID, s.sessionDigest(keep))
		t.auditUser(now, from, u, actionConsolePassword, "")
		return t.err
	})
}

// errChangedMeanwhile is the error of a change whose user is not as it was read before.
func errChangedMeanwhile() error {
	return refuse(ErrInvalid, "the user was changed at the same time: try again")
}

// NoteConsole adds an entry about a user to the audit trail: a failed try to sign in.
func (s *Store) NoteConsole(ctx context.Context, now policy.Time, from Actor, u *ConsoleUser, detail string) error {
	return s.write(ctx, func(t *txn) error {
		t.auditUser(now, from, u, actionConsoleFailed, detail)
		return t.err
	})
}

// auditUser adds an entry about a user, by the user, to the audit trail.
func (t *txn) auditUser(now policy.Time, from Actor, u *ConsoleUser, action, detail string) {
	accountID := ""
	if u.Kind == ActorAccount {
		accountID = u.ID
	}
	t.audit(now, Actor{Kind: u.Kind, ID: u.ID, From: from.From}, action, accountID, u.ID, detail)
}
