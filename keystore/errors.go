package keystore

import (
	"context"
	"errors"
	"fmt"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// The kinds of errors, for errors.Is. Every error that has no other kind is an
// ErrUnavailable.
var (
	// ErrNotFound: there is no such key, account, job or token.
	ErrNotFound = errors.New("not found in the keystore")
	// ErrJobExists: the backend's job ID is recorded already.
	ErrJobExists = errors.New("job is recorded already")
	// ErrTokenExists: the backend has given the same token to another key.
	ErrTokenExists = errors.New("token of another key")
	// ErrAccountClosed: the account is closed for good.
	ErrAccountClosed = errors.New("account is closed")
	// ErrAccountSuspended: the operator has suspended the account.
	ErrAccountSuspended = errors.New("account is suspended")
	// ErrLastOperator: the call would remove the last operator who can sign in at the console.
	ErrLastOperator = errors.New("last operator of the console")
	// ErrInvalid: the call breaks a rule. Nothing was changed.
	ErrInvalid = errors.New("not allowed")
	// ErrNoStore: there is no keystore at the path, or an empty file, and
	// Config.MustExist forbids that one is made.
	ErrNoStore = engine.ErrNoStore
	// ErrUnavailable: the store cannot be read or written. A write that returns it may
	// have happened nevertheless.
	ErrUnavailable = errors.New("keystore unavailable")
	// ErrNewPepper: Open would add the pepper of the Config to the store, and
	// Config.KeepPepper forbids this.
	ErrNewPepper = errors.New("it has no pepper yet, and one is configured: start the server with this configuration, which adds the pepper for good, or leave the pepper out")
	// ErrClosed: the store was closed. It is an ErrUnavailable.
	ErrClosed = fmt.Errorf("%w: it was closed", ErrUnavailable)
)

// refusal is the error of a call that breaks a rule. The store itself works. A refusal
// has a sentence for people, and a kind for programs.
type refusal struct {
	kind error
	text phrase.Text
}

func (r *refusal) Error() string     { return r.text.String() }
func (r *refusal) Unwrap() error     { return r.kind }
func (r *refusal) Text() phrase.Text { return r.text }

func refuse(kind error, format string, values ...any) error {
	return &refusal{kind, phrase.New(format, values...)}
}

// fault marks err as ErrUnavailable, unless err is a refusal or ErrNotFound.
func fault(err error) error {
	if r := (*refusal)(nil); err == nil || errors.As(err, &r) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) {
		return err
	}
	return &unavailableError{err}
}

// unavailableError is an ErrUnavailable with its cause. It wraps the cause alone, so that the engine can tell whether
// the cause is a database that does not answer.
type unavailableError struct{ error }

func (e *unavailableError) Error() string        { return ErrUnavailable.Error() + ": " + e.error.Error() }
func (e *unavailableError) Is(target error) bool { return target == ErrUnavailable }
func (e *unavailableError) Unwrap() error        { return e.error }

// gaveUp is the error of a write whose ctx ended before the write began.
func gaveUp(ctx context.Context) error {
	return fmt.Errorf("%w: waiting to write: %w", ErrUnavailable, ctx.Err())
}

// Damaged reports whether err says that the file of a keystore or of a backup is
// not a database, or is damaged.
func Damaged(err error) bool { return sqlite.Damaged(err) }
