package jsonanswer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/jsonanswer"
)

// read writes text in pieces of n bytes, and returns the strings at some paths.
func read(text string, n int, paths ...string) *strs {
	return readSet(text, n, jsonanswer.MustSet(paths...), paths...)
}

// strs gets strings by their paths.
type strs struct {
	jsonanswer.Members
	paths []string
}

func (s *strs) Get(path string) (string, error) {
	value, err := s.Members.Get(slices.Index(s.paths, path))
	if value.Kind == jsonanswer.Literal || value.Kind == jsonanswer.Absent && value.Text != "" {
		panic(fmt.Sprintf("%s is %+v", path, value))
	}
	return value.Text, err
}

func readSet(text string, n int, set *jsonanswer.Set, paths ...string) *strs {
	m := &strs{paths: paths}
	m.Begin(set)
	for len(text) > 0 {
		piece := text[:min(n, len(text))]
		text = text[len(piece):]
		if wrote, err := m.Write([]byte(piece)); wrote != len(piece) || err != nil {
			panic(fmt.Sprintf("Write of %d bytes = %d, %v", len(piece), wrote, err))
		}
	}
	return m
}

func TestR10_MembersOfAnAnswer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 1000)
	tests := []struct {
		name, text, want string
		err              error
	}{
		{"the vendor's answer", `{"sessionid":"017ac8786c5b0a0504399999","text":"..."}`, "017ac8786c5b0a0504399999", nil},
		{"the member in the last place", `{"text":"...","sessionid":"x"}`, "x", nil},
		{"white space everywhere", "\r\n\t {\n\t\"sessionid\" \r:\t \"x\" \n} \r\n", "x", nil},
		{"what follows the object is not read", `{"sessionid":"x"}{"sessionid":"y"}`, "x", nil},
		{"an empty value", `{"sessionid":""}`, "", nil},
		{"a value with escapes", `{"sessionid":"a\"b\\c\/dé\u00e9\ud83d\ude00\n"}`, "a\"b\\c/déé😀\n", nil},
		{"a value that ends in a backslash", `{"sessionid":"a\\","text":"\\\""}`, `a\`, nil},
		{"a value with structure in it", `{"sessionid":"{[,:]}"}`, "{[,:]}", nil},
		{"a name with an escape", `{"\u0073essionid":"x"}`, "x", nil},
		{"a name wholly of escapes", `{"\u0073\u0065\u0073\u0073\u0069\u006f\u006e\u0069\u0064":"x"}`, "x", nil},
		{"a name within a value is none", `{"text":"\"sessionid\":\"y\"","sessionid":"x"}`, "x", nil},
		{"a value that is the name is no name", `{"text":"sessionid","sessionid":"x"}`, "x", nil},
		{"a value that is the name, and no member", `{"text":"sessionid","other":"y"}`, "", nil},
		{"a name in an inner object is not the member", `{"a":{"sessionid":"y"},"sessionid":"x"}`, "x", nil},
		{"a name in an inner object only", `{"a":{"sessionid":"y"}}`, "", nil},
		{"a name in an object in an array", `{"a":[{"sessionid":"y"},"sessionid",["sessionid"]],"sessionid":"x"}`, "x", nil},
		{"a name far inside", `{"a":[[[{"b":{"sessionid":"y"}}]]],"sessionid":"x","c":{"sessionid":"z"}}`, "x", nil},
		{"a name in another case is one for some parsers", `{"SessionID":"y"}`, "", jsonanswer.ErrCase},
		{"a longer name is another", `{"sessionid2":"y","xsessionid":"z"," sessionid":"z","sessionid ":"z"}`, "", nil},
		{"a name of a great length is another", `{"sessionid` + long + long + `":"y","sessionid":"x"}`, "x", nil},
		{"other values of every kind", `{"a":-1.5e+7,"b":true,"c":false,"d":null,"e":[],"f":{},"g":"","sessionid":"x"}`, "x", nil},
		{"a value of a thousand bytes", `{"sessionid":"` + long + `"}`, long, nil},
		{"an empty object", `{}`, "", nil},
		{"no member of the name", `{"results":[],"code":"-"}`, "", nil},

		{"twice", `{"sessionid":"x","sessionid":"y"}`, "", jsonanswer.ErrTwice},
		{"twice the same", `{"sessionid":"x","sessionid":"x"}`, "", jsonanswer.ErrTwice},
		{"twice, first empty", `{"sessionid":"","sessionid":"x"}`, "", jsonanswer.ErrTwice},
		{"twice, in two spellings", `{"sessionid":"x","\u0073essionid":"y"}`, "", jsonanswer.ErrTwice},
		{"twice, with much between", `{"sessionid":"x","a":[{"b":"` + long + `"}],"sessionid":"y"}`, "", jsonanswer.ErrTwice},
		{"twice, then a number", `{"sessionid":"x","sessionid":1}`, "", jsonanswer.ErrTwice},
		{"a number", `{"sessionid":17}`, "", jsonanswer.ErrKind},
		{"a negative number", `{"sessionid":-17}`, "", jsonanswer.ErrKind},
		{"true", `{"sessionid":true}`, "", jsonanswer.ErrKind},
		{"null", `{"sessionid":null}`, "", jsonanswer.ErrKind},
		{"an array", `{"sessionid":["x"]}`, "", jsonanswer.ErrKind},
		{"an empty array", `{"sessionid":[]}`, "", jsonanswer.ErrKind},
		{"an object", `{"sessionid":{"sessionid":"x"}}`, "", jsonanswer.ErrKind},
		{"a number, then a string", `{"sessionid":17,"sessionid":"x"}`, "", jsonanswer.ErrKind},
		{"too long a value", `{"sessionid":"` + strings.Repeat(long, 9) + `"}`, "", jsonanswer.ErrLong},
		{"too long a value by its escapes", `{"sessionid":"` + strings.Repeat(`\u0061`, 1400) + `"}`, "", jsonanswer.ErrLong},
		{"a value with an escape that there is not", `{"sessionid":"\q"}`, "", jsonanswer.ErrJSON},
		{"a value with half an escape", `{"sessionid":"\u00"}`, "", jsonanswer.ErrJSON},
		{"a value with a bare line's end", "{\"sessionid\":\"a\nb\"}", "", jsonanswer.ErrJSON},
		{"a value with a NUL", "{\"sessionid\":\"a\x00b\"}", "", jsonanswer.ErrJSON},

		{"nothing", "", "", nil},
		{"white space", " \r\n", "", nil},
		{"an array", `["sessionid","x"]`, "", nil},
		{"an object in an array", `[{"sessionid":"x"}]`, "", nil},
		{"a string", `"sessionid"`, "", nil},
		{"a string, then an object", `"a"{"sessionid":"x"}`, "", nil},
		{"a number, then an object", `1{"sessionid":"x"}`, "", nil},
		{"null, then an object", `null {"sessionid":"x"}`, "", nil},
		{"HTML", "<html>{\"sessionid\":\"x\"}</html>", "", nil},
		{"a byte order mark", "\ufeff{\"sessionid\":\"x\"}", "", nil},
		{"a comma, then an object", `,{"sessionid":"x"}`, "", nil},
		{"a colon, then an object", `:{"sessionid":"x"}`, "", nil},
		{"a closing brace, then an object", `}{"sessionid":"x"}`, "", nil},
		{"a form", "sessionid=x", "", nil},
	}
	for _, tt := range tests {
		for _, n := range []int{1, 2, 3, 7, 1 << 20} {
			t.Run(fmt.Sprintf("%s, in pieces of %d", tt.name, n), func(t *testing.T) {
				t.Parallel()
				got, err := read(tt.text, n, "sessionid").Get("sessionid")
				if got != tt.want || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
					t.Errorf("got %q, %v, want %q, %v", got, err, tt.want, tt.err)
				}
			})
		}
	}
}

// TestR10_BrokenJSONYieldsNoMember: a broken object yields an error, and never a value
// that a client's parser could read in another way.
func TestR10_BrokenJSONYieldsNoMember(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{x"sessionid":"j"}`, `{"sessionid"x:"j"}`, `{1"sessionid":"j"}`, `{"sessionid"1:"j"}`, `{null"sessionid":"j"}`, `{"sessionid" null:"j"}`,
		`{"sessionid" "x" "y"}`, `{"sessionid":"x""y""z"}`,
		`{"sessionid" "x"}`, `{"sessionid","x"}`, `{"sessionid","x":"y"}`, `{"sessionid"}`, `{"sessionid":}`, `{"sessionid"::"x"}`,
		`{"a" "sessionid":"x"}`, `{"a":1 "sessionid":"x"}`, `{"a":"b" "sessionid":"x"}`, `{"a":"b":"sessionid":"x"}`,
		`{,"sessionid":"x"}`, `{"a":1,,"sessionid":"x"}`, `{:"sessionid":"x"}`, `{"a":,"sessionid":"x"}`, `{"a":[] "sessionid":"x"}`,
		`{]"sessionid":"x"}`, `{["sessionid":"x"]}`, `{sessionid:"x"}`, `{'sessionid':'x'}`, `{1:"sessionid","sessionid":"x"}`,
		`{"a":{}"sessionid":"x"}`, `{"sessionid":x"y"}`, `{"sessionid":"x" "sessionid":"y"}`, `{"sessionid":"x""y"}`, `{"a","sessionid":"x"}`,
		`{"a":1[,"sessionid":"x"}`, `{"a":"b"{,"sessionid":"x"}`,
	} {
		if json.Valid([]byte(text)) {
			t.Fatalf("%s is JSON", text)
		}
		for _, n := range []int{1, 1 << 20} {
			if got, err := read(text, n, "sessionid").Get("sessionid"); got != "" || err == nil {
				t.Errorf("%s yields %q, %v, want an error", text, got, err)
			}
		}
	}
}

