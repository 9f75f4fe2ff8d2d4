package jsonanswer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Path says where a value is in a JSON text: names of members, with a dot between them.
// The step [] means every element of an array. Examples: status, job.status,
// transcripts[].resource_url and, in an array at the top level, [].id. Two paths are equal
// if their texts are. The zero value is no path.
type Path struct{ text string }

// elements is the step to every element of an array.
const elements = "[]"

const (
	maxName  = 128 // bytes of a name in a path
	maxSteps = 16  // of a path
)

// ParsePath reads a path. A name has 1 to 128 bytes, and no dot, bracket, quote or control
// character.
func ParsePath(text string) (Path, error) {
	if _, err := split(text); err != nil {
		return Path{}, fmt.Errorf("path %q: %w", text, err)
	}
	return Path{text}, nil
}

// MustPath is ParsePath for paths in tables. It panics if the path has a mistake.
func MustPath(text string) Path {
	path, err := ParsePath(text)
	if err != nil {
		panic(err)
	}
	return path
}

// String returns the text of the path.
func (p Path) String() string { return p.text }

// steps returns the steps of the path: names of members, and elements.
func (p Path) steps() ([]string, error) {
	steps, err := split(p.text)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", p.text, err)
	}
	return steps, nil
}

func split(text string) (steps []string, err error) {
	if text == "" {
		return nil, errors.New("it is empty: write names with a dot between them")
	}
	for i, part := range strings.Split(text, ".") {
		name := part
		for strings.HasSuffix(name, elements) {
			name = strings.TrimSuffix(name, elements)
		}
		switch {
		case name == "" && (i > 0 || part == ""):
			return nil, errors.New("a name is missing: write one name before, between and after the dots")
		case strings.ContainsAny(name, "[]"):
			return nil, fmt.Errorf("%q has a bracket in the name: write [] after a name, and a dot after []", part)
		case len(name) > maxName:
			return nil, fmt.Errorf("a name has %d bytes: at most %d are possible", len(name), maxName)
		case !utf8.ValidString(name) || strings.ContainsFunc(name, isNoNameRune):
			return nil, fmt.Errorf("%q has a quote, a backslash, a control character or a byte that is not UTF-8", part)
		}
		if name != "" {
			steps = append(steps, name)
		}
		for range (len(part) - len(name)) / len(elements) {
			steps = append(steps, elements)
		}
	}
	if len(steps) > maxSteps {
		return nil, fmt.Errorf("it has %d steps: at most %d are possible", len(steps), maxSteps)
	}
	return steps, nil
}

func isNoNameRune(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == 0x7f }
