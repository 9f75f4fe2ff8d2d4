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

	edits   *Edits
	replace func(dst, text []byte) []byte
	keepIDs func(ids []string, keep []bool)

	held []byte // what has come and has not left, from the beginning of an entry or string that has not ended
	out  []byte // what Next returned last, unless that was its argument

	// The marks are positions in held, or in the argument of Next if held is empty.
	entries []entry // of the list. If inEntry is set, the last one has not ended.
	strings []span  // that may be replaced. If inString is set, the last one has not ended.

	inEntry  bool // an entry, or the comma before it, has begun and has not ended
	inString bool // a string that may be replaced has begun and has not ended
	anyKept  bool // an entry was kept
	hasList  bool // the list has come

	ids      []byte // of the entries to decide on, one after the other
	question []string
	answer   []bool
}

// span is a part of a text.
type span struct{ from, to int }

// entry is an entry of the list.
type entry struct {
	span         // with the comma and the white space before it
	value   int  // where the entry begins without them
	first   bool // of its list
	id      span // in Editor.ids
	verdict verdict
}

// verdict is what is known about an entry.
type verdict uint8

const (
	undecided verdict = iota // the entry has shown no ID; at its end it is dropped
	asked                    // its ID is in Editor.ids
	kept
	dropped
)

// Editor returns an Editor for one answer. It calls replace with each string that may be
// replaced; replace appends to dst what comes in its place. It calls keep with the IDs of
// entries, a piece of the answer at a time; keep sets the element of each entry that is kept.
// The Editor drops the others. It drops an entry without an ID, with an ID that is empty or is
// not a string, and an entry that is not an object, without asking. Replace is not called for
// strings of a dropped entry. A function that the edits do not need can be nil.
func (e *Edits) Editor(replace func(dst, text []byte) []byte, keep func(ids []string, keep []bool)) *Editor {
	ed := &Editor{edits: e, replace: replace, keepIDs: keep}
	ed.value = e.root
	return ed
}

// Next takes the next piece of the answer, and returns the bytes that can be sent. The bytes
// are valid until the next call; they can be p itself. Next does not change p. After an error
// the answer cannot be continued: Next returns bytes from before the mistake that can still be
// sent together with the error, and later the error alone.
func (ed *Editor) Next(p []byte) ([]byte, error) {
	if ed.err != nil {
		return nil, ed.err
	}
	in, i := p, len(ed.held)
	if i > 0 {
		ed.held = append(ed.held, p...)
		in = ed.held
	}
	read := i // the bytes before the mistake, if there is one
	for i < len(in) && ed.err == nil {
		n, event := ed.walk(in[i:])
		i += n
		switch event {
		case beginEvent:
			ed.begin(i - 1)
		case commaEvent:
			if ed.node.element.entry {
				ed.startEntry(i - 1)
			}
		case endEvent:
			ed.end(i)
		case noEvent, failEvent:
		}
		if ed.err == nil {
			read = i
		}
	}
	ed.decide()
	switch {
	case ed.err != nil:
	case ed.inEntry:
		ed.checkSize(ed.last(), read)
	case ed.waits() && read > maxBeforeList:
		ed.fail(ed.noList())
	}
	out := ed.release(in, read)
	return out, ed.err
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

// begin handles the first byte of a value, at the position i.
func (ed *Editor) begin(i int) {
	switch at := ed.at; {
	case at.toList:
		if ed.waits() && i > maxBeforeList {
			ed.fail(ed.noList())
			return
		}
		ed.checkList()
	case at.entry:
		if !ed.inEntry { // the first of the list
			ed.startEntry(i)
			ed.last().first = true
		}
		ed.last().value = i
	case at.replace && ed.first == '"' && !ed.dropping():
		ed.inString = true
		ed.strings = append(ed.strings, span{from: i})
	}
}

// checkList checks the list, or an array or object on the way to the list.
func (ed *Editor) checkList() {
	want := byte('{')
	if ed.at.element != nil {
		want = '['
		ed.hasList = ed.hasList || ed.at.element.entry
	}
	if ed.first != want && ed.first != 'n' {
		ed.failAt(ed.at, errList)
	}
}

// startEntry begins an entry at the position i.
func (ed *Editor) startEntry(i int) {
	ed.inEntry = true
	ed.entries = append(ed.entries, entry{span: span{from: i}})
}

// dropping reports whether the entry that has begun is known to be dropped.
func (ed *Editor) dropping() bool { return ed.inEntry && ed.last().verdict == dropped }

// last returns the entry that has begun last.
func (ed *Editor) last() *entry { return &ed.entries[len(ed.entries)-1] }

// end handles the end of a value, before the position i.
func (ed *Editor) end(i int) {
	at := ed.at
	if at.id {
		if e := ed.last(); ed.checkSize(e, i) { // so that an entry that is too large is an error, with pieces of any size
			ed.noteID(e)
		}
	}
	if ed.inString && at.replace {
		ed.inString = false
		ed.strings[len(ed.strings)-1].to = i
	}
	if at.entry {
		e := ed.last()
		if i-e.from > maxEntry {
			ed.decide()
		}
		if !ed.checkSize(e, i) {
			return // as if it had not ended, so that it does not leave
		}
		if e.verdict == undecided {
			e.verdict = dropped
		}
		e.to = i
		ed.inEntry = false
	}
}

// checkSize fails if an entry that reaches up to the position i is too large to be held. A dropped
// entry is not held.
func (ed *Editor) checkSize(e *entry, i int) bool {
	if e.verdict != dropped && i-e.from > maxEntry {
		ed.fail(errEntry)
		return false
	}
	return true
}

// noteID notes the ID that has ended, to decide on the entry later.
func (ed *Editor) noteID(e *entry) {
	e.verdict = dropped
	if ed.first != '"' {
		return
	}
	id, err := decode(ed.capture)
	if err != nil {
		ed.fail(err)
		return
	}
	if ed.edits.entryURL {
		id = []byte(LastSegment(string(id)))
	}
	if len(id) == 0 {
		return
	}
	e.verdict, e.id.from = asked, len(ed.ids)
	ed.ids = append(ed.ids, id...)
	e.id.to = len(ed.ids)
}

// decide asks which of the entries with an ID are kept.
func (ed *Editor) decide() {
	if len(ed.ids) == 0 {
		return
	}
	ids := string(ed.ids)
	ed.ids, ed.question = ed.ids[:0], ed.question[:0]
	for i := range ed.entries {
		if e := &ed.entries[i]; e.verdict == asked {
			ed.question = append(ed.question, ids[e.id.from:e.id.to])
		}
	}
	ed.answer = append(ed.answer[:0], make([]bool, len(ed.question))...)
	ed.keepIDs(ed.question, ed.answer)
	n := 0
	for i := range ed.entries {
		e := &ed.entries[i]
		if e.verdict != asked {
			continue
		}
		if e.verdict = dropped; ed.answer[n] {
			e.verdict = kept
		}
		n++
	}
}