func TestR10_TheLongestValueHas8192BytesWithItsQuotes(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("a", jsonanswer.MaxValue-2)
	for _, n := range []int{1, 7, 8192, 1 << 20} {
		if got, err := read(`{"id":"`+longest+`"}`, n, "id").Get("id"); got != longest || err != nil {
			t.Errorf("in pieces of %d: %d bytes, %v", n, len(got), err)
		}
		if got, err := read(`{"id":"`+longest+`a"}`, n, "id").Get("id"); got != "" || !errors.Is(err, jsonanswer.ErrLong) {
			t.Errorf("in pieces of %d: %d bytes of a member that is too long, %v", n, len(got), err)
		}
	}
}

// A gate that waits for the state of a job needs no more of the answer.
func TestR12_AfterStopEarlyTheRestIsNotRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"status":"queued"`:                          "queued",
		`{"status":"queued","status":"error"}`:        "queued",
		`{"a":1,"status":"queued" "broken" ]`:         "queued",
		`{"a":"b","c":"d","status":"queued","x":null`: "queued",
	} {
		for _, n := range []int{1, 1 << 20} {
			m := new(jsonanswer.Members)
			m.Begin(jsonanswer.MustSet("status"))
			m.StopEarly()
			for rest := text; rest != ""; {
				piece := rest[:min(n, len(rest))]
				rest = rest[len(piece):]
				_, _ = io.WriteString(m, piece)
			}
			if got, err := m.Get(0); got.Text != want || err != nil {
				t.Errorf("%s in pieces of %d: %q, %v", text, n, got, err)
			}
		}
	}
}

func TestR10_BeginForgetsTheObjectBefore(t *testing.T) {
	t.Parallel()
	for _, before := range []string{`{"id":"x"}`, `{"id":1`, `{"id":"x","a":{"b":[`, `{"id":"half`, `[]`} {
		m := read(before, 1, "id", "other")
		m.StopEarly()
		m.Begin(jsonanswer.MustSet("id"))
		_, _ = io.WriteString(m, `{"id":"y","a":"b"}`)
		if got, err := m.Get("id"); got != "y" || err != nil {
			t.Errorf("after %s: %q, %v", before, got, err)
		}
	}
}

func TestR10_ATruncatedAnswerYieldsItsWholeMembers(t *testing.T) {
	t.Parallel()
	const text = `{"text":"a","sessionid":"abc","status":"queued"}`
	seen := strings.Index(text, `"abc"`) + len(`"abc"`)
	for n := range len(text) + 1 {
		want := ""
		if n >= seen {
			want = "abc"
		}
		if got, err := read(text[:n], 5, "sessionid").Get("sessionid"); got != want || err != nil {
			t.Errorf("after %d bytes, %s: %q, %v", n, text[:n], got, err)
		}
	}
}

func TestR10_SeveralMembers(t *testing.T) {
	t.Parallel()
	m := read(`{"status":"queued","x":{"status":"error"},"sessionid":"abc","other":"o"}`, 4, "sessionid", "status", "absent")
	for name, want := range map[string]string{"sessionid": "abc", "status": "queued", "absent": ""} {
		if got, err := m.Get(name); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	t.Run("an error with one is an error with all, for good", func(t *testing.T) {
		t.Parallel()
		m := read(`{"status":"queued","sessionid":1,`, 4, "sessionid", "status")
		_, _ = io.WriteString(m, `"more":"x"}`)
		for _, name := range []string{"sessionid", "status"} {
			if got, err := m.Get(name); got != "" || !errors.Is(err, jsonanswer.ErrKind) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	})
	t.Run("nothing that was not asked for is looked at", func(t *testing.T) {
		t.Parallel()
		if got, err := read(`{"status":1,"status":2,"other":"o"}`, 4, "other").Get("other"); got != "o" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}
