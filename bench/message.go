//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// field returns the value of a header field. The name is in the spelling that Go's
// net/http writes.
func field(head []byte, name string) []byte {
	for rest := head; ; {
		i := bytes.Index(rest, []byte(name))
		if i < 0 {
			return nil
		}
		value, found := bytes.CutPrefix(rest[i+len(name):], []byte(": "))
		if found && i >= 2 && rest[i-1] == '\n' {
			end := bytes.IndexByte(value, '\r')
			return value[:max(end, 0)]
		}
		rest = rest[i+len(name):]
	}
}

// body is the part of a message's body that has not arrived yet.
type body struct {
	left    int  // the bytes of the body, or of the chunk, that have not arrived yet
	chunked bool // until the last chunk has arrived
	last    bool // the last chunk has begun; it is empty
	size    int  // the size of the next chunk, as far as its line has arrived
	digits  int  // the number of digits of size
}

// bodyOf returns the body after a head. A body in chunks is an error if chunked is false: a proxy
// that turns a body with a length into a body in chunks has changed the message.
func bodyOf(head []byte, chunked bool) (body, error) {
	switch value := field(head, "Transfer-Encoding"); {
	case chunked && string(value) == "chunked":
		return body{chunked: true}, nil
	case value != nil:
		return body{}, fmt.Errorf("a body of transfer encoding %q, where one with a length was expected: %.300q", value, head)
	}
	value := field(head, "Content-Length")
	if value == nil {
		return body{}, nil
	}
	n, err := strconv.Atoi(string(value)) // does not allocate
	if err != nil || n < 0 {
		return body{}, fmt.Errorf("a Content-Length of %q", value)
	}
	return body{left: n}, nil
}

// ended reports whether all of the body has arrived.
func (b *body) ended() bool { return b.left == 0 && !b.chunked }

// next takes bytes from the start of p, and returns how many it has taken, and which of them
// are content.
func (b *body) next(p []byte) (taken int, content []byte, err error) {
	for taken < len(p) && b.left == 0 && b.chunked {
		c := p[taken]
		switch digit := strings.IndexByte("0123456789abcdef", c); {
		case digit >= 0 && b.digits < 8 && !b.last:
			b.size, b.digits = b.size*16+digit, b.digits+1
		case c == '\n' && b.digits > 0:
			b.left, b.last = b.size, b.size == 0
			b.size, b.digits = 0, 0
		case c == '\n' && b.last:
			b.chunked = false
		case c != '\n' && c != '\r': // an empty line ends a chunk
			return taken, nil, fmt.Errorf("a body in chunks has the byte %q where the size of a chunk belongs", c)
		}
		taken++
	}
	content = p[taken:min(len(p), taken+b.left)]
	b.left -= len(content)
	return taken + len(content), content, nil
}

// status returns the status of an answer's head, or 0 if the head has none.
func status(head []byte) int {
	if len(head) < len("HTTP/1.1 200") || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return 0
	}
	n := 0
	for _, c := range head[9:12] {
		n = n*10 + int(c-'0')
	}
	return n
}

// backend is the backend behind the proxies: a speech API that does no work.
type backend struct {
	key     []byte // the key that each request must have; empty behind the plain proxy
	created int    // the number of jobs so far
	list    string // the list of transcripts
}

const (
	pollBody = `{"status":"processing","session_id":"0123456789abcdef01234567","service_id":"bench","audio_size":112044,"audio_md5":"8aae37249a4ef3277820aaa94e0a5497"}`
	textBody = `{"results":[{"tokens":[],"confidence":0.9,"starttime":0,"endtime":1000,"tags":[],"rulename":"","text":"hello"}],"utteranceid":"20261101/00/0123456789abcdef01234567_20261101_000000","text":"hello","code":"","message":""}` + "\r\n"
)

// backendField is the beginning of a header line in the backend's answers. The gate keeps
// the spelling of the name, and plain Caddy does not.
const backendField = "X-Session-I"

// answer appends the answer to a request to buf, and returns how many events follow as the rest
// of the answer.
func (b *backend) answer(head, buf []byte) (answer []byte, events int) {
	asks := func(start string) bool { return bytes.HasPrefix(head, []byte(start)) }
	buf = append(buf, "HTTP/1.1 200 OK\r\nX-Session-ID: 0123456789abcdef01234567\r\nContent-Type: "...)
	if asks("POST " + openAIStreamPath) {
		return append(buf, "text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"...), eventCount
	}
	buf = append(buf, "application/json\r\nContent-Length: "...)
	switch {
	case asks("GET /v2/transcript?"):
		return appendBody(buf, b.list), 0
	case asks("GET /v2/transcript/"):
		return appendBody(buf, transcriptBody), 0
	case asks("GET /v1/models"):
		return appendBody(buf, modelsBody), 0
	case asks("GET "):
		return appendBody(buf, pollBody), 0
	case asks("POST /v2/recognitions"):
		return b.appendCreated(buf, `{"sessionid":"`, `","text":"..."}`), 0
	case asks("POST /v2/transcript"):
		return b.appendCreated(buf, `{"id":"`, transcriptCreated), 0
	case asks("POST /v1/audio/transcriptions"):
		return appendBody(buf, openAIText), 0
	}
	return appendBody(buf, textBody), 0
}

// appendCreated appends the answer to the creation of a job, with a new ID between two texts.
func (b *backend) appendCreated(buf []byte, before, after string) []byte {
	b.created++
	var id [len("0123456789abcdef01234567")]byte
	for i, n := len(id)-1, b.created; i >= 0; i, n = i-1, n/16 {
		id[i] = "0123456789abcdef"[n%16]
	}
	buf = strconv.AppendInt(buf, int64(len(before)+len(id)+len(after)), 10)
	buf = append(append(buf, "\r\n\r\n"...), before...)
	buf = append(buf, id[:]...)
	return append(buf, after...)
}

func appendBody(buf []byte, text string) []byte {
	buf = strconv.AppendInt(buf, int64(len(text)), 10)
	buf = append(buf, "\r\n\r\n"...)
	return append(buf, text...)
}
