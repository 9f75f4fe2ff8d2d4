package keystore

import "strings"

// texts keeps texts end to end in large pieces, so that the garbage collector sees
// a piece where there would be a string for each entry. What has been taken out
// stays valid: pieces are only added to, and given up when most of them is dead.
type texts struct {
	pieces []*strings.Builder
	live   int // bytes of texts that are in use
	dead   int // bytes of those that are not
}

// textSpan is where a text is.
type textSpan struct{ piece, from, length uint32 }

const (
	minPiece = 512
	maxPiece = 64 << 10
)

func (t *texts) add(text string) textSpan {
	last := len(t.pieces) - 1
	if last < 0 || t.pieces[last].Cap()-t.pieces[last].Len() < len(text) {
		piece := new(strings.Builder)
		piece.Grow(max(len(text), min(max(t.live/8, minPiece), maxPiece)))
		t.pieces = append(t.pieces, piece)
		last++
	}
	piece := t.pieces[last]
	span := textSpan{uint32(last), uint32(piece.Len()), uint32(len(text))}
	piece.WriteString(text)
	t.live += len(text)
	return span
}

func (t *texts) get(s textSpan) string {
	return t.pieces[s.piece].String()[s.from:][:s.length]
}

// drop forgets a text, and reports whether it is time to gather those that are
// left.
func (t *texts) drop(s textSpan) (gather bool) {
	t.live -= int(s.length)
	t.dead += int(s.length)
	return t.dead > t.live/2+minPiece
}
