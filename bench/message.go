//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
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

// contentLength returns the length of the body after a head. It does not support chunked
// bodies: neither the clients nor the backend send them, and a proxy that turns a body
// with a length into a chunked body has changed the request.
func contentLength(head []byte) (int, error) {
	if value := field(head, "Transfer-Encoding"); value != nil {
		return 0, fmt.Errorf("a body of transfer encoding %q, where one with a length was expected: %.300q", value, head)
	}
	value := field(head, "Content-Length")
	if value == nil {
		return 0, nil
	}
	n, err := strconv.Atoi(string(value)) // does not allocate
	if err != nil || n < 0 {
		return 0, fmt.Errorf("a Content-Length of %q", value)
	}
	return n, nil
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
}

const (
	pollBody = `{"status":"processing","session_id":"0123456789abcdef01234567","service_id":"bench","audio_size":112044,"audio_md5":"8aae37249a4ef3277820aaa94e0a5497"}`
	textBody = `{"results":[{"tokens":[],"confidence":0.9,"starttime":0,"endtime":1000,"tags":[],"rulename":"","text":"hello"}],"utteranceid":"20261101/00/0123456789abcdef01234567_20261101_000000","text":"hello","code":"","message":""}` + "\r\n"
)

// backendField is the beginning of a header line in the backend's answers. The gate keeps
// the spelling of the name, and plain Caddy does not.
const backendField = "X-Session-I"

// answer appends the answer to a request to buf.
func (b *backend) answer(head, buf []byte) []byte {
	buf = append(buf, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Session-ID: 0123456789abcdef01234567\r\nContent-Length: "...)
	switch {
	case bytes.HasPrefix(head, []byte("GET ")):
		return body(buf, pollBody)
	case bytes.HasPrefix(head, []byte("POST /v2/recognitions")):
		b.created++
		var id [len("0123456789abcdef01234567")]byte
		for i, n := len(id)-1, b.created; i >= 0; i, n = i-1, n/16 {
			id[i] = "0123456789abcdef"[n%16]
		}
		const before, after = `{"sessionid":"`, `","text":"..."}`
		buf = strconv.AppendInt(buf, int64(len(before)+len(id)+len(after)), 10)
		buf = append(buf, "\r\n\r\n"+before...)
		buf = append(buf, id[:]...)
		return append(buf, after...)
	}
	return body(buf, textBody)
}

func body(buf []byte, text string) []byte {
	buf = strconv.AppendInt(buf, int64(len(text)), 10)
	buf = append(buf, "\r\n\r\n"...)
	return append(buf, text...)
}
