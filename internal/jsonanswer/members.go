package jsonanswer

import (
	"encoding/json"
	"fmt"
)

// Value is the value of a member. Values are comparable: the string "true" differs from the
// literal true.
type Value struct {
	Kind Kind
	// Text is the characters of a string, without escapes, or a literal as it came.
	Text string
}

// Kind is the type of a [Value].
type Kind uint8

// The kinds of values.
const (
	Absent  Kind = iota // the object does not have the member, or its value is not complete yet
	String              // a string
	Literal             // a number, true, false or null
)

// Members reads some members of a JSON object while the object passes through the gate. It
// uses constant memory: it takes any number of pieces of any size, and keeps only the values
// of the [Set]. Call Begin first.
//
// A text that is not an object has no members. The gate cannot know how another parser reads
// broken JSON, so Members returns an error for it: see [Members.Get]. A word that is neither
// true, false, null nor a number, such as NaN, is an error only if its value is wanted.
type Members struct {
	walker

	set    *Set
	values []Value
	done   bool // the rest is not read
	early  bool // see StopEarly

	one  [1]Value // the memory of values if there is only one
	room [40]byte // the memory of capture while it is short
}

// Begin starts the reading of an object, and says which values to keep.
func (m *Members) Begin(set *Set) {
	*m = Members{set: set}
	m.value = set.root
	m.capture = m.room[:0]
	if m.values = m.one[:]; len(set.paths) != 1 {
		m.values = make([]Value, len(set.paths))
	}
}

// StopEarly ends the reading after the first value of the set. The rest of the object is
// ignored, also if it is broken.
func (m *Members) StopEarly() { m.early = true }

// Get returns a value by its index in the set. The value is [Absent] until all of it has been
// read. From the moment at which the reading meets one of these mistakes, Get returns an error
// for every value: the object is not well-formed ([ErrJSON]) or has more than 256 levels; a
// name on the way to a value comes twice or in another case; a value has the wrong type, or
// more than 8 KiB.
func (m *Members) Get(i int) (Value, error) {
	if m.err != nil {
		return Value{}, m.err
	}
	return m.values[i], nil
}

// Write reads the next piece of the object. It never returns an error. Members is an
// io.Writer.
func (m *Members) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && !m.done; {
		n, event := m.walk(rest)
		rest = rest[n:]
		switch event {
		case beginEvent:
			m.begin()
		case endEvent:
			m.end()
		case failEvent:
			if m.depth == 0 && m.next == nextValue { // the first character does not begin JSON
				m.err = nil
			}
			m.done = true
		case noEvent, commaEvent:
		}
	}
	return len(p), nil
}

// begin handles the first character of a wanted value, or of an object that has one.
func (m *Members) begin() {
	switch isObject, isArray := m.first == '{', m.first == '['; {
	case m.at == m.set.root:
		m.done = !isObject
	case !m.at.leaf && isObject, m.at.leaf && m.first == '"':
	case m.at.words && !isObject && !isArray:
	case m.at.leaf:
		m.wrong("it must be a string")
	default:
		m.wrong("it must be an object")
	}
}

// end handles a value that has been read to its end.
func (m *Members) end() {
	switch {
	case m.at == m.set.root:
		m.done = true
		return
	case !m.at.leaf:
		return
	}
	value := &m.values[m.at.want]
	if m.first != '"' {
		if !json.Valid(m.capture) {
			m.wrong("it must be a number, true, false, null or a string")
			return
		}
		*value = Value{Literal, string(m.capture)}
	} else {
		text, err := decode(m.capture)
		if err != nil {
			m.err, m.done = err, true
			return
		}
		*value = Value{String, string(text)}
	}
	m.done = m.early
}

func (m *Members) wrong(problem string) {
	m.err = fmt.Errorf("%s: %w: %s", m.at.path, errKind, problem)
	m.done = true
}
