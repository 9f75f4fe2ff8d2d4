package gate

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// upstreamRequest changes a request for the next handlers, and later restores it for the
// handlers in front of the gate, which share its header and its URL. When the answer begins,
// these handlers see the fields of the client again, with every credential masked.
//
// The gate changes the shared header and undoes the changes. A second header would be simpler,
// but Caddy's placeholders read the request that the server made: a field that request_header
// sets behind the gate must be in the shared header.
type upstreamRequest struct {
	r        *http.Request
	header   http.Header   // of r, shared with the handlers in front of the gate
	url      *url.URL      // of r, shared like header
	fields   []field       // to restore in header
	query    string        // to restore, masked
	body     io.ReadCloser // to restore
	length   int64         // to restore
	restored bool          // header and url are restored

	// Backing arrays of fields and of field values: they save allocations.
	fieldsBuf [5]field // for the fields that prepareUpstream notes of most requests
	mask      [1]string
	identity  [1]string
}

// field is a header field. Its values are nil if the client did not send the field.
type field struct {
	name   string
	values []string
}

// prepareUpstream changes an admitted request so that it can go upstream: it rewrites the key,
// removes fields that do not go upstream, and masks every credential that later handlers
// could log. If the gate reads the answer, prepareUpstream asks the backend for an answer
// without compression.
func (req *gatedRequest) prepareUpstream(u *upstreamRequest, found *credential.Found, up credential.Upstream) {
	r, places := req.r, req.gate.api.Places
	u.r, u.header, u.url, u.body, u.length = r, r.Header, r.URL, req.body, r.ContentLength
	u.fields = u.fieldsBuf[:0]
	reads := req.gate.readsAnswer(req.call)
	u.mask[0] = credential.Masked
	u.clean(reads, keyToHide(found, up), places)
	for i := range places {
		if name := places[i].HeaderName(); len(r.Header[name]) > 0 {
			u.fields = append(u.fields, field{name, u.mask[:]})
		}
	}
	query, uri := r.URL.RawQuery, r.RequestURI
	found.Rewrite(r, up)
	r.RequestURI = credential.MaskURI(uri, places)
	u.query = maskedQuery(query, uri, r.RequestURI, places)
	r.Trailer = nil
	if reads {
		u.identity[0] = "identity"
		r.Header["Accept-Encoding"] = u.identity[:]
	}
}

// keyToHide returns the client's key; "" if the backend gets what the client has shown.
func keyToHide(found *credential.Found, up credential.Upstream) string {
	if up.Mode == credential.Pass {
		return ""
	}
	secret, _ := found.UncheckedKey()
	return secret.Reveal()
}

// holdsKey reports whether a value of a header field has the key in it, as it is or escaped for a URL.
// A short key can be in a value by chance, so it must be the whole value.
func holdsKey(values []string, key string) bool {
	for _, value := range values {
		switch {
		case key == "" || len(value) < len(key): // most values
		case value == key:
			return true
		case len(key) < options.MinKeyLenToMaskEverywhere:
		case strings.Contains(value, key) || strings.Contains(value, url.QueryEscape(key)):
			return true
		}
	}
	return false
}

// clean removes the fields that do not go upstream. It notes the fields that it removes, and the
// fields that prepareUpstream or the next handlers can change, so that restore can set all of
// them back. The argument reads says that the gate reads the answer. A field that has the key does
// not go upstream: some clients send their key in a field of another API too, such as X-Api-Key, and
// the URL in Referer can have a key. Rewrite removes the key from the places of this API.
func (u *upstreamRequest) clean(reads bool, key string, places []dialect.Place) {
	body := u.length != 0
	plain, typed, measured := !reads, !body, !body
	for name, values := range u.header {
		switch name {
		case "Accept-Encoding":
			plain = true
		case "Content-Type":
			typed = true
		case "Content-Length":
			measured = true
		case "Content-Md5", "Digest", "Content-Digest", "Repr-Digest":
		default:
			switch {
			case credential.IsStripped(name, reads):
			case holdsKey(values, key) && !slices.ContainsFunc(places, func(p dialect.Place) bool { return p.HeaderName() == name }):
				values = maskValues(values, credential.NewRedactor(policy.NewSecret(key), 0), places)
			default:
				continue
			}
			delete(u.header, name)
		}
		u.fields = append(u.fields, field{name, values})
	}
	u.noteAbsent(plain, "Accept-Encoding")
	u.noteAbsent(typed, "Content-Type")
	u.noteAbsent(measured, "Content-Length")
}

