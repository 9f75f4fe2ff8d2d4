package options

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/speechgate/speechgate/policy"
)

// Secret reads an option with one argument that can be a secret. No error shows the value.
func Secret(into *string) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args := d.RemainingArgs()
		switch {
		case len(args) > 1:
			return d.Errf("%s: want one value after %s, and there are %d, which are not shown because they may be secrets", name, name, len(args))
		case len(args) == 0 || args[0] == "":
			return d.Errf("%s: want one value after %s", name, name)
		}
		*into = args[0]
		return nil
	}
}

// Keys reads an option with the arguments of Secret, or with a list of up to most secrets. The first
// of them goes to first, and the others to more. No error shows a value.
func Keys(first *string, more *[]string, most int) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args := d.RemainingArgs()
		switch {
		case len(args) > most:
			return d.Errf("%s: want %d keys at most, and there are %d, which are not shown because they may be secrets", name, most, len(args))
		case len(args) == 0 || len(args) == 1 && args[0] == "":
			return d.Errf("%s: want one value after %s", name, name)
		}
		*first, *more = args[0], nil
		if len(args) > 1 {
			*more = args[1:]
		}
		return nil
	}
}

// The values of upstream_key that are not a key.
const (
	UpstreamDrop = "drop" // the backend gets no key
	UpstreamPass = "pass" // the backend gets the client's key
)

// Lengths of configured secrets, in bytes.
const (
	minPepper      = 16
	minUpstreamKey = 8

	// MinKeyLenToMaskEverywhere is the shortest length of an upstream key that is masked in
	// the body of every answer. A shorter key could be the same text as a word in a
	// transcript, so it is masked only in the bodies of answers with an error status.
	MinKeyLenToMaskEverywhere = 16
)

// IsEvidentPlaceholder reports whether a text is clearly a placeholder and not a secret. An error
// or a log may show such a text.
func IsEvidentPlaceholder(text string) bool { return placeholderForm.MatchString(text) }

var placeholderForm = regexp.MustCompile(`^\{(env\.[A-Za-z_][A-Za-z0-9_]*|file\.[A-Za-z0-9_./\\: -]+)\}$`)

// ResolveSecret resolves the placeholders in the value of an option. An error shows no part of
// the value, except an evident placeholder.
func ResolveSecret(text string) (policy.Secret, error) {
	if err := CheckBraces(text); err != nil {
		return policy.Secret{}, err
	}
	return replaceSecret(text)
}

func replaceSecret(text string) (policy.Secret, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	switch {
	case err == nil:
		return policy.NewSecret(value), nil
	case shellForm.MatchString(text):
		return policy.Secret{}, checkMeant(text)
	case IsEvidentPlaceholder(text):
		return policy.Secret{}, fmt.Errorf("%s is not set, is empty or cannot be read: set it in the environment of the server, or make the file readable", text)
	}
	return policy.Secret{}, errors.New("it has a placeholder that is empty or that Caddy does not know: want one such as {env.NAME} or {file./run/secrets/name}; a brace that belongs to the value is written with a backslash before it")
}

// CheckBraces refuses braces that do not belong to a placeholder. Caddy would keep them as a
// part of the value.
func CheckBraces(text string) error {
	open := -1
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && (text[i+1] == '{' || text[i+1] == '}'):
			i++
		case c == '{' && open >= 0:
			return errors.New("it has two opening braces in a row: want one placeholder, such as {env.NAME}")
		case c == '{':
			open = i
		case c == '}' && open < 0:
			return braceError("it has a closing brace too many", text)
		case c == '}':
			open = -1
		}
	}
	if open >= 0 {
		return braceError("its placeholder has no closing brace", text)
	}
	return nil
}

// braceError returns an error with the text of problem. If the operator clearly meant one
// placeholder, the error shows this placeholder.
func braceError(problem, text string) error {
	if meant := "{" + strings.Trim(text, "{}") + "}"; IsEvidentPlaceholder(meant) {
		return fmt.Errorf("%s: want %s", problem, meant)
	}
	return fmt.Errorf("%s: want a placeholder such as {env.NAME}; a brace that belongs to the value is written with a backslash before it", problem)
}

// Texts that are a mistake: a misspelt placeholder, or an example that the operator was to
// replace.
var (
	shellForm   = regexp.MustCompile(`^(\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\}|\{\$[A-Za-z_]\w*\}|%[A-Za-z_]\w*%)$`)
	bareForm    = regexp.MustCompile(`^(env|file)[.:].`)
	envNameForm = regexp.MustCompile(`^[A-Z]+(_[A-Z]+)+$`)
	bracketForm = regexp.MustCompile(`^(<.*>|\[.*\])$`)
	fillInForm  = regexp.MustCompile(`(?i)^(change[-_ ]?(me|it|this)[\w-]*|replace[-_ ]?(me|this)[\w-]*|to-?do|your[-_][\w-]*|my[-_ ]?(api|app|upstream)?[-_ ]?(key|secret|pepper)|(api|app|upstream|backend|amivoice)?[-_ ]?(key|appkey|secret|pepper|password)|x{3,}|\.{3,}|\*{3,}|example|placeholder|secret)$`)
	shouted     = regexp.MustCompile(`^\W*[A-Z][A-Z0-9_]*\W*$`)
	quotedForm  = regexp.MustCompile(`^("(.*)"|'(.*)')$`)
)

