package credential

import (
	"strconv"
	"strings"
)

// partHeader is what the header of a part says.
type partHeader struct {
	name   string
	length span // the value of the part's own Content-Length; empty if it has none
	// unclear says why parsers read the content differently; nil if they do not. It matters
	// only if the content can be a key.
	unclear *Fault
	// quotedPrintable says that the content has this label. The Indy library labels every
	// part so. Some parsers decode the content, and most do not.
	quotedPrintable bool
}

// partField is a field of a part's header that says how the part is read. All other
// fields are ignored.
type partField uint8

const (
	fieldOther       partField = 0
	fieldDisposition partField = 1 << iota
	fieldType
	fieldTransferEncoding
	fieldEncoding
	fieldLength
)

// partFieldNamed returns the field with this name, in any case of letters.
func partFieldNamed(name string) partField {
	const prefix = "content-"
	if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
		return fieldOther
	}
	switch rest := name[len(prefix):]; {
	case strings.EqualFold(rest, "disposition"):
		return fieldDisposition
	case strings.EqualFold(rest, "type"):
		return fieldType
	case strings.EqualFold(rest, "transfer-encoding"):
		return fieldTransferEncoding
	case strings.EqualFold(rest, "encoding"):
		return fieldEncoding
	case strings.EqualFold(rest, "length"):
		return fieldLength
	}
	return fieldOther
}

