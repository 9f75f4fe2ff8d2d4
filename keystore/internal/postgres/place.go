package postgres

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Place is a database on a PostgreSQL server, and how to reach it.
type Place struct {
	name   string
	pooled *pgx.ConnConfig // for reads and writes, perhaps through a pooler
	direct *pgx.ConnConfig // for LISTEN and migrations

	passwordFile string // see WithPasswordFile
}

// connectTimeout is how long connecting may take, unless the connection string says it.
const connectTimeout = 2 * time.Second

// ParsePlace reads a connection string, either a URL or keywords with values. direct is the
// connection string that bypasses a pooler; empty if there is no pooler. The variables and
// files that PostgreSQL's own programs read, such as PGPASSFILE, fill in what is missing.
//
// Without sslmode, the connection to another machine has verify-full: the server must show a
// certificate for its name. An error never has a password.
func ParsePlace(dsn, direct string) (Place, error) {
	pooled, err := parse(dsn)
	if err != nil {
		return Place{}, err
	}
	p := Place{name: nameOf(pooled), pooled: pooled, direct: pooled}
	if direct != "" {
		if p.direct, err = parse(direct); err != nil {
			return Place{}, fmt.Errorf("the direct connection: %w", err)
		}
	}
	return p, nil
}

// String returns the place without the user and the password, such as
// "postgres://db.example.com/speechgate".
func (p Place) String() string { return p.name }

func parse(dsn string) (*pgx.ConnConfig, error) {
	if strings.TrimSpace(dsn) == "" {
		return nil, errors.New("an empty connection string: want one such as postgres://gateway@db.example.com/speechgate")
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, parseError(err)
	}
	if cfg.Database == "" {
		return nil, errors.New("a connection string without a database: want one such as postgres://gateway@db.example.com/speechgate")
	}
	if !strings.Contains(dsn, "sslmode") && os.Getenv("PGSSLMODE") == "" && isRemote(cfg) {
		separator := " "
		if strings.Contains(dsn, "://") {
			if separator = "?"; strings.Contains(dsn, "?") {
				separator = "&"
			}
		}
		return parse(dsn + separator + "sslmode=verify-full")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "speechgate"
	}
	return cfg, nil
}

// parseError returns the reason of an error of pgx.ParseConfig. The text of the error itself has
// the connection string.
func parseError(err error) error {
	if parsing, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		reason := errors.Unwrap(parsing)
		if reason != nil && !strings.Contains(reason.Error(), "://") && !strings.Contains(reason.Error(), "=") {
			return fmt.Errorf("the connection string cannot be used: %w", reason)
		}
	}
	return errors.New("the connection string cannot be read: want a URL such as postgres://gateway@db.example.com/speechgate?sslmode=verify-full, or keywords and values such as host=db.example.com dbname=speechgate")
}

// isRemote reports whether a connection can leave this machine.
func isRemote(cfg *pgx.ConnConfig) bool {
	hosts := []string{cfg.Host}
	for _, f := range cfg.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, host := range hosts {
		ip := net.ParseIP(host)
		if !strings.HasPrefix(host, "/") && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return true
		}
	}
	return false
}

func nameOf(cfg *pgx.ConnConfig) string {
	host := cfg.Host
	if strings.HasPrefix(host, "/") {
		return "postgres:" + host + "/" + cfg.Database
	}
	if cfg.Port != 5432 {
		host = net.JoinHostPort(host, strconv.Itoa(int(cfg.Port)))
	}
	return "postgres://" + host + "/" + cfg.Database
}
