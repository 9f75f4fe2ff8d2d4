package credential

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

func TestR18_MaskURIMasksWhatPatternsFind(t *testing.T) {
	t.Parallel()
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{
			"&", "=", ";", "?", "#", "%3F", "%3b", "%23", "%26", "%3D", "%3d", "%253d", "%2526", "%", "%3", "+", " ", "[]",
			"u", "U", "%75", "%2575", "%u0075", "d", "D", "authorization", "AUTHORIZATION", "%61uthorization",
			"[", "]", "%5B", "%5d", "\u0131", "%C4%B1", "\uff55", "\u200b", "'", "sgk_", "sgs_", "sgk%5f", "sgs%5F", "sg", "sgs", "k_", "abc", "%zz", "KEY", "/", "\x00", "é",
		}),
		rapid.StringMatching(`[a-zA-Z0-9%_=&;]{0,6}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		uri := strings.Join(rapid.SliceOfN(piece, 0, 14).Draw(t, "uri"), "")
		if got, want := MaskURI(uri, api.Places), maskByPattern(uri, api.Places); got != want {
			t.Fatalf("MaskURI(%q) = %q, and by patterns %q", uri, got, want)
		}
	})
}

// ownSecrets finds the secrets that this project makes.
var ownSecrets = regexp.MustCompile(`(` + anyUnderscore(policy.KeyPrefix) + `|` + anyUnderscore(policy.ServicePasswordPrefix) + `|` + anyUnderscore(policy.SetupPrefix) + `)[0-9A-Za-z%_]+`)

func anyUnderscore(prefix string) string { return strings.ReplaceAll(prefix, "_", "(?:_|%5[Ff])") }

// nameStart finds where a parameter's name can start for some parser.
var nameStart = regexp.MustCompile(`[?;#]|%3[FfBb]|%2[36]`)

// nameEnd finds where the name ends, if a value follows.
var nameEnd = regexp.MustCompile(`=|%3[Dd]`)

// maskByPattern does the same as MaskURI, with regular expressions.
func maskByPattern(uri string, places []dialect.Place) string {
	if !strings.ContainsAny(uri, "=%") && !strings.Contains(uri, policy.KeyPrefix) && !strings.Contains(uri, policy.ServicePasswordPrefix) && !strings.Contains(uri, policy.SetupPrefix) {
		return uri // such as the path of a poll
	}
	segments := strings.Split(uri, "&")
	for i, segment := range segments {
		segments[i] = maskSegment(segment, places)
	}
	return ownSecrets.ReplaceAllString(strings.Join(segments, "&"), Masked)
}

// maskSegment masks the first value that can be a key, and the rest of the segment.
func maskSegment(segment string, places []dialect.Place) string {
	ends := nameEnd.FindAllStringIndex(segment, -1)
	if len(ends) == 0 {
		return segment
	}
	whole := quoteRemover.Replace(fold(decodeAll(segment)))
	holdsPair := slices.ContainsFunc(places, func(p dialect.Place) bool { return p.SubKey != "" && strings.Contains(whole, p.SubKey) })
	starts := nameStart.FindAllStringIndex(segment, -1)
	at, done := 0, -1
	for _, end := range ends {
		for len(starts) > 0 && starts[0][1] <= end[0] { // the last one before it
			at, starts = starts[0][1], starts[1:]
		}
		if at == done { // a second "=" is part of the value
			continue
		}
		done = at
		if patternHoldsKey(segment[at:end[0]], holdsPair, places) {
			return segment[:end[1]] + Masked
		}
	}
	return segment
}

// patternHoldsKey reports whether the value of a parameter with this name can be a key.
// holdsPair says that the segment mentions a sub-key.
func patternHoldsKey(name string, holdsPair bool, places []dialect.Place) bool {
	return slices.ContainsFunc(places, func(p dialect.Place) bool {
		if p.SubKey == "" {
			return sameName(name, p.Name)
		}
		return sameName(name, p.SubKey) || holdsPair && sameName(name, p.Name)
	})
}
