package keystore

import "strings"

// texts keeps texts end to end in large pieces, so that the garbage collector sees
// a piece where there would be a string for each entry. What has been taken out
// stays valid: pieces are only added to, and given up when most of them is dead.
type texts struct {
	pieces []string        // the last one as far as it is written
	last   strings.Builder // that piece
	live   int             // bytes of texts that are in use
	dead   int             // bytes of those that are not
}

// textSpan is where a text is.
type textSpan struct{ piece, from, length uint32 }

const (
	minPiece = 512
	maxPiece = 64 << 10
)

func (t *texts) add(text string) textSpan {
	if len(t.pieces) == 0 || t.last.Cap()-t.last.Len() < len(text) {
		t.last.Reset() // which leaves what was taken out of it alone
		t.last.Grow(max(len(text), min(max(t.live/8, minPiece), maxPiece)))
		t.pieces = append(t.pieces, "")
	}
	piece := len(t.pieces) - 1
	span := textSpan{uint32(piece), uint32(t.last.Len()), uint32(len(text))}
	t.last.WriteString(text)
	t.pieces[piece] = t.last.String()
	t.live += len(text)
	return span
}

func (t *texts) get(s textSpan) string { return t.pieces[s.piece][s.from:][:s.length] }

// drop forgets a text, and reports whether it is time to gather those that are
// left.
func (t *texts) drop(s textSpan) (gather bool) {
	t.live -= int(s.length)
	t.dead += int(s.length)
	return t.dead > t.live/4+minPiece
}

// clear forgets all texts.
func (t *texts) clear() {
	t.last.Reset()
	t.pieces, t.live, t.dead = nil, 0, 0
}
