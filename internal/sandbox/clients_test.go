package sandbox

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/wstest"
)

// rawForm makes a multipart body from parts. Each part is a header and a value.
func rawForm(parts ...[2]string) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		fmt.Fprintf(&b, "--B\r\n%s\r\n\r\n%s\r\n", p[0], p[1])
	}
	b.WriteString("--B--\r\n")
	return b.Bytes()
}

// The heads of parts as HTTP stacks write them. %s is the part's name.
var partHeads = map[string]string{
	"curl -F":                   `Content-Disposition: form-data; name="%s"`,
	"Retrofit":                  "Content-Disposition: form-data; name=\"%s\"\r\nContent-Type: multipart/form-data; charset=utf-8\r\nContent-Length: 5",
	"Retrofit, bare":            "Content-Disposition: form-data; name=\"%s\"\r\nContent-Type: multipart/form-data",
	"requests, files=":          `Content-Disposition: form-data; name="%[1]s"; filename="%[1]s"`,
	"filename first":            "Content-Disposition: form-data; filename=\"a.wav\"; name=\"%s\"\r\nContent-Type: audio/wav",
	"no quotation marks":        `Content-Disposition: form-data; name=%s`,
	"lower case, no space":      `content-disposition: form-data;name="%s"`,
	"spaces about the sign":     `Content-Disposition: form-data; name = "%s" ; filename = "a.wav"`,
	"Windows path":              `Content-Disposition: form-data; name="%s"; filename="C:\work\new\a.wav"`,
	"Windows path first":        `Content-Disposition: form-data; filename="C:\work\"; name="%s"`,
	"CP932, 予算.wav":             "Content-Disposition: form-data; filename=\"\x97\x5C\x8E\x5A.wav\"; name=\"%s\"",
	"CP932, 能力表 before the end": "Content-Disposition: form-data; filename=\"\x94\x5C\x97\xCD\x95\x5C\"; name=\"%s\"",
	"CP932, ソフト after the name": "Content-Disposition: form-data; name=\"%s\"; filename=\"\x83\x5C\x83\x74\x83\x67.wav\"",
	"quotation marks escaped":   `Content-Disposition: form-data; filename="say \"a\".wav"; name="%s"`,
	"semicolon in a file name":  `Content-Disposition: form-data; filename="a;name=x.wav"; name="%s"`,
	"file name in UTF-8 twice":  `Content-Disposition: form-data; name="%s"; filename="音声.wav"; filename*=UTF-8''%%E9%%9F%%B3.wav`,
	"binary":                    "Content-Disposition: form-data; name=\"%s\"\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary",
}

func TestPartsAreReadAsHTTPStacksWriteThem(t *testing.T) {
	t.Parallel()
	for name, head := range partHeads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var parts [][2]string
			for _, p := range []part{{"u", testKey}, {"d", "-a-general"}, {"c", "lsb16k"}, {"a", "\x00sound\r\n--not the boundary"}} {
				parts = append(parts, [2]string{fmt.Sprintf(head, p.name), p.value})
			}
			rec, audio, err := read("", "multipart/form-data; boundary=B", bytes.NewReader(rawForm(parts...)))
			if err != nil || audio != "\x00sound\r\n--not the boundary" || rec.format != "lsb16k" || !rec.open(testKey) {
				t.Errorf("%+v, audio %q, error %v", rec, audio, err)
			}
		})
	}
}

func TestBoundariesAreReadAsHTTPStacksWriteThem(t *testing.T) {
	t.Parallel()
	for contentType, boundary := range map[string]string{
		"multipart/form-data;boundary=B":                                          "B",
		"multipart/form-data; charset=utf-8; boundary=B":                          "B",
		"Multipart/Form-Data; Boundary=\"a b:c?d\"":                               "a b:c?d",
		"multipart/form-data; boundary=----=_Part_4_1579743.1700000000":           "----=_Part_4_1579743.1700000000",
		"multipart/form-data; boundary=a/b:c?d(e),f; charset=utf-8":               "a/b:c?d(e),f",
		"multipart/form-data; boundary=" + strings.Repeat("-", 26) + "1234567890": strings.Repeat("-", 26) + "1234567890",
	} {
		body := strings.NewReplacer("--B", "--"+boundary).Replace(string(rawForm(
			[2]string{`Content-Disposition: form-data; name="u"`, testKey}, [2]string{`Content-Disposition: form-data; name="a"`, "sound"})))
		if rec, audio, err := read("", contentType, strings.NewReader(body)); err != nil || audio != "sound" || !rec.open(testKey) {
			t.Errorf("%s: %+v, audio %q, error %v", contentType, rec, audio, err)
		}
	}
}

