package credential

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// headReader reads a multipart body no further than it is asked to, and keeps
// what it has read.
type headReader struct {
	src io.Reader
	buf []byte // all that was read
	pos int    // how far it is understood
	max int    // bytes that may be read

	chunk *[headChunk]byte // what buf is made of; nil once that is longer
	hold  hold             // what is reserved for buf beyond the chunk
}

const (
	headChunk = 4096 // as net/http reads: with less, a short form would go upstream in more writes
	// maxLine bounds a line of a part's header: PHP reads one that exceeds its
	// buffer of 5 KiB as several.
	maxLine = 4096
)

// chunks are for heads to be read into: nearly all fit into one.
var chunks = sync.Pool{New: func() any { return new([headChunk]byte) }}

// begin takes a chunk, which release gives back.
func (r *headReader) begin(src io.Reader, most int) {
	r.chunk = chunks.Get().(*[headChunk]byte)
	r.src, r.max, r.buf = src, most, r.chunk[:0]
}

// release gives back what was read, which nobody may look at any more.
func (r *headReader) release() {
	r.leaveBuffer()
	r.buf = nil
	r.hold.release()
}

// leaveBuffer gives back the memory of buf.
func (r *headReader) leaveBuffer() {
	if r.chunk != nil {
		chunks.Put(r.chunk)
		r.chunk = nil
	} else {
		largeBuffers.put(r.buf)
	}
}

// errEnded is met at the end of the body. It is a fault: a form ends in its own
// way.
var errEnded = malformed("a body that ends before its form does")

// more reads on, at least one byte.
func (r *headReader) more() error {
	size := min(headChunk, r.max-len(r.buf))
	if size <= 0 {
		return errHeadTooLarge
	}
	n := len(r.buf)
	if cap(r.buf) == n {
		if err := r.grow(); err != nil {
			return err
		}
	}
	size = min(size, cap(r.buf)-n)
	for tries := 0; ; tries++ {
		got, err := r.src.Read(r.buf[n : n+size])
		r.buf = r.buf[:n+got]
		switch {
		case got > 0:
			return r.hold.lost()
		case errors.Is(err, io.EOF):
			return errEnded
		case err != nil:
			if lost := r.hold.lost(); lost != nil {
				return lost
			}
			return err
		case tries == 100:
			return io.ErrNoProgress
		}
	}
}

// grow makes buf twice as long.
func (r *headReader) grow() error {
	size := 2 * cap(r.buf)
	if size == 0 { // nothing was begun: this reads the start of a body, and no more
		r.buf = make([]byte, 0, min(headChunk, r.max))
		return nil
	}
	if err := r.hold.grow(size - r.hold.size); err != nil {
		return err
	}
	longer := append(largeBuffers.get(size), r.buf...)
	r.leaveBuffer()
	r.buf = longer
	return nil
}

// fill reads on until n bytes lie ahead.
func (r *headReader) fill(n int) error {
	for len(r.buf)-r.pos < n {
		if err := r.more(); err != nil {
			return err
		}
	}
	return nil
}

// skip steps over text if it comes next.
func (r *headReader) skip(text string) bool {
	if !bytes.HasPrefix(r.buf[r.pos:], []byte(text)) {
		return false
	}
	r.pos += len(text)
	return true
}

// endOfDelimiter reads what follows a boundary: a line break before a part, or
// two hyphens after the last.
func (r *headReader) endOfDelimiter() (last bool, err error) {
	if err := r.fill(2); err != nil {
		return false, err
	}
	if r.skip("--") {
		return true, nil
	}
	if !r.skip("\r\n") {
		return false, malformed("a boundary that is followed by something else than a line break")
	}
	return false, nil
}

// line reads a line that ends in CRLF and returns it without.
func (r *headReader) line() (string, error) {
	for searched := r.pos; ; {
		end := len(r.buf)
		i := bytes.IndexByte(r.buf[searched:], '\n')
		if i >= 0 {
			end = searched + i
		}
		if end-r.pos > maxLine {
			return "", malformed("a line of a part's header that is longer than parsers agree on")
		}
		if i >= 0 {
			text, crlf := bytes.CutSuffix(r.buf[r.pos:end], []byte("\r"))
			if !crlf || bytes.IndexByte(text, '\r') >= 0 {
				return "", malformed("a line of a part's header that does not end in CRLF")
			}
			r.pos = end + 1
			return string(text), nil
		}
		searched = end
		if err := r.more(); err != nil {
			return "", err
		}
	}
}

// delimiter is what separates parts: two hyphens and the boundary.
type delimiter struct {
	whole string
	// shortest is the part of whole that some parser could take for all of it.
	shortest string
}

// content reads a part's content up to the next delimiter, and steps over that.
func (r *headReader) content(d delimiter) (span, error) {
	start := r.pos
	for searched := start; ; {
		if i := bytes.Index(r.buf[searched:], []byte(d.shortest)); i >= 0 {
			at := searched + i
			for len(r.buf) < at+len(d.whole) {
				if err := r.more(); err != nil {
					return span{}, err
				}
			}
			end := at - len("\r\n")
			if end < start || string(r.buf[end:at]) != "\r\n" || string(r.buf[at:at+len(d.whole)]) != d.whole {
				// Within a line, behind a bare LF or cut short, it is a boundary to some.
				return span{}, malformed("a boundary that does not follow a CRLF, or is not whole")
			}
			r.pos = at + len(d.whole)
			return span{start, end}, nil
		}
		searched = max(start, len(r.buf)-len(d.shortest)+1)
		if err := r.more(); err != nil {
			return span{}, err
		}
	}
}

// end reads what follows the last boundary, which is nothing but line breaks.
// Some parsers, PHP's among them, would find further parts there; others, Go's
// among them, do not take it for the last where a bare LF follows.
func (r *headReader) end() error {
	for {
		for r.skip("\r\n") {
		}
		rest := r.buf[r.pos:]
		if len(rest) > 0 && string(rest) != "\r" {
			return malformed("a form that goes on behind its last boundary")
		}
		if err := r.more(); err != nil {
			if errors.Is(err, errEnded) && len(rest) == 0 {
				return nil
			}
			return err
		}
	}
}
