package credential

import (
	"iter"
	"net/url"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// The locator for parameters of the query.

// FitsRequestLine reports whether a request line of HTTP/1.1 can have this raw query. A
// space or a control character would end the request target. Over HTTP/2 and HTTP/3 a
// query can have both.
func FitsRequestLine(query string) bool {
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// parameter is one name=value of a raw query.
type parameter struct{ whole, name, value span }

// parameters splits a raw query at "&". It decodes nothing and drops nothing.
func parameters(query string) iter.Seq[parameter] {
	return func(yield func(parameter) bool) {
		if query == "" {
			return
		}
		for start := 0; start <= len(query); {
			end := start + strings.IndexByte(query[start:], '&')
			if end < start {
				end = len(query)
			}
			p := parameter{whole: span{start, end}, name: span{start, end}, value: span{end, end}}
			if equals := strings.IndexByte(query[start:end], '='); equals >= 0 {
				p.name.to, p.value.from = start+equals, start+equals+1
			}
			if !yield(p) {
				return
			}
			start = end + 1
		}
	}
}

// HasParameter reports whether some parser finds a parameter with one of these names in a raw query.
func HasParameter(query string, names []string) bool {
	if len(names) == 0 {
		return false
	}
	for p := range parameters(query) {
		if slices.ContainsFunc(names, func(name string) bool {
			return sameName(p.name.of(query), name) || checkSemicolons(p.whole.of(query), name) != nil
		}) {
			return true
		}
	}
	return false
}

// scanQuery adds the key of every parameter that is a place of the API.
func (f *Found) scanQuery(query string) {
	semicolons := strings.Contains(query, ";")
	for p := range parameters(query) {
		name := p.name.of(query)
		if _, err := url.QueryUnescape(name); err != nil {
			f.fail(malformed("a parameter of the query whose name has a broken percent-escape"))
			return
		}
		for i := range f.places {
			place := &f.places[i]
			if place.Location != dialect.Query {
				continue
			}
			if semicolons {
				if fault := checkSemicolons(p.whole.of(query), place.Name); fault != nil {
					f.fail(fault)
					continue
				}
			}
			f.scanParameter(query, p, name, place)
		}
	}
}

// scanParameter adds the key of a parameter if it is this place.
func (f *Found) scanParameter(query string, p parameter, name string, place *dialect.Place) {
	if !sameName(name, place.Name) {
		return
	}
	if name != place.Name {
		f.fail(malformed("the query's parameter " + place.Name + " is spelled in another way"))
		return
	}
	value, err := url.QueryUnescape(p.value.of(query))
	if err != nil {
		f.fail(malformed("the query's parameter " + place.Name + " has a broken percent-escape"))
		return
	}
	hasKey, fault := f.addValue(place, value)
	if fault != nil {
		f.fail(fault)
	} else if hasKey {
		f.addToQuery(occurrence{place: place, whole: p.whole, value: p.value})
	}
}

func (f *Found) addToQuery(o occurrence) {
	if f.inQuery.place == nil {
		f.inQuery = o
		return
	}
	f.moreInQuery = append(f.moreInQuery, o)
}

// checkSemicolons refuses a parameter in which a parser that splits queries at ";" too
// would find another parameter with the name of a key.
func checkSemicolons(whole, name string) *Fault {
	_, rest, ok := strings.Cut(whole, ";")
	for ok {
		var piece string
		piece, rest, ok = strings.Cut(rest, ";")
		hidden, _, _ := strings.Cut(piece, "=")
		if sameName(hidden, name) {
			return malformed("the query's parameter " + name + " stands behind a semicolon")
		}
	}
	return nil
}

// rewriteQuery rewrites the parameters that have the key.
func (f *Found) rewriteQuery(u *url.URL, up *Upstream) {
	if f.inQuery.place == nil {
		return
	}
	var array [2]occurrence
	all := append(append(array[:0], f.inQuery), f.moreInQuery...)
	u.RawQuery = editQuery(u.RawQuery, all, func(o occurrence) (string, bool) {
		return f.newQueryValue(o.value.of(u.RawQuery), o.place, up)
	})
}

// newQueryValue returns the new value of a parameter that has the key, or false if the
// parameter is to be removed.
func (f *Found) newQueryValue(raw string, place *dialect.Place, up *Upstream) (value string, keep bool) {
	mode := f.modeAt(place, up)
	switch {
	case mode == Pass:
		return raw, true
	case place.SubKey != "":
		return editPairs(raw, decodeWithOffsets(raw), place.SubKey, mode == Replace, url.QueryEscape(up.inQuery())), true
	case mode == Replace:
		return up.inQuery(), true
	}
	return "", false
}

// editQuery edits the parameters of these occurrences, which are in the order of the
// query, and leaves every other byte as it is. edit returns the new value of a
// parameter, or false to remove the parameter together with one "&".
func editQuery(query string, all []occurrence, edit func(occurrence) (value string, keep bool)) string {
	var array [256]byte
	out, done := array[:0], 0 // done is how much of query is in out
	for _, o := range all {
		if value, keep := edit(o); keep {
			out = append(append(out, query[done:o.value.from]...), value...)
			done = o.value.to
			continue
		}
		out = append(out, query[done:o.whole.from]...)
		if done = o.whole.to; done < len(query) {
			done++
		} else if len(out) > 0 {
			out = out[:len(out)-1]
		}
	}
	return string(append(out, query[done:]...))
}