// checkMeant refuses a value that is probably not the secret that the operator meant: a misspelt
// placeholder, or an example that the operator was to replace.
func checkMeant(value string) error {
	switch {
	case strings.HasPrefix(value, "\ufeff"):
		return errors.New("it begins with a byte order mark, which an editor puts into files: save the file without")
	case !utf8.ValidString(value):
		return nil // random bytes are not a mistake
	case strings.TrimSpace(value) != value:
		return errors.New("it begins or ends with a space or a line break: want the value alone, without an empty line after it")
	case quotedForm.MatchString(value):
		return errors.New("it has quotation marks around it, which are part of the value in files and in Docker's --env-file: remove them")
	case IsEvidentPlaceholder(value):
		return fmt.Errorf("it is the text %s and not what this stands for: Caddy resolves placeholders in its configuration only, once", value)
	case bracketForm.MatchString(value):
		return errors.New("it has brackets around it, as documentation writes what is to be replaced: want the value itself")
	case shellForm.MatchString(value):
		name := strings.Trim(value, "${}%")
		if !shouted.MatchString(value) {
			name = "NAME"
		}
		return fmt.Errorf("it is written as a variable of the shell, which Caddy does not expand: want {env.%s}", name)
	case bareForm.MatchString(value):
		if meant := "{" + strings.Replace(value, ":", ".", 1) + "}"; IsEvidentPlaceholder(meant) {
			return fmt.Errorf("its placeholder has no braces: want %s", meant)
		}
		return errors.New("its placeholder has no braces: want {env.NAME} or {file./run/secrets/name}")
	case envNameForm.MatchString(value):
		return fmt.Errorf("it is the name of an environment variable: want {env.%s}", value)
	case fillInForm.MatchString(value):
		return errors.New("it is a text that is to be replaced by the value itself")
	}
	return nil
}

// checkPepper returns why a pepper must not be added to a keystore. It is not an error of the
// configuration, because a keystore that has this pepper already cannot change it.
func checkPepper(pepper policy.Secret) error {
	value := pepper.Reveal()
	if err := checkMeant(value); err != nil {
		return err
	}
	if len(value) < minPepper {
		return fmt.Errorf("it has fewer than %d bytes, and could be guessed: want a random text, as \"openssl rand -hex 32\" prints it", minPepper)
	}
	return nil
}

// ResolvePepper resolves the configured pepper. If fault is not nil, the pepper must not be added
// to a keystore, and fault says why; a keystore that has this pepper already can be opened. No
// error shows the pepper.
func ResolvePepper(text string) (pepper policy.Secret, fault, err error) {
	if pepper, err = replaceSecret(text); err != nil {
		return policy.Secret{}, nil, fmt.Errorf("pepper: %w", err)
	}
	// Earlier versions accepted any text as a pepper, even a misspelt placeholder.
	if fault = CheckBraces(text); fault == nil {
		fault = checkPepper(pepper)
	}
	if fault != nil {
		fault = fmt.Errorf("pepper: %w", fault)
	}
	return pepper, fault, nil
}

// noKeyWords are texts with which an operator probably means UpstreamDrop.
var noKeyWords = []string{"none", "no", "off", "false", "null", "nil", "empty", "remove", "delete", "-"}

// checkUpstreamWord refuses a text that probably means UpstreamDrop or UpstreamPass.
func checkUpstreamWord(text string) error {
	lower := strings.ToLower(text)
	switch lower {
	case UpstreamDrop, UpstreamPass:
		return fmt.Errorf("%q is no key: want %s, in lower case", text, lower)
	case "forward", "keep", "through":
		return fmt.Errorf("%q is no key: want %s, which sends the client's key to the backend", text, UpstreamPass)
	}
	if slices.Contains(noKeyWords, lower) {
		return fmt.Errorf("%q is no key: want %s, which sends no key to the backend", text, UpstreamDrop)
	}
	return nil
}

// CheckUpstreamKey refuses a text that is probably not a key of a backend. It also refuses a key
// of fewer than 16 characters that are all letters of the same case: the same text could be an
// ordinary word in a log, and masking the key would mask the word. An error does not show the
// key.
func CheckUpstreamKey(key policy.Secret) error {
	value := key.Reveal()
	if err := checkUpstreamWord(value); err != nil {
		return err
	}
	if scheme, _, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "token") {
		return fmt.Errorf("it begins with the word %s: want the key alone", scheme)
	}
	if err := checkMeant(value); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(value, policy.ServicePasswordPrefix):
		return errors.New("it is a service password, with which keys are issued: want a key of the backend")
	case strings.HasPrefix(value, policy.KeyPrefix) && policy.CheckSecret(key) != nil:
		return fmt.Errorf("it %w", policy.CheckSecret(key))
	case len(value) < minUpstreamKey:
		return fmt.Errorf("it has fewer than %d characters, so it cannot be a key: want the backend's key, or %s, which sends no key", minUpstreamKey, UpstreamDrop)
	case len(value) < MinKeyLenToMaskEverywhere && isWord(value):
		return fmt.Errorf("it has fewer than %d characters and only letters, so a log can contain the same word: want the backend's key, or %s, which sends no key", MinKeyLenToMaskEverywhere, UpstreamDrop)
	}
	return nil
}

// isWord reports whether all characters of text are ASCII letters of the same case.
func isWord(text string) bool {
	lower, upper := true, true
	for i := range len(text) {
		lower = lower && text[i] >= 'a' && text[i] <= 'z'
		upper = upper && text[i] >= 'A' && text[i] <= 'Z'
	}
	return lower || upper
}
