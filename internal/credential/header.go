package credential

import (
	"net/http"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// The locator for header fields.

// scanHeader adds the key of every header field that is a place of the API.
func (f *Found) scanHeader(header http.Header) {
	for i := range f.places {
		place := &f.places[i]
		if place.Location != dialect.Header {
			continue
		}
		for _, value := range header[place.Name] {
			key, ok := afterScheme(value, place.Scheme)
			if !ok && strings.Contains(key, " ") {
				f.otherScheme = place
			}
			f.addKey(place, key)
		}
	}
}

// afterScheme returns the key in a header value. A value with another scheme is returned
// whole, with false: it is a credential too, although no operation reads it.
func afterScheme(value, scheme string) (key string, ok bool) {
	if scheme == "" {
		return value, true
	}
	if len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
		if rest := value[len(scheme):]; rest == "" || rest[0] == ' ' {
			return strings.TrimLeft(rest, " "), true
		}
	}
	return value, false
}

// rewriteHeader rewrites every header field that is a place of the API. A field without
// a key gets no upstream key.
func (f *Found) rewriteHeader(header http.Header, up Upstream) {
	for i := range f.places {
		each := &f.places[i]
		if each.Location != dialect.Header || len(header[each.Name]) == 0 {
			continue
		}
		switch place := f.readHeaderPlace(each.Name); {
		case place == nil || up.Mode == Drop, up.Mode == Replace && !hasKey(header[each.Name], each.Scheme):
			delete(header, each.Name)
		case up.Mode == Replace:
			header[each.Name] = []string{up.inHeader(place.Scheme)}
		}
	}
}

// hasKey reports whether one of a header field's values has a key.
func hasKey(values []string, scheme string) bool {
	return slices.ContainsFunc(values, func(value string) bool {
		key, _ := afterScheme(value, scheme)
		return key != ""
	})
}

// readHeaderPlace returns the place of this header field from which the operation reads
// its key, or nil.
func (f *Found) readHeaderPlace(name string) *dialect.Place {
	for i := range f.read {
		if place := &f.read[i]; place.Location == dialect.Header && place.Name == name {
			return place
		}
	}
	return nil
}
