package options

import (
	"bufio"
	"os"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// variableForm matches an environment variable of a Caddyfile, without a default.
var variableForm = regexp.MustCompile(`\{\$([^{}:\s]+)\}`)

// checkVariables returns an error if the line at the cursor has an environment variable,
// such as {$NAME}, that is not set: Caddy has replaced the variable by nothing, and the value
// that is left is not what the operator wrote. If a variable is set to an empty text, it returns
// an error only if the argument empty is true. A variable with a default, such as {$NAME:}, is
// not an error.
func checkVariables(d *caddyfile.Dispenser, empty bool) error {
	for _, name := range variablesOf(lineOf(d.File(), d.Line()), d.Val()) {
		value, set := os.LookupEnv(name)
		switch {
		case !set:
			return d.Errf("%s: the environment variable %s is not set, so that Caddy replaces {$%s} by nothing: set it, or write a default, as in {$%s:default}", d.Val(), name, name, name)
		case value == "" && empty:
			return d.Errf("%s: the environment variable %s is empty, so that Caddy replaces {$%s} by nothing: give it a value", d.Val(), name, name)
		}
	}
	return nil
}

// variablesOf returns the names of the variables in a line of a Caddyfile. It returns no names if
// the line does not begin with this option. The line is then from another file: a configuration
// that was sent to the admin API is in no file, but Caddy gives it a file name.
func variablesOf(line, option string) (names []string) {
	line = strings.TrimSpace(line)
	if line != option && !strings.HasPrefix(line, option+" ") && !strings.HasPrefix(line, option+"\t") {
		return nil
	}
	line, _, _ = strings.Cut(line, " #") // a comment
	for _, match := range variableForm.FindAllStringSubmatch(line, -1) {
		names = append(names, match[1])
	}
	return names
}

// lineOf returns a line of a file. The first line has the number 1. It returns "" if the file
// cannot be read or has no such line.
func lineOf(file string, number int) string {
	f, err := os.Open(file) //nolint:gosec // Caddy has read the file
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it is only read
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if n == number {
			return lines.Text()
		}
	}
	return ""
}
