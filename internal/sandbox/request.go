package sandbox

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
)

const (
	maxParts     = 64      // in a multipart body, up to the audio
	maxParameter = 4 << 20 // bytes in one parameter of a multipart body
)

// errMalformed says that a multipart body cannot be read.
var errMalformed = errors.New("malformed multipart body")

// credentials are the keys that a request carries.
type credentials struct {
	key   string
	mixed bool // there are several different ones
}

// add notes a key. An empty one is none.
func (c *credentials) add(key string) {
	switch {
	case key == "":
	case c.key == "":
		c.key = key
	case c.key != key:
		c.mixed = true
	}
}

// open reports whether the credentials are the wanted key, and nothing else.
// If none is wanted, anything goes.
func (c *credentials) open(want string) bool {
	if want == "" {
		return true
	}
	// Comparing digests hides the length of the wanted key too.
	got, wanted := sha256.Sum256([]byte(c.key)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(got[:], wanted[:]) == 1 && !c.mixed
}

// unescape decodes the value of a pair in d, in which a plus sign stands for
// itself. Some clients do not encode it, so what is no encoding is left alone.
func unescape(value string) string {
	if decoded, err := url.PathUnescape(value); err == nil {
		return decoded
	}
	return value
}

// bearer finds the keys in a request's Authorization headers.
func bearer(r *http.Request) credentials {
	var c credentials
	for _, value := range r.Header.Values("Authorization") {
		if scheme, key, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
			c.add(strings.Trim(key, " "))
		}
	}
	return c
}

// recognition is a request to recognize speech, read up to its audio.
type recognition struct {
	credentials
	format    string    // the parameter c
	contentID string    // the client's own name for a job, from the parameter d
	audio     io.Reader // nil if there is none
}

// readRecognition reads a request's parameters from its Authorization header,
// its query and, if its body is multipart, from the parts before the audio. Of
// two values of c the later wins. Any other body is the audio itself, whatever
// type its label names. If the body is malformed, readRecognition returns
// errMalformed and what it read before that.
//
// Of a part's head only the name counts. A file name, a content type and a part
// label without a boundary change nothing.
func readRecognition(r *http.Request) (recognition, error) {
	rec := recognition{credentials: bearer(r)}
	query := r.URL.Query()
	for name, values := range query {
		for _, value := range values {
			rec.parameter(name, value)
		}
	}
	contentType := strings.TrimSpace(r.Header.Get("Content-Type"))
	if !strings.HasPrefix(strings.ToLower(contentType), "multipart/") {
		rec.audio = r.Body
		return rec, nil
	}
	boundary, count := parameter(contentType, "boundary")
	if boundary == "" || count != 1 {
		return rec, errMalformed
	}
	parts := multipart.NewReader(r.Body, boundary)
	for range maxParts {
		part, err := parts.NextRawPart()
		switch {
		case errors.Is(err, io.EOF):
			return rec, nil
		case err != nil:
			return rec, errMalformed
		}
		switch name, _ := parameter(part.Header.Get("Content-Disposition"), "name"); name {
		case "a":
			rec.audio = part
			return rec, nil
		case "u", "d", "c":
			value, err := io.ReadAll(io.LimitReader(part, maxParameter+1))
			if err != nil || len(value) > maxParameter {
				return rec, errMalformed
			}
			rec.parameter(name, string(value))
		}
	}
	return rec, errMalformed
}

// parameter takes one parameter. The sandbox ignores those that it has no use for.
func (rec *recognition) parameter(name, value string) {
	switch name {
	case "u":
		rec.add(value)
	case "d":
		rec.options(value)
	case "c":
		rec.format = value
	}
}

// options takes the pairs of a parameter d. A single space separates pairs; any
// other white space is part of a value. A d without an equals sign is the name
// of an engine.
func (rec *recognition) options(d string) {
	for pair := range strings.SplitSeq(d, " ") {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case "authorization":
			rec.add(unescape(value))
		case "contentId":
			rec.contentID = unescape(value)
		}
	}
}

// upload is the audio of a request on its way through: counted, hashed, cut
// off at a limit, and with the error that ended it remembered.
type upload struct {
	r    io.Reader
	sum  hash.Hash // of all that was read; may be nil
	max  int64     // bytes; negative is unlimited
	size int64
	err  error
}

func (u *upload) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.r.Read(p)
	u.size += int64(n)
	if u.max >= 0 && u.size > u.max {
		u.err = errTooLarge
		return 0, u.err
	}
	if u.sum != nil {
		u.sum.Write(p[:n])
	}
	if err != nil && !errors.Is(err, io.EOF) {
		u.err = err
	}
	return n, err
}
