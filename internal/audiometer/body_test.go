package audiometer_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"mime/multipart"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/audiometer"
)

// wav returns a WAV file with the given chunks before its audio.
func wav(rate, channels, bits int, audio []byte, before ...string) []byte {
	var b bytes.Buffer
	chunk := func(name string, data []byte) {
		b.WriteString(name)
		_ = binary.Write(&b, binary.LittleEndian, uint32(len(data)))
		b.Write(data)
	}
	b.WriteString("RIFF\xff\xff\xff\xffWAVE")
	for _, text := range before {
		chunk("LIST", []byte(text))
		if len(text)%2 == 1 {
			b.WriteByte(0)
		}
	}
	format := new(bytes.Buffer)
	for _, v := range []any{uint16(1), uint16(channels), uint32(rate), uint32(rate * channels * bits / 8), uint16(channels * bits / 8), uint16(bits)} {
		_ = binary.Write(format, binary.LittleEndian, v)
	}
	chunk("fmt ", format.Bytes())
	chunk("data", audio)
	return b.Bytes()
}

// form returns a form and its Content-Type. The parts are name and content, in turn.
func form(parts ...string) (body []byte, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		part, _ := w.CreateFormField(parts[i])
		_, _ = io.WriteString(part, parts[i+1])
	}
	_ = w.Close()
	return b.Bytes(), w.FormDataContentType()
}

// measure reads a body whole, in pieces of each size, and returns what was measured.
func measure(t *testing.T, body []byte, cfg audiometer.Config) (int64, time.Duration) {
	t.Helper()
	var size int64
	var length time.Duration
	for i, reader := range []io.Reader{bytes.NewReader(body), iotest.OneByteReader(bytes.NewReader(body)), iotest.HalfReader(bytes.NewReader(body)), iotest.DataErrReader(bytes.NewReader(body))} {
		b := new(audiometer.Body)
		b.Begin(io.NopCloser(reader), cfg)
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("the body is changed: %v", err)
		}
		n, d := b.Measure()
		if i > 0 && (n != size || d != length) {
			t.Errorf("%d bytes and %s, and %d bytes and %s in other pieces", size, length, n, d)
		}
		size, length = n, d
	}
	return size, length
}

func TestMeasure_BytesAndLength(t *testing.T) {
	t.Parallel()
	second := strings.Repeat("\x01\x02", 16000) // 16-bit PCM at 16 kHz
	file := string(wav(8000, 2, 16, []byte(second)))
	noted := string(wav(16000, 1, 16, []byte(second), "a note", "odd"))
	late := file[:36] + "LIST\x40\x1f\x00\x00" + strings.Repeat("note", 2000) + file[36:]
	broadcast := file[:12] + "bext\x5a\x02\x00\x00" + strings.Repeat("\x00", 602) + file[12:]
	lying := file[:28] + "\xff\xff\xff\x7f" + file[32:]
	silent := file[:28] + "\x00\x00\x00\x00" + file[32:]
	type parts []string
	for _, c := range []struct {
		name   string
		cfg    audiometer.Config
		body   string
		parts  parts
		size   int
		length time.Duration
	}{
		{"raw audio of a known rate", audiometer.Config{Rate: 32000}, second, nil, 32000, time.Second},
		{"raw audio of an unknown rate", audiometer.Config{}, second, nil, 32000, 0},
		{"a WAV file", audiometer.Config{}, file, nil, len(file), time.Second},
		{"a WAV file with notes", audiometer.Config{}, noted, nil, len(noted), time.Second},
		{"a WAV file whose header is longer than it is looked at", audiometer.Config{}, late, nil, len(late), time.Second * time.Duration(len(late)-4096) / 32000},
		{"a WAV file with a broadcast's data before its format", audiometer.Config{}, broadcast, nil, len(broadcast), time.Second},
		{"a WAV file that says that it has fewer seconds", audiometer.Config{}, lying, nil, len(lying), time.Second},
		{"a WAV file that does not say its bytes a second", audiometer.Config{}, silent, nil, len(silent), time.Second},
		{"a WAV file above 4 GiB", audiometer.Config{}, "RF64" + file[4:], nil, len(file), time.Second},
		{"a WAV file that ends in its header", audiometer.Config{}, file[:40], nil, 40, 0},
		{"a WAV file without audio", audiometer.Config{}, file[:44], nil, 44, 0},
		{"no body", audiometer.Config{}, "", nil, 0, 0},
		{"a form with a format", audiometer.Config{Part: "a", FormatPart: "c"}, "", parts{"d", "-a-general", "c", "lsb16k", "a", second}, 32000, time.Second},
		{"a form with a format of a header", audiometer.Config{Part: "a", FormatPart: "c"}, "", parts{"c", "16K", "a", noted}, len(noted), time.Second},
		{"a form with an empty part", audiometer.Config{Part: "a", FormatPart: "c"}, "", parts{"d", "", "c", "LSB16K", "u", "", "a", second}, 32000, time.Second},
		{"a form whose rate is in the query", audiometer.Config{Part: "a", FormatPart: "c", Rate: 32000}, "", parts{"a", second}, 32000, time.Second},
		{"a form with a WAV file", audiometer.Config{Part: "file"}, "", parts{"model", "whisper-1", "file", file}, len(file), time.Second},
		{"a form with fields behind the file", audiometer.Config{Part: "file"}, "", parts{"file", file, "model", "whisper-1", "language", "ja"}, len(file), time.Second},
		{"a form with empty audio", audiometer.Config{Part: "a", FormatPart: "c"}, "", parts{"c", "LSB16K", "a", ""}, 0, 0},
	} {
		body, cfg := []byte(c.body), c.cfg
		if c.parts != nil {
			body, cfg.ContentType = form(c.parts...)
		}
		if size, length := measure(t, body, cfg); size != int64(c.size) || length != c.length {
			t.Errorf("%s: %d bytes, %s; want %d, %s", c.name, size, length, c.size, c.length)
		}
	}
}

