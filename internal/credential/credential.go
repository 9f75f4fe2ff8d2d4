// Package credential finds the API key in a request and rewrites the request for the
// backend. The client's key is replaced with the upstream key, removed, or left as it is.
//
// # Where a key can be
//
// The dialect lists the places in which clients of its API put their keys. Each kind of
// place has a locator: one file, with a function that scans and a function that rewrites.
//
//	header.go       a header field, with or without a scheme such as Bearer
//	basic.go        the password of the scheme Basic
//	query.go        a parameter of the query
//	subprotocol.go  an item of Sec-WebSocket-Protocol
//	part.go         a part of a multipart/form-data body, before the audio
//	command.go      a text command on a WebSocket
//
// The value of a parameter or a part is either the key, or a list of name=value pairs;
// the key is then in one of the pairs (subkey.go).
//
// A new kind of place gets a [dialect.Location], a file here, one line in [Scan] and one
// in [Found.Rewrite]. Its scan function calls addKey for each key (occurrence.go). Its
// rewrite function asks modeAt what to do with the key at a place. describePlace
// (missing.go) names the place in a fault.
//
// An operation reads its key from some of the places ([dialect.Route].Keys). A key in any
// other place authenticates nothing. Such a key is still compared with the others, and
// it is always removed. The upstream key goes to each place that has the client's key, or
// only to the place [dialect.Route].UpstreamKey.
//
// # One key
//
// A request may have its key in several places, or several times in one place. Two keys
// are the same if all their bytes are equal after decoding: percent-escapes and plus
// signs in a query, percent-escapes in a pair. An empty value is no key. Two keys that
// differ are refused as CredentialAmbiguous. A command may have its key only once.
//
// # What is refused
//
// The backend has another parser than the gateway. The package therefore refuses, as
// RequestMalformed, a request in which two parsers could find different keys:
//   - a name that only some parsers take for the name of a key, such as "U", "%75" or
//     "u[]" (lenient.go)
//   - name=value pairs and commands that can be split in two ways (subkey.go, command.go)
//   - a form whose boundary, parts or names can be read in two ways (contenttype.go,
//     headreader.go, partheader.go, partname.go)
//   - a form or JSON under a label that the API does not read (contenttype.go)
//
// The package refuses nothing else, because real clients write file names, labels and
// line breaks in many ways.
//
// # The order of calls
//
//  1. [Scan] reads the header and the query.
//  2. [Found.ReadForm] reads the head of the body, which is everything before the audio.
//     Call it if [Found.NeedsForm] reports true. It needs a limit and a memory budget.
//     Call [Found.ReleaseBudget] when the key has been checked.
//  3. [Found.Key] or [Found.UncheckedKey] returns the key, or why the request has no usable key. Both can
//     be called before ReadForm too, to refuse a bad key before the body is read.
//  4. [Found.Rewrite] changes the request.
//
// A command on a WebSocket has the same steps in small: [ScanCommand], [Command.Key],
// [Command.Rewrite].
//
// The package changes requests as text, byte for byte. It does not decode a query to
// encode it again, and it reads a multipart body up to the audio and no further.
// [MaskURI] and [Redactor] hide keys in logs and in answers.
package credential

