package credential

import (
	"strconv"
	"strings"
)

// partHead is what the header of a part says.
type partHead struct {
	name   string
	length span // the value of the part's own Content-Length, if it has one
	// unsure says why parsers differ on the content, if they do. It matters where the
	// content can be a key.
	unsure *Fault
	// quoted says that the content is labelled quoted-printable, as Indy labels every
	// field. Some parsers decode it, and most do not.
	quoted bool
}

// field is one of the fields that say how a part is read. Any other field is ignored.
type field uint8

const (
	fieldOther       field = 0
	fieldDisposition field = 1 << iota
	fieldType
	fieldTransferEncoding
	fieldEncoding
	fieldLength
)

// fieldNamed is the field with this name, in any case of letters.
func fieldNamed(name string) field {
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

// partHeader reads the header of a part, up to its empty line.
//
// The name of every part must be sure: no parser may take the part for another one
// that matters. Nothing else matters in the header of the part that holds the audio,
// because the API reads no key from there on.
func (f *Found) partHeader(r *headReader, d delimiter) (partHead, error) {
	var head partHead
	var loose *Fault // what only the header of the audio may have
	var seen field
	begin := r.pos
	for {
		start := r.pos
		line, err := r.line()
		switch {
		case err != nil:
			return head, err
		case strings.Contains(line, d.shortest):
			return head, malformed("the header of a part has a boundary in it")
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || strings.IndexByte(value, 0) >= 0 {
			if head.name == "" { // it may be about the name
				return head, errPartLine
			}
			loose = errPartLine
			continue
		}
		which := fieldNamed(name)
		if which != fieldOther && seen&which != 0 {
			if which == fieldDisposition {
				return head, errPartTwice
			}
			loose = errPartTwice
			continue
		}
		seen |= which
		value = strings.Trim(value, " ")
		switch which {
		case fieldOther:
		case fieldDisposition:
			if fault := head.disposition(value); fault != nil {
				return head, fault
			}
		case fieldLength:
			from := start + strings.LastIndex(line, value)
			head.length = span{from, from + len(value)}
		default:
			if fault := head.content(which, strings.ToLower(value)); fault != nil {
				loose = fault
			}
		}
	}
	if head.name == "" {
		return head, malformed("a part has no Content-Disposition")
	}
	if fault := f.checkNames(head.name, r.buf[begin:r.pos]); fault != nil {
		return head, fault
	}
	if loose != nil && head.name != f.audio {
		return head, loose
	}
	return head, nil
}

var errPartLine = malformed("the header of a part has a line that is not \"name: value\", or is folded")

var errPartTwice = malformed("the header of a part has a field twice")

// content reads a field that says how the content is read. The fault is one that
// matters whatever the part's name.
func (h *partHead) content(which field, value string) *Fault {
	switch which {
	case fieldTransferEncoding:
		switch value {
		case "", "binary", "8bit", "7bit": // the words for no encoding
		case "quoted-printable":
			h.quoted = true
		default:
			h.unsure = malformed("the part of a key has a Content-Transfer-Encoding: want none, as RFC 7578 has it")
		}
	case fieldEncoding:
		h.unsure = malformed("the part of a key has a Content-Encoding: want none")
	case fieldType:
		// Retrofit labels plain values multipart/form-data. Without a boundary no
		// parser can find parts in them.
		if strings.Contains(value, "multipart") && strings.Contains(value, "boundary") {
			return malformed("a part holds a form of its own")
		}
		if !plainType(value) {
			h.unsure = malformed("the part of a key is in a charset that is not based on ASCII: want utf-8")
		}
	}
	return nil
}

// plainType reports whether a part's Content-Type, in small letters, leaves ASCII
// text as it is.
func plainType(value string) bool {
	if !strings.Contains(value, "charset") {
		return true
	}
	mediaType, rest, _ := strings.Cut(value, ";")
	if strings.Contains(mediaType, "charset") {
		return false
	}
	for rest != "" {
		name, param, more, ok := nextParam(rest, isToken)
		switch {
		case !ok:
			return false
		case name == "charset" && plainCharset(param):
		case strings.Contains(name+param, "charset"):
			return false
		}
		rest = more
	}
	return true
}

// disposition reads the part's name from the value of its Content-Disposition.
func (h *partHead) disposition(value string) *Fault {
	kind, params, _ := strings.Cut(value, ";")
	if !strings.EqualFold(strings.Trim(kind, " "), "form-data") {
		return malformed("a part's Content-Disposition is not form-data")
	}
	name, ok := nameParam(params, false)
	if strings.Contains(params, `\"`) {
		// A backslash escapes the quotation mark behind it for some parsers. For
		// others it ends a Windows path, or a character of Shift_JIS.
		escaped, too := nameParam(params, true)
		if ok && too && name != escaped {
			return errPartName
		}
		if !ok {
			name, ok = escaped, too
		}
	}
	if !ok {
		return errPartName
	}
	h.name = name
	return nil
}

var errPartName = malformed("a part's Content-Disposition has no name on which all parsers agree: want name=\"…\" without escapes")

// nameParam reads the parameters of a Content-Disposition up to the first that is
// name. With escapes, a backslash within quotation marks escapes what follows it.
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

// quotedOrToken cuts a value off that every parser reads alike.
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

// closingQuote is where the quotation mark is that ends text, or -1.
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

// lengthFits reports whether the part's own Content-Length, where there is one,
// is the length of its content.
func (h partHead) lengthFits(buf []byte, content span) bool {
	return h.length == span{} || string(buf[h.length.from:h.length.to]) == strconv.Itoa(content.to-content.from)
}

// decodeQuoted decodes quoted-printable as lenient parsers do.
func decodeQuoted(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "=\r\n", ""), "=\n", "")
	return decodeLax(strings.ReplaceAll(text, "=", "%"))
}
