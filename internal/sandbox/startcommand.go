package sandbox

import (
	"errors"
	"strings"
)

// errStart is the error of a malformed command s. It quotes nothing, because the command
// can contain a key.
var errStart = errors.New("malformed command: want <audio_format> <engine> and any number of <key>=<value>")

// start is a command s, which starts a session.
type start struct {
	credentials
	format string
	engine string
}

// parseStart reads the text after the letter of a command s: an audio format, an engine
// and pairs, each after one space. A value in quotation marks ends at the next quotation
// mark that is not doubled. Any other value ends at the next space. Values are not
// decoded.
func parseStart(text string) (start, error) {
	var s start
	var ok bool
	if s.format, text, ok = word(text); !ok {
		return start{}, errStart
	}
	if s.engine, text, ok = word(text); !ok {
		return start{}, errStart
	}
	for text != "" {
		var name, value string
		if name, value, text, ok = pair(text); !ok {
			return start{}, errStart
		}
		if name == "authorization" {
			s.add(value)
		}
	}
	return s, nil
}

// word reads a space and the word after it, up to the next space. A word has no
// quotation marks.
func word(text string) (w, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, " ")
	end := strings.IndexByte(text+" ", ' ')
	w, rest = text[:end], text[end:]
	return w, rest, ok && w != "" && !strings.Contains(w, `"`)
}

// pair reads a space, a name, an equals sign and a value.
func pair(text string) (name, value, rest string, ok bool) {
	text, spaced := strings.CutPrefix(text, " ")
	name, text, ok = strings.Cut(text, "=")
	if !spaced || !ok || name == "" || strings.ContainsAny(name, ` "`) {
		return "", "", "", false
	}
	if text, ok = strings.CutPrefix(text, `"`); !ok {
		end := strings.IndexByte(text+" ", ' ')
		return name, text[:end], text[end:], true
	}
	var b strings.Builder
	for {
		part, after, ok := strings.Cut(text, `"`)
		if !ok {
			return "", "", "", false
		}
		b.WriteString(part)
		if text, ok = strings.CutPrefix(after, `"`); !ok {
			return name, b.String(), after, after == "" || after[0] == ' '
		}
		b.WriteByte('"')
	}
}
