package keystore

import (
	"context"
	"errors"
	"fmt"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// The kinds of errors, for errors.Is. Everything that is none of the others is
// ErrUnavailable.
var (
	// ErrNotFound: there is no such key, account or job.
	ErrNotFound = errors.New("not found in the keystore")
	// ErrJobExists: the backend's job ID is recorded already.
	ErrJobExists = errors.New("job is recorded already")
	// ErrAccountClosed: the account is closed for good.
	ErrAccountClosed = errors.New("account is closed")
	// ErrInvalid: what was asked for breaks a rule. Nothing was changed.
	ErrInvalid = errors.New("not allowed")
	// ErrNoStore: there is no keystore at the path, or an empty file, and
	// Config.MustExist forbids to make one.
	ErrNoStore = engine.ErrNoStore
	// ErrUnavailable: the store cannot be read or written. Whether a write
	// that failed so has happened is not known.
	ErrUnavailable = errors.New("keystore unavailable")
	// ErrClosed: the store was closed. It is an ErrUnavailable.
	ErrClosed = fmt.Errorf("%w: it was closed", ErrUnavailable)
)

// refusal is an answer of the store, as opposed to a fault: a sentence for
// people, and the kind that programs ask for.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf(format, args...)}
}

// fault marks err as ErrUnavailable unless it is an answer.
func fault(err error) error {
	if r := (*refusal)(nil); err == nil || errors.As(err, &r) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func gaveUp(ctx context.Context) error {
	return fmt.Errorf("%w: waiting to write: %w", ErrUnavailable, ctx.Err())
}

// Damaged reports whether err says that the file of a keystore or of a backup is
// not a database, or is damaged.
func Damaged(err error) bool { return sqlite.Damaged(err) }
