package options

import (
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// source reads the lines of Caddyfiles as the operator wrote them: Caddy replaces environment
// variables before it reads a Caddyfile. It reads each file once.
type source map[string][]string // the lines by file

// checkVariables returns an error if the line at the cursor has an environment variable,
// such as {$NAME}, that is not set: Caddy has replaced the variable by nothing, and the value
// that is left is not what the operator wrote. If a variable is set to an empty text, it returns
// an error only if the argument empty is true. A variable with a default, such as {$NAME:}, is
// not an error.
func (s source) checkVariables(d *caddyfile.Dispenser, empty bool) error {
	for _, name := range variablesOf(s.line(d.File(), d.Line()), wordsOf(d)) {
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

// line returns a line of a file. The first line has the number 1. It returns "" if the file cannot
// be read or has no such line.
func (s source) line(file string, number int) string {
	lines, known := s[file]
	if !known {
		// To open a pipe could take forever.
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			text, _ := os.ReadFile(file) //nolint:gosec // Caddy has read the file
			lines = strings.Split(string(text), "\n")
		}
		s[file] = lines
	}
	if number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}

// wordsOf returns the option at the cursor and its arguments. The cursor stays where it is.
func wordsOf(d *caddyfile.Dispenser) []string {
	line := *d
	return append([]string{line.Val()}, line.RemainingArgs()...)
}

// variablesOf returns the names of the variables without a default in a line of a Caddyfile, but
// not of variables in a comment. It returns no names if Caddy does not read these words from the
// line. The line is then from another file: a configuration that was sent to the admin API is in
// no file, but Caddy names it Caddyfile, and a file of this name can exist.
func variablesOf(line string, words []string) (names []string) {
	parts := splitAtVariables(line)
	if !slices.Equal(expand(parts, -1), words) {
		return nil
	}
	for i, part := range parts {
		marked := func(word string) bool { return strings.Contains(word, mark) }
		if part.name != "" && !part.hasDefault && slices.ContainsFunc(expand(parts, i), marked) {
			names = append(names, part.name)
		}
	}
	return names
}

// part is a part of a line: a text, or an environment variable.
type part struct {
	name       string // of the variable; empty: the part is a text
	text       string // the text, or the default of the variable
	hasDefault bool
}

// splitAtVariables splits a line into texts and environment variables, as Caddy does: a variable
// ends at the first }, and {$} is a text.
func splitAtVariables(line string) (parts []part) {
	text := "" // in front of the next variable
	for {
		before, rest, found := strings.Cut(line, "{$")
		inside, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			return append(parts, part{text: text + line})
		}
		if line = after; inside == "" {
			text += before + "{$}"
			continue
		}
		name, fallback, hasDefault := strings.Cut(inside, ":")
		parts = append(parts, part{text: text + before}, part{name, fallback, hasDefault})
		text = ""
	}
}

// mark is a text that no Caddyfile has: a character of Unicode's private use area.
const mark = "\uE0F1"

// expand returns the words that Caddy reads from a line. The variable with the number marked has
// the mark as its value; -1 marks no variable.
func expand(parts []part, marked int) (words []string) {
	var line strings.Builder
	for i, part := range parts {
		value, set := os.LookupEnv(part.name)
		switch {
		case i == marked:
			line.WriteString(mark)
		case part.name != "" && set:
			line.WriteString(value)
		default:
			line.WriteString(part.text)
		}
	}
	tokens, _ := caddyfile.Tokenize([]byte(line.String()), "")
	for _, token := range tokens {
		if token.Text == "{" && !token.Quoted() {
			break // a block follows; RemainingArgs ends here too
		}
		words = append(words, token.Text)
	}
	return words
}
