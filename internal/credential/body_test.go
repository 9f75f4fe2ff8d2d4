package credential

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/speechgate/speechgate/policy"
)

func TestR19_ABodyIsReadAlikeInPiecesOfAnySize(t *testing.T) {
	t.Parallel()
	forms := map[string]string{formType: uPart + part("d", "x authorization="+escaped) + aPart + end}
	forms[formType+"; charset=utf-8"] = uPart + end + "\r\n"
	forms["multipart/form-data; boundary=a:b=/c"] = strings.ReplaceAll(forms[formType], "B0", "a:b=/c")
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"at once":                   func(r io.Reader) io.Reader { return r },
		"byte by byte":              iotest.OneByteReader,
		"by halves":                 iotest.HalfReader,
		"with its end in one piece": iotest.DataErrReader,
		"with reads of nothing":     func(r io.Reader) io.Reader { return &hesitant{Reader: r} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for contentType, form := range forms {
				r := upload("", contentType, form)
				r.Body = io.NopCloser(wrap(strings.NewReader(form)))
				accept(t, r, replace)
				want := strings.NewReplacer(escaped, url.QueryEscape(upstreamKey), clientKey, upstreamKey).Replace(form)
				if got := readBody(t, r); got != want {
					t.Errorf("%s: went upstream as %q", contentType, got)
				}
				r = upload("", contentType, form)
				r.Body = io.NopCloser(wrap(strings.NewReader("x" + form)))
				refuse(t, r, policy.RequestMalformed, "a body that does not begin with its boundary")
				if got := readBody(t, r); got != "x"+form {
					t.Errorf("%s: a refused body gives %q again", contentType, got)
				}
			}
		})
	}
}

// hesitant is a reader whose every other read gives nothing.
type hesitant struct {
	io.Reader
	reads int
}

func (r *hesitant) Read(p []byte) (int, error) {
	if r.reads++; r.reads%2 == 1 {
		return 0, nil
	}
	return r.Reader.Read(p)
}

func TestR19_AnErrorInTheHeadIsAReadingError(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client went away")
	form := uPart + aPart + end
	for _, failure := range []error{broken, io.ErrUnexpectedEOF} {
		for at := range len(uPart) + 20 {
			r := upload("", formType, form)
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(form[:at]), iotest.ErrReader(failure)))
			f := Scan(r, api, api.Classify(r.Method, r.URL.Path).Route)
			if err := f.ReadForm(nil, r, testMaxHead, nil); !errors.Is(err, failure) {
				t.Fatalf("an error at byte %d: ReadForm returned %v", at, err)
			} else if strings.Contains(err.Error(), "CLIENTKEY") {
				t.Fatal("the error quotes the key")
			}
			if got, err := io.ReadAll(r.Body); string(got) != form[:at] || !errors.Is(err, failure) {
				t.Fatalf("then the body gives %q, %v", got, err)
			}
		}
	}
	// Other faults of the bytes before the error do not replace it.
	for contentType, start := range map[string]string{
		formType:                                 uPart + end,
		"multipart/form-data; boundary=a:b=/c":   "--a:b=/c\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n--a",
		`multipart/form-data; boundary="a:b=/c"`: "--a:b=/c\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n--\"a:b=/c\"\r\n--a:b=/c",
	} {
		r := upload("", contentType, "")
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken)))
		f := Scan(r, api, api.Classify(r.Method, r.URL.Path).Route)
		if err := f.ReadForm(nil, r, testMaxHead, nil); !errors.Is(err, broken) {
			t.Errorf("an error behind %q: ReadForm returned %v, and the fault is %v", start, err, f.fault)
		}
	}
	t.Run("a reader that gives nothing", func(t *testing.T) {
		t.Parallel()
		r := upload("", formType, "")
		r.Body = io.NopCloser(idle{})
		f := Scan(r, api, api.Classify(r.Method, r.URL.Path).Route)
		if err := f.ReadForm(nil, r, testMaxHead, nil); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("ReadForm returned %v", err)
		}
	})
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// endless is a body that counts the bytes read from it, and notes whether it was closed.
type endless struct {
	head   io.Reader
	left   int64
	read   int64
	closed bool
}

func (e *endless) Read(p []byte) (n int, err error) {
	if n, err = e.head.Read(p); n == 0 {
		n, err = int(min(int64(len(p)), e.left)), nil
		e.left -= int64(n)
		if n == 0 {
			err = io.EOF
		}
	}
	e.read += int64(n)
	return n, err
}

func (e *endless) Close() error { e.closed = true; return nil }

