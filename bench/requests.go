//go:build linux

package main

import (
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

const hostLine = "Host: bench.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n"

func pick[T any](of []T) T { return of[rand.IntN(len(of))] } //nolint:gosec // nothing secret is drawn

// poll reads a random job with a random key.
func (f *fixture) poll(buf []byte) ([]byte, int) {
	return pollWith(buf, pick(f.jobs), pick(f.keys)), 0
}

func pollWith(buf []byte, job, key string) []byte {
	buf = append(buf[:0], "GET /v2/recognitions/"...)
	buf = append(buf, job...)
	buf = append(buf, " HTTP/1.1\r\n"+hostLine+"Authorization: Bearer "...)
	buf = append(buf, key...)
	return append(buf, "\r\n\r\n"...)
}

// query writes a request that recognizes a short piece of audio, with the key in the query.
func (f *fixture) query(buf []byte) ([]byte, int) {
	const audio = 320
	buf = append(buf[:0], "POST /v1/recognize?d=-a-general&c=16K&u="...)
	buf = append(buf, pick(f.keys)...)
	buf = append(buf, " HTTP/1.1\r\n"+hostLine+"Content-Type: application/octet-stream\r\nContent-Length: "...)
	buf = strconv.AppendInt(buf, audio, 10)
	buf = append(buf, "\r\n\r\n"...)
	return append(buf, make([]byte, audio)...), 0
}

const boundary = "1234567890ABCDEFGHIJ"

func part(name, value string) string {
	return "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value
}

// form returns an upload with this many bytes of audio. The key is in the part u, or in a pair
// of the part d.
func form(path, in, key string, audio int) []byte {
	head := part("d", "-a-general\r\n")
	if in == "u" {
		head = part("u", key+"\r\n") + head
	} else {
		head = part("d", "grammarFileNames=-a-general authorization="+key+"\r\n")
	}
	head += part("c", "16K\r\n") + part("a", "")
	const end = "\r\n--" + boundary + "--\r\n"
	var b strings.Builder
	b.WriteString("POST " + path + " HTTP/1.1\r\n" + hostLine + "Content-Type: multipart/form-data; boundary=" + boundary + "\r\nContent-Length: ")
	b.WriteString(strconv.Itoa(len(head) + audio + len(end)))
	b.WriteString("\r\n\r\n" + head + strings.Repeat("\x01", audio) + end)
	return []byte(b.String())
}

// forms returns uploads with random keys. The form is made once, and each request has another
// key in it.
func (f *fixture) forms(path, in string, audio int) source {
	key := f.keys[0]
	return f.withKeys(form(path, in, key, audio), key)
}

// withKeys returns requests that differ only in the key. The template has key.
func (f *fixture) withKeys(template []byte, key string) source {
	at := strings.Index(string(template), key)
	return func(buf []byte) ([]byte, int) {
		if len(buf) != len(template) {
			buf = append(buf[:0], template...)
		}
		copy(buf[at:], pick(f.keys))
		return buf, 0
	}
}

// once sends the same request again and again.
func once(request []byte) source {
	return func([]byte) ([]byte, int) { return request, 0 }
}

// flooded sends a good poll after this many polls with unknown keys. The polls with
// unknown keys have a header field by which the plain proxy refuses them.
func (f *fixture) flooded(bad int) source {
	n := 0
	return func(buf []byte) ([]byte, int) {
		n++
		if n%(bad+1) == 0 {
			return f.poll(buf)
		}
		unknown, err := policy.GenerateSecret(policy.KeyPrefix, fastRandom{})
		if err != nil {
			panic(err) // fastRandom does not fail
		}
		buf = pollWith(buf, pick(f.jobs), unknown.Reveal())
		return append(buf[:len(buf)-2], floodField+": 1\r\n\r\n"...), 1
	}
}

const floodField = "X-Bench-Flood"

// issued issues a key after this many polls.
func (f *fixture) issued(polls int) source {
	const form = "epi=60000"
	n := 0
	return func(buf []byte) ([]byte, int) {
		if n++; n%(polls+1) != 0 {
			return f.poll(buf)
		}
		buf = append(buf[:0], "POST "+issuePath+" HTTP/1.1\r\n"+hostLine+"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "...)
		buf = strconv.AppendInt(buf, int64(len(form)), 10)
		buf = append(buf, "\r\nAuthorization: Bearer "...)
		buf = append(buf, f.issuer...)
		return append(buf, "\r\n\r\n"+form...), 1
	}
}

const issuePath = "/issue_service_authorization"
