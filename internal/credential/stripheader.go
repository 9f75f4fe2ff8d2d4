package credential

import "net/http"

// StripHeader removes from a request for the backend the header fields for which
// [IsStripped] reports true, and the trailers.
func StripHeader(r *http.Request, wholeAnswer bool) {
	for name := range r.Header {
		if IsStripped(name, wholeAnswer) {
			delete(r.Header, name)
		}
	}
	r.Trailer = nil
}

// IsStripped reports whether a header field does not go to the backend, because it is no
// part of the operation. name is in the spelling of net/http. The fields are:
//   - cookies, which never authenticate
//   - hop-by-hop fields, with which the next hop could drop fields or change protocols
//   - fields that make a framework take another method or path than the request has
//   - with wholeAnswer, fields that ask for a part of the answer: range and conditional
//     requests (RFC 9110, sections 13 and 14). The gateway then reads the answer, and
//     needs all of it.
func IsStripped(name string, wholeAnswer bool) bool {
	return isNoPartOfOperation(name) || wholeAnswer && asksForPart(name)
}

func isNoPartOfOperation(name string) bool {
	switch name {
	case "Cookie", "Connection", "Proxy-Connection", "Proxy-Authorization", "Keep-Alive",
		"Upgrade", "Http2-Settings", "Te", "Trailer":
		return true
	}
	return overrides(name)
}

// overrides reports whether a field makes a framework take another method or path than the request
// has.
func overrides(name string) bool {
	switch name {
	case "X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url":
		return true
	}
	return false
}

// Override returns the name of a header field with which a framework takes another method or path
// than the request has, or "" if there is no such field. A gate strips these fields. The name is for
// a handler that cannot strip them.
func Override(header http.Header) string {
	for name := range header {
		if overrides(name) {
			return name
		}
	}
	return ""
}

func asksForPart(name string) bool {
	switch name {
	case "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since":
		return true
	}
	return false
}