// noteAbsent notes that the client has not sent a field, so that restore removes the field. If
// seen is true, noteAbsent does nothing.
func (u *upstreamRequest) noteAbsent(seen bool, name string) {
	if !seen {
		u.fields = append(u.fields, field{name: name})
	}
}

// maskedQuery returns query with every credential masked. maskedURI is uri with every credential
// masked. In most requests query is the end of uri, so the result is the end of maskedURI, and
// nothing has to be masked again.
func maskedQuery(query, uri, maskedURI string, places []dialect.Place) string {
	if query == "" {
		return ""
	}
	if _, end, _ := strings.Cut(uri, "?"); end == query {
		_, masked, _ := strings.Cut(maskedURI, "?")
		return masked
	}
	return credential.MaskURI("?"+query, places)[1:]
}

// restore restores the header and the query of the client, with every credential masked. It is
// called when the answer begins, and at the latest when the next handlers return.
func (u *upstreamRequest) restore() {
	if u.restored {
		return
	}
	u.restored = true
	for _, f := range u.fields {
		if f.values == nil {
			delete(u.header, f.name)
			continue
		}
		u.header[f.name] = f.values
	}
	u.r.Header, u.r.URL.RawQuery, u.url.RawQuery = u.header, u.query, u.query
}

// finish restores the request, and its body too. It is called after the next handlers have
// returned.
func (u *upstreamRequest) finish() {
	u.restore()
	u.r.Body, u.r.ContentLength = u.body, u.length
}

// maskValues returns the values of a header field, with every credential masked.
func maskValues(values []string, hide *credential.Redactor, places []dialect.Place) []string {
	shown := make([]string, len(values))
	for i, value := range values {
		shown[i] = hide.Text(credential.MaskURI(value, places))
	}
	return shown
}

// scrub does what finish does, for a request whose next handlers have failed. It also removes the
// body and masks every credential, because handlers in front of the gate and error routes can
// print the request or send it elsewhere. Caddy restores the original URL before an error route,
// so scrub also masks the original URL.
func (u *upstreamRequest) scrub(secret policy.Secret, upstream *credential.Redactor, places []dialect.Place) {
	u.finish()
	r := u.r
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
	r.Form, r.PostForm, r.MultipartForm = nil, nil, nil
	for _, name := range []string{"Cookie", "Proxy-Authorization", "Content-Length", "Expect"} {
		delete(r.Header, name)
	}
	hide := credential.NewRedactor(secret, 0)
	for name, values := range r.Header {
		shown := maskValues(values, hide, places)
		for i := range shown {
			if upstream != nil {
				shown[i] = upstream.Text(shown[i])
			}
		}
		r.Header[name] = shown
	}

	ctx := r.Context()
	repl, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	original, ok := ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || repl == nil {
		return
	}
	repl.DeleteByPrefix("http.reverse_proxy.header.")                          // fields of the backend's answer, which are not masked
	original.URL.RawQuery = maskedQuery(original.URL.RawQuery, "", "", places) // all copies of original share the URL
	if masked := credential.MaskURI(original.RequestURI, places); masked != original.RequestURI {
		original.RequestURI = masked
		*r = *r.WithContext(context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, original))
		// A handler in front of the gate, such as forward_auth, can have replaced the request
		// of the server by r. The request of the server keeps its context, so set the
		// placeholder too.
		repl.Set("http.request.orig_uri", masked)
	}
}
