package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// A database that cannot be reached is told apart from one that refuses something. With several servers,
// none of them may have answered.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	password := &pgconn.PgError{Code: codeNoPassword}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"no error":                     {nil, false},
		"a refused connection":         {fmt.Errorf("connecting: %w", refused), true},
		"the innermost error of it":    {syscall.ECONNREFUSED, true},
		"no answer":                    {context.DeadlineExceeded, true},
		"silence":                      {silenceError(readSilence), true},
		"an unknown name":              {&net.DNSError{Err: "no such host", Name: "db.example.com", IsNotFound: true}, true},
		"a connection that was closed": {fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), true},
		"a server that starts":         {&pgconn.PgError{Code: codeStarting}, true},
		"a server that stops":          {&pgconn.PgError{Code: codeAdminShutdown}, true},
		"a server without connections": {&pgconn.PgError{Code: codeTooManyConnections}, true},
		"a standby":                    {errStandby, true},
		"a standby that pgx found":     {fmt.Errorf("validating: %w", pgconn.ErrStandbyConnection), true},
		"a wrong password":             {fmt.Errorf("connecting: %w", password), false},
		"a refusal of PgBouncer":       {&pgconn.PgError{Code: "08P01"}, false},
		"no database":                  {&pgconn.PgError{Code: codeNoDatabase}, false},
		"another certificate":          {fmt.Errorf("tls error: %w", x509.HostnameError{Host: "db.example.com"}), false},
		"a refusal of TLS":             {&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, false},
		"two that are away":            {errors.Join(refused, context.DeadlineExceeded), true},
		"one that refuses":             {errors.Join(refused, password), false},
		"another error":                {errors.New("its schema is newer"), false},
	} {
		if got := new(Engine).Unreachable(c.err); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

// A database that lets nobody in is told apart from one that does not answer, and from one that is in trouble.
func TestRefused(t *testing.T) {
	t.Parallel()
	away := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	password := &pgconn.PgError{Code: codeNoPassword}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"no error":                     {nil, false},
		"a refused connection":         {away, false},
		"no answer":                    {context.DeadlineExceeded, false},
		"a server that stops":          {&pgconn.PgError{Code: codeAdminShutdown}, false},
		"a server without memory":      {&pgconn.PgError{Code: "53200"}, false},
		"an answer of PgBouncer":       {&pgconn.PgError{Code: "08P01"}, false},
		"a wrong password":             {fmt.Errorf("connecting: %w", password), true},
		"a role that may not log in":   {&pgconn.PgError{Code: codeNoAuthorization}, true},
		"a missing right":              {&pgconn.PgError{Code: codeNoPrivilege}, true},
		"no database":                  {&pgconn.PgError{Code: codeNoDatabase}, true},
		"a database without access":    {&pgconn.PgError{Code: codeNoConnections}, true},
		"another certificate":          {fmt.Errorf("tls error: %w", &tls.CertificateVerificationError{Err: errors.New("unknown authority")}), true},
		"a refusal of TLS":             {&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, true},
		"one that refuses, of several": {errors.Join(away, password), true},
		"several that are away":        {errors.Join(away, context.DeadlineExceeded), false},
	} {
		if got := new(Engine).Refused(c.err); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
