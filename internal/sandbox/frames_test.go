package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/internal/wstest"
)

// fuzzedMax is the limit of a message in fuzz tests. Their messages are short.
const fuzzedMax = 300

// taken is the result of reading frames: a line for each message and control frame, and
// a line for the end.
func taken(r io.Reader) (lines []string) {
	m := messages{r: r, max: fuzzedMax}
	m.control = func(opcode byte, payload []byte) error {
		lines = append(lines, fmt.Sprintf("control %x %q", opcode, payload))
		return nil
	}
	for {
		opcode, message, err := m.next()
		var wrong *violation
		switch {
		case errors.As(err, &wrong):
			return append(lines, fmt.Sprintf("close %d", wrong.code))
		case errors.Is(err, io.ErrUnexpectedEOF):
			return append(lines, "end")
		case err != nil:
			return append(lines, err.Error())
		}
		lines = append(lines, fmt.Sprintf("message %x %q", opcode, message))
	}
}

// decoded is a second implementation of reading frames, by the diagram in RFC 6455,
// section 5.2.
func decoded(data []byte) (lines []string) {
	var message []byte
	kind := -1
	for len(data) >= 2 {
		bit := func(i int) bool { return data[i/8]>>(7-i%8)&1 == 1 }
		opcode, length, at := int(data[0])%16, int(data[1])%128, 2
		control := bit(4)
		known := strings.IndexByte("\x00\x01\x02\x08\x09\x0A", byte(opcode)) >= 0
		if bit(1) || bit(2) || bit(3) || !known || control && (!bit(0) || length > 125) {
			return append(lines, "close 1002")
		}
		wide := map[int]int{126: 2, 127: 8}[length]
		if len(data) < at+wide {
			break
		}
		if wide > 0 {
			length = 0
			if wide == 8 && bit(16) {
				return append(lines, "close 1002")
			}
			for _, b := range data[at : at+wide] {
				length = length*256 + int(b)
			}
			at += wide
		}
		mask := []byte{0, 0, 0, 0}
		if bit(8) {
			if len(data) < at+4 {
				break
			}
			mask = data[at : at+4]
			at += 4
		}
		if !control {
			switch {
			case (opcode == 0) != (kind >= 0):
				return append(lines, "close 1002")
			case length > fuzzedMax-len(message):
				return append(lines, "close 1009")
			}
		}
		if len(data)-at < length {
			break
		}
		var payload []byte
		for i, b := range data[at : at+length] {
			payload = append(payload, b^mask[i%4])
		}
		if control {
			lines = append(lines, fmt.Sprintf("control %x %q", opcode, payload))
		} else {
			if kind < 0 {
				kind = opcode
			}
			message = append(message, payload...)
			if bit(0) {
				lines = append(lines, fmt.Sprintf("message %x %q", kind, message))
				kind, message = -1, nil
			}
		}
		data = data[at+length:]
	}
	return append(lines, "end")
}

func FuzzFrames(f *testing.F) {
	mask := []byte{0xA5, 0, 0xFF, 1}
	for _, seed := range [][]byte{
		wstest.RawText("s 16K -a-general"), wstest.RawBinary(strings.Repeat("p", 130)),
		bytes.Join([][]byte{wstest.Raw(0x01, mask, 0, []byte("s 16K")), wstest.Raw(0x89, mask, 0, []byte("ping")), wstest.Raw(0x80, nil, 64, []byte(" x"))}, nil),
		append(wstest.Raw(0x02, nil, 16, make([]byte, 200)), wstest.Raw(0x80, nil, 0, make([]byte, 101))...),
		wstest.Raw(0x88, nil, 0, []byte{3, 232}), wstest.Raw(0x8A, nil, 16, nil), wstest.Raw(0xC1, nil, 0, nil), wstest.Raw(0x00, nil, 0, nil),
		{0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0},
		{0x82, 0x7F, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := taken(bytes.NewReader(data))
		if diff := cmp.Diff(decoded(data), got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(got, taken(iotest.OneByteReader(bytes.NewReader(data)))); diff != "" {
			t.Errorf("byte by byte: %s", diff)
		}
	})
}

// The grammar of the text after the letter of a command s, as a regular expression.
var (
	startGrammar = regexp.MustCompile(`(?s)^ ([^ "]+) ([^ "]+)((?: [^ "=]+=(?:"(?:[^"]|"")*"|(?:[^ "][^ ]*)?))*)$`)
	pairGrammar  = regexp.MustCompile(`(?s) ([^ "=]+)=("(?:[^"]|"")*"|(?:[^ "][^ ]*)?)`)
)

func TestParseStart(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]start{
		" 16k -a-general":                            {format: "16k", engine: "-a-general"},
		" 16K \x01 authorization=k":                  {format: "16K", engine: "\x01", credentials: credentials{key: "k"}},
		` LSB8K x a= authorization="a ""b"" c" b=""`: {format: "LSB8K", engine: "x", credentials: credentials{key: `a "b" c`}},
		` 16K x extension={"a":"b"} authorization=k`: {format: "16K", engine: "x", credentials: credentials{key: "k"}},
		" 16K x authorization=a=b%20":                {format: "16K", engine: "x", credentials: credentials{key: "a=b%20"}},
		" 16K x authorization=a authorization=b":     {format: "16K", engine: "x", credentials: credentials{key: "a", mixed: true}},
		" 16K x Authorization=a":                     {format: "16K", engine: "x"},
	} {
		if got, err := parseStart(text); err != nil || got != want {
			t.Errorf("%q: %+v, error %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "16K x", " 16K", " 16K ", "  16K x", " 16K  x", " 16K x ", " 16K x  a=b", ` "16K" x`, ` 16K "x y"`,
		" 16K x a", " 16K x =b", ` 16K x "a"=b`, ` 16K x a="b`, ` 16K x a="b""`, ` 16K x a="b"c`, ` 16K x a="b"="c"`, " 16K x a=b\u3000 ",
	} {
		if got, err := parseStart(text); err == nil {
			t.Errorf("%q is %+v, want an error", text, got)
		}
	}
}

func FuzzStreamCommand(f *testing.F) {
	f.Add(` 16K -a-general profileWords="x authorization=FAKE" authorization=k`, "k")
	f.Add(` LSB16K x authorization="a ""b""" extension={"a":"b"} authorization=`, `a "b`)
	f.Add(` 16K  x a="b"c`, " ")
	f.Fuzz(func(t *testing.T, text, key string) {
		got, err := parseStart(text)
		parts := startGrammar.FindStringSubmatch(text)
		if (err == nil) != (parts != nil) {
			t.Fatalf("error %v, and the grammar matches is %v", err, parts != nil)
		}
		if err == nil {
			want := start{format: parts[1], engine: parts[2]}
			for _, p := range pairGrammar.FindAllStringSubmatch(parts[3], -1) {
				value := p[2]
				if strings.HasPrefix(value, `"`) {
					value = strings.ReplaceAll(value[1:len(value)-1], `""`, `"`)
				}
				if p[1] == "authorization" {
					want.add(value)
				}
			}
			if got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
		// Every key arrives if it is in quotation marks, at every position.
		quoted := `authorization="` + strings.ReplaceAll(key, `"`, `""`) + `"`
		for _, text := range []string{" 16K x " + quoted, " 16K x " + quoted + ` words="authorization=FAKE"`, ` 16K x words=" authorization=FAKE" ` + quoted} {
			if got, err := parseStart(text); err != nil || got.key != key || got.mixed {
				t.Errorf("%q of %q, error %v", got.key, text, err)
			}
		}
	})
}
