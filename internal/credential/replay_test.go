package credential

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/dialect"
)

// endsWithData is a body that ends with its last bytes, as one of net/http with a
// Content-Length does. It counts the reads that come after its end.
type endsWithData struct {
	rest  string
	after int
}

func (b *endsWithData) Read(p []byte) (n int, err error) {
	if b.rest == "" {
		b.after++
		return 0, io.EOF
	}
	n = copy(p, b.rest)
	if b.rest = b.rest[n:]; b.rest == "" {
		err = io.EOF
	}
	return n, err
}

func (*endsWithData) Close() error { return nil }

// endsAlone is a body whose end comes alone, as one of unknown length does.
type endsAlone struct{ *endsWithData }

func (b *endsAlone) Read(p []byte) (n int, err error) {
	if n, err = b.endsWithData.Read(p); n > 0 {
		err = nil
	}
	return n, err
}

// A transport reads once more after the last byte, on a goroutine of its own. The server may
// look at the body at that moment, so that the read must not reach it.
func TestR1_ABodyThatHasEndedIsNotReadAgain(t *testing.T) {
	t.Parallel()
	for contentType, text := range map[string]string{
		"multipart/form-data; boundary=B":   "--B\r\nContent-Disposition: form-data; name=\"u\"\r\n\r\nkey\r\n--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\naudio\r\n--B--\r\n",
		"multipart/form-data; boundary=C":   "--C\r\nContent-Disposition: form-data; name=\"u\"\r\n\r\nkey for audio\r\n--C--\r\n",
		"application/x-www-form-urlencoded": "\x00\x01audio",
	} {
		for _, alone := range []bool{false, true} {
			counted := &endsWithData{rest: text}
			var body io.ReadCloser = counted
			if alone {
				body = &endsAlone{counted}
			}
			if alone && !strings.Contains(contentType, "boundary=C") {
				continue // ReadForm does not come to the end
			}
			checkEnd(t, contentType, text, body, counted)
		}
	}
}

func checkEnd(t *testing.T, contentType, text string, body io.ReadCloser, counted *endsWithData) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/recognize", nil)
	r.Header.Set("Content-Type", contentType)
	r.Body, r.ContentLength = body, int64(len(text))
	call := dialect.AmiVoice.Classify(r.Method, r.URL.Path)
	found := Scan(r, dialect.AmiVoice, call.Route)
	if !found.NeedsForm() {
		t.Fatalf("%s: the body is not read", contentType)
	}
	if err := found.ReadForm(httptest.NewRecorder(), r, 1<<20, nil); err != nil {
		t.Fatalf("%s: %v", contentType, err)
	}
	counted.after = 0 // ReadForm may look for more
	if n, err := r.Body.Read(nil); n != 0 || err != nil {
		t.Errorf("%s: a read of no bytes returns %d, %v", contentType, n, err)
	}
	got, err := io.ReadAll(r.Body)
	if n, again := r.Body.Read(make([]byte, 8)); n != 0 || again != io.EOF {
		t.Errorf("%s: after the end, %d bytes, %v", contentType, n, again)
	}
	if err != nil || string(got) != text || counted.after != 0 {
		t.Errorf("%s: got %q, %v; the body is read %d times after its end", contentType, got, err, counted.after)
	}
}
