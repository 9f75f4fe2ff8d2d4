package configcheck

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// traits is what a probe has besides its host, its method and its path.
type traits struct {
	header http.Header
	query  url.Values
	from   netip.Addr // of the client; zero: ordinaryClient
	names  []string   // what matchers call them, in order, such as "header X-Mode"; never values, which can be secrets
}

// ordinaryClient is the address of a client without traits, which no matcher names (RFC 2544).
var ordinaryClient = netip.AddrFrom4([4]byte{198, 18, 0, 1})

// maxTraits is how many combinations of traits are tried on a site.
const maxTraits = 32

// with returns t with the traits that a set of matchers looks for, and, if the set has matchers of what
// a request must not have, t with that.
func (t traits) with(set caddyhttp.MatcherSet) (matching traits, contrary []traits) {
	matching = t
	for _, matcher := range set {
		switch m := matcher.(type) {
		case *caddyhttp.MatchHeader:
			for _, field := range slices.Sorted(maps.Keys(*m)) {
				if values := (*m)[field]; values == nil { // the field must be missing
					contrary = append(contrary, t.withHeader(field, "x"))
				} else {
					matching = matching.withHeader(field, exampleOf(values))
				}
			}
		case *caddyhttp.MatchHeaderRE:
			for _, field := range slices.Sorted(maps.Keys(*m)) {
				if text, ok := sampleOf((*m)[field].Pattern); ok {
					matching = matching.withHeader(field, text)
				}
			}
		case *caddyhttp.MatchQuery:
			for _, name := range slices.Sorted(maps.Keys(*m)) {
				matching = matching.withQuery(name, exampleOf((*m)[name]))
			}
		case *caddyhttp.MatchClientIP:
			matching = matching.withAddress("client_ip", m.Ranges)
		case *caddyhttp.MatchRemoteIP:
			matching = matching.withAddress("remote_ip", m.Ranges)
		case *caddyhttp.MatchNot:
			for _, inner := range m.MatcherSets {
				matches, others := t.with(inner)
				contrary = append(append(contrary, matches), others...)
			}
		}
	}
	return matching, contrary
}

// exampleOf returns a value that one of the patterns of a matcher matches.
func exampleOf(patterns []string) string {
	if len(patterns) == 0 {
		return "x"
	}
	return strings.ReplaceAll(caddy.NewReplacer().ReplaceAll(patterns[0], ""), "*", "x")
}

func (t traits) withHeader(field, value string) traits {
	if strings.EqualFold(field, "Host") {
		return t // hosts are tried in another way
	}
	if t.header = t.header.Clone(); t.header == nil {
		t.header = make(http.Header)
	}
	t.header.Set(field, value)
	return t.named("header " + field)
}

func (t traits) withQuery(name, value string) traits {
	if t.query = maps.Clone(t.query); t.query == nil {
		t.query = make(url.Values)
	}
	t.query.Set(name, value)
	return t.named("query " + name)
}

// withAddress takes the first address of the ranges that another machine can have.
func (t traits) withAddress(kind string, ranges []string) traits {
	repl := caddy.NewReplacer()
	for _, text := range ranges {
		text, _, _ = strings.Cut(repl.ReplaceAll(text, ""), "/")
		text, _, _ = strings.Cut(text, "%")
		if addr, err := netip.ParseAddr(text); err == nil && !addr.IsLoopback() {
			t.from = addr
			return t.named(kind)
		}
	}
	return t
}

func (t traits) named(name string) traits {
	if i, found := slices.BinarySearch(t.names, name); !found {
		t.names = slices.Insert(slices.Clone(t.names), i, name)
	}
	return t
}

// addTraits notes traits to try, except those that are known or that an ordinary request has.
func (f *finder) addTraits(all ...traits) {
	for _, t := range all {
		key := fmt.Sprint(t.header, t.query, t.from)
		if len(t.names) > 0 && len(f.traits) < maxTraits && !f.triedTraits[key] {
			f.triedTraits[key] = true
			f.traits = append(f.traits, t)
		}
	}
}

// sampleOf returns a text that a regular expression matches. It returns false if it finds none.
func sampleOf(pattern string) (text string, ok bool) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	writeSample(&b, parsed.Simplify())
	re, err := regexp.Compile(pattern)
	return b.String(), err == nil && re.MatchString(b.String())
}

func writeSample(b *strings.Builder, re *syntax.Regexp) {
	switch re.Op { //nolint:exhaustive // the others match the empty text, or nothing
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		b.WriteRune(runeOf(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
	case syntax.OpAlternate:
		writeSample(b, re.Sub[0])
	case syntax.OpCapture, syntax.OpPlus, syntax.OpConcat:
		for _, sub := range re.Sub {
			writeSample(b, sub)
		}
	}
}

// runeOf returns a rune of a class, preferably one that a header field can have. The class has pairs of
// the first and the last rune of ranges.
func runeOf(class []rune) rune {
	for _, r := range "xX0-_. " {
		for i := 0; i+1 < len(class); i += 2 {
			if class[i] <= r && r <= class[i+1] {
				return r
			}
		}
	}
	return class[0]
}
