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
	maxParts     = 64      // the most parts of a multipart body, up to the audio
	maxParameter = 4 << 20 // the most bytes of one parameter in a multipart body
)

// errMalformed says that a multipart body cannot be read.
var errMalformed = errors.New("malformed multipart body")

// credentials are the keys in a request.
type credentials struct {
	key   string
	mixed bool // whether there are several different keys
}

// add adds a key. It ignores an empty key.
func (c *credentials) add(key string) {
	switch {
	case key == "":
	case c.key == "":
		c.key = key
	case c.key != key:
		c.mixed = true
	}
}

// open reports whether the credentials are the wanted key and no other key. If want is
// empty, open returns true.
func (c *credentials) open(want string) bool {
	if want == "" {
		return true
	}
	// The comparison of digests also hides the length of the wanted key.
	got, wanted := sha256.Sum256([]byte(c.key)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(got[:], wanted[:]) == 1 && !c.mixed
}

// unescape decodes the value of a pair in d. A plus sign is not a space. Some clients do
// not encode the value, so a value that cannot be decoded stays as it is.
func unescape(value string) string {
	if decoded, err := url.PathUnescape(value); err == nil {
		return decoded
	}
	return value
}

// bearer returns the keys in a request's Authorization header fields.
func bearer(r *http.Request) credentials {
	var c credentials
	for _, value := range r.Header.Values("Authorization") {
		if scheme, key, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
			c.add(strings.Trim(key, " "))
		}
	}
	return c
}

// recognition is a recognition request, read up to its audio.
type recognition struct {
	credentials
	format    string    // the parameter c
	contentID string    // the client's name for the job, from the parameter d
	audio     io.Reader // nil if the request has no audio
}

// readRecognition reads the parameters of a request: from the Authorization header, from
// the query and, if the body is multipart, from the parts before the audio. If c comes
// twice, the last value counts. If the body is not multipart, the whole body is the
// audio, whatever its content type is. If the body is malformed, readRecognition returns
// errMalformed and the parameters before the malformed part.
//
// Only the name in a part's header counts. A file name and a content type change
// nothing.
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

// parameter reads one parameter. It ignores parameters that the sandbox does not use.
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

// options reads the pairs of a parameter d. A single space separates pairs. Any other
// white space is part of a value. A pair without an equals sign is the name of an
// engine.
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

// upload reads the audio of a request. It counts and hashes the audio, ends it at a
// limit, and remembers the error that ended it.
type upload struct {
	r    io.Reader
	sum  hash.Hash // the hash of all audio that was read; may be nil
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
