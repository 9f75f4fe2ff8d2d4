package postgres

import (
	"crypto/x509"
	"errors"
	"net"
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
	away := codeOf(err) == "" && unreachable(err)
	switch {
	case connecting && !away:
		return &connectionError{"connecting to the PostgreSQL server: " + withoutUser(causes(attempt.Unwrap()), attempt.Config.User), err}
	case connecting:
		return &connectionError{"the PostgreSQL server cannot be reached: " + causes(attempt.Unwrap()), rootOf(err)}
	case away:
		root := rootOf(err)
		return &connectionError{"the PostgreSQL server cannot be reached: " + causes(root), root}
	}
	return err
}

// causes returns why connecting has failed, in one line: the last cause for each address. With sslmode=prefer, the
// one before is that the server has no TLS.
func causes(err error) string {
	var texts, addresses []string
	for _, attempt := range attemptsOf(err) {
		address, text, dialed := strings.Cut(attempt.Error(), "): ") // as in "127.0.0.1:5432 (localhost): dial error: …"
		if !dialed {
			address, text = attempt.Error(), attempt.Error()
		}
		text = reason(attempt, text)
		if dialed {
			text = shortAddress(address) + ": " + text
		}
		if i := slices.Index(addresses, address); i >= 0 {
			texts[i] = text
			continue
		}
		texts, addresses = append(texts, text), append(addresses, address)
	}
	return strings.Join(texts, "; ")
}

// attemptsOf returns the errors of the attempts, one for each way to connect, or for each name that was looked up.
func attemptsOf(err error) []error {
	for _, e := range []error{err, errors.Unwrap(err)} {
		if joined, ok := e.(interface{ Unwrap() []error }); ok {
			return joined.Unwrap()
		}
	}
	return []error{err}
}

// shortAddress returns an address such as "127.0.0.1:5432 (localhost" for people: with the name of the host only if the
// address does not have it.
func shortAddress(address string) string {
	at, host, _ := strings.Cut(address, " (")
	if strings.HasPrefix(strings.TrimPrefix(at, "["), host) {
		return at
	}
	return at + " (" + host + ")"
}

// noTLS is the text of pgx for a server that has no TLS.
const noTLS = "server refused TLS connection"

// reason returns why an attempt has failed, and what to do if the TLS connection fails. text is what pgx says of it.
func reason(err error, text string) string {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Error()
	}
	if silent, ok := errors.AsType[silenceError](err); ok {
		return silent.Error()
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return lookup.Error()
	}
	if wrong := certificateReason(err); wrong != "" {
		return wrong
	}
	op, ofNetwork := errors.AsType[*net.OpError](err)
	late, ofTime := errors.AsType[net.Error](err)
	switch {
	case strings.HasSuffix(text, noTLS):
		return "the server has no TLS: set ssl = on there, or on a safe network sslmode=disable in the connection string"
	case ofNetwork && op.Op == "remote error":
		return "the server refuses the TLS connection (" + op.Error() + "): check sslcert and sslkey in the connection string"
	case ofTime && late.Timeout():
		return "no answer in time"
	case ofNetwork && op.Op == "dial":
		return rootOf(op).Error()
	}
	return strings.TrimPrefix(strings.TrimPrefix(text, "dial error: "), "tls error: ")
}

// certificateReason returns what is wrong with the certificate of the server, and what to do; empty if nothing is.
func certificateReason(err error) string {
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is not trusted (" + unknown.Error() + "): name the file of its authority with sslrootcert in the connection string"
	}
	if other, ok := errors.AsType[x509.HostnameError](err); ok {
		return "its certificate is for another name (" + other.Error() + "): write a name of the certificate as the host of the connection string"
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case ok && invalid.Reason == x509.Expired:
		return "its certificate is not valid now (" + invalid.Error() + "): renew the certificate, or set the clock of this machine"
	case ok:
		return "its certificate is not accepted (" + invalid.Error() + "): replace the certificate"
	}
	return ""
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
