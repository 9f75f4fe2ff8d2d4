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

// scanSubprotocols adds the key of every item that is a place of the API.
func (f *Found) scanSubprotocols(header http.Header) {
	f.eachSubprotocol(header, func(item string, place *dialect.Place) {
		if place != nil {
			f.addKey(place, strings.TrimPrefix(item, place.Prefix))
		}
	})
}

// eachSubprotocol calls use for each item of a handshake. The argument place is the place whose
// key is in the item; it is nil if the item is no key.
func (f *Found) eachSubprotocol(header http.Header, use func(item string, place *dialect.Place)) {
	var before *dialect.Place // the place that the item before this one names
	for item := range subprotocols(header) {
		place := before
		before = nil
		for i := range f.places {
			each := &f.places[i]
			if each.Location != dialect.Subprotocol || place != nil {
				continue
			}
			switch {
			case each.Name != "" && item == each.Name:
				before = each
			case each.Prefix != "" && strings.HasPrefix(item, each.Prefix):
				place = each
			}
		}
		use(item, place)
	}
}

// rewriteSubprotocols removes the items with the key, and the items before them that announce
// the key. In the mode Pass, the items of the places that the operation reads stay.
func (f *Found) rewriteSubprotocols(header http.Header, up *Upstream) {
	if len(header[subprotocolHeader]) == 0 {
		return
	}
	var kept []string
	removed := false
	f.eachSubprotocol(header, func(item string, place *dialect.Place) {
		if place == nil || f.modeAt(place, up) == Pass {
			kept = append(kept, item)
			return
		}
		removed = true
		if place.Name != "" {
			kept = kept[:len(kept)-1]
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
