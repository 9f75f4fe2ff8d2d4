package credential

import (
	"crypto/subtle"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/speechgate/speechgate/policy"
)

// A text command of live recognition is a word and tokens, each after a single
// space. A token that is name="value" goes up to the quotation mark that is not
// doubled, any other up to the next space. Nothing is percent-encoded. This is
// the grammar of AmiVoice's command s.

// Command is a text command and the one key in it.
type Command struct {
	text   string
	token  span // of the key: its name=value
	value  span // what follows its "=", quotation marks included
	secret string
}

// ScanCommand finds the key in a command that begins with word: the value of
// the token with this name. The reason of a fault is CredentialMissing where
// there is no key or an empty one, CredentialAmbiguous where there are two, be
// they alike or not, RequestMalformed where the grammar is broken, or another parser
// could find another key, and CredentialMalformed where the key is mistyped. A name in
// a quoted value is no key.
func ScanCommand(text, word, name string) (Command, *Fault) {
	c := Command{text: text}
	if fault := checkCommandText(text); fault != nil {
		return Command{}, fault
	}
	if text != word && !strings.HasPrefix(text, word+" ") {
		return Command{}, malformed("a command that does not begin with the word " + word)
	}
	keys := 0
	var quotes strings.Builder // the quoted values
	for at := len(word); at < len(text); {
		token, value, fault := nextToken(text, at+1)
		if fault != nil {
			return Command{}, fault
		}
		at = token.to
		if strings.HasPrefix(value.of(text), `"`) {
			quotes.WriteString(value.of(text) + " ")
		}
		key, fault := classifyToken(text, token, value, name)
		switch {
		case fault != nil:
			return Command{}, fault
		case !key:
			continue
		}
		secret := strings.Trim(value.of(text), `"`)
		if keys > 0 {
			detail := "the pair " + name + " twice"
			if subtle.ConstantTimeCompare([]byte(secret), []byte(c.secret)) != 1 {
				detail = "two keys that differ"
			}
			return Command{}, &Fault{Reason: policy.CredentialAmbiguous, Detail: detail}
		}
		keys++
		c.token, c.value, c.secret = token, value, secret
	}
	if strings.Contains(quotes.String(), `\"`) && holdsPair(quotes.String(), name) {
		// Where a backslash escapes a quotation mark, quoted values end elsewhere.
		return Command{}, malformed("the pair " + name + " in a quoted value, beside a backslash before a quotation mark")
	}
	if c.secret == "" {
		return Command{}, &Fault{Reason: policy.CredentialMissing, Detail: "the command has no pair " + name + ", or an empty one"}
	}
	if err := policy.CheckSecret(c.Key()); err != nil {
		return Command{}, MalformedKey(err)
	}
	return c, nil
}

// Key is the key, without quotation marks.
func (c *Command) Key() policy.Secret { return policy.NewSecret(c.secret) }

// Rewrite returns the command with the client's key replaced by what up says;
// removed, it takes one space along. The rest stays as it is, byte for byte.
func (c *Command) Rewrite(up Upstream) string {
	switch up.Mode {
	case Pass:
		return c.text
	case Replace:
		return c.text[:c.value.from] + quotePair(up.Key) + c.text[c.value.to:]
	case Drop:
	}
	return c.text[:c.token.from-1] + c.text[c.token.to:]
}

// quotePair writes a key as the value of a pair. Most need no quotation marks.
func quotePair(key policy.Secret) string {
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

// nextToken reads the token that starts at from, and where the value after its
// "=" is; the value is empty at the token's end if there is no "=". Only the
// last token may be empty, as after a space at the command's end.
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
		to++ // a doubled one stands for itself
	}
	if to < len(text) && text[to] != ' ' {
		return span{}, span{}, malformed("text after a closing quotation mark in a command, where a space or the end should be")
	}
	return span{from, to}, span{start, to}, nil
}

// classifyToken says whether a token is the key. It refuses one in which other
// parsers could find a key that is not there, or another one, or none.
func classifyToken(text string, token, value span, name string) (key bool, fault *Fault) {
	whole, written := token.of(text), value.of(text)
	quoted := strings.HasPrefix(written, `"`)
	open := whole // what is not within quotation marks
	if quoted {
		open = text[token.from:value.from]
	}
	if strings.Count(open, `"`)%2 != 0 {
		// Those who take a quotation mark anywhere for the start of a quoted
		// text would read on beyond the token.
		return false, malformed("a quotation mark in a token that is not closed before its end")
	}
	if !strings.HasPrefix(whole, name+"=") {
		if len(open) < len(name) {
			return false, nil
		}
		if holdsPair(open, name) || sameName(open, name) {
			return false, errHidden
		}
		return false, nil
	}
	secret := written
	if quoted {
		secret = written[1 : len(written)-1]
	}
	switch {
	case strings.Contains(secret, `"`):
		return false, malformed("a quotation mark in the value of the pair " + name)
	case decodeLax(secret) != secret:
		return false, malformed("a percent-escape in the value of the pair " + name + ", where nothing is escaped")
	case holdsPair(secret, name):
		return false, errHidden
	}
	return true, nil
}

// errHidden is a key where only some parsers find it.
var errHidden = malformed("the pair of the key is spelled in another way, or hidden")
