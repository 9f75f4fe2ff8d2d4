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
)

// KeystoreConfig is the value of the option keystore: the database that has the accounts, the
// keys and the jobs.
type KeystoreConfig struct {
	// The database engine. `sqlite` is the only one, and the default.
	Engine string `json:"engine,omitempty"`

	// The file of SQLite. If it does not exist, it is created with mode 0600, and
	// its directory with mode 0700. Caddy does not expand `~` or `$HOME`; use a
	// placeholder, such as `{env.HOME}`. Default: `speechgate/keystore.db` in Caddy's
	// data directory.
	Path string `json:"path,omitempty"`

	// Creates an empty keystore if no file exists at the path, even if this server had
	// a keystore before. Remove the option after the first start. Default: only the
	// first keystore of a server is created.
	Create bool `json:"create,omitempty"`

	// Never creates a keystore: starting without one is an error. Default: not set.
	MustExist bool `json:"must_exist,omitempty"`
}

// errKeystoreSyntax shows no argument, because a data source name can contain a password.
const errKeystoreSyntax = "keystore: want keystore sqlite <path>"

func (k *KeystoreConfig) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) > 0 && args[0] != "sqlite" && engineForm.MatchString(args[0]):
		return d.Errf("keystore %s: there is no such engine; want keystore sqlite <path>", args[0])
	case len(args) != 2 || args[0] != "sqlite" || args[1] == "":
		return d.Errf(errKeystoreSyntax)
	}
	k.Engine, k.Path = args[0], args[1]
	return options.ParseBlock(d, map[string]options.Option{
		"create":     options.Toggle(&k.Create),
		"must_exist": options.Toggle(&k.MustExist),
	})
}

var engineForm = regexp.MustCompile(`^[a-z0-9]{1,16}$`)

// path returns the absolute path of the keystore, with placeholders and the default
// resolved.
func (k *KeystoreConfig) path() (string, error) {
	switch {
	case k.Engine != "" && k.Engine != "sqlite" && engineForm.MatchString(k.Engine):
		return "", fmt.Errorf("keystore engine %q: there is only sqlite", k.Engine)
	case k.Engine != "" && k.Engine != "sqlite":
		return "", errors.New("keystore engine: there is only sqlite")
	case k.Create && k.MustExist:
		return "", errors.New("keystore: create and must_exist contradict each other: want one of them, or none")
	case k.Path == "":
		return filepath.Abs(defaultKeystorePath())
	}
	if err := CheckPathSpelling(k.Path, "{env.%s}"); err != nil {
		return "", fmt.Errorf("keystore path %q: %w", k.Path, err)
	}
	if err := options.CheckBraces(k.Path); err != nil {
		return "", fmt.Errorf("keystore path %q: %w", k.Path, err)
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(k.Path, true, true)
	if err != nil {
		return "", fmt.Errorf("keystore path: %w", err)
	}
	if err := CheckPathSpelling(path, "{env.%s}"); err != nil {
		return "", fmt.Errorf("keystore path %q, as %q: %w", k.Path, path, err)
	}
	if err := CheckFilePath(path); err != nil {
		return "", fmt.Errorf("keystore path %q: %w", path, err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("keystore path %q: %w", path, err)
	}
	return abs, nil
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
// SQLite. Without this check, the program would make a file with this text as its name.
func CheckFilePath(path string) error {
	switch {
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
// or "{env.%s}".
func CheckPathSpelling(path, variable string) error {
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
