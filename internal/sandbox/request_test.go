package sandbox

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
)

const testKey = "KEY+/=abc"

// read reads a request to recognize speech, and its audio.
func read(query, contentType string, body io.Reader) (recognition, string, error) {
	r := httptest.NewRequest(http.MethodPost, "/v1/recognize", body)
	r.URL.RawQuery = query
	r.Header["Content-Type"] = []string{contentType}
	rec, err := readRecognition(r)
	if rec.audio == nil {
		return rec, "", err
	}
	audio, readErr := io.ReadAll(rec.audio)
	return rec, string(audio), errors.Join(err, readErr)
}

func TestCredentialsInMultipart(t *testing.T) {
	t.Parallel()
	a := part{"a", "sound"}
	tests := []struct {
		name  string
		query string
		parts []part
		open  bool
	}{
		{"u", "", []part{{"u", testKey}, {"d", "-a-general"}, a}, true},
		{"u after d", "", []part{{"d", "-a-general"}, {"u", testKey}, a}, true},
		{"u after a", "", []part{{"d", "-a-general"}, a, {"u", testKey}}, false},
		{"authorization, encoded", "", []part{{"d", "grammarFileNames=-a-general authorization=KEY%2B%2F%3Dabc"}, a}, true},
		{"authorization, left raw", "", []part{{"d", "authorization=KEY+/=abc grammarFileNames=-a-general"}, a}, true},
		{"authorization after a", "", []part{a, {"d", "authorization=" + testKey}}, false},
		{"authorization inside a value", "", []part{{"d", "profileWords=x%20authorization=" + testKey}, a}, false},
		{"xauthorization", "", []part{{"d", "xauthorization=" + testKey}, a}, false},
		{"query u", "u=KEY%2B%2F%3Dabc", []part{{"d", "-a-general"}, a}, true},
		{"the same key thrice", "u=KEY%2B%2F%3Dabc", []part{{"u", testKey}, {"d", "authorization=" + testKey}, a}, true},
		{"query and part differ", "u=other", []part{{"u", testKey}, a}, false},
		{"query and part differ, the other way", "u=KEY%2B%2F%3Dabc", []part{{"u", "other"}, a}, false},
		{"u and authorization differ", "", []part{{"u", testKey}, {"d", "authorization=other"}, a}, false},
		{"two u", "", []part{{"u", testKey}, {"u", "other"}, a}, false},
		{"two authorizations", "", []part{{"d", "authorization=" + testKey + " authorization=other"}, a}, false},
		{"a differing key after a is not seen", "", []part{{"u", testKey}, a, {"u", "other"}}, true},
		{"an empty u is none", "", []part{{"u", ""}, {"d", "authorization=" + testKey}, a}, true},
		{"wrong", "", []part{{"u", "KEY"}, a}, false},
		{"wrong by a space", "", []part{{"u", testKey + " "}, a}, false},
		{"none", "", []part{{"d", "-a-general"}, a}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			contentType, body := form(t, test.parts...)
			rec, audio, err := read(test.query, contentType, bytes.NewReader(body))
			if err != nil || audio != "sound" {
				t.Fatalf("audio %q, error %v", audio, err)
			}
			if got := rec.open(testKey); got != test.open {
				t.Errorf("open is %v", got)
			}
			if !rec.open("") {
				t.Error("not open although no key is wanted")
			}
		})
	}
}

func TestCredentialsAndFormatOfARawBody(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, query, contentType string
		open                     bool
		format                   string
	}{
		{"u", "u=KEY%2B%2F%3Dabc&c=16K", "", true, "16K"},
		{"u, labelled as a form", "u=KEY%2B%2F%3Dabc", "application/x-www-form-urlencoded", true, ""},
		{"u, plus as a space", "u=KEY+/=abc", "audio/wav", false, ""},
		{"authorization, both layers encoded", "d=grammarFileNames%3D-a-general%20authorization%3DKEY%252B%252F%253Dabc&c=16K", "", true, "16K"},
		{"authorization, plus for the space", "d=grammarFileNames%3D-a-general+authorization%3DKEY%252B%252F%253Dabc", "", true, ""},
		{"authorization, inner layer raw", "d=authorization%3DKEY%2B%2F%3Dabc", "", true, ""},
		{"two u", "u=KEY%2B%2F%3Dabc&u=x", "", false, ""},
		{"u and authorization differ", "u=KEY%2B%2F%3Dabc&d=authorization%3Dx", "", false, ""},
		{"odd content type", "u=KEY%2B%2F%3Dabc", "a/b; c; d", true, ""},
		{"none", "", "application/octet-stream", false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rec, audio, err := read(test.query, test.contentType, strings.NewReader("u=KEY%2B%2F%3Dabc"))
			if err != nil || audio != "u=KEY%2B%2F%3Dabc" {
				t.Fatalf("audio %q, error %v", audio, err)
			}
			if got := rec.open(testKey); got != test.open || rec.format != test.format {
				t.Errorf("open is %v, format %q", got, rec.format)
			}
		})
	}
}