// readPartHeader reads the header of a part, up to its empty line.
//
// The name of every part must be clear: no parser may take the part for another part that
// matters. In the header of the audio only the name matters, because the API reads no key after
// it.
func (f *Found) readPartHeader(r *headReader, d delimiter) (partHeader, error) {
	var header partHeader
	var tolerable *Fault // a fault that only the audio's header may have
	var seen partField
	begin := r.pos
	for {
		start := r.pos
		line, err := r.line()
		switch {
		case err != nil:
			return header, err
		case strings.Contains(line, d.shortest):
			return header, malformed("the header of a part has a boundary in it")
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || strings.IndexByte(value, 0) >= 0 {
			if header.name == "" { // the line may have the name
				return header, errPartLine
			}
			tolerable = errPartLine
			continue
		}
		if hasControlOtherThanTab(value) {
			tolerable = errPartControl
		}
		field := partFieldNamed(name)
		if seen&field != 0 {
			if field == fieldDisposition {
				return header, errPartTwice
			}
			tolerable = errPartTwice
			continue
		}
		seen |= field
		value = strings.Trim(value, " ")
		switch field {
		case fieldOther:
		case fieldDisposition:
			if fault := header.readDisposition(value); fault != nil {
				return header, fault
			}
		case fieldLength:
			from := start + strings.LastIndex(line, value)
			header.length = span{from, from + len(value)}
		default:
			if fault := header.readContentField(field, strings.ToLower(value)); fault != nil {
				tolerable = fault
			}
		}
	}
	if header.name == "" {
		return header, malformed("a part has no Content-Disposition")
	}
	if fault := f.checkNames(header.name, r.buf[begin:r.pos]); fault != nil {
		return header, fault
	}
	if tolerable != nil && header.name != f.audioPart {
		return header, tolerable
	}
	return header, nil
}

var errPartLine = malformed("the header of a part has a line that is not \"name: value\", or is folded")

// errPartControl refuses what Go's parser refuses and other parsers take (RFC 9110, section 5.5).
var errPartControl = malformed("the header of a part has a control character")

var errPartTwice = malformed("the header of a part has a field twice")

// readContentField reads Content-Transfer-Encoding, Content-Encoding or Content-Type.
// value is in lower case. The fault that it returns refuses every part except the audio.
// A fault that matters only if the part can be a key is kept in h.unclear.
func (h *partHeader) readContentField(field partField, value string) *Fault {
	switch field {
	case fieldTransferEncoding:
		switch value {
		case "", "binary", "8bit", "7bit": // all of them mean no encoding
		case "quoted-printable":
			h.quotedPrintable = true
		default:
			h.unclear = malformed("the part of a key has a Content-Transfer-Encoding: want none, as RFC 7578 has it")
		}
	case fieldEncoding:
		h.unclear = malformed("the part of a key has a Content-Encoding: want none")
	case fieldType:
		// The Retrofit library labels plain values multipart/form-data. Without a boundary,
		// no parser can find parts in them.
		if strings.Contains(value, "multipart") && strings.Contains(value, "boundary") {
			return malformed("a part holds a form of its own")
		}
		if !hasASCIICharset(value) {
			h.unclear = malformed("the part of a key is in a charset that is not based on ASCII: want utf-8")
		}
	case fieldOther, fieldDisposition, fieldLength: // these change no value
	}
	return nil
}

// hasASCIICharset reports whether a part's Content-Type, in lower case, leaves ASCII text
// as it is.
func hasASCIICharset(contentType string) bool {
	if !strings.Contains(contentType, "charset") {
		return true
	}
	mediaType, rest, _ := strings.Cut(contentType, ";")
	if strings.Contains(mediaType, "charset") {
		return false
	}
	for rest != "" {
		name, value, more, ok := nextParam(rest, isToken)
		switch {
		case !ok:
			return false
		case name == "charset" && isASCIICharset(value):
		case strings.Contains(name+value, "charset"):
			return false
		}
		rest = more
	}
	return true
}

// readDisposition reads the name of the part from its Content-Disposition.
func (h *partHeader) readDisposition(value string) *Fault {
	kind, params, _ := strings.Cut(value, ";")
	if !strings.EqualFold(strings.Trim(kind, " "), "form-data") {
		return malformed("a part's Content-Disposition is not form-data")
	}
	name, ok := nameParam(params, false)
	if strings.Contains(params, `\"`) {
		// For some parsers, a backslash escapes the quotation mark after it. For others, it is
		// the end of a Windows path, or the second byte of a character in Shift_JIS.
		escaped, okEscaped := nameParam(params, true)
		if ok && okEscaped && name != escaped {
			return errPartName
		}
		if !ok {
			name, ok = escaped, okEscaped
		}
	}
	if !ok {
		return errPartName
	}
	h.name = name
	return nil
}

var errPartName = malformed("a part's Content-Disposition has no name on which all parsers agree: want name=\"…\" without escapes")

// nameParam reads the parameters of a Content-Disposition up to the first that is called
// name, and returns its value. With escapes, a backslash within quotation marks escapes
// the character after it.
func nameParam(params string, escapes bool) (name string, ok bool) {
	for {
		key, rest, found := strings.Cut(strings.TrimLeft(params, " "), "=")
		if !found || !isToken(key) {
			return "", false
		}
		if strings.EqualFold(key, "name") {
			value, after, ok := quotedOrToken(rest)
			after = strings.TrimLeft(after, " ")
			return value, ok && value != "" && (after == "" || after[0] == ';')
		}
		end := strings.IndexByte(rest, ';')
		if quoted, is := strings.CutPrefix(rest, `"`); is {
			n := closingQuote(quoted, escapes)
			if n < 0 {
				return "", false
			}
			rest = strings.TrimLeft(quoted[n+1:], " ")
			end = 0
		}
		if end < 0 || !strings.HasPrefix(rest[end:], ";") || strings.Contains(rest[:end], `"`) {
			return "", false
		}
		params = rest[end+1:]
	}
}

// quotedOrToken reads a value at the start of text, in quotation marks or a token. It
// reports false for a value that parsers read differently.
func quotedOrToken(text string) (value, rest string, ok bool) {
	if quoted, is := strings.CutPrefix(text, `"`); is {
		value, rest, ok = strings.Cut(quoted, `"`)
		return value, rest, ok && !strings.Contains(value, `\`)
	}
	end := strings.IndexAny(text, "; ")
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:], isToken(text[:end])
}

// closingQuote returns the index of the quotation mark that ends text, or -1.
func closingQuote(text string, escapes bool) int {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return i
		case text[i] == '\\' && escapes:
			i++
		}
	}
	return -1
}

// lengthFits reports whether the part's own Content-Length, if there is one, is the
// length of the content.
func (h partHeader) lengthFits(buf []byte, content span) bool {
	return h.length == span{} || string(buf[h.length.from:h.length.to]) == strconv.Itoa(content.to-content.from)
}
