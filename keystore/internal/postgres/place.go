package postgres

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
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

	written      []string // the passwords of the connection strings themselves
	passwordFile string   // see WithPasswordFile
}

// connectTimeout is how long connecting may take, unless the connection string says it.
const connectTimeout = 2 * time.Second

// ParsePlace reads a connection string, either a URL or keywords with values. direct is the
// connection string that bypasses a pooler; empty if there is no pooler. The variables and
// files that PostgreSQL's own programs read, such as PGPASSFILE, fill in what is missing.
//
// Without sslmode, or with sslmode=prefer, the connection to another machine has verify-full: the
// server must show a certificate for its name. An error never has a password.
func ParsePlace(dsn, direct string) (Place, error) {
	pooled, err := parse(dsn)
	if err != nil {
		return Place{}, err
	}
	p := Place{name: nameOf(pooled), pooled: pooled, direct: pooled}
	if passwordForm.MatchString(dsn) {
		p.written = append(p.written, pooled.Password)
	}
	if direct != "" {
		if p.direct, err = parse(direct); err != nil {
			return Place{}, fmt.Errorf("the direct connection: %w", err)
		}
		if passwordForm.MatchString(direct) {
			p.written = append(p.written, p.direct.Password)
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
	if err := checkURL(dsn); err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err == nil && slices.ContainsFunc(waysOf(cfg), isOpportunistic) {
		cfg, err = pgx.ParseConfig(withCheckedTLS(dsn))
	}
	switch {
	case err != nil:
		return nil, parseError(err)
	case slices.ContainsFunc(waysOf(cfg), isOpportunistic):
		return nil, errors.New("a connection string whose sslmode cannot be set: want one with sslmode=verify-full")
	case cfg.Database == "":
		return nil, errors.New("a connection string without a database: want one such as postgres://gateway@db.example.com/speechgate")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "speechgate"
	}
	return cfg, nil
}

// afterScheme returns what follows the scheme of a URL. Another connection string has keywords and values.
func afterScheme(dsn string) (rest string, isURL bool) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, isURL = strings.CutPrefix(dsn, scheme); isURL {
			return rest, true
		}
	}
	return "", false
}

// checkURL refuses a URL in which a part of the password could be taken for the host or the database,
// and be shown: an @ in another place than between the password and the host.
func checkURL(dsn string) error {
	rest, _ := afterScheme(dsn)
	if at := strings.LastIndexByte(rest, '@'); at >= 0 && at != strings.IndexAny(rest, "@/") {
		return errors.New("a connection string with an @ in its password, or behind a /: write each special character of a password as % and its code, such as %40 for @ and %2F for /")
	}
	return nil
}

// withCheckedTLS returns a connection string with sslmode=verify-full.
func withCheckedTLS(dsn string) string {
	const mode = "sslmode=verify-full"
	rest, isURL := afterScheme(dsn)
	if !isURL {
		return dsn + " " + mode
	}
	if _, hosts, found := strings.Cut(rest, "@"); found {
		rest = hosts // a password can have a ? too
	}
	if strings.Contains(rest, "?") {
		return dsn + "&" + mode
	}
	return dsn + "?" + mode
}

// parseError returns the reason of an error of pgx.ParseConfig, if the reason has no part of the
// connection string except the name of a file. Any other text can have a part of the password.
func parseError(err error) error {
	var file *fs.PathError
	reason := errors.Unwrap(err)
	if reason != nil && (errors.As(reason, &file) || slices.Contains(harmless, reason.Error())) {
		return fmt.Errorf("the connection string cannot be used: %w", reason)
	}
	return errors.New("the connection string cannot be read: want a URL such as postgres://gateway@db.example.com/speechgate?sslmode=verify-full, or keywords and values such as host=db.example.com dbname=speechgate")
}

// harmless are reasons without any part of the connection string.
var harmless = []string{ //nolint:gochecknoglobals // never changed
	"forbidden NUL byte in connection string",
	"invalid keyword/value",
	"invalid percent-encoded token in password",
	"sslmode is invalid",
	"unterminated quoted string in connection info string",
}

// waysOf returns the ways in which a connection is tried.
func waysOf(cfg *pgx.ConnConfig) []way {
	ways := []way{{cfg.Host, cfg.Port, cfg.TLSConfig, false}}
	for _, f := range cfg.Fallbacks {
		before := ways[len(ways)-1]
		ways = append(ways, way{f.Host, f.Port, f.TLSConfig, before.tls != nil && before.host == f.Host && before.port == f.Port})
	}
	return ways
}

// way is one way to connect.
type way struct {
	host  string
	port  uint16
	tls   *tls.Config // nil: without TLS
	again bool        // the way before this one is the same, with TLS
}

// isOpportunistic reports whether a way leaves this machine without TLS if TLS fails. This is
// sslmode=prefer, PostgreSQL's default, with which anyone in between can read everything.
func isOpportunistic(w way) bool { return w.leaves() && w.again && w.tls == nil }

// leaves reports whether a way can leave this machine.
func (w way) leaves() bool {
	network, _ := pgconn.NetworkAddress(w.host, w.port)
	ip := net.ParseIP(w.host)
	return network != "unix" && w.host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// isRemote reports whether a connection can leave this machine.
func isRemote(cfg *pgx.ConnConfig) bool { return slices.ContainsFunc(waysOf(cfg), way.leaves) }

func nameOf(cfg *pgx.ConnConfig) string {
	host := cfg.Host
	if strings.HasPrefix(host, "/") {
		return "postgres:" + host + "/" + cfg.Database
	}
	switch {
	case cfg.Port != 5432:
		host = net.JoinHostPort(host, strconv.Itoa(int(cfg.Port)))
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return "postgres://" + host + "/" + cfg.Database
}
