package sandbox

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// stretch is generated sound: a tone, or silence if the amplitude is 0.
type stretch struct {
	length    time.Duration
	amplitude float64
}

// samples renders stretches as PCM, a tone of freq in every channel.
func samples(f pcm, freq float64, stretches ...stretch) []byte {
	var out []byte
	n := 0
	for _, s := range stretches {
		for range f.count(s.length) {
			v := s.amplitude * math.Sin(2*math.Pi*freq*float64(n)/float64(f.rate))
			n++
			for range f.channels {
				switch {
				case f.law == muLaw:
					out = append(out, companded(muLawSamples, v*32767))
				case f.law == aLaw:
					out = append(out, companded(aLawSamples, v*32767))
				case f.bigEndian:
					out = binary.BigEndian.AppendUint16(out, uint16(int16(math.Round(v*32767))))
				default:
					out = binary.LittleEndian.AppendUint16(out, uint16(int16(math.Round(v*32767))))
				}
			}
		}
	}
	return out
}

// companded returns the byte whose sample is nearest to v.
func companded(samples *[256]int64, v float64) byte {
	nearest := 0
	for i, sample := range samples {
		if math.Abs(float64(sample)-v) < math.Abs(float64(samples[nearest])-v) {
			nearest = i
		}
	}
	return byte(nearest)
}

// chunk returns a RIFF chunk with this size, and with padding if the size is odd.
func chunk(name string, size int, data []byte) []byte {
	out := binary.LittleEndian.AppendUint32([]byte(name), uint32(size))
	out = append(out, data...)
	if size%2 == 1 {
		out = append(out, 0)
	}
	return out
}

func fmtChunk(f pcm) []byte {
	tag := map[law]uint16{linear: tagPCM, muLaw: tagMuLaw, aLaw: tagALaw}[f.law]
	return chunk("fmt ", 16, fmtData(tag, f))
}

func fmtData(tag uint16, f pcm) []byte {
	data := binary.LittleEndian.AppendUint16(nil, tag)
	data = binary.LittleEndian.AppendUint16(data, uint16(f.channels))
	data = binary.LittleEndian.AppendUint32(data, uint32(f.rate))
	data = binary.LittleEndian.AppendUint32(data, uint32(f.rate*f.block()))
	data = binary.LittleEndian.AppendUint16(data, uint16(f.block()))
	return binary.LittleEndian.AppendUint16(data, uint16(f.bits))
}

// riff returns a WAV file with these chunks.
func riff(chunks ...[]byte) []byte {
	body := bytes.Join(chunks, nil)
	out := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(4+len(body)))
	return append(append(out, "WAVE"...), body...)
}

func wav(f pcm, data []byte) []byte {
	return riff(fmtChunk(f), chunk("data", len(data), data))
}

// part is one part of a multipart body, or one pair of a query.
type part struct{ name, value string }

// form returns a body as curl -F writes it, and its content type.
func form(t testing.TB, parts ...part) (string, []byte) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, p := range parts {
		var pw io.Writer
		var err error
		if p.name == "a" {
			pw, err = w.CreateFormFile(p.name, "test.wav")
		} else {
			pw, err = w.CreateFormField(p.name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(pw, p.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), buf.Bytes()
}

// doWith calls h without a network connection. The header is names and values in turns. A field with
// an empty value is not sent.
func doWith(h http.Handler, method, target string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	for pair := range slices.Chunk(header, 2) {
		if pair[1] != "" {
			r.Header.Add(pair[0], pair[1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// do is doWith for a body with a content type.
func do(h http.Handler, method, target, contentType string, body io.Reader) *httptest.ResponseRecorder {
	return doWith(h, method, target, body, "Content-Type", contentType)
}

// bearerOf returns the value of Authorization for a key; "" for no key.
func bearerOf(key string) string {
	if key == "" {
		return ""
	}
	return "Bearer " + key
}

// poll sends a poll to h with a key; "" sends none.
func poll(h http.Handler, path, key string) *httptest.ResponseRecorder {
	return doWith(h, http.MethodGet, path, nil, "Authorization", bearerOf(key))
}
