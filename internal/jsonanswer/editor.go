package jsonanswer

import (
	"errors"
	"fmt"
)

// maxEntry is the number of bytes of an entry of a list, with the comma and the white space
// before it.
const maxEntry = 1 << 20

// maxBeforeList is the number of bytes of an answer before its list.
const maxBeforeList = 64 << 10

var (
	errEntry  = fmt.Errorf("an entry of the list is larger than %d bytes", maxEntry)
	errList   = errors.New("the answer has another type in the place of the list, or of an object around it")
	errNoList = fmt.Errorf("the answer does not have the list, or not within its first %d bytes", maxBeforeList)
	errBroken = fmt.Errorf("%w: it ends too early", ErrJSON)
)

// Editor changes a JSON answer while the answer passes through the gate: it replaces strings,
// and drops entries of a list. Every other byte stays as it came. An Editor keeps in memory
// only the string and the entry that have not ended yet, and what comes before the list. An
// Editor is for one goroutine.
//
// No byte of an answer leaves an Editor that filters before the list has begun: an answer
// without the list can have the entries in another place.
//
// If two parsers could read the answer in two ways, the Editor stops with an error. No byte
// of the entry that it has not decided about then leaves it. These mistakes stop it: text
// that is not JSON (a word such as NaN is let through); more than 256 levels; a name on
// the way to a wanted value that comes twice or in another case; a wanted string of more
// than 8 KiB; an entry of more than 1 MiB; a list that is neither an array nor null; more
// than 64 KiB before the list.
type Editor struct {
	walker

	edits    *Edits
	replace  func(text string) string
	keepID   func(id string) bool
	released int // the bytes of out that Next returned last
	out      []byte

	inEntry  bool // an entry, or the comma before it, has begun and has not ended
	entryAt  int  // the index in out of the entry that has begun, with the comma before it
	verdict  verdict
	anyKept  bool // an entry was kept
	stringAt int  // the index in out of the string that may be replaced; -1 if no such string has begun
	hasList  bool // the list has come
}

// verdict is what is known about the entry that has begun.
type verdict uint8

const (
	undecided verdict = iota // the entry has shown no ID; at its end it is dropped
	kept
	dropped
)

// Editor returns an Editor for one answer. It calls replace with each string that may be
// replaced, and writes the result in place of the string. It calls keep with the ID of each
// entry, and drops the entry if keep returns false. It drops an entry without an ID, with an
// ID that is empty or is not a string, and an entry that is not an object, without asking.
// Replace is not called for strings of an entry that is dropped already. A function that the
// edits do not need can be nil.
func (e *Edits) Editor(replace func(text string) string, keep func(id string) bool) *Editor {
	ed := &Editor{edits: e, replace: replace, keepID: keep, stringAt: -1}
	ed.value = e.root
	return ed
}

// Next takes the next piece of the answer, and returns the bytes that can be sent. The bytes
// are valid until the next call; they can be p itself. Next does not change p. After an error
// the answer cannot be continued: Next returns bytes from before the mistake that can still be
// sent together with the error, and later the error alone.
func (ed *Editor) Next(p []byte) ([]byte, error) {
	ed.forget()
	if ed.err != nil {
		return nil, ed.err
	}
	from, i := 0, 0 // p[from:i] was read, and is not in out
	for i < len(p) && ed.err == nil {
		n, event := ed.walk(p[i:])
		i += n
		switch event {
		case beginEvent:
			from = ed.begin(p, from, i-1)
		case commaEvent:
			if ed.node.element.entry {
				from = ed.flush(p, from, i-1)
				ed.startEntry()
			}
		case endEvent:
			from = ed.end(p, from, i)
		case noEvent, failEvent:
		}
	}
	if len(ed.out) == 0 && ed.err == nil && !ed.inEntry && ed.stringAt < 0 && !ed.waits() {
		return p[from:], nil
	}
	if ed.err == nil {
		ed.flush(p, from, len(p))
	}
	ed.released = ed.decided()
	return ed.out[:ed.released], ed.err
}

// forget removes the bytes that Next returned last from out.
func (ed *Editor) forget() {
	if ed.released == 0 {
		return
	}
	ed.out = ed.out[:copy(ed.out, ed.out[ed.released:])]
	if ed.entryAt -= ed.released; ed.stringAt >= 0 {
		ed.stringAt -= ed.released
	}
	ed.released = 0
}

