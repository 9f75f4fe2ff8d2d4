package credential

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
)

// form is the part of a multipart body that ReadForm has read.
type form struct {
	// head has read the parts before the audio, and some of the audio. Its buffer must not
	// be used once body has been read to the end of it.
	head        headReader
	body        replayBody // for the backend
	occurrences []occurrence
	hasAudio    bool // the head ends at the audio, and not at the end of the form

	// Memory for occurrences and for the pieces of body, if there is one occurrence.
	occurrenceArray [1]occurrence
	pieceArray      [3][]byte
}

// ReadForm reads the head of the body of r, which is everything before the audio, and
// scans it for keys. It reads at most maxHead bytes. Afterwards the body of r gives every
// byte again, from the first one on.
//
// budget has to have room for the memory of the head if the head is larger than 4 KiB or
// the request shares its connection. A nil budget counts nothing. w is the writer of the
// answer to r, for budget. The caller must call [Found.ReleaseBudget] afterwards.
//
// A fault in the form is returned by [Found.Key]. The error is an error of reading, such
// as a client that went away.
func (f *Found) ReadForm(w http.ResponseWriter, r *http.Request, maxHead int, budget Budget) error {
	switch f.body {
	case bodyURLEncoded, bodyJSON:
		return f.sniffBody(r)
	case bodyUnexpected:
		return f.expectNoBody(r)
	case bodyRaw, bodyForm: // read below
	}
	form := new(form)
	form.occurrences = form.occurrenceArray[:0]
	form.head.begin(r.Body, maxHead)
	form.head.memory.budget, form.head.memory.w = budget, w
	f.form = form
	err := form.head.memory.reserveForStream(r)
	if err == nil {
		err = f.readParts(&form.head)
	}
	if err == nil && f.quotesBoundary && bytes.Contains(form.head.buf[:form.head.pos], []byte(`--"`+f.boundary)) {
		err = malformed("a form that has its boundary in quotation marks too, which some parsers take for part of it")
	}
	form.body = replayBody{pieces: append(form.pieceArray[:0], form.head.buf), head: &form.head, eof: form.head.eof, ReadCloser: r.Body}
	r.Body = &form.body
	if err == nil {
		return nil
	}
	var fault *Fault
	if !errors.As(err, &fault) {
		return fmt.Errorf("reading the head of the form: %w", err)
	}
	f.fail(fault)
	return nil
}

// DiscardForm frees the memory of the form of a request that is refused. Afterwards the
// body of r gives only the bytes after the head.
func (f *Found) DiscardForm(r *http.Request) {
	if f.form == nil {
		return
	}
	f.form.occurrences = nil
	f.form.body.discard()
	r.Body = f.form.body.ReadCloser
}

// readParts reads part after part, until the audio begins or the form ends.
func (f *Found) readParts(r *headReader) error {
	d := delimiter{whole: "--" + f.boundary}
	d.shortest = d.whole[:len("--")+len(f.shortestBoundary)]
	if f.quotesBoundary { // some parsers take the quotation marks for part of it, and none a prefix
		d.shortest = d.whole
	}
	// The vendor's client library writes a line break before the first boundary.
	if err := r.fill(len("\r\n") + len(d.whole)); err != nil {
		return err
	}
	r.skip("\r\n")
	if !r.skip(d.whole) {
		return malformed("a body that does not begin with its boundary")
	}
	start := r.pos - len(d.whole)
	for {
		last, err := r.endOfDelimiter()
		if err != nil {
			return err
		}
		if last {
			return r.epilogue()
		}
		header, err := f.readPartHeader(r, d)
		if err != nil {
			return err
		}
		if header.name == f.audioPart {
			f.form.hasAudio = true
			return nil
		}
		value, err := r.content(d)
		if err != nil {
			return err
		}
		if !header.lengthFits(r.buf, value) {
			return malformed("a part whose Content-Length is not its length")
		}
		next := r.pos - len(d.whole)
		part := occurrence{whole: span{start, next}, value: value, length: header.length}
		if err := f.scanPart(r.buf[value.from:value.to], header, part); err != nil {
			return err
		}
		start = next
	}
}

// expectNoBody reads whether a body of unknown length has any bytes. Over HTTP/3, every
// request without a Content-Length looks as if it had a body.
func (f *Found) expectNoBody(r *http.Request) error {
	reader := &headReader{src: r.Body, max: 1}
	err := reader.fill(1)
	var ended *Fault
	switch {
	case err == nil:
		f.fail(errUnexpectedBody)
	case errors.As(err, &ended):
		r.Body, r.ContentLength = http.NoBody, 0
	default:
		return fmt.Errorf("reading the body: %w", err)
	}
	return nil
}

// sniffLen is how many bytes sniffBody reads.
const sniffLen = 64

// sniffBody looks at a body that is labelled as a urlencoded form or as JSON. It refuses a
// body that looks like its label, because the key could be in it. Another body passes:
// some clients send raw audio under these labels.
func (f *Found) sniffBody(r *http.Request) error {
	reader := &headReader{src: r.Body, max: sniffLen}
	err := reader.fill(sniffLen)
	r.Body = &replayBody{pieces: [][]byte{reader.buf}, eof: reader.eof, ReadCloser: r.Body}
	switch {
	case f.body == bodyURLEncoded && looksLikeForm(reader.buf):
		f.fail(malformed("a body that is a urlencoded form: send multipart/form-data, or raw audio with the parameters in the query"))
	case f.body == bodyJSON && looksLikeJSON(reader.buf):
		f.fail(malformed("a body that is JSON: send multipart/form-data, or raw audio with the parameters in the query"))
	}
	var fault *Fault
	if err != nil && !errors.As(err, &fault) {
		return fmt.Errorf("reading the start of the body: %w", err)
	}
	return nil
}

// looksLikeForm reports whether a body starts as a form does, urlencoded or multipart.
func looksLikeForm(start []byte) bool {
	for _, c := range start {
		if c > '~' || c < ' ' && c != '\r' && c != '\n' {
			return false
		}
	}
	return bytes.IndexByte(start, '=') > 0 || bytes.HasPrefix(bytes.TrimLeft(start, "\r\n"), []byte("--"))
}

// looksLikeJSON reports whether a body starts as a JSON object or array does.
func looksLikeJSON(start []byte) bool {
	start = bytes.TrimLeft(start, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return false
	}
	return !bytes.ContainsFunc(start, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' })
}
