package credential

import (
	"bytes"
	"io"
	"mime"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// checkNames refuses a part that some parser could take for another part that
// matters: for a key's, or for the audio. name is the part's name, and header all
// lines of its header.
//
// Parsers look for the name in many ways: at the first "name=" there is, be it that of
// "filename="; after a split at each semicolon, be it within quotation marks; in every
// field of the header. So each "name=" of the header counts. The file name behind the
// name does not: a parser that took it for the name could read no upload of a browser.
func (f *Found) checkNames(name string, header []byte) *Fault {
	single := bytes.Count(header, []byte("=")) == 1 // as in most
	if single && isLower(name) {
		return nil // the names that matter are in lower case: this is one of them, or none
	}
	if !isPlain(name) && (hasControl(name) || strings.Contains(name, "=?")) {
		return malformed("a part's name has a control character or an encoded word")
	}
	if len(name) >= len(charsetPart) && sameName(name, charsetPart) {
		return malformed("the part _charset_ sets the charset of other parts")
	}
	if single {
		return f.checkAlias(name, name)
	}
	text := string(header)
	named := false
	for at := 0; ; at++ {
		next := strings.IndexByte(text[at:], '=')
		if next < 0 {
			return f.checkAlias(name, name)
		}
		at += next
		word := wordBefore(text[:at])
		switch {
		case !endsInName(word):
			continue
		case isFileName(word):
			if named {
				continue
			}
		case strings.Contains(word, "*"):
			return malformed("a part's name is in more than one form: want name=\"…\" alone")
		default:
			named = true
		}
		if fault := f.checkAlias(name, valueAhead(text[at+1:])); fault != nil {
			return fault
		}
	}
}

// isLower reports whether a name has nothing but the letters a to z and digits.
func isLower(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// charsetPart is the name of a part that says in which charset the others are: RFC
// 7578, section 4.6.
const charsetPart = "_charset_"

// checkAlias refuses an alias, under which some parser could see the part of this
// name, if it is the name of another part that matters.
func (f *Found) checkAlias(name, alias string) *Fault {
	if strings.Contains(alias, "=?") {
		if decoded, err := encodedWords.DecodeHeader(alias); err == nil {
			alias = decoded
		}
	}
	for i := range f.places {
		place := &f.places[i]
		if place.Location != dialect.Part || place.Name == name || len(alias) < len(place.Name) {
			continue
		}
		if sameName(alias, place.Name) {
			return malformed("the name of the part " + place.Name + " is spelled in another way, or is in another part's header")
		}
	}
	if f.audio != name && sameName(alias, f.audio) {
		return malformed("the name of the part " + f.audio + " is spelled in another way, or is in another part's header")
	}
	return nil
}

// encodedWords decodes the encoded words of RFC 2047, in which mail libraries write
// file names. ASCII, of which keys' names are, is itself in the charsets of mail.
var encodedWords = mime.WordDecoder{
	CharsetReader: func(_ string, text io.Reader) (io.Reader, error) { return text, nil },
}

// wordBefore is the parameter's name in front of an equals sign.
func wordBefore(text string) string {
	text = strings.TrimRight(text, " \t")
	return text[strings.LastIndexAny(text, " \t\r\n;,:\"'\\=")+1:]
}

// endsInName reports whether a parameter's name is or ends in "name", "name*" or
// "name*0*".
func endsInName(word string) bool {
	word = strings.TrimRight(word, "*0123456789")
	return len(word) >= len("name") && strings.EqualFold(word[len(word)-len("name"):], "name")
}

// isFileName reports whether a parameter's name is that of a file's name.
func isFileName(word string) bool {
	const want = "filename"
	return len(word) >= len(want) && strings.EqualFold(word[:len(want)], want)
}

// valueAhead is the least that a parser could take for the value that text begins
// with.
func valueAhead(text string) string {
	text = strings.TrimLeft(text, " \t\"'\\")
	if end := strings.IndexAny(text, "\"';, \t\r\n\\\x00"); end >= 0 {
		text = text[:end]
	}
	return text
}
