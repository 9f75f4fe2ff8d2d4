package jsonanswer

// The errors of the reading, for the tests.
var (
	ErrTwice  = errTwice
	ErrCase   = errCase
	ErrKind   = errKind
	ErrLong   = errLong
	ErrDepth  = errDepth
	ErrEntry  = errEntry
	ErrList   = errList
	ErrNoList = errNoList
)

const (
	MaxDepth      = maxDepth
	MaxValue      = maxValue
	MaxEntry      = maxEntry
	MaxBeforeList = maxBeforeList
)

// Kept returns how many bytes m holds, besides the values.
func (m *Members) Kept() int { return cap(m.capture) }

// Kept returns how many bytes ed holds.
func (ed *Editor) Kept() int { return cap(ed.capture) + cap(ed.out) + cap(ed.held) + cap(ed.ids) }

// Unescaped is unescaped, for the tests.
func Unescaped(p []byte) int { return unescaped(p) }