import (
	"net/http"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// Found is what Scan and ReadForm have found in one request.
type Found struct {
	places    []dialect.Place // every place of the API
	read      []dialect.Place // the places from which the operation reads its key
	upstream  *dialect.Place  // the only place for the upstream key; nil if it goes where the client's key is
	audioPart string          // the name of the part with the audio; empty if no body has a key
	isRoute   bool            // the operation is one of the API's routes

	key           string         // the key; empty if none was found
	authenticates bool           // the key is in one of the read places
	takesKey      bool           // one of the read places with the key takes keys
	takesToken    bool           // one of the read places with the key takes tokens
	unreadPlace   *dialect.Place // another place that has the key; nil if no other place has it
	otherScheme   *dialect.Place // a header field whose value has another scheme; nil if no field has
	fault         *Fault         // the first fault; nil without a fault

	inQuery     occurrence   // the first occurrence in the query; its place is nil without an occurrence
	moreInQuery []occurrence // further occurrences, which few requests have
	form        *form        // nil until ReadForm

	body             bodyKind
	boundary         string
	shortestBoundary string // see tokenPrefix
	quotesBoundary   bool   // the boundary is in quotation marks in contentType
	contentType      string // the Content-Type for the backend; empty to keep the client's
}

// Scan looks for keys in the header and the query of r, in all places of the API. A key
// authenticates the operation only if it is in one of the places route.Keys. If route
// is nil, a key in any place of the API authenticates the operation.
func Scan(r *http.Request, api *dialect.API, route *dialect.Route) (f Found) {
	f.places, f.read, f.audioPart = api.Places, api.Places, api.Audio
	if route != nil {
		f.read, f.isRoute, f.upstream = route.Keys, true, route.UpstreamKey
	}
	f.scanHeader(r.Header)
	f.scanSubprotocols(r.Header)
	f.scanQuery(r.URL.RawQuery)
	f.classifyBody(r)
	return f
}

// NeedsForm reports whether ReadForm has to be called: the body can have a key in it, or
// can be something else than its Content-Type says.
func (f *Found) NeedsForm() bool {
	return f.fault == nil && f.body != bodyRaw
}

// FormMayHoldKey reports whether ReadForm has not been called yet and can find a key. A
// key that is missing can then still come.
func (f *Found) FormMayHoldKey() bool {
	return f.fault == nil && f.body == bodyForm && f.form == nil
}

// Key returns the key of the request, or the reason why there is no key to look up. The
// characters and the checksum of the key have been checked with [policy.CheckSecret], or with
// [policy.CheckToken] if it can be a token.
func (f *Found) Key() (policy.Secret, *Fault) {
	key, fault := f.UncheckedKey()
	if fault == nil {
		check := policy.CheckSecret
		if f.takesToken {
			check = policy.CheckToken
		}
		if err := check(key); err != nil {
			return policy.Secret{}, MalformedKey(err)
		}
	}
	return key, fault
}

// UncheckedKey does what Key does, without [policy.CheckSecret]. It is for a caller
// that first looks for the key in a cache: a key in the cache has been checked before.
// The key shares the memory of f and is valid until ReadForm is called.
func (f *Found) UncheckedKey() (policy.Secret, *Fault) {
	switch {
	case f.fault != nil:
		return policy.Secret{}, f.fault
	case f.otherScheme != nil:
		detail := "the header " + f.otherScheme.Name + " has another scheme than " + f.otherScheme.Scheme
		if f.otherScheme.Scheme == "" {
			detail = "the header " + f.otherScheme.Name + " has a space, as after a scheme such as Bearer: want the key alone, without a scheme"
		}
		return policy.Secret{}, &Fault{Reason: policy.CredentialMalformed, Detail: detail}
	case !f.authenticates:
		return policy.Secret{}, f.missing()
	}
	return policy.SecretIn(&f.key), nil
}

// Takes reports what the places take that have the key: keys, tokens that the backend has minted, or
// both. Call it only if Key or UncheckedKey returned no fault.
func (f *Found) Takes() (keys, tokens bool) { return f.takesKey, f.takesToken }

// Rewrite does with every occurrence of the client's key in r what up says. It changes
// the header, URL.RawQuery, the body and their lengths in place. In every mode, the body
// gets a Content-Type under which no parser finds another key in it.
//
// r is the request that Scan and ReadForm got. Call Rewrite only if Key or UncheckedKey
// returned no fault.
func (f *Found) Rewrite(r *http.Request, up Upstream) {
	if f.upstream != nil && up.Mode == Replace {
		f.rewrite(r, &Upstream{Mode: Drop})
		r.Header[f.upstream.Name] = []string{up.inHeader(f.upstream)}
	} else {
		f.rewrite(r, &up)
	}
	if f.contentType != "" && r.ContentLength != 0 {
		r.Header.Set("Content-Type", f.contentType)
	}
}

func (f *Found) rewrite(r *http.Request, up *Upstream) {
	f.rewriteHeader(r.Header, up)
	f.rewriteSubprotocols(r.Header, up)
	f.rewriteQuery(r.URL, up)
	f.rewriteForm(r, up)
}
