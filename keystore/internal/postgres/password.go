package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// maxPasswordFile is how many bytes of a password file are read.
const maxPasswordFile = 4096

// WithPasswordFile returns the place with a file that has the password. The file is read for each
// new connection, so that the password can change while connections are open. It goes before every
// other password.
func (p Place) WithPasswordFile(path string) Place {
	p.passwordFile = path
	return p
}

// connect opens a connection of its own, outside the pools.
func (p Place) connect(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	cfg = cfg.Copy()
	if err := p.fillPassword(ctx, cfg); err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, p.adviseLogin(connectError(err))
	}
	return conn, nil
}

// passwordForm matches a connection string with a password.
var passwordForm = regexp.MustCompile(`://[^/?#@:]*:[^@]+@|(?i:(^|[\s?&])password\s*=)`)

// passwordAdvice returns what to do about a password that the server refuses, which depends on where the password is from.
func (p Place) passwordAdvice(password string) string {
	const user = ", and the user of the connection string"
	switch {
	case p.passwordFile != "":
		return "check the password in the file " + p.passwordFile + user
	case password == "":
		return "no password is configured: write it into a file and name the file with password_file, or set PGPASSWORD or PGPASSFILE"
	case slices.Contains(p.written, password):
		return "check the user and the password of the connection string"
	case password == os.Getenv("PGPASSWORD"):
		return "check the password in PGPASSWORD" + user
	default:
		return "check the password in the file of PGPASSFILE, ~/.pgpass or pg_service.conf" + user
	}
}

// withPassword fills in the password of each new connection of a pool.
func (p Place) withPassword() stdlib.OptionOpenDB { return stdlib.OptionBeforeConnect(p.fillPassword) }

// fillPassword reads the password file. An error does not show what is in it.
func (p Place) fillPassword(_ context.Context, cfg *pgx.ConnConfig) error {
	if p.passwordFile == "" {
		return nil
	}
	var text []byte
	file, err := os.Open(p.passwordFile)
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(file, maxPasswordFile+1))
		_ = file.Close() // it was only read
	}
	if err != nil {
		// Not wrapped: the error of a system call is a net.Error, and Unreachable would take it for one of the server.
		return errors.New("the password file cannot be read: " + err.Error())
	}
	switch password := strings.TrimRight(string(text), "\r\n"); {
	case len(text) > maxPasswordFile:
		return fmt.Errorf("the password file %s has more than %d bytes: want the password alone", p.passwordFile, maxPasswordFile)
	case password == "":
		return fmt.Errorf("the password file %s is empty: want the password alone", p.passwordFile)
	case strings.ContainsAny(password, "\r\n"):
		return fmt.Errorf("the password file %s has several lines: want the password alone; a file in the format of PostgreSQL is for passfile in the connection string", p.passwordFile)
	default:
		cfg.Password = password
	}
	return nil
}
