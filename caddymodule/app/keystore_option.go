package app

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/keystore"
)

// KeystoreConfig is the value of the option keystore: the database that has the accounts, the
// keys and the jobs.
type KeystoreConfig struct {
	// The database engine: `sqlite`, which is the default, or `postgres`.
	Engine string `json:"engine,omitempty"`

	// The file of SQLite. If it does not exist, it is created with mode 0600, and
	// its directory with mode 0700. Caddy does not expand `~` or `$HOME`; use a
	// placeholder, such as `{env.HOME}`. Default: `speechgate/keystore.db` in Caddy's
	// data directory.
	Path string `json:"path,omitempty"`

	// The connection string of the PostgreSQL database, which the gateways of many
	// machines can share: a URL such as
	// `postgres://gateway@db.example.com/speechgate`, or keywords and values. Use a
	// placeholder, such as `{env.SPEECHGATE_DSN}`, if it has a password. Without
	// `sslmode`, a connection to another machine has `verify-full`. Required for
	// `postgres`.
	DSN string `json:"dsn,omitempty"`

	// A connection string for `postgres` that bypasses a pooler such as PgBouncer. It
	// is for LISTEN, migrations, backups and restores. Default: the value of `dsn`.
	Direct string `json:"direct,omitempty"`

	// A file with the password for `postgres`. The file is read for each new
	// connection, so that the password can change while servers run. Default: the
	// password of the connection string, or of PostgreSQL's own variables and files.
	PasswordFile string `json:"password_file,omitempty"`

	// A directory in which a gateway with `postgres` keeps a copy of the records that requests
	// need, for an edge site: see `docs/clustering.md`. The directory is created with mode
	// 0700. Want the whole path; a placeholder may be in it. Default: no copy.
	Replica string `json:"replica,omitempty"`

	// While the database does not answer, a gateway with `replica` takes new jobs all the same: it
	// keeps their records in the file `jobs.db` of that directory, and sends them on when the database
	// answers again. Until then no other gateway knows these jobs, a key that was revoked elsewhere creates
	// jobs here, which the backend bills, and a loss of the disk loses the records: see
	// `docs/clustering.md`. Default: new jobs are refused meanwhile.
	AdmitJobs bool `json:"admit_jobs,omitempty"`

	// Creates an empty keystore if this place has none, even if this server had
	// a keystore before. Remove the option after the first start. Default: only the
	// first keystore of a server is created.
	Create bool `json:"create,omitempty"`

	// Never creates a keystore: starting without one is an error. Default: not set.
	MustExist bool `json:"must_exist,omitempty"`
}

// The engines.
const (
	engineSQLite   = "sqlite"
	enginePostgres = "postgres"
)

// errKeystoreSyntax shows no argument, because a connection string can contain a password.
const errKeystoreSyntax = "want keystore sqlite <path>, or keystore postgres <connection string>"

func (k *KeystoreConfig) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("keystore: %s", errKeystoreSyntax)
	}
	read := map[string]options.Option{
		"create":     options.Toggle(&k.Create),
		"must_exist": options.Toggle(&k.MustExist),
	}
	switch k.Engine = args[0]; {
	case k.Engine == enginePostgres && len(args) > 2:
		return d.Errf("keystore postgres: want one connection string, and there are %d arguments, which are not shown because they may be secrets: write quotation marks around a connection string with spaces", len(args)-1)
	case k.Engine == enginePostgres && len(args) == 2 && args[1] != "":
		k.DSN = args[1]
		read["direct"], read["password_file"] = options.Secret(&k.Direct), options.Text(&k.PasswordFile)
		read["replica"], read["admit_jobs"] = options.Text(&k.Replica), options.Toggle(&k.AdmitJobs)
	case k.Engine == engineSQLite && len(args) == 2 && args[1] != "":
		k.Path = args[1]
	case k.Engine != engineSQLite && k.Engine != enginePostgres && engineForm.MatchString(k.Engine):
		return d.Errf("keystore %s: there is no such engine; %s", k.Engine, errKeystoreSyntax)
	default:
		return d.Errf("keystore: %s", errKeystoreSyntax)
	}
	return options.ParseBlock(d, read)
}

var engineForm = regexp.MustCompile(`^[a-z0-9]{1,16}$`)

// place puts the place of the keystore into cfg, with placeholders and the default resolved. An error
// shows no secret.
func (k *KeystoreConfig) place(cfg *keystore.Config) (err error) {
	switch {
	case k.Create && k.MustExist:
		return errors.New("keystore: create and must_exist contradict each other: want one of them, or none")
	case k.Engine == enginePostgres && k.Path != "":
		return errors.New("keystore postgres: the path of a file is for sqlite: want dsn")
	case k.Engine == enginePostgres:
		cfg.Postgres, err = k.postgres()
	case k.Engine != "" && k.Engine != engineSQLite && engineForm.MatchString(k.Engine):
		return fmt.Errorf("keystore engine %q: want sqlite or postgres", k.Engine)
	case k.Engine != "" && k.Engine != engineSQLite:
		return errors.New("keystore engine: want sqlite or postgres")
	case k.DSN != "" || k.Direct != "" || k.PasswordFile != "" || k.Replica != "" || k.AdmitJobs:
		return errors.New("keystore sqlite: dsn, direct, password_file, replica and admit_jobs are for postgres: want the engine postgres, or a path")
	default:
		cfg.Path, err = k.path()
	}
	if err == nil {
		_, err = cfg.Name() // checks the connection string
	}
	return err
}

