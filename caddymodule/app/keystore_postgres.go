package app

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/keystore"
)

// postgres returns the PostgreSQL database, with placeholders resolved.
func (k *KeystoreConfig) postgres() (*keystore.Postgres, error) {
	if k.DSN == "" {
		return nil, errors.New("keystore postgres: there is no connection string: want one such as postgres://gateway@db.example.com/speechgate, or a placeholder such as {env.SPEECHGATE_DSN}")
	}
	p := keystore.Postgres{AdmitJobs: k.AdmitJobs}
	var err error
	if p.DSN, err = options.ResolveSecret(k.DSN); err != nil {
		return nil, fmt.Errorf("keystore postgres: the connection string: %w", err)
	}
	if k.Direct != "" {
		if p.Direct, err = options.ResolveSecret(k.Direct); err != nil {
			return nil, fmt.Errorf("keystore postgres: direct: %w", err)
		}
	}
	if k.PasswordFile != "" {
		if p.PasswordFile, err = resolvePath(k.PasswordFile); err != nil {
			return nil, fmt.Errorf("keystore postgres: password_file: %w", err)
		}
	}
	if k.Replica != "" {
		if p.Replica, err = resolvePath(k.Replica); err != nil {
			return nil, fmt.Errorf("keystore postgres: replica: %w", err)
		}
	}
	return &p, nil
}

// IsConnectionString reports whether the text names a PostgreSQL database and not a file, where both
// can be: it is a URL.
func IsConnectionString(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// QuotePath quotes a path for an error. A text that can be a connection string with a password
// is not shown.
func QuotePath(path string) string {
	if connectionForm.MatchString(path) {
		return "(not shown, because it can have a password)"
	}
	return strconv.Quote(path)
}

var errConnectionString = errors.New(`it looks like a connection string: want the path of a file, or for PostgreSQL a URL such as postgres://gateway@db.example.com/speechgate`)

var (
	// connectionForm matches what can be a connection string, with a password or a user in it: a URL with a
	// user, a URL whose slashes are missing, and keywords with values.
	connectionForm = regexp.MustCompile(`(?i)://.*@|^\s*(postgres(ql)?:|[a-z_]+\s*=)|password\s*=`)
	// plainPasswordForm matches a connection string with a password that is no placeholder.
	plainPasswordForm = regexp.MustCompile(`://[^/?#@:]*:[^{@/][^@/?#]*@|(?i:(^|[\s?&])password\s*=\s*'?[^\s'{&])`)
)

// ShowsPassword reports whether the configuration itself has the password, and not only a placeholder.
func (k *KeystoreConfig) ShowsPassword() bool { return HasPassword(k.DSN) || HasPassword(k.Direct) }

// HasPassword reports whether a connection string has a password that is no placeholder.
func HasPassword(dsn string) bool { return plainPasswordForm.MatchString(dsn) }
