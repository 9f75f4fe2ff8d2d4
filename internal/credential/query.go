package credential

import (
	"iter"
	"net/url"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// FitsRequestLine reports whether a request line of HTTP/1.1 can carry a raw query. A
// space ends the target there. Over HTTP/2 and HTTP/3 a query can have one.
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

func (f *Found) findInQuery(query string) {
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
				if fault := hiddenBySemicolon(p.whole.of(query), place.Name); fault != nil {
					f.fail(fault)
					continue
				}
			}
			f.findInParameter(query, p, name, place)
		}
	}
}

func (f *Found) findInParameter(query string, p parameter, name string, place *dialect.Place) {
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
	found := copyOf{place: place, whole: p.whole, value: p.value}
	if place.SubKey == "" {
		if f.add(place, value) {
			f.addInQuery(found)
		}
		return
	}
	pairs, fault := findPairs(value, place.SubKey)
	if fault != nil {
		f.fail(fault)
		return
	}
	held := false
	for _, pair := range pairs {
		held = f.add(place, pair.text) || held
	}
	if held {
		f.addInQuery(found)
	}
}

func (f *Found) addInQuery(found copyOf) {
	if f.query.place == nil {
		f.query = found
		return
	}
	f.queries = append(f.queries, found)
}

// hiddenBySemicolon refuses a parameter that shows only to parsers that split
// queries at ";" as well.
func hiddenBySemicolon(whole, name string) *Fault {
	_, rest, ok := strings.Cut(whole, ";")
	for ok {
		var part string
		part, rest, ok = strings.Cut(rest, ";")
		hidden, _, _ := strings.Cut(part, "=")
		if sameName(hidden, name) {
			return malformed("the query's parameter " + name + " stands behind a semicolon")
		}
	}
	return nil
}

// editQuery rewrites the parameters that hold a copy, given in their order, and
// leaves every other byte as it is. edit returns a parameter's new value, or
// false to remove it, with the "&" that then separates nothing.
func editQuery(query string, copies []copyOf, edit func(copyOf) (value string, keep bool)) string {
	var room [256]byte
	out, done := room[:0], 0 // in query
	for _, c := range copies {
		if value, keep := edit(c); keep {
			out = append(append(out, query[done:c.value.from]...), value...)
			done = c.value.to
			continue
		}
		out = append(out, query[done:c.whole.from]...)
		if done = c.whole.to; done < len(query) {
			done++
		} else if len(out) > 0 {
			out = out[:len(out)-1]
		}
	}
	return string(append(out, query[done:]...))
}

// mapped is a text decoded from a raw one, with the place there from which each of
// its bytes came.
type mapped struct {
	text string
	from []int // len(text)+1 offsets; nil where the text was not encoded
}

// mapQueryValue decodes a value that is known to decode.
func mapQueryValue(raw string) mapped {
	var text strings.Builder
	var from []int
	for i := 0; i < len(raw); i++ {
		from = append(from, i)
		switch raw[i] {
		case '+':
			text.WriteByte(' ')
		case '%':
			b, _ := url.QueryUnescape(raw[i : i+3])
			text.WriteString(b)
			i += 2
		default:
			text.WriteByte(raw[i])
		}
	}
	return mapped{text.String(), append(from, len(raw))}
}

func (m mapped) raw(s span) span { return span{m.at(s.from), m.at(s.to)} }

func (m mapped) at(i int) int {
	if m.from == nil {
		return i
	}
	return m.from[i]
}