func TestR19_TheAudioIsNotReadIntoMemory(t *testing.T) { //nolint:paralleltest // it reads the memory statistics of the process
	const gigabyte = 1 << 30
	head := uPart + part("d", "-a-general") + "--B0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"
	body := &endless{head: strings.NewReader(head), left: gigabyte}
	r := upload("", formType, "")
	r.Body, r.ContentLength = body, int64(len(head))+gigabyte
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	accept(t, r, replace)
	if body.read > headChunk+int64(len(head)) {
		t.Errorf("%d bytes were read to find the key", body.read)
	}
	read := body.read
	if want := int64(len(head)+len(upstreamKey)-len(clientKey)) + gigabyte; r.ContentLength != want {
		t.Errorf("Content-Length is %d, want %d", r.ContentLength, want)
	}
	if n, err := io.Copy(io.Discard, r.Body); err != nil || n != r.ContentLength {
		t.Errorf("%d bytes went upstream, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("it took %d bytes of memory", grown)
	}
	if r.Body.Close(); !body.closed || read == body.read {
		t.Error("the body was not closed, or not read through")
	}
}

func TestR19_NoMoreThanMaxHeadIsRead(t *testing.T) {
	t.Parallel()
	for _, maxHead := range []int{64, 4096, 5000, 64 << 10} {
		for name, head := range map[string]string{
			"a part that never ends":   "--B0\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n",
			"a header that never ends": "--B0\r\n",
			"an epilogue":              end,
		} {
			fill := "\x00"
			if head == end {
				fill = "\r"
			}
			body := &endless{head: strings.NewReader(head + strings.Repeat(fill, maxHead)), left: 1 << 20}
			r := upload("u="+escaped, formType, "")
			r.Body = body
			_, _, fault := find(t, r, maxHead)
			if fault == nil || fault.Reason != policy.RequestMalformed || body.read > int64(maxHead) {
				t.Errorf("%s: %v after %d bytes of %d", name, fault, body.read, maxHead)
			}
		}
	}
	head := uPart + "--B0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"
	if _, _, fault := find(t, upload("", formType, head), len(head)); fault != nil {
		t.Errorf("a head of just max_head: %v", fault)
	}
	if _, _, fault := find(t, upload("", formType, head), len(head)-1); fault == nil {
		t.Error("a head of one byte more was read")
	}
}

func TestR19_DigestsOfAChangedBodyAreRemoved(t *testing.T) {
	t.Parallel()
	digests := []string{"Content-MD5", "Digest", "Content-Digest", "Repr-Digest"}
	for name, test := range map[string]struct {
		query, body string
		up          Upstream
		changed     bool
	}{
		"replaced":           {"", uPart + aPart + end, replace, true},
		"dropped":            {"", uPart + aPart + end, drop, true},
		"passed":             {"", uPart + aPart + end, pass, false},
		"only in the query":  {"u=" + escaped, aPart + end, replace, false},
		"and an empty part":  {"u=" + escaped, part("u", "") + aPart + end, drop, false},
		"query and the body": {"u=" + escaped, uPart + aPart + end, replace, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := upload(test.query, formType, test.body)
			for _, digest := range digests {
				r.Header.Set(digest, "x")
			}
			accept(t, r, test.up)
			for _, digest := range digests {
				if gone := r.Header.Get(digest) == ""; gone != test.changed {
					t.Errorf("%s: gone %v, want %v", digest, gone, test.changed)
				}
			}
			if got := readBody(t, r); (got != test.body) != test.changed {
				t.Errorf("the body went upstream as %q", got)
			}
		})
	}
}

