package dialect

import (
	"encoding/json"
	"errors"
	"strings"
)

// Members reads named string members at the top level of a JSON object while
// the object passes, in constant memory: it takes any number of pieces of any
// size, and keeps nothing but the members it was asked for. It is no validator,
// but an object whose names and values do not alternate yields an error: one
// parser could read it otherwise than the next. [Members.Begin] comes first.
type Members struct {
	members []member // those that were asked for
	err     error

	depth   int
	inText  bool // within a string
	escaped bool // the last character was an unfinished escape's backslash
	next    next // what comes next at the top level
	done    bool // the object has ended, or there was none
	early   bool

	capture []byte  // the string being read, with its quotes, where it matters
	keep    bool    // whether capture is being filled
	current *member // whose value comes next; nil where it is not asked for

	one  [1]member // what members is made of where there is one
	room [40]byte  // and capture, while it is short
}

// next is what may come at the top level of the object.
type next uint8

const (
	nextName  next = iota // a member's name, or the end
	nextColon             // after a name
	nextValue             // after a colon
	nextComma             // or the rest of a number or word, or the end
)

type member struct {
	name  string
	value string
	seen  bool
}

const maxMember = 1024 // bytes of a name or value, with its escapes

// Errors of Members.
var (
	ErrMemberTwice = errors.New("the answer has the member twice")
	ErrMemberText  = errors.New("the member is not a string, or too long")
	ErrMemberCase  = errors.New("the answer has the member in another case, which some parsers take for it")
	ErrMemberJSON  = errors.New("the answer is not well-formed JSON")
	ErrMemberAsked = errors.New("the member was not asked for")
)

// Begin has the members of these names read, of an object of which nothing has
// passed yet.
func (m *Members) Begin(names ...string) {
	*m = Members{}
	m.members, m.capture = m.one[:0], m.room[:0]
	for _, name := range names {
		m.members = append(m.members, member{name: name})
	}
}

// StopEarly has reading end with the first member that was asked for, and what
// comes behind it count for nothing.
func (m *Members) StopEarly() { m.early = true }

// Get returns the member's value, empty until it has been seen whole. The
// error is set for good once a member that was asked for came twice or was no
// string, or the object was broken. It is ErrMemberAsked of a name that was not
// among those of Begin.
func (m *Members) Get(name string) (string, error) {
	if m.err != nil {
		return "", m.err
	}
	for i := range m.members {
		if m.members[i].name == name {
			return m.members[i].value, nil
		}
	}
	return "", ErrMemberAsked
}

// Write reads the next piece. It never fails; the result is there to make
// Members an io.Writer.
func (m *Members) Write(p []byte) (int, error) {
	for i := 0; i < len(p) && !m.done; {
		if m.inText {
			i += m.text(p[i:])
			continue
		}
		m.structure(p[i])
		i++
	}
	return len(p), nil
}

// text reads on within a string, up to its end or an escape, and returns how far
// that was.
func (m *Members) text(p []byte) (n int) {
	for !m.escaped && n < len(p) && p[n] != '"' && p[n] != '\\' {
		n++
	}
	ends := false
	if n < len(p) { // with the character at which it stopped
		ends = !m.escaped && p[n] == '"'
		m.escaped = !m.escaped && p[n] == '\\'
		n++
	}
	if m.keep {
		if len(m.capture)+n > maxMember {
			m.tooLong()
		} else {
			m.capture = append(m.capture, p[:n]...)
		}
	}
	if ends {
		m.inText = false
		if m.keep {
			m.endText()
		}
	}
	return n
}

// tooLong gives a string up: as a name it can be none that was asked for.
func (m *Members) tooLong() {
	m.keep = false
	if m.current != nil {
		m.fail(ErrMemberText)
	}
}

// endText takes in a name or a value that has been read.
func (m *Members) endText() {
	m.keep = false
	text := m.capture[1 : len(m.capture)-1]
	if !isPlain(text) {
		var decoded string
		if json.Unmarshal(m.capture, &decoded) != nil {
			m.fail(ErrMemberText)
			return
		}
		text = []byte(decoded)
	}
	if m.current != nil {
		if m.current.seen {
			m.fail(ErrMemberTwice)
			return
		}
		m.current.value, m.current.seen = string(text), true
		m.current, m.done = nil, m.early
		return
	}
	for i := range m.members {
		switch name := m.members[i].name; {
		case name == string(text):
			m.current = &m.members[i]
		case strings.EqualFold(name, string(text)):
			m.fail(ErrMemberCase)
		}
	}
}

// isPlain reports whether what stands between quotes is the string itself:
// visible ASCII without escapes, as nearly all names and states are.
func isPlain(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// structure reads a character between strings.
func (m *Members) structure(c byte) {
	switch {
	case c == ' ', c == '\t', c == '\r', c == '\n':
	case m.depth == 0: // anything but an object has no members
		m.depth, m.done = 1, c != '{'
	case m.depth == 1:
		m.topLevel(c)
	case c == '{', c == '[':
		m.depth++
	case c == '}', c == ']':
		m.depth--
	case c == '"':
		m.inText, m.keep = true, false
	}
}

// topLevel reads a character between the object's names and values.
func (m *Members) topLevel(c byte) {
	switch {
	case c == '"' && (m.next == nextName || m.next == nextValue):
		m.inText = true
		m.keep = m.next == nextName || m.current != nil
		m.capture = append(m.capture[:0], c)
		m.next++
	case c == ':' && m.next == nextColon:
		m.next = nextValue
	case c == ',' && m.next == nextComma:
		m.next = nextName
	case c == '}' && (m.next == nextName || m.next == nextComma):
		m.done = true
	case strings.IndexByte(`":,]}`, c) >= 0, m.next == nextName, m.next == nextColon:
		m.fail(ErrMemberJSON)
	case m.next == nextValue: // of another kind than a string
		if m.current != nil {
			m.fail(ErrMemberText)
			return
		}
		m.next = nextComma
		if c == '{' || c == '[' {
			m.depth++
		}
	case c == '{', c == '[':
		m.fail(ErrMemberJSON)
	}
}

func (m *Members) fail(err error) {
	m.err = err
	m.done = true
}
