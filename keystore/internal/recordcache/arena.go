package recordcache

import "strings"

// arena stores records end to end in large chunks. The garbage collector sees one
// object for each chunk instead of one for each record.
//
// A record that get has returned stays valid: bytes are only ever appended to a chunk.
// If many records of the arena are dropped, the table copies the others into a new
// arena, and the garbage collector frees the old chunks when nobody uses them.
type arena struct {
	chunks []string        // the last one as far as it is written
	last   strings.Builder // builds the last chunk
	live   int             // bytes of records that are in use
	dead   int             // bytes of records that were dropped
}

// span is the position of a record in the arena.
type span struct{ chunk, offset, length uint32 }

const (
	minChunk = 512      // bytes
	maxChunk = 64 << 10 // bytes, unless a record is longer
)

func (a *arena) add(record string) span {
	if len(a.chunks) == 0 || a.last.Cap()-a.last.Len() < len(record) {
		a.last.Reset() // the chunk before keeps its memory
		a.last.Grow(max(len(record), min(max(a.live/8, minChunk), maxChunk)))
		a.chunks = append(a.chunks, "")
	}
	chunk := len(a.chunks) - 1
	s := span{uint32(chunk), uint32(a.last.Len()), uint32(len(record))}
	a.last.WriteString(record)
	a.chunks[chunk] = a.last.String()
	a.live += len(record)
	return s
}

func (a *arena) get(s span) string { return a.chunks[s.chunk][s.offset:][:s.length] }

// drop marks a record as dead. It returns true if so many are dead that the table
// should compact the arena.
func (a *arena) drop(s span) (compact bool) {
	a.live -= int(s.length)
	a.dead += int(s.length)
	return a.dead > a.live/4+minChunk
}
