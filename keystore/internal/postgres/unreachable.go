package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// Unreachable implements [engine.Engine]. A server that starts or stops, has no connection left, or is a
// standby counts as one that does not answer. A certificate that cannot be verified is an answer.
func (*Engine) Unreachable(err error) bool { return err != nil && unreachable(err) }

// awayCodes are the codes of answers that say that there is no server to answer. 08P01 is not one of them: PgBouncer
// has it for a server that refuses the login, too.
var awayCodes = []string{ //nolint:gochecknoglobals // a constant
	"08000", "08001", "08003", "08004", "08006", codeStarting, codeAdminShutdown, codeCrashShutdown, codeTooManyConnections,
}

// unreachable reports whether all errors that err wraps say that no server has answered: a connection string
// can name several servers.
func unreachable(err error) bool {
	switch e := err.(type) { //nolint:errorlint // it goes through the tree of errors by itself
	case *pgconn.PgError:
		return slices.Contains(awayCodes, e.Code)
	case *tls.CertificateVerificationError:
		return false
	case *net.OpError:
		return e.Op != "remote error" // with this one, the server has refused the TLS connection
	case net.Error: // also of a name that cannot be resolved, and of a deadline
		return !refused(e) // crypto/tls wraps a "remote error" in one
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

// refusalCodes are the codes of answers that do not let this program use the database. 08P01, which PgBouncer has for
// a server that refuses the login, is not one of them: PgBouncer has it for a server that does not answer, too.
var refusalCodes = []string{codeNoPassword, codeNoAuthorization, codeNoPrivilege, codeNoDatabase, codeNoConnections} //nolint:gochecknoglobals // a constant

// Refused implements [engine.Engine]. Of several servers, one that refuses is enough.
func (*Engine) Refused(err error) bool { return refused(err) }

func refused(err error) bool {
	switch e := err.(type) { //nolint:errorlint // it goes through the tree of errors by itself
	case *pgconn.PgError:
		return slices.Contains(refusalCodes, e.Code)
	case *tls.CertificateVerificationError, x509.UnknownAuthorityError, x509.CertificateInvalidError: // the last two with sslmode=verify-ca
		return true
	case *net.OpError:
		return e.Op == "remote error"
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), refused)
	case interface{ Unwrap() error }:
		return refused(e.Unwrap())
	}
	return false
}