func TestReadRecognitionOfBrokenMultipart(t *testing.T) {
	t.Parallel()
	const head = "--B\r\nContent-Disposition: form-data; name=\"u\"\r\n\r\nk\r\n--B\r\n"
	tests := []struct {
		name, contentType, body string
		fails                   bool
	}{
		{"no audio", "multipart/form-data; boundary=B", head + "Content-Disposition: form-data; name=d\r\n\r\nx\r\n--B--\r\n", false},
		{"nothing at all", "multipart/form-data; boundary=B", "", false},
		{"no boundary in the type", "multipart/form-data", head, true},
		{"two boundaries in the type", "Multipart/Form-Data; boundary=B; boundary=C", head, true},
		{"cut off in the audio", "multipart/form-data; boundary=B", head + "Content-Disposition: form-data; name=a\r\n\r\nRIFF", true},
		{"cut off in a part's head", "multipart/form-data; boundary=B", head + "Content-Dispo", true},
		{"too many parts", "multipart/form-data; boundary=B", strings.Repeat("--B\r\n\r\nx\r\n", maxParts+1) + "--B--\r\n", true},
		{"a parameter too large", "multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=d\r\n\r\n" + strings.Repeat("x", maxParameter+1) + "\r\n--B--\r\n", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rec, _, err := read("", test.contentType, strings.NewReader(test.body))
			if (err != nil) != test.fails {
				t.Errorf("error %v", err)
			}
			if !test.fails && rec.audio != nil {
				t.Error("audio out of nowhere")
			}
		})
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		values []string
		open   bool
	}{
		{"key", []string{"Bearer " + testKey}, true},
		{"scheme in lower case", []string{"bearer " + testKey}, true},
		{"twice the same", []string{"Bearer " + testKey, "Bearer " + testKey}, true},
		{"two keys", []string{"Bearer " + testKey, "Bearer other"}, false},
		{"another scheme", []string{"Basic " + testKey}, false},
		{"no scheme", []string{testKey}, false},
		{"no key", []string{"Bearer"}, false},
		{"none", nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			keys := bearer(&http.Request{Header: http.Header{"Authorization": test.values}})
			if got := keys.open(testKey); got != test.open {
				t.Errorf("open is %v", got)
			}
		})
	}
}

func FuzzReadRecognition(f *testing.F) {
	f.Add("u=k&c=16K", "", []byte("sound"))
	f.Add("d=a%3Db+authorization%3Dk", "multipart/form-data; boundary=B", []byte("\r\n--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nsound\r\n--B--\r\n"))
	f.Add("", "multipart/form-data; boundary=B", []byte("--B\r\nContent-Disposition: form-data; name=u\r\n\r\nk\r\n--B\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--B--"))
	f.Fuzz(func(t *testing.T, query, contentType string, body []byte) {
		rec, audio, err := read(query, contentType, bytes.NewReader(body))
		again, audio2, err2 := read(query, contentType, iotest.OneByteReader(bytes.NewReader(body)))
		if rec.credentials != again.credentials || rec.format != again.format || audio != audio2 || (err == nil) != (err2 == nil) {
			t.Errorf("%+v, %q, %v at once; %+v, %q, %v byte by byte", rec, audio, err, again, audio2, err2)
		}
		if !bytes.Contains(body, []byte(audio)) {
			t.Errorf("audio %q is not in the body", audio)
		}
	})
}

func FuzzOptions(f *testing.F) {
	f.Add(testKey, "-a-general")
	f.Add("100%", "x authorization=FAKE")
	f.Fuzz(func(t *testing.T, key, words string) {
		d := "profileWords=" + url.PathEscape(words) + " authorization=" + url.PathEscape(key)
		var inMultipart, inQuery recognition
		inMultipart.parameter("d", d)
		if want := (credentials{key: key}); inMultipart.credentials != want {
			t.Errorf("%q of %q", inMultipart.key, d)
		}
		values, err := url.ParseQuery(url.Values{"d": {d}}.Encode())
		if err != nil {
			t.Fatal(err)
		}
		inQuery.parameter("d", values.Get("d"))
		if inQuery.credentials != inMultipart.credentials {
			t.Errorf("%q in the query, %q in multipart", inQuery.key, inMultipart.key)
		}
	})
}