// The form of AmiVoice's client library begins with a line break, and its audio has no file name.
func TestMeasure_FormOfTheVendorsLibrary(t *testing.T) {
	t.Parallel()
	audio := strings.Repeat("\r\n", 4000)
	body := "\r\n--1234567890ABCDEFGHIJ\r\nContent-Disposition: form-data; name=\"d\"\r\n\r\ngrammarFileNames=-a-general authorization=KEY\r\n" +
		"--1234567890ABCDEFGHIJ\r\nContent-Disposition: form-data; name=\"c\"\r\n\r\nMULAW\r\n" +
		"--1234567890ABCDEFGHIJ\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + audio + "\r\n--1234567890ABCDEFGHIJ--\r\n"
	cfg := audiometer.Config{ContentType: "multipart/form-data; boundary=1234567890ABCDEFGHIJ", Part: "a", FormatPart: "c"}
	if size, length := measure(t, []byte(body), cfg); size != 8000 || length != time.Second {
		t.Errorf("%d bytes, %s; want 8000, 1s", size, length)
	}
}

// A form in which the audio cannot be found counts as a whole, and has no length.
func TestMeasure_FormThatCannotBeRead(t *testing.T) {
	t.Parallel()
	late, kind := form("d", strings.Repeat("x", 80<<10), "c", "LSB16K", "a", "audio")
	for name, c := range map[string]struct {
		body []byte
		kind string
	}{
		"audio behind 64 KiB": {late, kind},
		"no boundary":         {[]byte("some bytes"), "multipart/form-data"},
		"another boundary":    {late, "multipart/form-data; boundary=other"},
	} {
		size, length := measure(t, c.body, audiometer.Config{ContentType: c.kind, Part: "a", FormatPart: "c"})
		if length != 0 || size == 0 || size > int64(len(c.body)) || size < int64(len(c.body))-200 {
			t.Errorf("%s: %d of %d bytes, %s", name, size, len(c.body), length)
		}
	}
}

func TestMeasure_EveryAudioInAForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		audio := rapid.SliceOfN(rapid.SampledFrom([]byte("\r\n-ab\x00")), 0, 3000).Draw(r, "audio")
		before := rapid.StringOfN(rapid.RuneFrom([]rune("ab=;\r\n- ")), 0, 100, -1).Draw(r, "before")
		body, kind := form("d", before, "c", "ALAW", "a", string(audio))
		size, length := measure(t, body, audiometer.Config{ContentType: kind, Part: "a", FormatPart: "c"})
		if size != int64(len(audio)) || length != time.Duration(len(audio))*time.Second/8000 {
			r.Errorf("%d bytes, %s; want %d", size, length, len(audio))
		}
	})
}

func TestRates(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]int{
		"LSB16K": 32000, "lsb8k": 16000, "MSB44K": 88200, "LSB11K": 22050, "MuLaw": 8000, "ALAW": 8000,
		"16K": 0, "8k": 0, "": 0, "LSB": 0, "LSB17K": 0, "OPUS": 0,
	} {
		if got := audiometer.NamedRate(format); got != want {
			t.Errorf("NamedRate(%q) = %d, want %d", format, got, want)
		}
	}
	for _, c := range []struct {
		encoding, samples, channels string
		want                        int
	}{
		{"linear16", "16000", "", 32000},
		{"linear16", "44100", "2", 176400},
		{"mulaw", "8000", "1", 8000},
		{"pcm_s16le", "16000", "", 32000},
		{"opus", "48000", "", 0},
		{"", "16000", "", 0},
		{"linear16", "", "", 0},
		{"linear16", "-16000", "", 0},
		{"linear16", "16000", "0", 0},
		{"linear16", "16000", "many", 0},
		{"linear16", "9999999999", "", 0},
	} {
		if got := audiometer.RawRate(c.encoding, c.samples, c.channels); got != c.want {
			t.Errorf("RawRate(%q, %q, %q) = %d, want %d", c.encoding, c.samples, c.channels, got, c.want)
		}
	}
}

func FuzzMeasure(f *testing.F) {
	body, kind := form("c", "LSB16K", "a", "audio")
	f.Add(body, kind)
	f.Add(wav(8000, 1, 16, []byte("audio"), "note"), "audio/wav")
	f.Fuzz(func(t *testing.T, body []byte, kind string) {
		b := new(audiometer.Body)
		b.Begin(io.NopCloser(bytes.NewReader(body)), audiometer.Config{ContentType: kind, Part: "a", FormatPart: "c"})
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, body) {
			t.Fatal("the body is changed")
		}
		if size, length := b.Measure(); size < 0 || size > int64(len(body)) || length < 0 {
			t.Errorf("%d of %d bytes, %s", size, len(body), length)
		}
	})
}
