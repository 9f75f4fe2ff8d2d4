package jsonanswer

import (
	"bytes"
	"errors"
	"fmt"
)

// The errors of an answer that cannot be read in one way only. Errors wrap them, and add
// the path.
var (
	ErrJSON  = errors.New("the answer is not well-formed JSON")
	errDepth = fmt.Errorf("the answer has more than %d arrays and objects within each other", maxDepth)
	errTwice = errors.New("the answer has the member twice")
	errCase  = errors.New("the answer has the member in another case, which some parsers take for it")
	errLong  = fmt.Errorf("the value is longer than %d bytes", maxValue)
	errKind  = errors.New("the value has the wrong type")
)

const (
	maxDepth = 256     // arrays and objects within each other
	maxValue = 8 << 10 // bytes of a wanted value, with quotes and escapes
)

// walker reads JSON in pieces of any size, and knows where it is in a tree of paths. It uses
// constant memory.
//
// It is strict where two parsers could read a text in two ways: brackets, commas, colons and
// strings are those of JSON at every depth, and at each level that a path goes through no
// name of the path comes twice or in another case.
type walker struct {
	node  *node // the innermost array or object that a path goes through
	lost  int   // the number of arrays and objects around the walker, below node
	value *node // of the next value, or of the string or word that is being read; nil if no path leads there
	at    *node // of an event
	seen  uint64

	next   next
	inText bool // inside a string
	inWord bool // inside a number, true, false or null
	escape escape
	keep   bool // the string or word is kept
	first  byte // the first character of the value of the last beginEvent

	depth  int
	arrays [maxDepth / 64]uint64 // a bit for each depth: whether it is an array

	capture []byte // the string or word that is being read, if keep is set
	err     error
}

// next is what may come next.
type next uint8

const (
	nextValue        next = iota // a value
	nextFirstElement             // a value, or the end of the array
	nextFirstName                // a name, or the end of the object
	nextName                     // a name
	nextColon                    // a colon
	nextComma                    // a comma, or the end of the array or object
	nextEnd                      // only white space: the top-level value has ended
)

// event is what the walker has met at a place that a path leads to or goes through.
type event uint8

const (
	noEvent    event = iota // the piece has ended
	beginEvent              // the first byte of a value: walker.at and walker.first
	endEvent                // the last byte of a value: walker.at, and walker.capture if the value is wanted
	commaEvent              // a comma between elements that a path goes through
	failEvent               // walker.err
)

// walk reads p up to the next event, and returns the number of bytes that it has read. The
// event's byte is the last of them; the end of a word is before the byte that ends it.
func (w *walker) walk(p []byte) (n int, e event) {
	for n < len(p) {
		if w.inText {
			size, ended := w.text(p[n:])
			n += size
			switch {
			case w.err != nil:
				return n, failEvent
			case !ended:
				continue
			}
			w.inText = false
			if w.next == nextColon {
				e = w.endName()
			} else {
				e = w.endValue()
			}
		} else if c := p[n]; w.inWord {
			if isWord[c] {
				n++
				if w.keep && !w.kept(p[n-1:n]) {
					return n, failEvent
				}
				continue
			}
			w.inWord = false
			e = w.endValue()
		} else {
			size, failed := w.skim(p[n:])
			if n += size; failed != noEvent || n == len(p) {
				return n, failed
			}
			e = w.structure(p[n])
			n++
		}
		if e != noEvent {
			return n, e
		}
	}
	return n, noEvent
}

// text reads a piece of a string, up to its end or to the end of p.
func (w *walker) text(p []byte) (n int, ended bool) {
	for n < len(p) && !ended {
		if w.escape != noEscape {
			next, ok := w.escape.next(p[n])
			if !ok {
				w.fail(ErrJSON)
				return n, false
			}
			w.escape = next
			n++
			continue
		}
		n += unescaped(p[n:])
		if n == len(p) {
			break
		}
		switch p[n] {
		case '"':
			ended = true
		case '\\':
			w.escape = afterSlash
		default:
			w.fail(ErrJSON)
			return n, false
		}
		n++
	}
	if w.keep {
		w.kept(p[:n])
	}
	return n, ended
}

// kept adds bytes to the string or word that is kept. A name that is too long is not a name
// of a path; for a value, kept fails.
func (w *walker) kept(p []byte) bool {
	if len(w.capture)+len(p) > maxValue {
		w.keep = false
		if w.next != nextColon {
			w.failAt(w.value, errLong)
			return false
		}
		return true
	}
	w.capture = append(w.capture, p...)
	return true
}

