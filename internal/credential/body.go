package credential

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
)

// bodyKind says what a request's Content-Type makes of its body.
type bodyKind uint8

const (
	bodyRaw        bodyKind = iota // audio, or nothing: no key in it
	bodyForm                       // multipart/form-data
	bodyURLEncoded                 // labelled as a urlencoded form, which it must not be
	bodyJSON                       // labelled as JSON, which it must not be
	bodyUnwanted                   // of a method that has none, and unknown length
)

// octets labels a body that is audio and nothing else.
const octets = "application/octet-stream"

// classifyBody reads the headers that say how the body is to be read, refuses
// those that two parsers could read differently, and settles the Content-Type
// that goes upstream.
func (f *Found) classifyBody(r *http.Request) {
	if f.audio == "" {
		return
	}
	if r.ContentLength != 0 && !hasBody(r.Method) {
		if f.body = bodyUnwanted; r.ContentLength > 0 {
			f.fail(errUnwanted)
		}
		return
	}
	if values := r.Header["Content-Encoding"]; len(values) > 0 {
		f.fail(malformed("a Content-Encoding: the body is read as it comes"))
		return
	}
	values := r.Header["Content-Type"]
	switch {
	case len(values) > 1:
		f.fail(malformed("more than one Content-Type"))
	case len(values) == 0 || values[0] == "":
		f.label = octets // Rack, CGI.pm and Python's cgi read a body without a label as a form
	case values[0] != octets:
		f.classifyLabel(values[0])
	}
}

// classifyLabel reads a Content-Type. An upload of audio goes upstream under a label
// of audio, or as octets: under many others one framework or another would read
// parameters from it, and a key among them.
func (f *Found) classifyLabel(label string) {
	mediaType, params, _ := strings.Cut(label, ";")
	mediaType = strings.ToLower(strings.Trim(mediaType, " \t"))
	all := mediaType + strings.ToLower(params)
	switch {
	case mediaType == "multipart/form-data":
		f.classifyForm(params)
	case strings.Contains(all, "multipart"), strings.Contains(all, "boundary"), strings.Contains(mediaType, ","):
		f.fail(malformed("a Content-Type that is multipart, but not multipart/form-data"))
	case strings.Contains(all, "urlencoded"):
		f.body, f.label = bodyURLEncoded, octets
	case !f.listed: // what an operation beyond the API's takes is not known
	case strings.Contains(mediaType, "json"):
		f.body, f.label = bodyJSON, octets
	case !labelsAudio(mediaType) || strings.Contains(params, "/"):
		f.label = octets
	}
}

// labelsAudio reports whether no parser takes a body of this type for parameters.
func labelsAudio(mediaType string) bool {
	family, _, _ := strings.Cut(mediaType, "/")
	return family == "audio" || family == "video" || mediaType == octets || mediaType == "application/ogg"
}

// errUnwanted is a body that the backend may take for a request of its own.
var errUnwanted = malformed("a body, where the method has none")

// hasBody reports whether requests of this method have a body. RFC 9110, section
// 9.3.1, warns that one with a GET can be taken for the next request.
func hasBody(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, http.MethodTrace:
		return false
	}
	return true
}

// classifyForm reads the parameters of multipart/form-data. The client's spelling goes
// upstream, with one exception: quotation marks around a boundary that needs none are
// dropped, because some parsers take them for part of it.
func (f *Found) classifyForm(params string) {
	var boundary, charset string
	for rest := params; strings.Trim(rest, " \t") != ""; {
		var name, value string
		var ok bool
		name, value, rest, ok = nextParam(rest, isUnquotedBoundary)
		switch {
		case !ok:
			f.fail(malformed("a Content-Type whose parameters break the grammar"))
			return
		case name == "boundary" && boundary == "" && value != "":
			boundary = value
		case name == "charset" && charset == "" && plainCharset(value):
			charset = value
		default:
			f.fail(malformed("a Content-Type with more than one boundary, a charset that is not based on ASCII, or a parameter beside them"))
			return
		}
	}
	switch {
	case boundary == "":
		f.fail(malformed("a Content-Type multipart/form-data without a boundary: let the HTTP client write the header, with the boundary that it uses"))
		return
	case !isBoundary(boundary):
		f.fail(malformed("a Content-Type with a boundary that parsers are known to differ on"))
		return
	}
	f.body, f.boundary, f.shortest = bodyForm, boundary, tokenPrefix(boundary)
	quoted := strings.Contains(params, `"`+boundary+`"`)
	f.quoted = quoted && f.shortest != boundary
	if quoted == f.quoted && f.shortest != "" {
		return
	}
	f.label = "multipart/form-data; boundary=" + boundary
	if f.shortest == "" {
		f.quoted = true
		f.label = `multipart/form-data; boundary="` + boundary + `"`
	}
	if charset != "" {
		f.label += "; charset=" + charset
	}
}

