package manage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// MaxKeyText is the length of the longest text that [ParseKeyLines] reads, in bytes. It is
// enough for a million keys or digests.
const MaxKeyText = 64 << 20

// KeyLine is a line of text that can be a key.
type KeyLine struct {
	Number int // the number of the line, from 1; empty lines are counted too
	Secret policy.Secret
}

// ParseKeyLines returns the lines of a text that are not empty, without the white space
// around them. A byte order mark before the first line is left out. It is an error if the
// text is longer than MaxKeyText, or begins with the byte order mark of UTF-16.
func ParseKeyLines(text string) (lines []KeyLine, err error) {
	if len(text) > MaxKeyText {
		return nil, wrong("keys", " is longer than %d MiB: divide it", MaxKeyText>>20)
	}
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		return nil, wrong("keys", " is in UTF-16, as PowerShell writes files: save it in UTF-8")
	}
	number := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		number++
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, KeyLine{number, policy.NewSecret(line)})
		}
	}
	return lines, nil
}

// doubts returns the lines that cannot be keys. It also returns the lines that are probably
// not keys, unless wantWeak is true.
func doubts(lines []KeyLine, im *keystore.Import, wantWeak bool) (malformed, weak []LineNotKey) {
	malformed, weak = []LineNotKey{}, []LineNotKey{}
	var evident map[[sha256.Size]byte]string
	if im.Digests {
		evident = evidentDigests()
	}
	for _, line := range lines {
		why := im.Malformed(line.Secret)
		if why != "" {
			malformed = append(malformed, LineNotKey{Line: line.Number, Why: why, What: "malformed"})
			continue
		}
		if wantWeak {
			continue
		}
		text := line.Secret.Reveal()
		if im.Digests {
			sum, _ := hex.DecodeString(text) // a digest that is not malformed
			why = evident[[sha256.Size]byte(sum)]
		} else {
			why = weakness(text)
		}
		if why != "" {
			weak = append(weak, LineNotKey{Line: line.Number, Why: why, What: "weak", Digest: why == isDigest})
		}
	}
	return malformed, weak
}

// Lengths of keys, in characters, as for an upstream key.
const (
	minKey     = 8  // a shorter key can be guessed
	minOneKind = 16 // a shorter key must have more than one kind of characters, or it could be a word or a number
	minVariety = 4  // of different characters
)

const isDigest = "it is 64 hexadecimal digits, as a SHA-256 digest is"

var (
	digestForm   = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
	publicIDForm = regexp.MustCompile(`^(acc|key|svc)_[0-9A-Za-z]{20}$`)
	assignedForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=+[^=]`)
	// headingForm matches the names that a column of keys has in a table.
	headingForm = regexp.MustCompile(`(?i)^(x-)?((api|app|amivoice|access|auth|bearer|client|customer|account|service|user|old|hashed)[-_. ]?)*(keys?|tokens?|secrets?|passwords?|digests?|hash(es)?|sha-?256|id|name|label)([-_. ]?(sha-?256|hash|digest|value))?$`)
)

// weakness returns why a text that can be a key is probably not the key of a client: because
// it can be guessed, or because it is something else. It returns "" for a good key. The text
// that it returns does not contain the key.
func weakness(text string) string {
	kinds, variety := characters(text)
	switch {
	case headingForm.MatchString(text):
		return "it is a heading, as the first line of a table is"
	case strings.ContainsAny(text, ",;|\"'`"):
		return "it has a comma, a semicolon, a bar or a quotation mark, as a line of a table has: want the key alone"
	case strings.HasPrefix(text, "#"):
		return "it begins like a comment"
	case assignedForm.MatchString(text):
		return "it has a name and an equals sign before the key: want the key alone"
	case publicIDForm.MatchString(text):
		return "it is the public ID of an account, of a key or of a service"
	case digestForm.MatchString(text):
		return isDigest
	case len(text) < minKey:
		return fmt.Sprintf("it has %s, and can be guessed: want a key of %d or more", words.Count(len(text), "character"), minKey)
	case variety < minVariety:
		return fmt.Sprintf("it has %s only, and can be guessed", words.Count(variety, "different character"))
	case len(text) < minOneKind && kinds == 1:
		return fmt.Sprintf("it has %d characters, all of one kind, as a word or a number has, and can be guessed", len(text))
	}
	return ""
}

// characters returns how many of these kinds of characters a text has: capitals, small
// letters, digits and others. It also returns how many different characters the text has.
// Hyphens, underscores and dots are of no kind, because names have them between words.
func characters(text string) (kinds, variety int) {
	var seen [256]bool
	var capital, small, digit, other int
	for i := range len(text) {
		c := text[i]
		if !seen[c] {
			seen[c] = true
			variety++
		}
		switch {
		case c >= 'A' && c <= 'Z':
			capital = 1
		case c >= 'a' && c <= 'z':
			small = 1
		case c >= '0' && c <= '9':
			digit = 1
		case c != '-' && c != '_' && c != '.':
			other = 1
		}
	}
	return max(capital+small+digit+other, 1), variety
}

// evidentDigests returns the digests of texts that are clearly not keys, with the reason
// for each. The texts are single characters and headings of tables, with and without the
// end of a line behind them.
func evidentDigests() map[[sha256.Size]byte]string {
	texts := []string{
		"key", "keys", "Key", "KEY", "api_key", "api-key", "apikey", "apiKey", "API_KEY", "APIKEY", "API key", "API Key", "appkey", "APPKEY", "app_key",
		"token", "secret", "password", "id", "name", "digest", "hash", "sha256", "key,label", "key,name", "name,key", "customer,key",
	}
	for c := byte('!'); c <= '~'; c++ {
		texts = append(texts, string(rune(c)))
	}
	digests := make(map[[sha256.Size]byte]string)
	for _, text := range texts {
		why := "it is the digest of a heading, as the first line of a table is"
		if len(text) == 1 {
			why = "it is the digest of one character"
		}
		for _, end := range []string{"", "\n", "\r", "\r\n"} {
			digests[sha256.Sum256([]byte(text+end))] = why
		}
	}
	return digests
}
