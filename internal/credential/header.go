package credential

import (
	"net/http"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// The locator for header fields.

// scanHeader adds the key of every header field that is a place of the API. Several places
// can have the same field, each with another scheme.
func (f *Found) scanHeader(header http.Header) {
	for i := range f.places {
		place := &f.places[i]
		if place.Location != dialect.Header {
			continue
		}
		for _, value := range header[place.Name] {
			key, ok := afterScheme(value, place.Scheme)
			if !ok {
				if f.schemePlace(place.Name, value) != nil {
					continue // that place adds it
				}
				key = value // a key without a scheme, or a credential of another scheme
				if strings.Contains(value, " ") {
					f.otherScheme = place
				}
			} else if place.Scheme == "" && strings.Contains(value, " ") {
				f.otherScheme = place // a scheme before a key that has none
			} else if place.User != "" {
				var fault *Fault
				if key, fault = basicPassword(key, place.User); fault != nil {
					f.fail(fault) // the key is empty
				}
			}
			f.addKey(place, key)
		}
	}
}

// afterScheme returns what follows the scheme in a value, or false if the value has
// another scheme.
func afterScheme(value, scheme string) (key string, ok bool) {
	if scheme == "" {
		return value, true
	}
	if len(value) >= len(scheme) && strings.EqualFold(value[:len(scheme)], scheme) {
		if rest := value[len(scheme):]; rest == "" || rest[0] == ' ' {
			return strings.TrimLeft(rest, " "), true
		}
	}
	return "", false
}

// schemePlace returns the place of this header field whose scheme a value has, or nil.
func (f *Found) schemePlace(name, value string) *dialect.Place {
	for i := range f.places {
		place := &f.places[i]
		if place.Location == dialect.Header && place.Name == name {
			if _, ok := afterScheme(value, place.Scheme); ok {
				return place
			}
		}
	}
	return nil
}

// rewriteHeader rewrites every header field that is a place of the API. The upstream key
// gets the scheme of the first place of the field that the operation reads. A field
// without a key gets no upstream key.
func (f *Found) rewriteHeader(header http.Header, up *Upstream) {
	for i := range f.places {
		each := &f.places[i]
		if each.Location != dialect.Header {
			continue
		}
		switch place := f.readHeaderPlace(each.Name); {
		case place == nil || up.Mode == Drop, up.Mode == Replace && !f.hasKey(each.Name, header[each.Name]):
			delete(header, each.Name)
		case up.Mode == Replace:
			header[each.Name] = []string{up.inHeader(place)}
		}
	}
}

// hasKey reports whether one of the values of a header field has a key, with whatever scheme.
func (f *Found) hasKey(name string, values []string) bool {
	return slices.ContainsFunc(values, func(value string) bool {
		place := f.schemePlace(name, value)
		if place == nil {
			return value != ""
		}
		key, _ := afterScheme(value, place.Scheme)
		if place.User != "" {
			key, _ = basicPassword(key, place.User)
		}
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