// tokenPrefix is the longest token that s begins with: what a parser that reads tokens
// takes for an unquoted boundary.
func tokenPrefix(s string) string {
	for i := range len(s) {
		if !isToken(s[i : i+1]) {
			return s[:i]
		}
	}
	return s
}

// isBoundary allows what RFC 2046, section 5.1.1, does, without the characters
// that end a boundary for some parsers and that no client is known to use:
// spaces, commas, quotes, parentheses and question marks.
func isBoundary(s string) bool {
	return s != "" && len(s) <= 70 &&
		!strings.ContainsFunc(s, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("+_-./:=", r) })
}

// plainCharset reports whether ASCII text is itself in a charset. In others
// (UTF-7, EBCDIC) a backend would read other names than we do.
func plainCharset(name string) bool {
	switch strings.ToLower(name) {
	case "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252", "shift_jis", "windows-31j", "euc-jp":
		return true
	}
	return false
}

// nextParam cuts `name=value` or `name="value"` off a list separated by
// semicolons, where unquoted says what may stand without quotes. Names come back
// in lower case. An escape within quotes breaks the grammar: parsers differ on it.
func nextParam(list string, unquoted func(string) bool) (name, value, rest string, ok bool) {
	list = strings.TrimLeft(list, " \t")
	name, list, ok = strings.Cut(list, "=")
	if !ok || !isToken(name) {
		return "", "", "", false
	}
	if quoted, isQuoted := strings.CutPrefix(list, `"`); isQuoted {
		value, list, ok = strings.Cut(quoted, `"`)
		if !ok || strings.Contains(value, `\`) {
			return "", "", "", false
		}
	} else {
		end := strings.IndexAny(list, "; \t")
		if end < 0 {
			end = len(list)
		}
		value, list = list[:end], list[end:]
		if !unquoted(value) {
			return "", "", "", false
		}
	}
	list = strings.TrimLeft(list, " \t")
	if list == "" {
		return strings.ToLower(name), value, "", true
	}
	rest, ok = strings.CutPrefix(list, ";")
	return strings.ToLower(name), value, rest, ok
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !isAlphanumeric(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// isUnquotedBoundary takes what clients are known to write without quotes: a
// token, or one with the punctuation of a boundary in it.
func isUnquotedBoundary(s string) bool { return isToken(s) || isBoundary(s) }

// sniffLen is how many bytes are looked at of a body that is labelled as what it must
// not be.
const sniffLen = 64

// looksLikeForm reports whether a body that is labelled urlencoded is a form of
// either kind, to tell its client so. Clients are known to send raw audio under that
// label.
func looksLikeForm(start []byte) bool {
	for _, c := range start {
		if c > '~' || c < ' ' && c != '\r' && c != '\n' {
			return false
		}
	}
	return bytes.IndexByte(start, '=') > 0 || bytes.HasPrefix(bytes.TrimLeft(start, "\r\n"), []byte("--"))
}

// looksLikeJSON reports whether a body that is labelled as JSON is an object or an
// array.
func looksLikeJSON(start []byte) bool {
	start = bytes.TrimLeft(start, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return false
	}
	return !bytes.ContainsFunc(start, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' })
}

// rewound is a body with what was read of it, in pieces, put back in front.
type rewound struct {
	mu     sync.Mutex // a proxy that begins anew can have a second reader: none may see what is released
	pieces [][]byte
	head   *headReader // that has read them, and releases them at their end; nil for none
	io.ReadCloser
}

// Read gives what was read before by itself, and does not wait for more.
func (r *rewound) Read(p []byte) (n int, err error) {
	if n = r.again(p); n > 0 || len(p) == 0 {
		return n, nil
	}
	return r.ReadCloser.Read(p)
}

// drop forgets what was read before.
func (r *rewound) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.pieces)
	r.pieces = nil
	if r.head != nil {
		r.head.release()
		r.head = nil
	}
}

// again gives what was read before.
func (r *rewound) again(p []byte) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.pieces) > 0 && n < len(p) {
		done := copy(p[n:], r.pieces[0])
		n += done
		if r.pieces[0] = r.pieces[0][done:]; len(r.pieces[0]) == 0 {
			r.pieces[0], r.pieces = nil, r.pieces[1:] // and nothing points to what is released
		}
	}
	if len(r.pieces) == 0 && r.head != nil {
		r.head.release()
		r.head = nil
	}
	return n
}
