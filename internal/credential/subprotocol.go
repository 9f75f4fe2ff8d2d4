package credential

import (
	"iter"
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// The locator for items of Sec-WebSocket-Protocol. A browser cannot set another header field in
// a handshake, so some APIs take the key as a subprotocol.

// subprotocolHeader is in net/http's canonical form.
const subprotocolHeader = "Sec-Websocket-Protocol"

// subprotocols returns the items that a handshake offers (RFC 6455, section 11.3.4).
func subprotocols(header http.Header) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, value := range header[subprotocolHeader] {
			for item := range strings.SplitSeq(value, ",") {
				if item = strings.Trim(item, " \t"); item != "" && !yield(item) {
					return
				}
			}
		}
	}
}

// scanSubprotocols adds the key of every item that is a place of the API. It refuses an item that
// only some parsers take for a key, or for the name or the prefix of a place.
func (f *Found) scanSubprotocols(header http.Header) {
	reads := f.subprotocolPlace(func(*dialect.Place) bool { return true }) != nil
	f.eachSubprotocol(header, func(item string, place *dialect.Place) {
		if reads && strings.ContainsFunc(item, func(r rune) bool { return r < ' ' || r > '~' }) {
			f.fail(malformed("a subprotocol has a character that is not visible ASCII"))
		}
		if place != nil {
			f.addKey(place, strings.TrimPrefix(item, place.Prefix))
		}
		if other := f.subprotocolPlace(func(p *dialect.Place) bool { return resembles(item, p) }); other != nil {
			f.fail(malformed("the subprotocol " + other.Name + other.Prefix + " is spelled in another way"))
		}
	})
}

// resembles reports whether some parser could take an item for the name or the prefix of a place,
// although it is spelled in another way.
func resembles(item string, place *dialect.Place) bool {
	if place.Prefix != "" {
		return !strings.HasPrefix(item, place.Prefix) && strings.HasPrefix(strings.TrimLeftFunc(fold(decodeAll(item)), isTrimmed), place.Prefix)
	}
	return item != place.Name && sameName(item, place.Name)
}

// eachSubprotocol calls use for each item of a handshake. The argument place is the place whose
// key is in the item; it is nil if the item is no key. The item after the name of a place is a key
// even if it is such a name itself: of "token, token, KEY", parsers can read two keys.
func (f *Found) eachSubprotocol(header http.Header, use func(item string, place *dialect.Place)) {
	var named *dialect.Place // the place that the item before this one names
	for item := range subprotocols(header) {
		place := named
		named = f.subprotocolPlace(func(p *dialect.Place) bool { return p.Name != "" && item == p.Name })
		if place == nil {
			place = f.subprotocolPlace(func(p *dialect.Place) bool { return p.Prefix != "" && strings.HasPrefix(item, p.Prefix) })
		}
		use(item, place)
	}
}

// subprotocolPlace returns the first place among the subprotocols that fits, or nil.
func (f *Found) subprotocolPlace(fits func(*dialect.Place) bool) *dialect.Place {
	for i := range f.places {
		if place := &f.places[i]; place.Location == dialect.Subprotocol && fits(place) {
			return place
		}
	}
	return nil
}

// rewriteSubprotocols removes the items with the key, the items before them that announce the key,
// and items that repeat it. In the mode Pass, only the items of places that the operation does
// not read are removed.
func (f *Found) rewriteSubprotocols(header http.Header, up *Upstream) {
	if len(header[subprotocolHeader]) == 0 {
		return
	}
	var kept []string
	removed := false
	f.eachSubprotocol(header, func(item string, place *dialect.Place) {
		mode := Pass
		switch {
		case place != nil:
			mode = f.modeAt(place, up)
		case item == f.key:
			mode = up.Mode
		}
		if mode == Pass {
			kept = append(kept, item)
			return
		}
		removed = true
		if n := len(kept); place != nil && place.Name != "" && n > 0 && kept[n-1] == place.Name {
			kept = kept[:n-1]
		}
	})
	switch {
	case !removed:
	case len(kept) == 0:
		delete(header, subprotocolHeader)
	default:
		header[subprotocolHeader] = []string{strings.Join(kept, ", ")}
	}
}

// OffersSubprotocol returns the first of these subprotocols that a handshake offers; "" if it offers
// none of them. An item with a key is no subprotocol.
func OffersSubprotocol(header http.Header, known []string) string {
	for _, name := range known {
		for item := range subprotocols(header) {
			if item == name {
				return name
			}
		}
	}
	return ""
}
