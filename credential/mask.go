package credential

import (
	"regexp"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// Masked stands in logs where a credential was.
const Masked = "REDACTED"

// ours are the secrets that this gateway makes, wherever they stand.
var ours = regexp.MustCompile(`(` + anyUnderscore(policy.KeyPrefix) + `|` + anyUnderscore(policy.ServicePasswordPrefix) + `)[0-9A-Za-z%]+`)

func anyUnderscore(prefix string) string { return strings.ReplaceAll(prefix, "_", "(?:_|%5[Ff])") }

// nameStart finds where a parameter's name can start, for one parser or another.
var nameStart = regexp.MustCompile(`[?;#]|%3[FfBb]|%2[36]`)

// nameEnd finds where it ends, if a value follows.
var nameEnd = regexp.MustCompile(`=|%3[Dd]`)

// MaskURI masks every place of a URI where one of the places can hold a key,
// and every secret of this gateway's own. It is for logs: it takes a broken
// URI as well, and rather masks too much than too little.
func MaskURI(uri string, places []dialect.Place) string {
	if !strings.ContainsAny(uri, "=%") && !strings.Contains(uri, policy.KeyPrefix) && !strings.Contains(uri, policy.ServicePasswordPrefix) {
		return uri // the path of a poll, for one
	}
	segments := strings.Split(uri, "&")
	for i, segment := range segments {
		segments[i] = maskSegment(segment, places)
	}
	return ours.ReplaceAllString(strings.Join(segments, "&"), Masked)
}

// maskSegment masks from the first value that can be a key on. A key may itself
// hold what separates parameters elsewhere.
func maskSegment(segment string, places []dialect.Place) string {
	ends := nameEnd.FindAllStringIndex(segment, -1)
	if len(ends) == 0 {
		return segment
	}
	whole := strings.ToLower(decodeAll(segment))
	holdsPair := slices.ContainsFunc(places, func(p dialect.Place) bool { return p.Pair != "" && strings.Contains(whole, p.Pair) })
	starts := nameStart.FindAllStringIndex(segment, -1)
	at, done := 0, -1
	for _, end := range ends {
		for len(starts) > 0 && starts[0][1] <= end[0] { // the last one before it
			at, starts = starts[0][1], starts[1:]
		}
		if at == done { // what follows the first "=" is a value
			continue
		}
		done = at
		if holdsKey(decodeAll(segment[at:end[0]]), holdsPair, places) {
			return segment[:end[1]] + Masked
		}
	}
	return segment
}

// holdsKey reports whether a parameter of this name can hold a key, in one of
// the places or misplaced. holdsPair says that there are pairs with one.
func holdsKey(name string, holdsPair bool, places []dialect.Place) bool {
	return slices.ContainsFunc(places, func(p dialect.Place) bool {
		if p.Pair == "" {
			return sameName(name, p.Name)
		}
		return sameName(name, p.Pair) || holdsPair && sameName(name, p.Name)
	})
}

// decodeAll decodes escapes of escapes as well.
func decodeAll(text string) string {
	text = strings.ReplaceAll(text, "+", " ")
	if !strings.Contains(text, "%") {
		return text
	}
	var once strings.Builder // with percent signs that were escaped, once or more
	for {
		before, after, ok := strings.Cut(text, "%25")
		once.WriteString(before)
		if !ok {
			return decodeLax(once.String())
		}
		once.WriteByte('%')
		for strings.HasPrefix(after, "25") {
			after = after[2:]
		}
		text = after
	}
}
