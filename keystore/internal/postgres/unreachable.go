package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Unreachable implements [engine.Engine]. A server that starts or stops, has no connection left, or is a
// standby counts as one that does not answer. A certificate that cannot be verified is an answer.
func (*Engine) Unreachable(err error) bool { return err != nil && unreachable(err) }

// unreachable reports whether all errors that err wraps say that no server has answered: a connection string
// can name several servers.
func unreachable(err error) bool {
	switch e := err.(type) { //nolint:errorlint // it goes through the tree of errors by itself
	case *pgconn.PgError:
		return strings.HasPrefix(e.Code, "08") || e.Code == codeStarting || e.Code == codeAdminShutdown || e.Code == codeCrashShutdown ||
			e.Code == codeTooManyConnections
	case *tls.CertificateVerificationError:
		return false
	case *net.OpError:
		return e.Op != "remote error" // with this one, the server has refused the TLS connection
	case net.Error: // also of a name that cannot be resolved, and of a deadline
		return true
	case interface{ Unwrap() []error }:
		for _, each := range e.Unwrap() {
			if !unreachable(each) {
				return false
			}
		}
		return true
	case interface{ Unwrap() error }:
		if next := e.Unwrap(); next != nil {
			return unreachable(next)
		}
	}
	for _, away := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, context.Canceled, errStandby, pgconn.ErrStandbyConnection} {
		if errors.Is(err, away) {
			return true
		}
	}
	return false
}
