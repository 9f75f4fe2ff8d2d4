package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// connectionError is the error of an attempt to connect. It wraps the error of pgx, whose text has the user of the
// connection string.
type connectionError struct {
	text string
	err  error
}

func (e *connectionError) Error() string { return e.text }
func (e *connectionError) Unwrap() error { return e.err }

// connectError returns an error of connecting, or of the first statement on a connection, without the user of the
// connection string. It returns every other error unchanged, such as that of the password file.
func connectError(err error) error {
	if done := (*connectionError)(nil); errors.As(err, &done) {
		return err
	}
	attempt, connecting := errors.AsType[*pgconn.ConnectError](err)
	switch {
	case connecting && codeOf(err) != "":
		return &connectionError{"connecting to the PostgreSQL server: " + withoutUser(causes(attempt.Unwrap()), attempt.Config.User), err}
	case connecting, codeOf(err) == "" && unreachable(err):
		root := rootOf(err)
		return &connectionError{"the PostgreSQL server cannot be reached: " + causes(root), root}
	}
	return err
}

// causes returns why connecting has failed, in one line: the last cause for each address. With sslmode=prefer, the
// one before is that the server has no TLS.
func causes(err error) string {
	var texts, addresses []string
	for text := range strings.SplitSeq(err.Error(), "\n") {
		address, _, _ := strings.Cut(text, "): ") // as in "127.0.0.1:5432 (localhost): dial error: …"
		if i := slices.Index(addresses, address); i >= 0 {
			texts[i] = text
			continue
		}
		texts, addresses = append(texts, text), append(addresses, address)
	}
	return strings.Join(texts, "; ")
}

// withoutUser returns an answer of a server without the name of the user, which PostgreSQL puts in quotation marks
// and PgBouncer behind a colon.
func withoutUser(text, user string) string {
	return strings.NewReplacer(`"`+user+`"`, `"…"`, "user: "+user, "user: …").Replace(text)
}

// rootOf returns the innermost error, or all of them if there are several.
func rootOf(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
