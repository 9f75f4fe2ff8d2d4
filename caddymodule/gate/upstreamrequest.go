package gate

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// upstreamRequest is the request as the next handlers have it, and what it takes to give
// the request of the client back. Handlers in front of the gate share the header and the
// URL with it. They get the client's fields back, with each credential masked, when the
// answer begins.
//
// The gate changes the shared header and takes the changes back. A second header
// would be simpler, but Caddy's placeholders read the request that the server made:
// a field that `request_header` sets behind the gate must be in that one.
type upstreamRequest struct {
	r        *http.Request
	header   http.Header // r's, as handlers in front of the gate have it
	url      *url.URL    // likewise
	fields   []field     // of the client's header, as they come back
	query    string      // the client's, masked
	body     io.ReadCloser
	length   int64
	restored bool // the client's fields are back

	room     [3]field // backs fields, so that nothing is allocated for them
	mask     [1]string
	identity [1]string
}

// field is a header field. It has no values where the client sent none.
type field struct {
	name   string
	values []string
}

// prepareUpstream makes an admitted request fit to go upstream: it rewrites the key,
// removes fields that do not belong to the operation, and masks every credential in what
// later handlers log. If the gate reads the answer, it asks the backend for the whole
// answer in plain text.
func (x *gatedRequest) prepareUpstream(u *upstreamRequest, found *credential.Found) {
	r, places := x.r, x.gate.api.Places
	u.r, u.header, u.url, u.body, u.length = r, r.Header, r.URL, x.body, r.ContentLength
	u.fields = u.room[:0]
	reads := x.gate.reads(x.call.Operation)
	u.clean(reads)
	u.mask[0] = credential.Masked
	for i := range places {
		if name := places[i].Name; places[i].Location == dialect.Header && len(r.Header[name]) > 0 {
			u.fields = append(u.fields, field{name, u.mask[:]})
		}
	}
	query, uri := r.URL.RawQuery, r.RequestURI
	found.Rewrite(r, x.gate.upstream)
	r.RequestURI = credential.MaskURI(uri, places)
	u.query = maskedQuery(query, uri, r.RequestURI, places)
	r.Trailer = nil
	if reads {
		u.identity[0] = "identity"
		r.Header["Accept-Encoding"] = u.identity[:]
	}
}

// clean removes the fields that do not go upstream, and notes the client's fields
// before they change.
func (u *upstreamRequest) clean(reads bool) {
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
			if !credential.IsStripped(name, reads) {
				continue
			}
			delete(u.header, name)
		}
		u.fields = append(u.fields, field{name, values})
	}
	u.absent(plain, "Accept-Encoding")
	u.absent(typed, "Content-Type")
	u.absent(measured, "Content-Length")
}

// absent notes that the client has not sent a field that the gate can add.
func (u *upstreamRequest) absent(seen bool, name string) {
	if !seen {
		u.fields = append(u.fields, field{name: name})
	}
}

// maskedQuery masks the credentials in a query. In most requests the query is the end
// of the URI, which is masked already.
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

// restore puts the client's header and query back, with each credential masked. It
// is called when the answer begins, at the latest when the next handlers return.
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

// finish is called when the next handlers have returned. It restores the request with the
// body that the client sent.
func (u *upstreamRequest) finish() {
	u.restore()
	u.r.Body, u.r.ContentLength = u.body, u.length
}

// scrub is finish for a request whose answer has failed, which handlers in front of the
// gate and a site's error routes can send elsewhere or print. It leaves neither the
// client's credentials nor a body. Caddy puts the original URL back before an error
// route; scrub masks that URL too.
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
		shown := make([]string, len(values))
		for i, value := range values {
			shown[i] = hide.Text(credential.MaskURI(value, places))
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
	repl.DeleteByPrefix("http.reverse_proxy.header.")                          // of the backend's answer, which is not masked
	original.URL.RawQuery = maskedQuery(original.URL.RawQuery, "", "", places) // shared by each copy of original
	if masked := credential.MaskURI(original.RequestURI, places); masked != original.RequestURI {
		original.RequestURI = masked
		*r = *r.WithContext(context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, original))
		// A handler in front of the gate, such as forward_auth, can have made r of the
		// server's request. That one keeps its context.
		repl.Set("http.request.orig_uri", masked)
	}
}