// path returns the absolute path of the SQLite file.
func (k *KeystoreConfig) path() (string, error) {
	if k.Path == "" {
		return filepath.Abs(defaultKeystorePath())
	}
	path, err := resolvePath(k.Path)
	if err != nil {
		return "", fmt.Errorf("keystore path %s: %w", QuotePath(k.Path), asOption(err))
	}
	if err := CheckFilePath(path); err != nil {
		return "", fmt.Errorf("keystore path %s: %w", QuotePath(path), asOption(err))
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("keystore path %q: %w", path, err)
	}
	return abs, nil
}

// asOption adds to the error of a connection string how a Caddyfile writes one.
func asOption(err error) error {
	if errors.Is(err, errConnectionString) {
		return fmt.Errorf(`%w, in a Caddyfile behind "keystore postgres"`, err)
	}
	return err
}

// resolvePath replaces the placeholders of a path, and refuses what a shell would expand.
func resolvePath(configured string) (string, error) {
	if err := CheckPathSpelling(configured, "{env.%s}"); err != nil {
		return "", err
	}
	if err := options.CheckBraces(configured); err != nil {
		return "", err
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(configured, true, true)
	if err != nil {
		return "", err
	}
	if err := CheckPathSpelling(path, "{env.%s}"); err != nil {
		return "", fmt.Errorf("as %s: %w", QuotePath(path), err)
	}
	return path, nil
}

var (
	tildeForm   = regexp.MustCompile(`^~([^/\\]*)([/\\]|$)`)
	varForm     = regexp.MustCompile(`\{?\$\{?([A-Za-z_]\w*)\}?`)
	percentForm = regexp.MustCompile(`%([A-Za-z_]\w*)%`)
	bareEnvForm = regexp.MustCompile(`^env\.[A-Za-z_]\w*`)

	schemeForm    = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]+:/|(file|sqlite3?):)`)
	parameterForm = regexp.MustCompile(`\?_?[A-Za-z]+=`)
	driveForm     = regexp.MustCompile(`^[A-Za-z]:[\\/]`)
)

// CheckFilePath refuses a text that is not the path of a file, such as a data source name of
// SQLite. Without this check, the program would make a file with this text as its name. An error
// shows no connection string.
func CheckFilePath(path string) error {
	switch {
	case connectionForm.MatchString(path):
		return errConnectionString
	case strings.TrimSpace(path) != path:
		return errors.New("it begins or ends with a space or a line break: want the path alone")
	case path == ":memory:":
		return errors.New("a keystore in memory would lose all keys at the end of the process: want the path of a file")
	case schemeForm.MatchString(path) && (filepath.Separator != '\\' || !driveForm.MatchString(path)):
		return errors.New("it is a URL: want the path of a file, such as /var/lib/speechgate/keystore.db")
	case parameterForm.MatchString(path):
		return errors.New("it has parameters behind the path, which are not supported: want the path alone")
	case driveForm.MatchString(path) && filepath.Separator != '\\':
		return errors.New("it is a path of Windows: want a path of this system, such as /var/lib/speechgate/keystore.db")
	case strings.HasSuffix(path, "/"), filepath.Base(path) == ".", filepath.Base(path) == "..":
		return errors.New("it is a directory: want the path of a file in it, such as keystore.db")
	}
	return nil
}

// ShellVariable is the format of an environment variable in a shell. It is an argument of
// CheckPathSpelling.
const ShellVariable = "$%s"

// CheckPathSpelling refuses a path that a shell would expand, such as ~/keystore.db: this
// program does not expand it, and would make a directory with the name ~. The argument
// variable is the format of an environment variable for the text of the error: ShellVariable
// or "{env.%s}". An error shows no connection string.
func CheckPathSpelling(path, variable string) error {
	if connectionForm.MatchString(path) {
		return errConnectionString // the errors below show parts of the text
	}
	if m := tildeForm.FindStringSubmatch(path); m != nil {
		if m[1] != "" {
			return fmt.Errorf("~%s is not expanded here: want the whole path, such as /home/%s%s", m[1], m[1], path[len("~"+m[1]):])
		}
		return fmt.Errorf("~ is not expanded here: want the whole path, or %s%s", fmt.Sprintf(variable, "HOME"), path[len("~"):])
	}
	for _, form := range []*regexp.Regexp{varForm, percentForm} {
		if variable == ShellVariable && form.MatchString(path) {
			return fmt.Errorf("%s is not expanded here: want the whole path, or the value without single quotes, so that the shell expands it", form.FindString(path))
		}
		if m := form.FindStringSubmatchIndex(path); m != nil {
			return fmt.Errorf("%s is not expanded here: want the whole path, or %s%s%s", path[m[0]:m[1]], path[:m[0]], fmt.Sprintf(variable, path[m[2]:m[3]]), path[m[1]:])
		}
	}
	if bareEnvForm.MatchString(path) {
		name, rest, _ := strings.Cut(path, "/")
		return fmt.Errorf("%s has no braces: want the whole path, or {%s}/%s", name, name, rest)
	}
	return nil
}
