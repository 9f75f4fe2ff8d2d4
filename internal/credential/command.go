package credential

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/speechgate/speechgate/policy"
)

// The locator for text commands on a WebSocket.
//
// A command is a word, followed by tokens. A single space is before each token. A token
// name="value" ends at the first quotation mark that is not doubled. Any other token ends
// at the next space. Nothing is percent-encoded. This is the grammar of AmiVoice's
// command s.

// Command is a text command with one key in it.
type Command struct {
	text  string
	token span // the token with the key: name=value
	value span // the value, with its quotation marks
	key   string
}

// ScanCommand finds the key in a command that begins with word. The key is the value of
// the token that is called name. A name within a quoted value does not count.
//
// The reason of a fault is CredentialMissing if there is no key, or an empty one;
// CredentialAmbiguous if there are two, even if they are the same; CredentialMalformed if
// the text of the key is wrong; and RequestMalformed if the grammar is broken, or if
// another parser could find another key.
func ScanCommand(text, word, name string) (Command, *Fault) {
	c := Command{text: text}
	if fault := checkCommandText(text); fault != nil {
		return Command{}, fault
	}
	if text != word && !strings.HasPrefix(text, word+" ") {
		return Command{}, malformed("a command that does not begin with the word " + word)
	}
	keys := 0
	var quotedValues strings.Builder
	for at := len(word); at < len(text); {
		token, value, fault := nextToken(text, at+1)
		if fault != nil {
			return Command{}, fault
		}
		at = token.to
		if strings.HasPrefix(value.of(text), `"`) {
			quotedValues.WriteString(value.of(text) + " ")
		}
		isKey, fault := classifyToken(text, token, value, name)
		switch {
		case fault != nil:
			return Command{}, fault
		case !isKey:
			continue
		}
		key := strings.Trim(value.of(text), `"`)
		if keys > 0 {
			if !sameKey(key, c.key) {
				return Command{}, errTwoKeys
			}
			return Command{}, &Fault{Reason: policy.CredentialAmbiguous, Detail: "the pair " + name + " twice"}
		}
		keys++
		c.token, c.value, c.key = token, value, key
	}
	if strings.Contains(quotedValues.String(), `\"`) && hasPair(quotedValues.String(), name) {
		// For a parser in which a backslash escapes a quotation mark, the values end elsewhere.
		return Command{}, malformed("the pair " + name + " in a quoted value, beside a backslash before a quotation mark")
	}
	if c.key == "" {
		return Command{}, &Fault{Reason: policy.CredentialMissing, Detail: "the command has no pair " + name + ", or an empty one"}
	}
	if err := policy.CheckSecret(c.Key()); err != nil {
		return Command{}, MalformedKey(err)
	}
	return c, nil
}

// Key returns the key, without quotation marks.
func (c *Command) Key() policy.Secret { return policy.NewSecret(c.key) }

// Rewrite returns the command after it has done with the client's key what up says. A key
// that is removed takes one space with it. All other bytes stay as they are.
func (c *Command) Rewrite(up Upstream) string {
	switch up.Mode {
	case Pass:
		return c.text
	case Replace:
		return c.text[:c.value.from] + commandValue(up.Key) + c.text[c.value.to:]
	case Drop:
	}
	return c.text[:c.token.from-1] + c.text[c.token.to:]
}

// commandValue writes a key as the value of a token. Most keys need no quotation marks.
func commandValue(key policy.Secret) string {
	text := key.Reveal()
	if !strings.Contains(text, `"`) {
		return text
	}
	return `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
}

func checkCommandText(text string) *Fault {
	switch {
	case !utf8.ValidString(text):
		return malformed("a command that is no UTF-8")
	case strings.ContainsFunc(text, unicode.IsControl):
		return malformed("a control character in a command")
	}
	return nil
}

// nextToken reads the token that starts at from. value is what follows the first "=" of
// the token, and empty if there is no "=". Only the last token may be empty, after a
// space at the end of the command.
func nextToken(text string, from int) (token, value span, fault *Fault) {
	rest := text[from:]
	end := strings.IndexByte(rest, ' ')
	if end < 0 {
		end = len(rest)
	}
	equals := strings.IndexByte(rest[:end], '=')
	switch {
	case end == 0 && rest != "":
		return span{}, span{}, malformed("a run of spaces in a command, where single spaces separate its tokens")
	case equals < 0:
		return span{from, from + end}, span{from + end, from + end}, nil
	}
	start := from + equals + 1
	if !strings.HasPrefix(text[start:], `"`) {
		return span{from, from + end}, span{start, from + end}, nil
	}
	to := start + 1
	for {
		quote := strings.IndexByte(text[to:], '"')
		if quote < 0 {
			return span{}, span{}, malformed("a quotation mark in a command that is not closed")
		}
		to += quote + 1
		if !strings.HasPrefix(text[to:], `"`) {
			break
		}
		to++ // a doubled quotation mark is one in the value
	}
	if to < len(text) && text[to] != ' ' {
		return span{}, span{}, malformed("text after a closing quotation mark in a command, where a space or the end should be")
	}
	return span{from, to}, span{start, to}, nil
}

// classifyToken reports whether a token is the key. It refuses a token in which another
// parser could find a key that is not there, find another key, or miss the key.
func classifyToken(text string, token, value span, name string) (isKey bool, fault *Fault) {
	whole, written := token.of(text), value.of(text)
	quoted := strings.HasPrefix(written, `"`)
	unquoted := whole // what is not within the quotation marks
	if quoted {
		unquoted = text[token.from:value.from]
	}
	if strings.Count(unquoted, `"`)%2 != 0 {
		// A parser in which a quotation mark opens a quoted text anywhere would read past
		// the end of the token.
		return false, malformed("a quotation mark in a token that is not closed before its end")
	}
	if !strings.HasPrefix(whole, name+"=") {
		if len(unquoted) < len(name) {
			return false, nil
		}
		if hasPair(unquoted, name) || sameName(unquoted, name) {
			return false, errHiddenPair
		}
		return false, nil
	}
	key := written
	if quoted {
		key = written[1 : len(written)-1]
	}
	switch {
	case strings.Contains(key, `"`):
		return false, malformed("a quotation mark in the value of the pair " + name)
	case decodePercent(key) != key:
		return false, malformed("a percent-escape in the value of the pair " + name + ", where nothing is escaped")
	case hasPair(key, name):
		return false, errHiddenPair
	}
	return true, nil
}

// errHiddenPair is the fault of a key that only some parsers find.
var errHiddenPair = malformed("the pair of the key is spelled in another way, or hidden")
