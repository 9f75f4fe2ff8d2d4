package credential

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// form is the head of a multipart body: all that comes before the audio, and
// what of the audio was read along with it.
type form struct {
	head   headReader
	body   rewound // what goes upstream; head is not to be looked at once it is read from
	copies []copyOf
	audio  bool // whether the head ends where the audio begins, and not with the form

	// What the slices are made of where there is one copy, as there nearly always is.
	copyRoom   [1]copyOf
	piecesRoom [3][]byte
}

// errHeadTooLarge is met when a form's head does not end within the limit.
var errHeadTooLarge = malformed("the form's parts before the audio are larger than max_head")

// ReadForm reads the head of the body of r, which is everything before the audio, and
// scans it for keys. It reads maxHead bytes at most. Afterwards the body of r gives
// every byte again, from the first one on.
//
// A head of more than 4 KiB takes memory from budget; a nil budget counts nothing. w is
// the writer of the answer to r, which the budget gets to know. The caller must call
// [Found.ReleaseBudget] afterwards.
//
// Key returns the fault of a form that cannot be accepted; its reason is
// [policy.LimitReached] if the budget has no room. The error is one of reading, such as
// a client that went away.
func (f *Found) ReadForm(w http.ResponseWriter, r *http.Request, maxHead int, budget Budget) error {
	switch f.body {
	case bodyURLEncoded, bodyJSON:
		return f.sniff(r)
	case bodyUnwanted:
		return f.expectNothing(r)
	}
	form := new(form)
	form.copies = form.copyRoom[:0]
	form.head.begin(r.Body, maxHead)
	form.head.hold.budget, form.head.hold.w = budget, w
	f.form = form
	err := form.head.hold.admit(r)
	if err == nil {
		err = f.readParts(&form.head)
	}
	if err == nil && f.quoted && bytes.Contains(form.head.buf[:form.head.pos], []byte(`--"`+f.boundary)) {
		err = malformed("a form that has its boundary in quotation marks too, which some parsers take for part of it")
	}
	form.body = rewound{pieces: append(form.piecesRoom[:0], form.head.buf), head: &form.head, ReadCloser: r.Body}
	r.Body = &form.body
	if err == nil {
		return nil
	}
	var fault *Fault
	if !errors.As(err, &fault) {
		return fmt.Errorf("reading the head of the form: %w", err)
	}
	f.fail(fault)
	return nil
}

// expectNothing sees whether a body of unknown length is there at all. Over
// HTTP/3 every request without a length looks as if it had one.
func (f *Found) expectNothing(r *http.Request) error {
	reader := &headReader{src: r.Body, max: 1}
	err := reader.fill(1)
	var ended *Fault
	switch {
	case err == nil:
		f.fail(errUnwanted)
	case errors.As(err, &ended):
		r.Body, r.ContentLength = http.NoBody, 0
	default:
		return fmt.Errorf("reading the body: %w", err)
	}
	return nil
}

// sniff looks at the start of a body that is labelled as a urlencoded form or as JSON.
func (f *Found) sniff(r *http.Request) error {
	reader := &headReader{src: r.Body, max: sniffLen}
	err := reader.fill(sniffLen)
	r.Body = &rewound{pieces: [][]byte{reader.buf}, ReadCloser: r.Body}
	switch {
	case f.body == bodyURLEncoded && looksLikeForm(reader.buf):
		f.fail(malformed("a body that is a urlencoded form: send multipart/form-data, or raw audio with the parameters in the query"))
	case f.body == bodyJSON && looksLikeJSON(reader.buf):
		f.fail(malformed("a body that is JSON: send multipart/form-data, or raw audio with the parameters in the query"))
	}
	var fault *Fault
	if err != nil && !errors.As(err, &fault) {
		return fmt.Errorf("reading the start of the body: %w", err)
	}
	return nil
}

// readParts reads part after part until the audio begins or the form ends.
func (f *Found) readParts(r *headReader) error {
	d := delimiter{whole: "--" + f.boundary}
	d.shortest = d.whole[:len("--")+len(f.shortest)]
	if f.quoted { // and longer for those who take the quotation marks for part of it
		d.shortest = d.whole
	}
	// One client library puts a line break in front of the first boundary.
	if err := r.fill(len("\r\n") + len(d.whole)); err != nil {
		return err
	}
	r.skip("\r\n")
	if !r.skip(d.whole) {
		return malformed("a body that does not begin with its boundary")
	}
	start := r.pos - len(d.whole)
	for {
		last, err := r.endOfDelimiter()
		if err != nil {
			return err
		}
		if last {
			return r.end()
		}
		head, err := f.partHeader(r, d)
		if err != nil {
			return err
		}
		if head.name == f.audio {
			f.form.audio = true
			return nil
		}
		value, err := r.content(d)
		if err != nil {
			return err
		}
		if !head.lengthFits(r.buf, value) {
			return malformed("a part whose Content-Length is not its length")
		}
		next := r.pos - len(d.whole)
		part := copyOf{whole: span{start, next}, value: value, length: head.length}
		if err := f.findInPart(r.buf[value.from:value.to], head, part); err != nil {
			return err
		}
		start = next
	}
}

// findInPart looks for keys in a part that precedes the audio.
func (f *Found) findInPart(content []byte, head partHead, part copyOf) error {
	for i := range f.places {
		place := &f.places[i]
		if place.Location != dialect.Part || head.name != place.Name {
			continue
		}
		if head.unsure != nil {
			return head.unsure
		}
		found, text := part, string(content)
		found.place = place
		if head.quoted && !readsAlike(text, place) {
			return malformed("the part " + place.Name + " is labelled quoted-printable, which some parsers decode: want no Content-Transfer-Encoding")
		}
		if place.SubKey == "" {
			if f.add(place, text) {
				f.form.copies = append(f.form.copies, found)
			}
			continue
		}
		pairs, fault := findPairs(text, place.SubKey)
		if fault != nil {
			return fault
		}
		held := false
		for _, p := range pairs {
			held = f.add(place, p.text) || held
		}
		if held {
			f.form.copies = append(f.form.copies, found)
		}
	}
	return nil
}

// readsAlike reports whether content that is labelled quoted-printable holds the same
// key, or none, whether it is decoded or not.
func readsAlike(text string, place *dialect.Place) bool {
	return !strings.Contains(text, "=") ||
		place.SubKey != "" && !holdsPair(text, place.SubKey) && !holdsPair(decodeQuoted(text), place.SubKey)
}

// swapForm edits the head that was read, and the lengths and digests that go
// with the body. What stays of the head is not copied.
func (f *Found) swapForm(r *http.Request, up Upstream) {
	read := f.form.head.buf
	pieces := f.form.piecesRoom[:0]
	length, done := 0, 0
	add := func(piece []byte) {
		pieces = append(pieces, piece)
		length += len(piece)
	}
	for _, c := range f.form.copies {
		fate := f.fate(c.place, up)
		value := up.Key.Reveal()
		switch {
		case fate == Pass:
			continue
		case c.place.SubKey != "":
			text := string(read[c.value.from:c.value.to])
			value = editPairs(text, mapped{text: text}, c.place.SubKey, fate == Replace, up.inQuery())
		case fate != Replace:
			add(read[done:c.whole.from])
			done = c.whole.to
			continue
		}
		if c.length != (span{}) { // it precedes the value
			add(read[done:c.length.from])
			add(strconv.AppendInt(nil, int64(len(value)), 10))
			done = c.length.to
		}
		add(read[done:c.value.from])
		add([]byte(value))
		done = c.value.to
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
