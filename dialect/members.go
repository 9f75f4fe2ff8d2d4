package dialect

import (
	"encoding/json"
	"errors"
	"strings"
)

// Members reads string members at the top level of a JSON object while the object
// passes through the gate. It uses constant memory: it takes any number of pieces of
// any size, and keeps only the members that [Members.Begin] names. Call Begin first.
//
// Members is not a validator. But if names and values do not alternate, it returns an
// error, because two parsers could read such an object in two ways.
type Members struct {
	members []member // the members that Begin names
	err     error

	depth   int
	inText  bool // inside a string
	escaped bool // the last character was the backslash of an escape
	next    next // what may come next at the top level
	done    bool // the object has ended, or the text is not an object
	early   bool // see StopEarly

	capture []byte // the string that is being read, with its quotes, if keep is set
	keep    bool
	current *member // the member whose value comes next; nil if Begin does not name it

	one  [1]member // the memory of members if there is only one
	room [40]byte  // the memory of capture while it is short
}

// next is what may come next at the top level of the object.
type next uint8

const (
	nextName  next = iota // a name, or the end of the object
	nextColon             // a colon
	nextValue             // a value
	nextComma             // a comma, the rest of a number or a word, or the end of the object
)

type member struct {
	name  string
	value string
	seen  bool
}

// maxMember is the longest name or value, in bytes with escapes.
const maxMember = 1024

// The errors of [Members.Get].
var (
	errMemberTwice = errors.New("the answer has the member twice")
	errMemberText  = errors.New("the member is not a string, or too long")
	errMemberCase  = errors.New("the answer has the member in another case, which some parsers take for it")
	ErrMemberJSON  = errors.New("the answer is not well-formed JSON")
	errMemberAsked = errors.New("the member was not asked for")
)

// Begin starts the reading of an object, and names the members to keep.
func (m *Members) Begin(names ...string) {
	*m = Members{}
	m.members, m.capture = m.one[:0], m.room[:0]
	for _, name := range names {
		m.members = append(m.members, member{name: name})
	}
}

// StopEarly ends the reading after the first member that Begin names. The rest of
// the object is ignored, also if it is broken.
func (m *Members) StopEarly() { m.early = true }

// Get returns the value of a member; it is empty until the whole value has been read. Get
// returns an error for a name that Begin does not name. It returns an error for every name
// from the moment at which the object is broken, or a named member is not a string or
// comes a second time.
func (m *Members) Get(name string) (string, error) {
	if m.err != nil {
		return "", m.err
	}
	for i := range m.members {
		if m.members[i].name == name {
			return m.members[i].value, nil
		}
	}
	return "", errMemberAsked
}

// Write reads the next piece of the object. It never returns an error. Members is an
// io.Writer.
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

// text reads a piece of a string, up to the string's end or an escape, and returns
// the number of bytes.
func (m *Members) text(p []byte) (n int) {
	for !m.escaped && n < len(p) && p[n] != '"' && p[n] != '\\' {
		n++
	}
	ends := false
	if n < len(p) { // the quote, the backslash or the escaped character
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

// tooLong stops keeping a string that is too long. If the string is a name, Begin does
// not name it.
func (m *Members) tooLong() {
	m.keep = false
	if m.current != nil {
		m.fail(errMemberText)
	}
}

// endText handles a name or a value that has been read to its end.
func (m *Members) endText() {
	text := m.capture[1 : len(m.capture)-1]
	if !isPlain(text) {
		var decoded string
		if json.Unmarshal(m.capture, &decoded) != nil {
			m.fail(errMemberText)
			return
		}
		text = []byte(decoded)
	}
	if m.current != nil {
		if m.current.seen {
			m.fail(errMemberTwice)
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
			m.fail(errMemberCase)
		}
	}
}

// isPlain reports whether a string needs no decoding: it is visible ASCII without
// escapes, like nearly all names and states.
func isPlain(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// structure reads a character that is not in a string.
func (m *Members) structure(c byte) {
	switch {
	case c == ' ', c == '\t', c == '\r', c == '\n':
	case m.depth == 0: // only an object has members
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

// topLevel reads a character at the top level of the object that is not in a string.
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
	case m.next == nextValue: // a value that is not a string
		if m.current != nil {
			m.fail(errMemberText)
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
