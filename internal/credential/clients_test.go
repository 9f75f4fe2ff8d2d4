package credential

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// client is a request as an HTTP library sends it. KEY is replaced with the key, DKEY with
// the key as it is written in d, and AUDIO with the audio.
type client struct {
	name, contentType, body string
	forwarded               string // the Content-Type for the backend, if it is another one
}

const audio = "RIFF\x24\x00\x00\x00WAVEfmt \x00\r\n--\r\n\xff"

// lines joins lines with CRLF, as all clients do.
func lines(text ...string) string { return strings.Join(text, "\r\n") + "\r\n" }

func (c client) bytes(key, pair string) string {
	body := strings.NewReplacer("DKEY", pair, "KEY", key, "LENGTH", strconv.Itoa(len(key)), "AUDIO", audio).Replace(c.body)
	return strings.ReplaceAll(body, "DLEN", strconv.Itoa(len("-a-general authorization="+pair)))
}

var clients = []client{
	{name: "the vendor's library", contentType: "multipart/form-data; boundary=1234567890ABCDEFGHIJ", body: "\r\n" + lines(
		"--1234567890ABCDEFGHIJ", `Content-Disposition: form-data; name="d"`, "", "grammarFileNames=-a-general authorization=DKEY",
		"--1234567890ABCDEFGHIJ", `Content-Disposition: form-data; name="c"`, "", "16K",
		"--1234567890ABCDEFGHIJ", `Content-Disposition: form-data; name="a"`, "", "AUDIO",
		"--1234567890ABCDEFGHIJ--")},
	{name: "curl", contentType: "multipart/form-data; boundary=------------------------a1de0257654059f4", body: lines(
		"--------------------------a1de0257654059f4", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--------------------------a1de0257654059f4", `Content-Disposition: form-data; name="d"`, "", "-a-general",
		"--------------------------a1de0257654059f4", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Type: application/octet-stream", "", "AUDIO",
		"--------------------------a1de0257654059f4--")},
	{name: "a browser", contentType: "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW", body: lines(
		"------WebKitFormBoundary7MA4YWxkTrZu0gW", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"------WebKitFormBoundary7MA4YWxkTrZu0gW", `Content-Disposition: form-data; name="a"; filename="blob"`, "Content-Type: audio/webm;codecs=opus", "", "AUDIO",
		"------WebKitFormBoundary7MA4YWxkTrZu0gW--")},
	{name: "Python requests", contentType: "multipart/form-data; boundary=8d2f0100aa431fd0c0c6d9438b304904", body: lines(
		"--8d2f0100aa431fd0c0c6d9438b304904", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--8d2f0100aa431fd0c0c6d9438b304904", `Content-Disposition: form-data; name="d"`, "", "-a-general",
		"--8d2f0100aa431fd0c0c6d9438b304904", `Content-Disposition: form-data; name="a"; filename="音.wav"`, "Content-Type: audio/wav", "", "AUDIO",
		"--8d2f0100aa431fd0c0c6d9438b304904--")},
	{name: "urllib3 1", contentType: "multipart/form-data; boundary=8d2f", body: lines(
		"--8d2f", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--8d2f", `Content-Disposition: form-data; name="a"; filename*=utf-8''%E9%9F%B3.wav`, "", "AUDIO", "--8d2f--")},
	{name: "Node's fetch", contentType: "multipart/form-data; boundary=----formdata-undici-047761907158", body: lines(
		"------formdata-undici-047761907158", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"------formdata-undici-047761907158", `Content-Disposition: form-data; name="a"; filename="t %22q%22.wav"`, "Content-Type: audio/webm;codecs=opus", "", "AUDIO",
		"------formdata-undici-047761907158--", "")},
	{name: "Node's form-data", contentType: "multipart/form-data; boundary=--------------------------575106103142716586083428", body: lines(
		"----------------------------575106103142716586083428", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"----------------------------575106103142716586083428", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Type: audio/wave", "", "AUDIO",
		"----------------------------575106103142716586083428--")},
	{name: "OkHttp and Retrofit", contentType: "multipart/form-data; boundary=e7f2a1b0-34aa-4f0c-9d0e-3f0f5a1b2c3d", body: lines(
		"--e7f2a1b0-34aa-4f0c-9d0e-3f0f5a1b2c3d", `Content-Disposition: form-data; name="u"`, "Content-Transfer-Encoding: binary", "Content-Type: text/plain; charset=UTF-8", "Content-Length: LENGTH", "", "KEY",
		"--e7f2a1b0-34aa-4f0c-9d0e-3f0f5a1b2c3d", `Content-Disposition: form-data; name="d"`, "Content-Length: DLEN", "", "-a-general authorization=DKEY",
		"--e7f2a1b0-34aa-4f0c-9d0e-3f0f5a1b2c3d", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Type: audio/wav", "Content-Length: 18", "", "AUDIO",
		"--e7f2a1b0-34aa-4f0c-9d0e-3f0f5a1b2c3d--")},
	{name: "Apache HttpClient", contentType: "multipart/form-data; boundary=Zq-1_8hsKd2; charset=UTF-8", body: lines(
		"--Zq-1_8hsKd2", `Content-Disposition: form-data; name="u"`, "Content-Type: text/plain; charset=ISO-8859-1", "Content-Transfer-Encoding: 8bit", "", "KEY",
		"--Zq-1_8hsKd2", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Type: application/octet-stream", "Content-Transfer-Encoding: binary", "", "AUDIO",
		"--Zq-1_8hsKd2--")},
	{name: "Spring", contentType: "multipart/form-data;charset=UTF-8;boundary=AbC-d_e", body: lines(
		"--AbC-d_e", `Content-Disposition: form-data; name="u"`, "Content-Type: text/plain;charset=UTF-8", "Content-Length: LENGTH", "", "KEY",
		"--AbC-d_e", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Type: audio/wav", "", "AUDIO",
		"--AbC-d_e--")},
	{name: ".NET", contentType: `multipart/form-data; boundary="8dcc24cb-6f1f-4a43-ab8a-2a5a1d3f9c6e"`, forwarded: "multipart/form-data; boundary=8dcc24cb-6f1f-4a43-ab8a-2a5a1d3f9c6e", body: lines(
		"--8dcc24cb-6f1f-4a43-ab8a-2a5a1d3f9c6e", "Content-Type: text/plain; charset=utf-8", "Content-Disposition: form-data; name=u", "", "KEY",
		"--8dcc24cb-6f1f-4a43-ab8a-2a5a1d3f9c6e", "Content-Disposition: form-data; name=a; filename=t.wav; filename*=utf-8''t.wav", "", "AUDIO",
		"--8dcc24cb-6f1f-4a43-ab8a-2a5a1d3f9c6e--")},
	{name: "JavaMail", contentType: `multipart/form-data; boundary="----=_Part_0_1.2"`, body: lines(
		"------=_Part_0_1.2", "Content-Transfer-Encoding: 7bit", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"------=_Part_0_1.2", `Content-Disposition: form-data; name="a"`, "", "AUDIO", "------=_Part_0_1.2--")},
	{name: "a boundary that is no token, unquoted", contentType: "multipart/form-data; boundary=----=_Part_0:1/2", body: lines(
		"------=_Part_0:1/2", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"------=_Part_0:1/2", `Content-Disposition: form-data; name="a"`, "", "AUDIO", "------=_Part_0:1/2--")},
	{name: "Go's mime/multipart", contentType: "multipart/form-data; boundary=0a1b2c", body: lines(
		"--0a1b2c", `Content-Disposition: form-data; name="u"`, "", "KEY",
		"--0a1b2c", `Content-Disposition: form-data; name="a"; filename="t.wav"`, "Content-Type: application/octet-stream", "", "AUDIO", "--0a1b2c--")},
}

func TestR19_RealClientsPass(t *testing.T) {
	t.Parallel()
	for _, c := range slices.Concat(clients, httpStacks) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := map[string]string{
				"replace": c.bytes(upstreamKey, "UPSTREAM%2FKEY%2Bwith%3Dall%26of%3Bit%2520%22%3C%3E"),
				"pass":    c.bytes(clientKey, escaped),
			}
			for mode, body := range want {
				for _, chunked := range []bool{false, true} {
					r := upload("", c.contentType, c.bytes(clientKey, escaped))
					if chunked {
						r.ContentLength = -1
					}
					accept(t, r, upstreams[mode])
					if got := readBody(t, r); got != body {
						t.Errorf("%s: went upstream as\n%q, want\n%q", mode, got, body)
					}
					if length := int64(len(body)); chunked && r.ContentLength != -1 || !chunked && r.ContentLength != length {
						t.Errorf("%s: Content-Length is %d for %d bytes", mode, r.ContentLength, length)
					}
					forwarded := c.forwarded
					if forwarded == "" {
						forwarded = c.contentType
					}
					if got := r.Header.Get("Content-Type"); got != forwarded {
						t.Errorf("%s: Content-Type went upstream as %q, want %q", mode, got, forwarded)
					}
				}
			}
			r := upload("", c.contentType, c.bytes(clientKey, escaped))
			accept(t, r, drop)
			if got := readBody(t, r); strings.Contains(got, "CLIENTKEY") || !strings.Contains(got, audio) || r.ContentLength != int64(len(got)) {
				t.Errorf("dropped to %q", got)
			}
		})
	}
}