func TestAKeyInTheHeaderAuthenticatesRecognitionAndCreation(t *testing.T) {
	t.Parallel()
	h := NewAmiVoice(Config{Key: testKey})
	const inHeader = "Bearer " + testKey
	tests := []struct {
		name, authorization string
		parts               []part
		open                bool
	}{
		{"alone", inHeader, nil, true},
		{"scheme in lower case", "bearer " + testKey, nil, true},
		{"beside the same u", inHeader, []part{{"u", testKey}}, true},
		{"beside the same in d", inHeader, []part{{"d", "grammarFileNames=-a-general authorization=KEY%2B%2F%3Dabc"}}, true},
		{"beside another u", inHeader, []part{{"u", "other"}}, false},
		{"another beside the right u", "Bearer other", []part{{"u", testKey}}, false},
		{"beside another in d", inHeader, []part{{"d", "authorization=other"}}, false},
		{"another", "Bearer other", nil, false},
		{"another scheme", "Basic " + testKey, nil, false},
		{"empty", "Bearer ", nil, false},
	}
	for _, path := range []string{"/v1/recognize", "/v1/nolog/recognize", "/v1/recognitions", "/v2/recognitions"} {
		for _, test := range tests {
			contentType, body := form(t, append(test.parts, part{"a", string(SpeechWAV())})...)
			r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			r.Header = http.Header{"Content-Type": {contentType}, "Authorization": {test.authorization}}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if refused := w.Body.String() == refusal; w.Code != http.StatusOK || refused == test.open {
				t.Errorf("%s, %s: %d %s", path, test.name, w.Code, w.Body)
			}
		}
	}
}

// words renders n inline words as the API's parameter profileWords takes them.
func words(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "|単語%04d かなよみ%04d", i, i)
	}
	return b.String()[1:]
}

func TestManyInlineWordsPass(t *testing.T) {
	t.Parallel()
	many := words(5000)
	d := "grammarFileNames=-a-general profileWords=" + url.PathEscape(many)
	if len(d) < 300<<10 {
		t.Fatalf("%d bytes, want more", len(d))
	}
	rec, audio, err := read("", "multipart/form-data; boundary=B", bytes.NewReader(rawForm(
		[2]string{`Content-Disposition: form-data; name="u"`, testKey}, [2]string{`Content-Disposition: form-data; name="d"`, d},
		[2]string{`Content-Disposition: form-data; name="a"`, "sound"})))
	if err != nil || audio != "sound" || !rec.open(testKey) {
		t.Errorf("in a form: key %q, audio %q, error %v", rec.key, audio, err)
	}
	p := dial(t, serveStreams(t, Config{Key: testKey}), libraryShake)
	for _, more := range []int{0, 1 << 20, 3 << 20} {
		command := "s LSB16K -a-general profileWords=\"" + many + strings.Repeat("x", more) + "\" authorization=" + testKey
		p.Send(wstest.Raw(0x81, []byte{0x12, 0xF0, 0x00, 0x9A}, 0, []byte(command)))
		p.WantText("s")
		p.Send(wstest.RawText("e"))
		p.WantText("e")
	}
}

func TestWhiteSpaceInOptionsIsPartOfAValue(t *testing.T) {
	t.Parallel()
	for _, d := range []string{"-a-general\n", "-a-general\r\n", "grammarFileNames=-a-general\nprofileId=x", "a\tb", "grammarFileNames=-a-general  keepFillerToken=1", " ", ""} {
		rec, audio, err := read("u=KEY%2B%2F%3Dabc", "multipart/form-data; boundary=B", bytes.NewReader(rawForm(
			[2]string{`Content-Disposition: form-data; name="d"`, d}, [2]string{`Content-Disposition: form-data; name="a"`, "sound"})))
		if err != nil || audio != "sound" || !rec.open(testKey) {
			t.Errorf("d %q: key %q, audio %q, error %v", d, rec.key, audio, err)
		}
	}
}

