package jsonanswer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/jsonanswer"
)

// someJSON is a random JSON value, with random white space and escapes. There are few
// names, so that the wanted name comes at every depth.
func someJSON(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		kinds := 4
		if depth > 0 {
			kinds = 6
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0, 1:
			return aString().Draw(t, "string")
		case 2:
			return rapid.SampledFrom([]string{"0", "-1", "1.5", "1e9", "12345678901234567890", "-0.0E-7"}).Draw(t, "number")
		case 3:
			return rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "word")
		case 4:
			return anObject(depth-1).Draw(t, "object")
		default:
			items := rapid.SliceOfN(someJSON(depth-1), 0, 4).Draw(t, "items")
			return "[" + space(t) + strings.Join(items, space(t)+","+space(t)) + space(t) + "]"
		}
	})
}

func space(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", "", " ", "\n", "\t\r\n "}).Draw(t, "space")
}

func aString() *rapid.Generator[string] {
	pieces := []string{
		"sessionid", "a", "é", "😀", `\"`, `\\`, `\/`, `\n`, `\u0073`, `\u0022`, `\u005c`, `\ud83d\ude00`, `\ud800`, "{", "}", "[", "]", ":", ",", " ", "'",
	}
	return rapid.Custom(func(t *rapid.T) string {
		return `"` + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 5).Draw(t, "pieces"), "") + `"`
	})
}

func aName() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{`"text"`, `"sessionid"`, `"a"`, `"\u0073essionid"`, `"sessionid\u0020"`, `"SESSIONID"`, `""`, `"b\"sessionid\""`}),
		aString(),
	)
}

func anObject(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var members []string
		for range rapid.IntRange(0, 6).Draw(t, "members") {
			name := aName().Draw(t, "name")
			members = append(members, space(t)+name+space(t)+":"+space(t)+someJSON(depth).Draw(t, "value")+space(t))
		}
		return "{" + space(t) + strings.Join(members, ",") + "}"
	})
}

// topLevel returns the members that encoding/json reads at the top level of an object. A
// name that comes more than once has several values.
func topLevel(text []byte) (map[string][]any, bool) {
	if !json.Valid(text) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, false
	}
	all := map[string][]any{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, false
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, false
		}
		var value any = raw
		if raw[0] == '"' {
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return nil, false
			}
			value = s
		}
		all[name.(string)] = append(all[name.(string)], value)
	}
	return all, true
}

// agrees compares the members that Members and encoding/json read from an object.
func agrees(t interface{ Fatalf(string, ...any) }, text []byte, names []string, m *strs) {
	all, ok := topLevel(text)
	if !ok {
		return
	}
	faulty := false
	for _, name := range names {
		_, isText := any(""), false
		if len(all[name]) == 1 {
			_, isText = all[name][0].(string)
		}
		if len(all[name]) > 1 || len(all[name]) == 1 && !isText {
			faulty = true
		}
		for other := range all {
			faulty = faulty || other != name && strings.EqualFold(other, name)
		}
	}
	for _, name := range names {
		got, err := m.Get(name)
		switch {
		case faulty:
			if err == nil {
				t.Fatalf("%s: no error, and %s is %q, though a member comes twice, in another case or is no string", text, name, got)
			}
		case err != nil:
			if !errors.Is(err, jsonanswer.ErrLong) || len(text) < jsonanswer.MaxValue {
				t.Fatalf("%s: %s: %v", text, name, err)
			}
		case len(all[name]) == 0 && got != "":
			t.Fatalf("%s: %s is %q, but there is no such member", text, name, got)
		case len(all[name]) == 1 && got != all[name][0]:
			t.Fatalf("%s: %s is %q, want %q", text, name, got, all[name][0])
		}
		if err != nil && got != "" {
			t.Fatalf("%s: %s is %q beside the error %v", text, name, got, err)
		}
	}
}

func TestR10_MembersAreThoseOfEncodingJSON(t *testing.T) {
	t.Parallel()
	names := []string{"sessionid", "text"}
	kinds := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			text := space(t) + anObject(3).Draw(t, "object") + space(t)
			all, ok := topLevel([]byte(text))
			if !ok {
				t.Fatalf("the test made no JSON: %s", text)
			}
			m := readSet("", 1, jsonanswer.MustSet(names...), names...)
			for rest := text; rest != ""; {
				n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
				_, _ = io.WriteString(m, rest[:n])
				rest = rest[n:]
			}
			agrees(t, []byte(text), names, m)
			for _, name := range names {
				switch _, err := m.Get(name); {
				case err != nil:
					kinds[errors.Unwrap(err).Error()]++
				case len(all[name]) == 1:
					kinds["read"]++
				default:
					kinds["absent"]++
				}
			}
		}
	})
	for _, kind := range []string{"read", "absent", jsonanswer.ErrTwice.Error(), jsonanswer.ErrKind.Error()} {
		if kinds[kind] == 0 {
			t.Errorf("no random object was of the kind %q: %v", kind, kinds)
		}
	}
}

