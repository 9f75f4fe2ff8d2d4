package credential

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// headReader reads the head of a multipart body, and keeps all that it has read. It reads
// a body no further than it is asked to.
type headReader struct {
	src io.Reader
	buf []byte // all that was read
	pos int    // how much of buf has been parsed
	max int    // the most bytes that buf may have
	eof bool   // src has ended with the last bytes of buf

	chunk  *[headChunk]byte // the memory of buf; nil if buf has become larger
	memory headMemory       // the reservation for a larger buf
}

const (
	headChunk = 4096 // as net/http reads: with less, a short form would reach the backend in more writes
	// maxLine is the longest line of a part's header. PHP reads a line that is longer
	// than its buffer of 5 KiB as several lines.
	maxLine = 4096
)

// chunks are buffers for heads. Most heads fit into one.
var chunks = sync.Pool{New: func() any { return new([headChunk]byte) }}

// begin takes a chunk. release gives it back.
func (r *headReader) begin(src io.Reader, most int) {
	r.chunk = chunks.Get().(*[headChunk]byte)
	r.src, r.max, r.buf = src, most, r.chunk[:0]
}

// release gives back buf, which must not be used any more, and its reservation.
func (r *headReader) release() {
	r.releaseBuffer()
	r.buf = nil
	r.memory.release()
}

// releaseBuffer gives back the memory of buf.
func (r *headReader) releaseBuffer() {
	if r.chunk != nil {
		chunks.Put(r.chunk)
		r.chunk = nil
	} else {
		largeBuffers.put(r.buf)
	}
}

// errHeadTooLarge is the fault of a form whose head is larger than the limit.
var errHeadTooLarge = malformed("the form's parts before the audio are larger than max_head")

// errEnded is returned at the end of the body. It is a fault, because a form ends with
// its last boundary and not with the body.
var errEnded = malformed("a body that ends before its form does")

// more reads at least one more byte.
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
			r.eof = errors.Is(err, io.EOF)
			return r.memory.lost()
		case errors.Is(err, io.EOF):
			r.eof = true
			return errEnded
		case err != nil:
			if lost := r.memory.lost(); lost != nil {
				return lost
			}
			return err
		case tries == 100:
			return io.ErrNoProgress
		}
	}
}

// grow doubles the capacity of buf.
func (r *headReader) grow() error {
	size := 2 * cap(r.buf)
	if size == 0 { // without begin: only the first bytes of a body are read
		r.buf = make([]byte, 0, min(headChunk, r.max))
		return nil
	}
	if err := r.memory.reserve(size - r.memory.size); err != nil {
		return err
	}
	longer := append(largeBuffers.get(size), r.buf...)
	r.releaseBuffer()
	r.buf = longer
	return nil
}

// fill reads until there are n bytes that have not been parsed.
func (r *headReader) fill(n int) error {
	for len(r.buf)-r.pos < n {
		if err := r.more(); err != nil {
			return err
		}
	}
	return nil
}

// skip moves past text if text is next.
func (r *headReader) skip(text string) bool {
	if !bytes.HasPrefix(r.buf[r.pos:], []byte(text)) {
		return false
	}
	r.pos += len(text)
	return true
}

// endOfDelimiter reads what follows a boundary: a line break before a part, or two
// hyphens after the last part.
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

// line reads a line that ends in CRLF, and returns the line without the CRLF.
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

// delimiter separates parts: two hyphens and the boundary.
type delimiter struct {
	whole string
	// shortest is the shortest prefix of whole that some parser takes for the delimiter.
	shortest string
}

// content reads the content of a part up to the next delimiter, and moves past the
// delimiter.
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
				// Some parsers accept a delimiter within a line, after a bare LF, or cut short.
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

// epilogue reads what follows the last boundary: only line breaks, up to the end of the
// body. Some parsers, such as PHP's, would find more parts there. Others, such as Go's,
// do not accept a last boundary before a bare LF.
func (r *headReader) epilogue() error {
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