func TestAJobKeepsTheNameThatItsClientGaveIt(t *testing.T) {
	t.Parallel()
	h := NewAmiVoice(Config{})
	for d, want := range map[string]string{
		"grammarFileNames=-a-general contentId=call-17%20%2F%E8%A1%A8 loggingOptOut=True": `"content_id":"call-17 /表",`,
		"contentId=a contentId=b":       `"content_id":"b",`,
		"grammarFileNames=-a-general":   "",
		"-a-general":                    "",
		"contentId=":                    "",
		"profileWords=contentId%3Dfake": "",
	} {
		contentType, body := form(t, part{"d", d}, part{"a", string(SpeechWAV())})
		id := do(h, http.MethodPost, "/v2/recognitions", contentType, bytes.NewReader(body)).Header()["X-Session-ID"][0]
		want = fmt.Sprintf(`{"status":"queued","session_id":"%s",%s"service_id":"sandbox","audio_size":186240,"audio_md5":"%x"}`+"\r\n", id, want, md5.Sum(SpeechWAV()))
		if got := poll(h, "/v2/recognitions/"+id, "").Body.String(); got != want {
			t.Errorf("d %q: got %s, want %s", d, got, want)
		}
	}
}

func TestAJobMayBeLargerThanASynchronousRequest(t *testing.T) {
	t.Parallel()
	h := NewAmiVoice(Config{Key: "k", QueueTime: -1, WorkTime: -1})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	second := samples(mono16k, 440, stretch{second, 0.5})
	const seconds = 20 << 20 / 32000
	post := func(path, key string) string {
		audio := &splitReader{data: bytes.Repeat(second, seconds), sizes: []int{64 << 10}}
		response, err := server.Client().Post(server.URL+path+"?c=lsb16k&u="+key, "application/octet-stream", io.Reader(audio))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	if answer := post("/v1/recognize", "k"); !strings.Contains(answer, `"code":"%"`) {
		t.Errorf("synchronous: %s", answer)
	}
	if answer := post("/v2/recognitions", "other"); answer != refusal {
		t.Errorf("with another key: %s", answer)
	}
	answer := post("/v2/recognitions", "k")
	_, id, _ := strings.Cut(answer, `"sessionid":"`)
	id, _, _ = strings.Cut(id, `"`)
	want := fmt.Sprintf(`"text":"%d.00 s of 16000 Hz mono, 16 bits, 1 stretch of speech`, seconds)
	if answer := poll(h, "/v2/recognitions/"+id, "k").Body.String(); !strings.Contains(answer, want) {
		t.Errorf("%s, want %s", answer, want)
	}
}

func TestParameterFindsWhatWasWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[ -~\x{3000}-\x{9FFF}]{0,20}`).Filter(func(s string) bool {
			quoted := strings.ReplaceAll(s, " ", "")
			return !strings.Contains(quoted, `";`) && !strings.HasSuffix(quoted, `"`)
		})
		name := rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "name")
		file := value.Draw(t, "file")
		pair := [2]string{`name="` + name + `"`, `filename="` + file + `"`}
		if rapid.Bool().Draw(t, "filename first") {
			pair[0], pair[1] = pair[1], pair[0]
		}
		field := "form-data; " + pair[0] + rapid.SampledFrom([]string{"; ", ";", " ;\t"}).Draw(t, "separator") + pair[1]
		if got, count := parameter(field, "Name"); got != name || count != 1 {
			t.Errorf("%s: name %q, %d times", field, got, count)
		}
		if got, count := parameter(field, "filename"); got != file || count != 1 {
			t.Errorf("%s: filename %q, %d times", field, got, count)
		}
	})
}

func FuzzParameter(f *testing.F) {
	for _, head := range partHeads {
		f.Add(head, "name")
	}
	f.Fuzz(func(t *testing.T, field, name string) {
		value, count := parameter(field, name)
		if count == 0 && value != "" || !strings.Contains(field, value) {
			t.Errorf("%q, %d times in %q", value, count, field)
		}
		if _, upper := parameter(field, strings.ToUpper(name)); name == strings.ToLower(strings.ToUpper(name)) && upper != count {
			t.Errorf("%d times %q, %d times in capitals in %q", count, name, upper, field)
		}
	})
}

func TestFormsDoNotDependOnHowTheyAreSplit(t *testing.T) {
	t.Parallel()
	for name, head := range partHeads {
		body := rawForm([2]string{fmt.Sprintf(head, "u"), testKey}, [2]string{fmt.Sprintf(head, "a"), "sound"})
		rec, audio, err := read("", "multipart/form-data; boundary=B", iotest.OneByteReader(bytes.NewReader(body)))
		if err != nil || audio != "sound" || !rec.open(testKey) {
			t.Errorf("%s: %+v, audio %q, error %v", name, rec, audio, err)
		}
	}
}