func TestR19_ARawBodyPassesUnderALabelThatHidesNoForm(t *testing.T) {
	t.Parallel()
	wav, silence := "RIFF\x24\x00\x00\x00WAVEfmt \x10\x00&u="+otherKey, strings.Repeat("U", 200)
	for _, test := range []struct{ name, contentType, body, forwarded string }{
		{"a WAV file", "audio/wav", wav, "audio/wav"},
		{"a WAV file in capitals", "Audio/X-WAV", wav, "Audio/X-WAV"},
		{"linear PCM", "audio/l16;rate=16000;channels=1", wav, "audio/l16;rate=16000;channels=1"},
		{"a video's sound", "video/webm; codecs=opus", wav, "video/webm; codecs=opus"},
		{"Ogg", "application/ogg", wav, "application/ogg"},
		{"octets", "application/octet-stream", wav, "application/octet-stream"},
		{"a WAV file labelled urlencoded", "application/x-www-form-urlencoded", wav, octets},
		{"silence labelled urlencoded", "application/x-www-form-urlencoded; charset=utf-8", silence, octets},
		{"a form behind a NUL labelled urlencoded", "application/x-www-form-urlencoded", "\x00&u=" + otherKey, octets},
		{"a short body labelled urlencoded", "application/x-www-form-urlencoded", "\x01", octets},
		{"audio without a label", "", wav, octets},
		{"a form without a label", "", "u=" + otherKey, octets},
		{"text without a label", "", silence, octets},
		{"audio labelled as text", "text/plain", wav, octets},
		{"a form labelled as text", "text/plain;charset=UTF-8", "u=" + otherKey, octets},
		{"audio labelled as XML", "application/xml", wav, octets},
		{"audio labelled as YAML", "application/x-yaml", wav, octets},
		{"audio labelled as MessagePack", "application/msgpack", wav, octets},
		{"audio labelled as JSON", "application/json", wav, octets},
		{"audio that begins as JSON does", "application/vnd.api+json", "{\x00\x01" + wav, octets},
		{"audio labelled as anything", "*/*", wav, octets},
		{"audio under a word", "wav", wav, octets},
		{"a second label in a parameter", "audio/wav; x=application/json", wav, octets},
		{"octets with a parameter", "Application/Octet-Stream; x=y", wav, "Application/Octet-Stream; x=y"},
		{"octets", octets, wav, octets},
		{"a form labelled as JSON", "application/json", "u=" + otherKey, octets},
		{"text labelled as JSON", "application/json", silence, octets},
		{"line breaks labelled as JSON", "application/json", "\r\n \t", octets},
		{"a form behind a byte beyond ASCII labelled urlencoded", "application/x-www-form-urlencoded", "\x80&u=" + otherKey, octets},
		{"a form behind a DEL labelled urlencoded", "application/x-www-form-urlencoded", "\x7f&u=" + otherKey, octets},
		{"a form behind an escape character labelled urlencoded", "application/x-www-form-urlencoded", "\x1f&u=" + otherKey, octets},
		{"a value without a name labelled urlencoded", "application/x-www-form-urlencoded", "=abc", octets},
		{"no body, no label", "", "", ""},
		{"no body, and a label", "text/plain", "", "text/plain"},
	} {
		for mode, up := range upstreams {
			t.Run(test.name+", "+mode, func(t *testing.T) {
				t.Parallel()
				for _, length := range []int64{int64(len(test.body)), -1} {
					if length < 0 && test.body == "" {
						continue
					}
					r := upload("u="+escaped, test.contentType, test.body)
					r.ContentLength = length
					accept(t, r, up)
					if got := readBody(t, r); got != test.body || r.ContentLength != length {
						t.Errorf("the body went upstream as %q", got)
					}
					if got := r.Header.Get("Content-Type"); got != test.forwarded {
						t.Errorf("Content-Type went upstream as %q, want %q", got, test.forwarded)
					}
				}
			})
		}
	}
	const urlencoded, asJSON = "a body that is a urlencoded form: ", "a body that is JSON: "
	for name, test := range map[string]struct{ contentType, body, detail string }{
		"a urlencoded form":                             {"application/x-www-form-urlencoded", "u=" + otherKey + "&d=-a-general", urlencoded},
		"a urlencoded form, behind CRLF":                {"application/x-www-form-urlencoded", "\r\nd=-a-general&u=" + otherKey, urlencoded},
		"a multipart form":                              {"application/x-www-form-urlencoded", uPart + aPart + end, urlencoded},
		"a multipart form with a long boundary":         {"application/x-www-form-urlencoded", "\r\n--" + strings.Repeat("b", 70) + "\r\n", urlencoded},
		"a urlencoded form, behind a tilde and a space": {"application/x-www-form-urlencoded", "~ =" + otherKey, urlencoded},
		"a JSON object with CRLF":                       {"application/json", "{\r\n\t\"u\":\"" + otherKey + "\"}", asJSON},
		"a JSON object":                                 {"application/json", `{"u":"` + otherKey + `","d":"-a-general"}`, asJSON},
		"a JSON object, over lines":                     {"application/json; charset=utf-8", "\r\n {\n\t\"u\": \"" + otherKey + "\", \"d\": \"音\"}", asJSON},
		"a JSON array":                                  {"application/merge-patch+json", `[{"u":"` + otherKey + `"}]`, asJSON},
	} {
		t.Run("told of: "+name, func(t *testing.T) {
			t.Parallel()
			refuse(t, upload("u="+escaped, test.contentType, test.body), policy.RequestMalformed, test.detail)
		})
	}
	t.Run("a failing read", func(t *testing.T) {
		t.Parallel()
		for _, contentType := range []string{"application/x-www-form-urlencoded", "application/json"} {
			r := upload("u="+escaped, contentType, "")
			r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
			f := Scan(r, api, api.Classify(http.MethodPost, "/v1/recognize").Route)
			if err := f.ReadForm(nil, r, testMaxHead, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("ReadForm returned %v", err)
			}
		}
	})
}

// An operation that the operator has allowed (also_allow) may take JSON or text. A body
// without a label, or with the label urlencoded, must still not be read as a form.
func TestR19_AnAllowedOperationKeepsItsContentType(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]string{
		"application/json": "application/json", "text/plain": "text/plain", "": octets, "application/x-www-form-urlencoded": octets,
	} {
		r := upload("u="+escaped, "", `{"words":[]}`)
		r.Header.Set("Content-Type", contentType) // "" too, which is another header than none
		f := Scan(r, api, nil)
		if f.NeedsForm() {
			if err := f.ReadForm(nil, r, testMaxHead, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, fault := f.Key(); fault != nil {
			t.Fatalf("%q: %v", contentType, fault)
		}
		f.Rewrite(r, replace)
		if got := r.Header.Get("Content-Type"); got != want {
			t.Errorf("%q went upstream as %q, want %q", contentType, got, want)
		}
	}
}