// TestR10_PiecesDoNotMatter also reads damaged objects. The result does not depend on
// the pieces.
func TestR10_PiecesDoNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(anObject(2).Draw(t, "object"))
		for range rapid.IntRange(0, 3).Draw(t, "damages") {
			text[rapid.IntRange(0, len(text)-1).Draw(t, "at")] = rapid.SampledFrom([]byte(`"\{}[]:,x 0`)).Draw(t, "by")
		}
		want, wantErr := read(string(text), len(text), "sessionid").Get("sessionid")
		for _, n := range []int{1, 2, rapid.IntRange(1, len(text)).Draw(t, "n")} {
			if got, err := read(string(text), n, "sessionid").Get("sessionid"); got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("%s in pieces of %d: %q, %v; whole: %q, %v", text, n, got, err, want, wantErr)
			}
		}
		agrees(t, text, []string{"sessionid"}, read(string(text), 1, "sessionid"))
	})
}

func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{"sessionid":"017ac8786c5b0a0504399999","text":"..."}`, `{"sessionid":"x","sessionid":"y"}`, `{"a":{"sessionid":"y"}}`,
		`{"\u0073essionid":"x\n\ud83d\ude00"}`, `{"sessionid":1}`, `[{"sessionid":"x"}]`, `{"sessionid":"x`, "", "{}", `{"text":"\\"}`, `{"sessionid" "x"}`,
		"{\"\xff\":\"\xfe\",\"sessionid\":\"\xff\"}", `{"sessionid":"` + strings.Repeat("a", 1100) + `"}`,
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, n uint8) {
		names := []string{"sessionid", "text"}
		m := read(string(text), int(n)+1, names...)
		whole := read(string(text), len(text)+1, names...)
		for _, name := range names {
			got, err := m.Get(name)
			want, wantErr := whole.Get(name)
			if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("in pieces: %q, %v; whole: %q, %v", got, err, want, wantErr)
			}
		}
		agrees(t, text, names, m)
	})
}

var sessionID = jsonanswer.MustSet("sessionid")

// allocated returns the number of allocations for reading text.
func allocated(text []byte) float64 {
	return testing.AllocsPerRun(3, func() {
		m := new(jsonanswer.Members)
		m.Begin(sessionID)
		for piece := range slices.Chunk(text, 4096) {
			_, _ = m.Write(piece)
		}
	})
}

func TestR10_MemoryDoesNotGrowWithTheAnswer(t *testing.T) { //nolint:paralleltest // measures memory
	wide := func(n int) string {
		deep := strings.Repeat(`[{"sessionid":"y"},`, 100) + "0" + strings.Repeat(`]`, 100)
		return "[" + strings.Repeat(deep+",", n/1000) + "0]"
	}
	for name, of := range map[string]func(n int) string{
		"a long value":            func(n int) string { return `{"text":"` + strings.Repeat("a", n) + `","sessionid":"x"}` },
		"a long value of escapes": func(n int) string { return `{"text":"` + strings.Repeat(`\"`, n) + `","sessionid":"x"}` },
		"a long name":             func(n int) string { return `{"` + strings.Repeat("a", n) + `":1,"sessionid":"x"}` },
		"deep arrays": func(n int) string {
			n = min(n, jsonanswer.MaxDepth-1)
			return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `,"sessionid":"x"}`
		},
		"deep arrays and objects":         func(n int) string { return `{"a":` + wide(n) + `,"sessionid":"x"}` },
		"many values in an array":         func(n int) string { return `{"a":["b"` + strings.Repeat(`,"b"`, n) + `],"sessionid":"x"}` },
		"a long number":                   func(n int) string { return `{"a":` + strings.Repeat("1", n) + `,"sessionid":"x"}` },
		"much white space":                func(n int) string { return `{` + strings.Repeat(" ", n) + `"sessionid":"x"}` },
		"too long a value of the member":  func(n int) string { return `{"sessionid":"` + strings.Repeat("a", n) + `"}` },
		"an answer that is not an object": func(n int) string { return strings.Repeat(`["sessionid",`, n) },
	} {
		t.Run(name, func(t *testing.T) {
			small, large := []byte(of(20_000)), []byte(of(100_000))
			if few, many := allocated(small), allocated(large); many > few {
				t.Errorf("%v allocations for %d bytes, %v for %d", few, len(small), many, len(large))
			}
			if strings.Contains(name, "member") || strings.Contains(name, "not an object") {
				return
			}
			if got, err := read(string(large), 4096, "sessionid").Get("sessionid"); got != "x" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
	t.Run("many members leave nothing behind", func(t *testing.T) {
		// Each name is decoded, so the number of allocations grows with the number of
		// names. The memory that is held does not grow.
		var text bytes.Buffer
		text.WriteString("{")
		for i := range 20_000 {
			fmt.Fprintf(&text, `"name %d":"%x",`, i, rand.Uint64())
		}
		text.WriteString(`"sessionid":"x"}`)
		m := readSet("", 1, sessionID, "sessionid")
		_, _ = m.Write(text.Bytes())
		if got, err := m.Get("sessionid"); got != "x" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if n := m.Kept(); n > 4096 {
			t.Errorf("%d bytes kept", n)
		}
	})
}
