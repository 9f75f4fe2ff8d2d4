package audiometer

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

// Config says where the audio is in a body.
type Config struct {
	// ContentType of the body. If it is multipart/form-data, the audio is in the part Part.
	// Otherwise the whole body is audio.
	ContentType string
	// Part is the name of the part with the audio.
	Part string
	// FormatPart is the name of the part before the audio whose text is the audio's format, for
	// [NamedRate]. Default: no part.
	FormatPart string
	// Rate is how many bytes a second of audio has. Default: FormatPart tells it, or the header of
	// a WAV file.
	Rate int
}

const (
	maxHead = 64 << 10 // bytes of a form in which the audio is looked for
	tailLen = 1 << 10  // bytes of a form in which its end is looked for
)

// Body is the body of a request, and measures its audio. [Body.Begin] comes first.
type Body struct {
	io.ReadCloser

	mu        sync.Mutex // the transport of a proxy can still read when its answer has come
	part      string
	formatOf  string   // the part with the format
	rate      int      // bytes of a second; 0 while it is not known
	total     int64    // bytes of the body that have passed
	form      bool     // the body is a form
	looking   bool     // the head is still collected
	parsed    int      // bytes of the head that are parsed: it is the end of a delimiter
	start     int64    // where the audio begins; -1 if it is not known
	wavHeader int64    // bytes of the header of a WAV file
	scratch   *scratch // nil if nothing has to be looked at
}

// scratch is the memory of a Body until it has been measured.
type scratch struct {
	delimiter []byte // of the parts of a form, with its line break
	head      []byte // the beginning of the body
	tail      []byte // the last bytes of a form
}

var scratches = sync.Pool{New: func() any {
	return &scratch{delimiter: make([]byte, 0, 80), head: make([]byte, 0, 2<<10), tail: make([]byte, 0, tailLen)}
}}

// Begin makes b measure body. It holds the first bytes of the body: of a form up to 64 KiB, if the
// audio comes late in it.
func (b *Body) Begin(body io.ReadCloser, cfg Config) {
	b.ReadCloser, b.part, b.formatOf, b.rate = body, cfg.Part, cfg.FormatPart, cfg.Rate
	const multipart = "multipart/"
	b.form = len(cfg.ContentType) >= len(multipart) && strings.EqualFold(cfg.ContentType[:len(multipart)], multipart)
	if b.looking = b.form || b.rate == 0; !b.looking {
		return
	}
	b.scratch = scratches.Get().(*scratch)
	if b.form {
		b.start = -1
		b.scratch.delimiter = append(append(b.scratch.delimiter[:0], "\r\n--"...), boundaryOf(cfg.ContentType)...)
	}
}

// boundaryOf returns the boundary of a form. If the field has none, it returns a text that is no
// boundary, so that no part is found.
func boundaryOf(contentType string) string {
	for param := range strings.SplitSeq(contentType, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if value = strings.Trim(value, `"`); value != "" && strings.EqualFold(name, "boundary") {
			return value
		}
	}
	return "\r\n"
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (n int, err error) {
	n, err = b.ReadCloser.Read(p)
	if n > 0 {
		b.pass(p[:n])
	}
	return n, err
}

// pass takes bytes that go to the backend.
func (b *Body) pass(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += int64(len(p))
	if b.scratch == nil {
		return
	}
	if b.form {
		b.scratch.keepTail(p)
	}
	if b.looking {
		b.scratch.head = append(b.scratch.head, p[:min(len(p), maxHead-len(b.scratch.head))]...)
		b.look(false)
	}
}

// keepTail keeps the last bytes of the body.
func (s *scratch) keepTail(p []byte) {
	if len(p) >= tailLen {
		s.tail = append(s.tail[:0], p[len(p)-tailLen:]...)
		return
	}
	if over := len(s.tail) + len(p) - tailLen; over > 0 {
		s.tail = s.tail[:copy(s.tail, s.tail[over:])]
	}
	s.tail = append(s.tail, p...)
}

// look looks in the head for the beginning of the audio, and for its format. The argument whole
// says that no more bytes come.
func (b *Body) look(whole bool) {
	head := b.scratch.head
	full := whole || len(head) == maxHead
	if b.start < 0 && !b.findPart() {
		b.looking = !full
		return
	}
	if b.rate == 0 {
		audio := head[b.start:]
		if len(audio) < wavHead && !full {
			return
		}
		if rate, size, ok := readWAV(audio[:min(len(audio), wavHead)]); ok {
			b.rate, b.wavHeader = rate, int64(size)
		}
	}
	b.looking = false
}

// findPart looks for the part with the audio, and sets start. It reads the format on the way.
func (b *Body) findPart() bool {
	delimiter := b.scratch.delimiter
	if b.parsed == 0 { // the first delimiter needs no line break before it
		first := bytes.Index(b.scratch.head, delimiter[2:])
		if first < 0 {
			return false
		}
		b.parsed = first + len(delimiter) - 2
	}
	for {
		rest := b.scratch.head[b.parsed:]
		end := bytes.Index(rest, []byte("\r\n\r\n"))
		if end < 0 {
			return false
		}
		name := partName(rest[:end])
		content := end + len("\r\n\r\n")
		if string(name) == b.part {
			b.start = int64(b.parsed + content)
			return true
		}
		// The line break before the delimiter can be the end of an empty header.
		next := bytes.Index(rest[content-2:], delimiter)
		if next < 0 {
			return false
		}
		if value := rest[content : content-2+max(next, 2)]; b.formatOf != "" && string(name) == b.formatOf && b.rate == 0 {
			b.rate = NamedRate(string(bytes.TrimSpace(value)))
		}
		b.parsed += content - 2 + next + len(delimiter)
	}
}

// partName returns the parameter name of the field Content-Disposition in the header of a part.
func partName(header []byte) []byte {
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		field, value, _ := bytes.Cut(line, []byte(":"))
		if !bytes.EqualFold(bytes.TrimSpace(field), []byte("Content-Disposition")) {
			continue
		}
		for param := range bytes.SplitSeq(value, []byte(";")) {
			name, text, _ := bytes.Cut(param, []byte("="))
			if bytes.EqualFold(bytes.TrimSpace(name), []byte("name")) {
				return bytes.Trim(bytes.TrimSpace(text), `"`)
			}
		}
	}
	return nil
}

// Measure returns how many bytes of audio have passed, and how long they last; 0 if the format
// does not tell it. Call it once, when no more of the body counts. Bytes of a form in which the
// audio was not found count as audio, without a length.
func (b *Body) Measure() (size int64, length time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	size = b.total
	if s := b.scratch; s != nil {
		if b.looking {
			b.look(true)
		}
		if b.form && b.start >= 0 {
			audio := s.tail[max(0, int64(len(s.tail))-(b.total-b.start)):]
			if end := bytes.Index(audio, s.delimiter); end >= 0 {
				size -= int64(len(audio) - end)
			}
			size -= b.start
		}
		b.scratch = nil
		s.release()
	}
	if b.rate > 0 && b.start >= 0 {
		length = Length(max(size-b.wavHeader, 0), b.rate)
	}
	return size, length
}

// release gives the memory back. Memory of a long head is not kept.
func (s *scratch) release() {
	if cap(s.head) <= 8<<10 {
		s.head, s.tail = s.head[:0], s.tail[:0]
		scratches.Put(s)
	}
}

// Length returns how long so many bytes of audio last, if a second has rate bytes.
func Length(size int64, rate int) time.Duration {
	r := int64(rate)
	return time.Duration(size/r)*time.Second + time.Duration(size%r)*time.Second/time.Duration(r)
}
