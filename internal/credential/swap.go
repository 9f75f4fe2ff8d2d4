package credential

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// Mode says what becomes of the client's key on its way upstream.
type Mode uint8

// The modes. Whatever the mode, a key in a place that the operation does not
// read is removed.
const (
	Drop    Mode = iota // every copy is removed
	Pass                // the key goes upstream as it came
	Replace             // every copy is replaced by the backend's key
)

// Upstream is what a gate puts in place of its clients' keys. The zero value is
// nothing.
type Upstream struct {
	Mode Mode
	Key  policy.Secret // where Mode is Replace

	// What ReplaceWith has made of Key, and is otherwise made for each request.
	bearer  policy.Secret // behind bearerScheme
	escaped policy.Secret // for a query
}

const bearerScheme = "Bearer"

// ReplaceWith is to put in key.
func ReplaceWith(key policy.Secret) Upstream {
	return Upstream{
		Mode: Replace, Key: key,
		bearer:  policy.NewSecret(bearerScheme + " " + key.Reveal()),
		escaped: policy.NewSecret(url.QueryEscape(key.Reveal())),
	}
}

// inHeader is the backend's key as the value of a header that has this scheme.
func (up *Upstream) inHeader(scheme string) string {
	switch scheme {
	case "":
		return up.Key.Reveal()
	case bearerScheme:
		if !up.bearer.Empty() {
			return up.bearer.Reveal()
		}
	}
	return scheme + " " + up.Key.Reveal()
}

// inQuery is the backend's key as the value of a parameter or, as that has no spaces
// and so is the same in both, of a pair.
func (up *Upstream) inQuery() string {
	if !up.escaped.Empty() {
		return up.escaped.Reveal()
	}
	return url.QueryEscape(up.Key.Reveal())
}

// CheckUpstreamKey says whether every place of an API can carry key as the
// backend's.
func CheckUpstreamKey(key policy.Secret) error {
	if key.Empty() {
		return errors.New("the upstream key is empty")
	}
	text := key.Reveal()
	if len(text) > policy.MaxSecretLen {
		return fmt.Errorf("the upstream key is longer than %d bytes", policy.MaxSecretLen)
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' {
			return fmt.Errorf("the upstream key has a space, a control character or a character beyond ASCII at byte %d: a header cannot carry it", i+1)
		}
	}
	return nil
}

// Rewrite replaces the copies of the client's key in r by what up says. In every mode it
// gives the body a Content-Type under which no parser finds another key in it. Swap
// edits the header, URL.RawQuery and body of r in place; r must be the request that
// Find and ReadForm saw. Call Swap only after a Credential without fault.
func (f *Found) Rewrite(r *http.Request, up Upstream) {
	f.swapHeader(r.Header, up)
	if f.query.place != nil {
		var room [2]copyOf
		copies := append(append(room[:0], f.query), f.queries...)
		r.URL.RawQuery = editQuery(r.URL.RawQuery, copies, func(c copyOf) (string, bool) {
			return f.swapQueryValue(c.value.of(r.URL.RawQuery), c.place, up)
		})
	}
	if f.form != nil {
		f.swapForm(r, up)
	}
	if f.label != "" && r.ContentLength != 0 {
		r.Header.Set("Content-Type", f.label)
	}
}

// fate is what becomes of a copy at a place: left alone, replaced or removed.
func (f *Found) fate(place *dialect.Place, up Upstream) Mode {
	if !f.reads(place) {
		return Drop
	}
	return up.Mode
}

func (f *Found) swapHeader(header http.Header, up Upstream) {
	for i := range f.places {
		each := &f.places[i]
		if each.Location != dialect.Header || len(header[each.Name]) == 0 {
			continue
		}
		switch place := f.headerPlace(each.Name); {
		case place == nil || up.Mode == Drop, up.Mode == Replace && !holdsKeyIn(header[each.Name], each.Scheme):
			delete(header, each.Name)
		case up.Mode == Replace:
			header[each.Name] = []string{up.inHeader(place.Scheme)}
		}
	}
}

// holdsKeyIn reports whether one of a header field's values has a key.
func holdsKeyIn(values []string, scheme string) bool {
	return slices.ContainsFunc(values, func(value string) bool {
		key, _ := afterScheme(value, scheme)
		return key != ""
	})
}

// headerPlace is the place in this header field that the operation reads, or nil.
func (f *Found) headerPlace(name string) *dialect.Place {
	for i := range f.read {
		if place := &f.read[i]; place.Location == dialect.Header && place.Name == name {
			return place
		}
	}
	return nil
}

func (f *Found) swapQueryValue(raw string, place *dialect.Place, up Upstream) (value string, keep bool) {
	fate := f.fate(place, up)
	switch {
	case fate == Pass:
		return raw, true
	case place.SubKey != "":
		m := mapQueryValue(raw)
		return editPairs(raw, m, place.SubKey, fate == Replace, url.QueryEscape(up.inQuery())), true
	case fate == Replace:
		return up.inQuery(), true
	}
	return "", false
}

// editPairs replaces the values of the pairs with this name in a raw text, or
// removes them together with one space.
func editPairs(raw string, m mapped, name string, replace bool, value string) string {
	pairs, _ := findPairs(m.text, name) // read once before without fault
	var out strings.Builder
	out.Grow(len(raw) + len(value))
	done := 0 // in raw
	for _, p := range pairs {
		if p.text == "" {
			continue
		}
		if replace {
			v := m.raw(p.value)
			out.WriteString(raw[done:v.from])
			out.WriteString(value)
			done = v.to
			continue
		}
		gone := m.raw(p.token)
		switch {
		case p.token.from > 0 && done <= m.at(p.token.from-1): // with the space before it
			gone.from = m.at(p.token.from - 1)
		case p.token.to < len(m.text): // none is left before it: with the space behind it
			gone.to = m.at(p.token.to + 1)
		}
		out.WriteString(raw[done:gone.from])
		done = gone.to
	}
	out.WriteString(raw[done:])
	return out.String()
}

// StripHeader removes from a request that goes upstream the fields that [IsStripped]
// names, and the trailers.
func StripHeader(r *http.Request, whole bool) {
	for name := range r.Header {
		if IsStripped(name, whole) {
			delete(r.Header, name)
		}
	}
	r.Trailer = nil
}

// IsStripped reports whether a field, by the name that net/http gives it, is no part
// of the operation and so does not go upstream. Such fields are cookies, which never
// authenticate; the hop-by-hop fields, which could have the next hop drop fields or
// change protocols; and the fields from which frameworks take another method or path
// than the request's. If whole is set, the backend must send the whole answer, whatever
// the client already has of it, and the fields that ask for a part stay behind too.
func IsStripped(name string, whole bool) bool {
	return isForeign(name) || whole && asksForPart(name)
}

// isForeign goes by the names that net/http gives the fields of requests.
func isForeign(name string) bool {
	switch name {
	case "Cookie", "Connection", "Proxy-Connection", "Proxy-Authorization", "Keep-Alive",
		"Upgrade", "Http2-Settings", "Te", "Trailer",
		"X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url":
		return true
	}
	return false
}

func asksForPart(name string) bool {
	switch name {
	case "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since":
		return true
	}
	return false
}