// endName handles a name that has been read to its end.
func (w *walker) endName() event {
	if !w.keep { // then value is nil
		return noEvent
	}
	name, err := decode(w.capture)
	if err != nil {
		return w.fail(err)
	}
	return w.named(name)
}

// named handles a name in the object of node.
func (w *walker) named(name []byte) event {
	for _, member := range w.node.members {
		switch {
		case bytes.Equal(member.name, name):
			if w.seen&member.bit != 0 {
				return w.failAt(member, errTwice)
			}
			w.seen |= member.bit
			w.value = member
		case member.ascii && len(member.name) != len(name) && isPlain(name): // ASCII letters keep their length in another case
		case bytes.EqualFold(member.name, name):
			return w.failAt(member, errCase)
		}
	}
	return noEvent
}

// endValue handles a string or a word that has been read to its end.
func (w *walker) endValue() event {
	w.next = nextComma
	if w.depth == 0 {
		w.next = nextEnd
	}
	if w.value == nil {
		return noEvent
	}
	w.at, w.value = w.value, nil
	return endEvent
}

// structure reads a character that is not in a string or a word, and is not white space.
func (w *walker) structure(c byte) event {
	switch c {
	case '"':
		switch w.next {
		case nextFirstName, nextName:
			w.next = nextColon
			w.inText = true
			w.startKeeping(c, w.lost == 0 && len(w.node.members) > 0)
			return noEvent
		case nextValue, nextFirstElement:
			w.inText = true
			w.startKeeping(c, w.value != nil && w.value.leaf)
			return w.beginValue(c)
		default: // a string cannot come here
		}
	case ':':
		if w.next == nextColon {
			w.next = nextValue
			return noEvent
		}
	case ',':
		if w.next == nextComma {
			return w.comma()
		}
	case '{', '[':
		if w.next == nextValue || w.next == nextFirstElement {
			return w.open(c)
		}
	case '}':
		if w.depth > 0 && !w.inArray() && (w.next == nextComma || w.next == nextFirstName) {
			return w.close()
		}
	case ']':
		if w.depth > 0 && w.inArray() && (w.next == nextComma || w.next == nextFirstElement) {
			return w.close()
		}
	default:
		if isWord[c] && (w.next == nextValue || w.next == nextFirstElement) {
			w.inWord = true
			w.startKeeping(c, w.value != nil && w.value.leaf)
			return w.beginValue(c)
		}
	}
	return w.fail(ErrJSON)
}

// startKeeping begins a string or a word, and keeps it if keep is set.
func (w *walker) startKeeping(c byte, keep bool) {
	if w.keep = keep; keep {
		w.capture = append(w.capture[:0], c)
	}
}

// beginValue handles the first character of a value.
func (w *walker) beginValue(c byte) event {
	if w.value == nil {
		return noEvent
	}
	w.at, w.first = w.value, c
	return beginEvent
}

func (w *walker) comma() event {
	if !w.inArray() {
		w.next = nextName
		return noEvent
	}
	w.next = nextValue
	return w.toElement(commaEvent)
}

// toElement makes the next element of the array the next value, and returns e if a path
// goes through the element.
func (w *walker) toElement(e event) event {
	if w.lost > 0 || w.node.element == nil { // then value is nil
		return noEvent
	}
	w.value = w.node.element
	w.seen &^= w.value.below
	return e
}

func (w *walker) open(c byte) event {
	if w.depth == maxDepth {
		return w.fail(errDepth)
	}
	word, bit := &w.arrays[w.depth/64], uint64(1)<<(w.depth%64)
	w.depth++
	e := w.beginValue(c)
	if w.value == nil {
		w.lost++
	} else {
		w.node, w.value = w.value, nil
	}
	if c == '{' {
		w.next = nextFirstName
		*word &^= bit
		return e
	}
	w.next = nextFirstElement
	*word |= bit
	w.toElement(noEvent)
	return e
}

func (w *walker) close() event {
	w.depth--
	w.next = nextComma
	if w.depth == 0 {
		w.next = nextEnd
	}
	if w.lost > 0 {
		w.lost--
		return noEvent
	}
	w.at, w.node, w.value = w.node, w.node.parent, nil // value is not nil at the end of an empty array
	return endEvent
}

// inArray reports whether the innermost array or object is an array.
func (w *walker) inArray() bool {
	return w.arrays[(w.depth-1)/64]>>((w.depth-1)%64)&1 != 0
}

func (w *walker) fail(err error) event {
	w.err = err
	return failEvent
}

func (w *walker) failAt(n *node, err error) event {
	if n.path == "" {
		return w.fail(fmt.Errorf("the top level: %w", err))
	}
	return w.fail(fmt.Errorf("%s: %w", n.path, err))
}
