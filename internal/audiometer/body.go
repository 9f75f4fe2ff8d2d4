package audiometer

import (
	"bytes"
	"io"
	"mime"
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

// Body is the body of a request, and measures its audio.
type Body struct {
	io.ReadCloser

	mu        sync.Mutex // the transport of a proxy can still read when its answer has come
	cfg       Config
	delimiter string // of the parts of a form, with its line break; empty if the body is no form
	total     int64  // bytes of the body that have passed
	head      []byte // the beginning of the body; nil if it is not needed any more
	looking   bool   // the head is still collected
	parsed    int    // bytes of the head that are parsed: it is the end of a delimiter
	start     int64  // where the audio begins; -1 if it is not known
	header    int64  // bytes of the WAV header
	tail      []byte // the last bytes of a form
}

// New returns body, measured. Reading it costs no more than a few hundred bytes of memory, and a
// form up to 64 KiB if the audio comes late in it.
func New(body io.ReadCloser, cfg Config) *Body {
	b := &Body{ReadCloser: body, cfg: cfg}
	if len(cfg.ContentType) >= len("multipart/") && strings.EqualFold(cfg.ContentType[:len("multipart/")], "multipart/") {
		b.delimiter, b.start = "\r\n--"+boundaryOf(cfg.ContentType), -1
	}
	b.looking = b.delimiter != "" || cfg.Rate == 0
	return b
}

// boundaryOf returns the boundary of a form. If the field cannot be parsed, it returns a text that
// is no boundary, so that no part is found.
func boundaryOf(contentType string) string {
	if _, params, err := mime.ParseMediaType(contentType); err == nil && params["boundary"] != "" {
		return params["boundary"]
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
	if b.delimiter != "" {
		b.keepTail(p)
	}
	if b.looking {
		b.head = append(b.head, p[:min(len(p), maxHead-len(b.head))]...)
		b.look(false)
	}
}

// keepTail keeps the last bytes of the body.
func (b *Body) keepTail(p []byte) {
	if len(p) >= tailLen {
		b.tail = append(b.tail[:0], p[len(p)-tailLen:]...)
		return
	}
	if over := len(b.tail) + len(p) - tailLen; over > 0 {
		b.tail = b.tail[:copy(b.tail, b.tail[over:])]
	}
	b.tail = append(b.tail, p...)
}

// look looks in the head for the beginning of the audio, and for its format. The argument whole
// says that no more bytes come.
func (b *Body) look(whole bool) {
	if b.start < 0 && !b.findPart() {
		if len(b.head) == maxHead || whole {
			b.head, b.looking = nil, false
		}
		return
	}
	if b.cfg.Rate == 0 {
		audio := b.head[b.start:]
		if len(audio) < wavHead && !whole && len(b.head) < maxHead {
			return
		}
		if rate, size, ok := readWAV(audio[:min(len(audio), wavHead)]); ok {
			b.cfg.Rate, b.header = rate, int64(size)
		}
	}
	b.head, b.looking = nil, false
}

// findPart looks for the part with the audio, and sets start. It reads the format on the way.
func (b *Body) findPart() bool {
	for {
		rest := b.head[b.parsed:]
		if b.parsed == 0 { // the first delimiter needs no line break before it
			first := bytes.Index(rest, []byte(b.delimiter[2:]))
			if first < 0 {
				return false
			}
			b.parsed = first + len(b.delimiter) - 2
			continue
		}
		end := bytes.Index(rest, []byte("\r\n\r\n"))
		if end < 0 {
			return false
		}
		name := partName(string(rest[:end]))
		content := end + len("\r\n\r\n")
		if name == b.cfg.Part {
			b.start = int64(b.parsed + content)
			return true
		}
		// The line break before the delimiter can be the end of an empty header.
		next := bytes.Index(rest[content-2:], []byte(b.delimiter))
		if next < 0 {
			return false
		}
		if value := rest[content : content-2+max(next, 2)]; name == b.cfg.FormatPart && name != "" && b.cfg.Rate == 0 {
			b.cfg.Rate = NamedRate(strings.TrimSpace(string(value)))
		}
		b.parsed += content - 2 + next + len(b.delimiter)
	}
}

// partName returns the parameter name of the field Content-Disposition in the header of a part.
func partName(header string) string {
	for line := range strings.SplitSeq(header, "\r\n") {
		field, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(strings.TrimSpace(field), "Content-Disposition") {
			continue
		}
		for param := range strings.SplitSeq(value, ";") {
			name, text, _ := strings.Cut(strings.TrimSpace(param), "=")
			if strings.EqualFold(strings.TrimSpace(name), "name") {
				return strings.Trim(strings.TrimSpace(text), `"`)
			}
		}
	}
	return ""
}

// Measure returns how many bytes of audio have passed, and how long they last; 0 if the format
// does not tell it. Call it once, when no more of the body counts. Bytes of a form in which the
// audio was not found count as audio, without a length.
func (b *Body) Measure() (size int64, length time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.looking {
		b.look(true)
	}
	size = b.total
	if b.delimiter != "" && b.start >= 0 {
		audio := b.tail[max(0, int64(len(b.tail))-(b.total-b.start)):]
		if end := bytes.Index(audio, []byte(b.delimiter)); end >= 0 {
			size -= int64(len(audio) - end)
		}
		size -= b.start
	}
	if rate := int64(b.cfg.Rate); rate > 0 && b.start >= 0 {
		sound := max(size-b.header, 0)
		length = time.Duration(sound/rate)*time.Second + time.Duration(sound%rate)*time.Second/time.Duration(rate)
	}
	return size, length
}
