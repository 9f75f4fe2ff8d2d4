package credential

import (
	"bytes"
	"io"
	"mime"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// checkNames refuses a part that some parser could take for another part that matters:
// the part of a key, or the audio. name is the name of the part, and header is all of its
// header.
//
// Parsers look for the name in many ways: at the first "name=", even if it is the end of
// "filename="; after each semicolon, even within quotation marks; in every field of the
// header. So checkNames looks at each "name=" of the header. It does not look at the file
// name after the name: a parser that took this one for the name could read no upload of a
// browser.
func (f *Found) checkNames(name string, header []byte) *Fault {
	single := bytes.Count(header, []byte("=")) == 1 // as in most headers
	if single && isLowerAlphanumeric(name) {
		return nil // the name is exactly that of a place, or of no place: those are in lower case too
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
	afterName := false
	for at := 0; ; at++ {
		next := strings.IndexByte(text[at:], '=')
		if next < 0 {
			return f.checkAlias(name, name)
		}
		at += next
		param := paramNameBefore(text[:at])
		switch {
		case !endsInName(param):
			continue
		case isFileName(param):
			if afterName {
				continue
			}
		case strings.Contains(param, "*"):
			return malformed("a part's name is in more than one form: want name=\"…\" alone")
		default:
			afterName = true
		}
		if fault := f.checkAlias(name, shortestValue(text[at+1:])); fault != nil {
			return fault
		}
	}
}

// isLowerAlphanumeric reports whether a name has only the letters a to z and digits.
func isLowerAlphanumeric(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// charsetPart is the name of a part that says in which charset the other parts are (RFC
// 7578, section 4.6).
const charsetPart = "_charset_"

// checkAlias refuses a part if some parser could take it for another part: one that has a
// key, or the audio. alias is a text that some parser could take for this part's name.
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
	if f.audioPart != name && sameName(alias, f.audioPart) {
		return malformed("the name of the part " + f.audioPart + " is spelled in another way, or is in another part's header")
	}
	return nil
}

// encodedWords decodes encoded words (RFC 2047), in which mail libraries write file
// names. The names of places are ASCII, which is the same in every charset of mail.
var encodedWords = mime.WordDecoder{
	CharsetReader: func(_ string, text io.Reader) (io.Reader, error) { return text, nil },
}

// paramNameBefore returns the name of the parameter that ends text.
func paramNameBefore(text string) string {
	text = strings.TrimRight(text, " \t")
	return text[strings.LastIndexAny(text, " \t\r\n;,:\"'\\=")+1:]
}

// endsInName reports whether a parameter's name ends in "name", "name*" or "name*0*".
func endsInName(param string) bool {
	param = strings.TrimRight(param, "*0123456789")
	return len(param) >= len("name") && strings.EqualFold(param[len(param)-len("name"):], "name")
}

// isFileName reports whether a parameter's name begins with "filename".
func isFileName(param string) bool {
	const prefix = "filename"
	return len(param) >= len(prefix) && strings.EqualFold(param[:len(prefix)], prefix)
}

// shortestValue returns the shortest value that some parser reads at the start of text.
func shortestValue(text string) string {
	text = strings.TrimLeft(text, " \t\"'\\")
	if end := strings.IndexAny(text, "\"';, \t\r\n\\\x00"); end >= 0 {
		text = text[:end]
	}
	return text
}
