// Package credential finds the API key in a request and swaps it for the
// backend's, without parsing or holding the audio that follows.
//
// The package edits requests as text, byte for byte: it never decodes a query and
// encodes it again, and it reads a multipart body up to the part that holds the audio
// and no further. It refuses a request in which two parsers could find different keys,
// because the backend has another parser than the gate. It refuses nothing else: real
// clients write file names, labels and line breaks in many ways.
//
// The order of calls is [Scan], then [Found.ReadForm] if [Found.NeedsForm] says so,
// then [Found.Key] or [Found.UncheckedKey], then [Found.Rewrite].
package credential

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// Fault says why the key of a request cannot be judged. Its Reason is
// RequestMalformed where the request cannot be read, CredentialMalformed where the
// text of the key is wrong, CredentialAmbiguous for two keys that differ, and
// CredentialMissing where there is none. Detail is for the operator's log and quotes
// nothing of the request.
type Fault struct { //nolint:errname // a fault of the request, which is judged as one
	Reason policy.Reason
	Detail string
}

// Error implements error.
func (f *Fault) Error() string { return f.Reason.String() + ": " + f.Detail }

// malformed is the fault of a request that cannot be read, whatever its key.
func malformed(detail string) *Fault {
	return &Fault{Reason: policy.RequestMalformed, Detail: detail}
}

// Found is what has been found in one request so far.
type Found struct {
	places []dialect.Place // every place of the API
	read   []dialect.Place // where this operation's key authenticates
	audio  string          // the part that ends the head of a form
	listed bool            // whether the operation is one of the API's

	secret    string         // the one credential
	readable  bool           // a copy of it is where the operation reads it
	elsewhere *dialect.Place // where another copy is, if there is one
	fault     *Fault         // the first that was met; none may be forgiven later
	foreign   *dialect.Place // a header whose value has another scheme than the place has; nil for none

	query   copyOf   // the first copy in the query; without a place where there is none
	queries []copyOf // those that follow it, of which hardly any request has one
	form    *form    // the head of the body, once read

	body     bodyKind
	boundary string
	shortest string // what some parser takes for the boundary at least; see tokenPrefix
	quoted   bool   // whether the boundary goes upstream in quotation marks
	label    string // the Content-Type that goes upstream; empty for the client's
}

// copyOf is one copy of the credential in a text.
type copyOf struct {
	place *dialect.Place
	whole span // what goes when the copy is removed: a parameter or a part
	value span // the parameter's or part's value
	// length is the value of the part's own Content-Length, if it has one.
	length span
}

type span struct{ from, to int }

func (s span) of(text string) string { return text[s.from:s.to] }

// Find looks through the header and the query of r for keys in the API's
// places. The places in route.Keys are those that authenticate; a nil route
// stands for an operation that reads its key from any place.
func Scan(r *http.Request, api *dialect.API, route *dialect.Route) (f Found) {
	f.places, f.read, f.audio = api.Places, api.Places, api.Audio
	if route != nil {
		f.read, f.listed = route.Keys, true
	}
	f.findInHeader(r.Header)
	f.findInQuery(r.URL.RawQuery)
	f.classifyBody(r)
	return f
}

// Key returns the one key that the request has where its operation reads
// it, or why there is none to judge.
func (f *Found) Key() (policy.Secret, *Fault) {
	secret, fault := f.UncheckedKey()
	if fault == nil {
		if err := policy.CheckSecret(secret); err != nil {
			return policy.Secret{}, MalformedKey(err)
		}
	}
	return secret, fault
}

// UncheckedKey is [Found.Key] for those who hold the key against
// [policy.CheckSecret] themselves, unless they know it. The secret is f's own: it is
// good for as long as nothing more is found.
func (f *Found) UncheckedKey() (policy.Secret, *Fault) {
	switch {
	case f.fault != nil:
		return policy.Secret{}, f.fault
	case f.foreign != nil:
		return policy.Secret{}, &Fault{
			Reason: policy.CredentialMalformed,
			Detail: "the header " + f.foreign.Name + " has another scheme than " + f.foreign.Scheme,
		}
	case !f.readable:
		return policy.Secret{}, f.missing()
	}
	return policy.SecretIn(&f.secret), nil
}

// MalformedKey is the fault of a key for which [policy.CheckSecret] has this error.
func MalformedKey(err error) *Fault {
	return &Fault{Reason: policy.CredentialMalformed, Detail: "the key " + err.Error()}
}

// NeedsForm reports whether the body has to be looked at: it may hold a key, or
// be another thing than it is labelled.
func (f *Found) NeedsForm() bool {
	return f.fault == nil && f.body != bodyRaw && f.audio != ""
}

// FormMayHoldKey reports whether a key can yet be found in the body.
func (f *Found) FormMayHoldKey() bool { return f.fault == nil && f.body == bodyForm }

// add takes in the text found at a place. An empty one is none.
func (f *Found) add(place *dialect.Place, text string) bool {
	if text == "" {
		return false
	}
	if f.secret != "" && subtle.ConstantTimeCompare([]byte(f.secret), []byte(text)) != 1 {
		f.fail(&Fault{Reason: policy.CredentialAmbiguous, Detail: "two keys that differ"})
	}
	f.secret = text
	if f.reads(place) {
		f.readable = true
	} else {
		f.elsewhere = place
	}
	return true
}

func (f *Found) reads(place *dialect.Place) bool { return slices.Contains(f.read, *place) }

func (f *Found) fail(fault *Fault) {
	if f.fault == nil {
		f.fault = fault
	}
}

func (f *Found) findInHeader(header http.Header) {
	for i := range f.places {
		place := &f.places[i]
		if place.Location != dialect.Header {
			continue
		}
		for _, value := range header[place.Name] {
			text, known := afterScheme(value, place.Scheme)
			if !known && strings.Contains(text, " ") {
				f.foreign = place
			}
			f.add(place, text)
		}
	}
}

// afterScheme is the key in a header's value. A value of another scheme is a
// credential too, if not one that any operation knows, and stays whole.
func afterScheme(value, scheme string) (key string, known bool) {
	if scheme == "" {
		return value, true
	}
	if len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
		if rest := value[len(scheme):]; rest == "" || rest[0] == ' ' {
			return strings.TrimLeft(rest, " "), true
		}
	}
	return value, false
}