// Close checks, at the end of the answer, that the answer was complete and had its list.
func (ed *Editor) Close() error {
	switch isWord := ed.depth == 0 && ed.inWord; {
	case ed.err != nil:
	case ed.next != nextEnd && !isWord:
		ed.err = errBroken
	case ed.edits.filters && !ed.hasList:
		ed.err = ed.noList()
	}
	return ed.err
}

func (ed *Editor) noList() error { return fmt.Errorf("%s: %w", ed.edits.entries[0], errNoList) }

// waits reports whether the list has not begun, so that nothing can be sent.
func (ed *Editor) waits() bool { return ed.edits.filters && !ed.hasList }

// decided returns the number of bytes of out that can be sent.
func (ed *Editor) decided() int {
	switch {
	case ed.waits():
		return 0
	case ed.inEntry:
		return ed.entryAt
	case ed.stringAt >= 0:
		return ed.stringAt
	}
	return len(ed.out)
}

// flush appends p[from:to] to out, unless the bytes belong to an entry that is dropped. It
// returns to.
func (ed *Editor) flush(p []byte, from, to int) int {
	if ed.verdict == dropped {
		return to
	}
	ed.out = append(ed.out, p[from:to]...)
	switch {
	case ed.inEntry && len(ed.out)-ed.entryAt > maxEntry:
		ed.out = ed.out[:ed.entryAt]
		ed.fail(errEntry)
	case ed.waits() && len(ed.out) > maxBeforeList:
		ed.fail(ed.noList())
	}
	return to
}

// begin handles the first byte of a value, p[i]. It returns the new start of the bytes that
// are not in out.
func (ed *Editor) begin(p []byte, from, i int) int {
	switch at := ed.at; {
	case at.toList:
		if ed.waits() {
			from = ed.flush(p, from, i) // so that the bound is the same with pieces of any size
		}
		if ed.err == nil {
			ed.checkList()
		}
	case at.entry:
		from = ed.flush(p, from, i)
		if !ed.inEntry { // the first of the list
			ed.startEntry()
		}
		if !ed.anyKept { // without a comma
			ed.out = ed.out[:ed.entryAt]
		}
	case at.replace && ed.first == '"' && ed.verdict != dropped:
		from = ed.flush(p, from, i)
		ed.stringAt = len(ed.out)
	}
	return from
}

// checkList checks the list, or an array or object on the way to the list.
func (ed *Editor) checkList() {
	want := byte('{')
	if ed.at.element != nil {
		want = '['
		ed.hasList = ed.hasList || ed.at.element.entry
		ed.anyKept = ed.anyKept && !ed.at.element.entry
	}
	if ed.first != want && ed.first != 'n' {
		ed.failAt(ed.at, errList)
	}
}

// startEntry begins an entry at the end of out.
func (ed *Editor) startEntry() {
	ed.inEntry, ed.entryAt, ed.verdict = true, len(ed.out), undecided
}

// end handles the last byte of a value, p[i-1]. It returns the new start of the bytes that are
// not in out.
func (ed *Editor) end(p []byte, from, i int) int {
	at := ed.at
	if at.id {
		from = ed.flush(p, from, i) // so that an entry that is too large is an error, with pieces of any size
		ed.judge()
	}
	if ed.stringAt >= 0 && at.replace {
		from = ed.replaceString(from, i)
	}
	if at.entry {
		from = ed.flush(p, from, i)
		if ed.verdict == kept {
			ed.anyKept = true
		} else {
			ed.out = ed.out[:ed.entryAt]
		}
		ed.inEntry, ed.verdict = false, undecided
	}
	return from
}

// judge asks whether the entry with the ID that has ended is kept.
func (ed *Editor) judge() {
	ed.verdict = dropped
	if ed.first != '"' {
		return
	}
	text, err := decode(ed.capture)
	if err != nil {
		ed.fail(err)
		return
	}
	id := string(text)
	if ed.edits.entryURL {
		id = LastSegment(id)
	}
	if id != "" && ed.keepID(id) {
		ed.verdict = kept
	}
}

// replaceString replaces the string that has ended before p[i].
func (ed *Editor) replaceString(from, i int) int {
	start := ed.stringAt
	ed.stringAt = -1
	text, err := decode(ed.capture)
	if err != nil {
		ed.fail(err)
		return from
	}
	if ed.verdict == dropped {
		return i
	}
	now := string(text)
	if replaced := ed.replace(now); replaced != now {
		ed.out = appendQuoted(ed.out[:start], replaced)
		return i
	}
	return from
}
