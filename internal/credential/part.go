package credential

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// The locator for parts of a form. ReadForm calls scanPart for each part before the audio.

// scanPart adds the key of a part if the part is a place of the API.
func (f *Found) scanPart(content []byte, header partHeader, part occurrence) error {
	for i := range f.places {
		place := &f.places[i]
		if place.Location != dialect.Part || header.name != place.Name {
			continue
		}
		if header.unclear != nil {
			return header.unclear
		}
		text := string(content)
		if header.quotedPrintable && !readsAlike(text, place) {
			return malformed("the part " + place.Name + " is labelled quoted-printable, which some parsers decode: want no Content-Transfer-Encoding")
		}
		hasKey, fault := f.addValue(place, text)
		if fault != nil {
			return fault
		}
		if hasKey {
			part.place = place
			f.form.occurrences = append(f.form.occurrences, part)
		}
	}
	return nil
}

// readsAlike reports whether a content that is labelled quoted-printable has the same
// key, or no key, before and after decoding.
func readsAlike(text string, place *dialect.Place) bool {
	return !strings.Contains(text, "=") ||
		place.SubKey != "" && !hasPair(text, place.SubKey) && !hasPair(decodeQuotedPrintable(text), place.SubKey)
}

// decodeQuotedPrintable decodes quoted-printable as lenient parsers do.
func decodeQuotedPrintable(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "=\r\n", ""), "=\n", "")
	return decodePercent(strings.ReplaceAll(text, "=", "%"))
}

// rewriteForm rewrites the parts that have the key, the lengths of these parts and of the
// body, and removes the digests of the body. It copies only what changes: the new body
// is made of pieces of the head that was read.
func (f *Found) rewriteForm(r *http.Request, up *Upstream) {
	if f.form == nil {
		return
	}
	read := f.form.head.buf
	pieces := f.form.pieceArray[:0]
	length, done := 0, 0 // length of pieces, and how much of read is in them
	add := func(piece []byte) {
		pieces = append(pieces, piece)
		length += len(piece)
	}
	for _, o := range f.form.occurrences {
		mode := f.modeAt(o.place, up)
		value := up.Key.Reveal()
		switch {
		case mode == Pass:
			continue
		case o.place.SubKey != "":
			text := string(read[o.value.from:o.value.to])
			value = editPairs(text, decodedWithOffsets{text: text}, o.place.SubKey, mode == Replace, up.inQuery())
		case mode != Replace:
			add(read[done:o.whole.from])
			done = o.whole.to
			continue
		}
		if o.length != (span{}) { // the Content-Length comes before the value
			add(read[done:o.length.from])
			add(strconv.AppendInt(nil, int64(len(value)), 10))
			done = o.length.to
		}
		add(read[done:o.value.from])
		add([]byte(value))
		done = o.value.to
	}
	if done == 0 {
		return
	}
	add(read[done:])

	f.form.body.pieces = pieces
	if r.ContentLength >= 0 {
		r.ContentLength += int64(length - len(read))
		r.Header["Content-Length"] = []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	for _, name := range [...]string{"Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		delete(r.Header, name)
	}
}
