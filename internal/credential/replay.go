package credential

import (
	"io"
	"sync"
)

// replayBody is a request body whose beginning the gate has already read. Its Read
// first returns these bytes a second time, from pieces, and then reads the rest.
type replayBody struct {
	mu     sync.Mutex // a proxy that sends a request again can have two readers; neither may see a released buffer
	pieces [][]byte   // not yet given
	head   *headReader
	eof    bool // nothing follows the pieces
	io.ReadCloser
}

// Read returns the bytes that were read before. Only when all of them have been
// returned does it read more, so that it does not wait for bytes that the caller does
// not need. A body that has ended is not read again: net/http's transport reads once
// more after the last byte, perhaps when the handler has returned and the access log
// counts the bytes.
func (r *replayBody) Read(p []byte) (n int, err error) {
	if n = r.replay(p); n > 0 || len(p) == 0 {
		return n, nil
	}
	if r.eof {
		return 0, io.EOF
	}
	return r.ReadCloser.Read(p)
}

// replay copies the bytes that were read before, and releases the head after the last.
func (r *replayBody) replay(p []byte) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.pieces) > 0 && n < len(p) {
		done := copy(p[n:], r.pieces[0])
		n += done
		if r.pieces[0] = r.pieces[0][done:]; len(r.pieces[0]) == 0 {
			r.pieces[0], r.pieces = nil, r.pieces[1:] // no pointer to a released buffer stays
		}
	}
	if len(r.pieces) == 0 {
		r.releaseHead()
	}
	return n
}

// discard forgets the bytes that were read before.
func (r *replayBody) discard() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.pieces)
	r.pieces = nil
	r.releaseHead()
}

// releaseHead releases the buffer to which pieces pointed, once.
func (r *replayBody) releaseHead() {
	if r.head != nil {
		r.head.release()
		r.head = nil
	}
}
