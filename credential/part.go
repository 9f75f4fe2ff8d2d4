package credential

import (
	"slices"
	"strconv"
	"strings"
)

// partHead is what a part's header says.
type partHead struct {
	name   string
	file   bool // it has a file name
	length span // the value of its own Content-Length, if it has one
}

// maxPartFields bounds the fields of a part's header.
const maxPartFields = 32

// fieldName is a field's name in lower case.
func fieldName(name string) string {
	for _, known := range []string{"content-disposition", "content-type"} {
		if strings.EqualFold(name, known) {
			return known
		}
	}
	return strings.ToLower(name)
}

// partHeader reads the header of a part, up to its empty line.
func (r *headReader) partHeader(delimiter string) (partHead, error) {
	var head partHead
	var room [4]string // more than any client is known to send
	seen := room[:0]
	for {
		start := r.pos
		line, err := r.line()
		if err != nil {
			return head, err
		}
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			return head, malformed("a part's header that is folded over two lines")
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || hasControl(value) || strings.Contains(line, delimiter) {
			return head, malformed("a part's header that breaks the grammar")
		}
		name = fieldName(name)
		switch {
		case slices.Contains(seen, name):
			return head, malformed("a part's header with a field twice")
		case len(seen) == maxPartFields:
			return head, malformed("a part's header with more fields than any client sends")
		}
		seen = append(seen, name)
		value = strings.Trim(value, " ")
		if name == "content-length" {
			from := start + strings.LastIndex(line, value)
			head.length = span{from, from + len(value)}
		}
		if fault := head.field(name, value); fault != nil {
			return head, fault
		}
	}
	if head.name == "" {
		return head, malformed("a part without a name")
	}
	return head, nil
}

// field reads one field of a part's header.
func (h *partHead) field(name, value string) *Fault {
	switch name {
	case "content-disposition":
		return h.disposition(value)
	case "content-transfer-encoding":
		switch strings.ToLower(value) {
		case "binary", "8bit", "7bit": // the words for none; OkHttp sends them
		default:
			return malformed("a part with a transfer encoding")
		}
	case "content-encoding":
		return malformed("a part with a content encoding")
	case "content-type":
		return checkPartType(strings.ToLower(value))
	}
	return nil
}

// checkPartType refuses a part that some parsers would not read as it stands.
func checkPartType(value string) *Fault {
	if strings.Contains(value, "multipart") {
		return malformed("a form within a part of a form")
	}
	if !strings.Contains(value, "charset") {
		return nil
	}
	fault := malformed("a part in a charset that is not based on ASCII")
	mediaType, rest, _ := strings.Cut(value, ";")
	if strings.Contains(mediaType, "charset") {
		return fault
	}
	for rest != "" {
		name, param, more, ok := nextParam(rest, isToken)
		switch {
		case !ok:
			return fault
		case name == "charset" && plainCharset(param):
		case strings.Contains(name+param, "charset"):
			return fault
		}
		rest = more
	}
	return nil
}

// disposition reads the value of a Content-Disposition. Its name comes first,
// as all clients send it, and nothing behind it may look like another: some
// parsers search for the first or the last `name=`, filename= and quotes or not.
func (h *partHead) disposition(value string) *Fault {
	kind, rest, _ := strings.Cut(value, ";")
	if !strings.EqualFold(strings.Trim(kind, " "), "form-data") {
		return malformed("a part that is not form-data")
	}
	var fileName, encodedName bool
	for first := true; rest != ""; first = false {
		name, param, more, ok := nextParam(rest, isToken)
		if !ok {
			return malformed("a Content-Disposition that breaks the grammar, or has an escape")
		}
		rest = more
		switch {
		case first && name == "name":
			h.name = param
			continue
		case first, looksLikeName(param):
		case name == "filename" && !fileName:
			fileName = true
			continue
		case name == "filename*" && !encodedName:
			encodedName = true
			continue
		}
		return malformed("a part whose name does not come first, or with anything but a file name behind it")
	}
	h.file = fileName || encodedName
	// An encoded word or a single quote would make another name of it.
	if h.name == "" || strings.ContainsFunc(h.name, func(r rune) bool { return !isAlphanumeric(r) && r != '_' && r != '-' && r != '.' }) {
		return malformed("a part whose name is not of letters, digits, hyphens, dots and underscores")
	}
	if strings.EqualFold(h.name, "_charset_") {
		return malformed("a part that sets the charset of others")
	}
	return nil
}

func looksLikeName(value string) bool {
	value = strings.ToLower(value)
	return strings.Contains(value, "name=") || strings.Contains(value, "name*") || strings.Contains(value, "name =")
}

// lengthFits reports whether the part's own Content-Length, where there is one,
// is that of its content.
func (h partHead) lengthFits(buf []byte, content span) bool {
	return h.length == span{} || string(buf[h.length.from:h.length.to]) == strconv.Itoa(content.to-content.from)
}
