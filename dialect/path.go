package dialect

import (
	"strings"
)

// CleanPath reports whether every parser reads this path in the same way: the path
// begins with a slash and has no escapes, wildcards, dot segments or doubled
// slashes.
func CleanPath(path string) bool {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return false
	}
	rest = strings.TrimSuffix(rest, "/")
	for segment := range strings.SplitSeq(rest, "/") {
		if !cleanSegment(segment, ":") && path != "/" {
			return false
		}
	}
	return true
}

// maxJobIDLen is the length of the longest job ID, in bytes.
const maxJobIDLen = 128

// ValidJobID reports whether id can be a job's ID: 1 to 128 characters that need no
// escape in the path of a URL, and not a dot segment. Another ID matches no route,
// and is not accepted from the backend.
func ValidJobID(id string) bool { return len(id) <= maxJobIDLen && cleanSegment(id, "") }

// cleanSegment reports whether all characters of a path segment are unreserved
// characters of RFC 3986, or in more.
func cleanSegment(segment, more string) bool {
	if segment == "" || segment == "." || segment == ".." {
		return false
	}
	for i := range len(segment) {
		c := segment[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-_.~", c) >= 0, strings.IndexByte(more, c) >= 0:
		default:
			return false
		}
	}
	return true
}
