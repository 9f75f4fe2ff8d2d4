package credential

import (
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

const (
	// maxLoggedPath is how many bytes of a path are logged.
	maxLoggedPath = 256
	// maxShortSegment is the length of a segment that is too short for a key.
	maxShortSegment = 7
	// maxPathWord is the length of a word within a segment. Longer runs of letters can be keys.
	maxPathWord = 15
)

// MaskPath returns an escaped path for the log, without a query. It masks the same keys as
// MaskURI, and each segment that can be a key of an unknown form: a segment is shown if it is
// short without a value, or consists of words, small numbers and versions, such as /v1/engine-list/2026. A
// long path is cut.
func MaskPath(path string, places []dialect.Place) string {
	cut := len(path) > maxLoggedPath
	if cut {
		path = path[:maxLoggedPath]
	}
	segments := strings.Split(MaskURI(path, places), "/")
	for i, segment := range segments {
		if !isShort(segment) && !consistsOfWords(segment) {
			segments[i] = Masked
		}
	}
	path = strings.Join(segments, "/")
	if cut {
		path += "…"
	}
	return path
}

// MaskMethod returns the method of a request for the log. A method that is not one word of
// letters is masked.
func MaskMethod(method string) string {
	if !isPathWord(method) {
		return Masked
	}
	return method
}

// isShort reports whether a segment is too short for a key, and has no name and value.
func isShort(segment string) bool {
	return len(segment) <= maxShortSegment && !strings.ContainsAny(segment, "=&;") && !strings.Contains(segment, "%3") // %3B is a semicolon, %3D an equals sign
}

func consistsOfWords(segment string) bool {
	for word := range strings.FieldsFuncSeq(segment, func(r rune) bool { return strings.ContainsRune("-_.~:", r) }) {
		if !isPathWord(word) && !isSmallNumber(word) && !isSmallNumber(strings.TrimPrefix(word, "v")) {
			return false
		}
	}
	return true
}

// isPathWord reports whether word consists of up to maxPathWord letters, all in one case or
// with the first one as a capital.
func isPathWord(word string) bool {
	if word == "" || len(word) > maxPathWord {
		return false
	}
	lower, upper := true, true
	for i, c := range []byte(word) {
		small, capital := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z'
		if !small && !capital {
			return false
		}
		lower = lower && (small || i == 0)
		upper = upper && capital
	}
	return lower || upper
}

// isSmallNumber reports whether word is a decimal number of up to four digits.
func isSmallNumber(word string) bool {
	return word != "" && len(word) <= 4 && strings.Trim(word, "0123456789") == ""
}
