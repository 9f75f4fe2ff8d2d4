package credential

import (
	"net/http"
	"strings"
)

// bodyKind is the kind of a body, as far as the header of the request tells.
type bodyKind uint8

const (
	bodyRaw        bodyKind = iota // audio, or no body: no key is in it
	bodyForm                       // multipart/form-data
	bodyURLEncoded                 // the label is a urlencoded form; the content must not be one
	bodyJSON                       // the label is JSON; the content must not be JSON
	bodyUnexpected                 // the method has no body, and the length is unknown
)

// octets is the Content-Type for a body that is only audio.
const octets = "application/octet-stream"

// classifyBody reads the header fields that say how the body is read. It refuses fields
// that two parsers could read differently, and chooses the Content-Type for the backend.
func (f *Found) classifyBody(r *http.Request) {
	if f.audioPart == "" {
		return
	}
	if r.ContentLength != 0 && !methodHasBody(r.Method) {
		if f.body = bodyUnexpected; r.ContentLength > 0 {
			f.fail(errUnexpectedBody)
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
		f.contentType = octets // Rack, CGI.pm and Python's cgi read a body without a label as a form
	case values[0] != octets:
		f.classifyContentType(values[0])
	}
}

// classifyContentType reads the client's Content-Type. It decides how the body is read,
// and which Content-Type the backend gets. On a route of the API, a body that is not a
// multipart form goes to the backend with an audio or video type, or as
// application/octet-stream. From bodies of many other types, frameworks read
// parameters, and one of the parameters could be a key.
func (f *Found) classifyContentType(contentType string) {
	mediaType, params, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.Trim(mediaType, " \t"))
	all := mediaType + strings.ToLower(params)
	switch {
	case mediaType == "multipart/form-data":
		f.classifyForm(params)
	case strings.Contains(all, "multipart"), strings.Contains(all, "boundary"), strings.Contains(mediaType, ","):
		f.fail(malformed("a Content-Type that is multipart, but not multipart/form-data"))
	case strings.Contains(all, "urlencoded"):
		f.body, f.contentType = bodyURLEncoded, octets
	case !f.isRoute: // an operation that the operator has allowed can take any type
	case strings.Contains(mediaType, "json"):
		f.body, f.contentType = bodyJSON, octets
	case !isAudioType(mediaType) || strings.Contains(params, "/"):
		f.contentType = octets
	}
}

// isAudioType reports whether no parser reads parameters from a body of this type.
func isAudioType(mediaType string) bool {
	family, _, _ := strings.Cut(mediaType, "/")
	return family == "audio" || family == "video" || mediaType == octets || mediaType == "application/ogg"
}

// errUnexpectedBody is the fault of a body that the backend could take for the next
// request on the connection.
var errUnexpectedBody = malformed("a body, where the method has none")

// methodHasBody reports whether requests of this method have a body. RFC 9110, section
// 9.3.1, warns that a body of a GET can be taken for the next request.
func methodHasBody(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, http.MethodTrace:
		return false
	}
	return true
}

// classifyForm reads the parameters of multipart/form-data. The backend gets them in the
// client's spelling, with two exceptions: quotation marks around a boundary that is a
// token go, because some parsers take them for part of the boundary; a boundary that
// does not begin with a token character gets them, because some parsers read none of it
// without them.
func (f *Found) classifyForm(params string) {
	boundary, charset, fault := formParams(params)
	if fault != nil {
		f.fail(fault)
		return
	}
	f.body, f.boundary, f.shortestBoundary = bodyForm, boundary, tokenPrefix(boundary)
	quoted := strings.Contains(params, `"`+boundary+`"`)
	f.quotesBoundary = quoted && f.shortestBoundary != boundary
	if quoted == f.quotesBoundary && f.shortestBoundary != "" {
		return
	}
	f.contentType = "multipart/form-data; boundary=" + boundary
	if f.shortestBoundary == "" {
		f.quotesBoundary = true
		f.contentType = `multipart/form-data; boundary="` + boundary + `"`
	}
	if charset != "" {
		f.contentType += "; charset=" + charset
	}
}

// formParams reads the boundary, and the charset if there is one.
func formParams(params string) (boundary, charset string, fault *Fault) {
	for rest := params; strings.Trim(rest, " \t") != ""; {
		var name, value string
		var ok bool
		name, value, rest, ok = nextParam(rest, isUnquotedBoundary)
		switch {
		case !ok:
			return "", "", malformed("a Content-Type whose parameters break the grammar")
		case name == "boundary" && boundary == "" && value != "":
			boundary = value
		case name == "charset" && charset == "" && isASCIICharset(value):
			charset = value
		default:
			return "", "", malformed("a Content-Type with more than one boundary, a charset that is not based on ASCII, or a parameter beside them")
		}
	}
	switch {
	case boundary == "":
		return "", "", malformed("a Content-Type multipart/form-data without a boundary: let the HTTP client write the header, with the boundary that it uses")
	case !isBoundary(boundary):
		return "", "", malformed("a Content-Type with a boundary that parsers are known to differ on")
	}
	return boundary, charset, nil
}

// tokenPrefix returns the longest token at the start of s. A parser that reads tokens
// takes this prefix of an unquoted boundary for the whole boundary.
func tokenPrefix(s string) string {
	for i := range len(s) {
		if !isToken(s[i : i+1]) {
			return s[:i]
		}
	}
	return s
}

// isBoundary accepts the boundaries of RFC 2046, section 5.1.1, without spaces, commas,
// quotes, parentheses and question marks. These end a boundary for some parsers, and no
// client is known to use them.
func isBoundary(s string) bool {
	return s != "" && len(s) <= 70 &&
		!strings.ContainsFunc(s, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("+_-./:=", r) })
}

// isUnquotedBoundary accepts what clients are known to write without quotation marks: a
// token or a boundary.
func isUnquotedBoundary(s string) bool { return isToken(s) || isBoundary(s) }

// isASCIICharset reports whether ASCII text is the same text in this charset. In another
// charset, such as UTF-7 or EBCDIC, a backend would read other names than the gateway.
func isASCIICharset(name string) bool {
	switch strings.ToLower(name) {
	case "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252", "shift_jis", "windows-31j", "euc-jp":
		return true
	}
	return false
}

// nextParam reads one `name=value` or `name="value"` from a list that is separated by
// semicolons. isUnquoted says which values need no quotation marks. The name comes back
// in lower case. An escape in a quoted value breaks the grammar, because parsers differ
// on it.
func nextParam(list string, isUnquoted func(string) bool) (name, value, rest string, ok bool) {
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
		if !isUnquoted(value) {
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

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !isAlphanumeric(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
