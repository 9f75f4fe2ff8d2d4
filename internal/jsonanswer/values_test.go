package jsonanswer_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/jsonanswer"
)

func text(s string) jsonanswer.Value { return jsonanswer.Value{Kind: jsonanswer.String, Text: s} }

func literal(s string) jsonanswer.Value { return jsonanswer.Value{Kind: jsonanswer.Literal, Text: s} }

// TestValuesHaveKinds: the set wants the string job.status, and done and error.code, which may
// also be literals.
func TestValuesHaveKinds(t *testing.T) {
	t.Parallel()
	set, err := jsonanswer.NewSet(
		jsonanswer.Want{Path: jsonanswer.MustPath("job.status")},
		jsonanswer.Want{Path: jsonanswer.MustPath("done"), Literal: true},
		jsonanswer.Want{Path: jsonanswer.MustPath("error.code"), Literal: true},
	)
	if err != nil {
		t.Fatal(err)
	}
	var absent jsonanswer.Value
	for _, test := range []struct {
		text string
		want [3]jsonanswer.Value
		err  error
	}{
		{`{"job":{"id":"x","status":"done"},"done":true,"error":{"code":401}}`, [3]jsonanswer.Value{text("done"), literal("true"), literal("401")}, nil},
		{`{"error":{"a":{"code":1},"code":"401"},"done":"true","job":{"status":"done"}}`, [3]jsonanswer.Value{text("done"), text("true"), text("401")}, nil},
		{`{"done":false,"error":{"code":null}}`, [3]jsonanswer.Value{absent, literal("false"), literal("null")}, nil},
		{`{"done": -1.5E+7 ,"error":{"code":0}}`, [3]jsonanswer.Value{absent, literal("-1.5E+7"), literal("0")}, nil},
		{`{"status":"a","code":1,"job":{},"error":{}}`, [3]jsonanswer.Value{}, nil},
		{`{"x":{"job":{"status":1}},"y":[{"done":[]}],"job":{"status":""}}`, [3]jsonanswer.Value{text(""), absent, absent}, nil},
		{`{"done":tru`, [3]jsonanswer.Value{}, nil},
		{`{"error":{"code":40`, [3]jsonanswer.Value{}, nil},
		{`{"a":NaN,"done":true}`, [3]jsonanswer.Value{absent, literal("true"), absent}, nil},

		{`{"job":{"status":true}}`, [3]jsonanswer.Value{}, jsonanswer.ErrKind},
		{`{"job":{"status":null}}`, [3]jsonanswer.Value{}, jsonanswer.ErrKind},
		{`{"job":"done"}`, [3]jsonanswer.Value{}, jsonanswer.ErrKind},
		{`{"job":null}`, [3]jsonanswer.Value{}, jsonanswer.ErrKind},
		{`{"job":[{"status":"done"}]}`, [3]jsonanswer.Value{}, jsonanswer.ErrKind},
		{`{"done":[true]}`, [3]jsonanswer.Value{}, jsonanswer.ErrKind},
		{`{"done":{}}`, [3]jsonanswer.Value{}, jsonanswer.ErrKind},
		{`{"done":NaN}`, [3]jsonanswer.Value{}, jsonanswer.ErrKind},
		{`{"done":01}`, [3]jsonanswer.Value{}, jsonanswer.ErrKind},
		{`{"done":` + strings.Repeat("1", jsonanswer.MaxValue+1) + `}`, [3]jsonanswer.Value{}, jsonanswer.ErrLong},
		{`{"job":{"status":"a"},"job":{}}`, [3]jsonanswer.Value{}, jsonanswer.ErrTwice},
		{`{"job":{"status":"a","status":"b"}}`, [3]jsonanswer.Value{}, jsonanswer.ErrTwice},
		{`{"job":{"status":"a","Status":"b"}}`, [3]jsonanswer.Value{}, jsonanswer.ErrCase},
		{`{"job":{"status":"a"},"JOB":{}}`, [3]jsonanswer.Value{}, jsonanswer.ErrCase},
		{`{"job":{"status":"a"]}`, [3]jsonanswer.Value{}, jsonanswer.ErrJSON},
		{`{"job":{"status" "a"}}`, [3]jsonanswer.Value{}, jsonanswer.ErrJSON},
		{`{"job":{"x":1 2}}`, [3]jsonanswer.Value{}, jsonanswer.ErrJSON},
		{`{"x":[1}}`, [3]jsonanswer.Value{}, jsonanswer.ErrJSON},
		{`{"x":` + strings.Repeat("[", jsonanswer.MaxDepth), [3]jsonanswer.Value{}, jsonanswer.ErrDepth},
	} {
		for _, n := range pieceSizes {
			m := readSet(test.text, n, set)
			for i, want := range test.want {
				got, err := m.Members.Get(i)
				if got != want || !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
					t.Errorf("%.100s in pieces of %d: value %d is %+v, %v, want %+v, %v", test.text, n, i, got, err, want, test.err)
				}
			}
		}
	}
}

func TestAnErrorNamesThePath(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"job":{"status":1}}`:                                   "job.status: the value has the wrong type: it must be a string",
		`{"job":1}`:                                              "job: the value has the wrong type: it must be an object",
		`{"job":{"status":"a","STATUS":"b"}}`:                    "job.status: the answer has the member in another case, which some parsers take for it",
		`{"job":{"status":"a"},"job":{}}`:                        "job: the answer has the member twice",
		`{"job":{"status":"a"},}`:                                "the answer is not well-formed JSON",
		`{"job":{"status":"` + strings.Repeat("a", 9000) + `"}}`: "job.status: the value is longer than 8192 bytes",
	} {
		if _, err := read(body, 7, "job.status").Get("job.status"); fmt.Sprint(err) != want {
			t.Errorf("%.60s: %v, want %s", body, err, want)
		}
	}
}

// TestNestedMembersAreThoseOfEncodingJSON reads three strings of random objects.
func TestNestedMembersAreThoseOfEncodingJSON(t *testing.T) {
	t.Parallel()
	paths := []string{"text", "a.text", "a.a.sessionid"}
	places := &place{members: map[string]*place{
		"text": {replace: true},
		"a": {members: map[string]*place{
			"text": {replace: true},
			"a":    {members: map[string]*place{"sessionid": {replace: true}}},
		}},
	}}
	kinds := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		for range 3 {
			body := aNested(2).Draw(t, "object")
			value, ok := parse([]byte(body))
			if !ok {
				t.Fatalf("the test made no JSON: %s", body)
			}
			m := readSet("", 1, jsonanswer.MustSet(paths...), paths...)
			for rest := body; rest != ""; {
				n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
				_, _ = io.WriteString(m, rest[:n])
				rest = rest[n:]
			}
			faulty := places.faulty(value) || places.wrongType(value)
			for _, path := range paths {
				got, err := m.Get(path)
				switch want, found := lookUp(value, strings.Split(path, ".")); {
				case faulty != (err != nil) || faulty && got != "":
					t.Fatalf("%s: %s is %q, %v", body, path, got, err)
				case faulty:
					kinds["faulty"]++
				case got != want:
					t.Fatalf("%s: %s is %q, want %q", body, path, got, want)
				case found:
					kinds[path]++
				}
			}
		}
	})
	for _, kind := range append(paths, "faulty") {
		if kinds[kind] == 0 {
			t.Errorf("no random object was of the kind %q: %v", kind, kinds)
		}
	}
}

// aNested is an object whose members are often objects and strings with the names of the paths.
func aNested(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var members []string
		for _, name := range []string{`"text"`, `"sessionid"`, `"\u0061"`, `"b"`} {
			value := aString()
			if name == `"\u0061"` && depth > 0 {
				value = aNested(depth - 1)
			}
			switch rapid.IntRange(0, 40).Draw(t, "kind") {
			case 0:
				value = someJSON(1)
			case 1:
				name = strings.ToUpper(strings.ReplaceAll(name, `\u0061`, "a"))
			case 2:
				members = append(members, name+":1")
			case 3, 4, 5:
				continue
			}
			if name == `"b"` {
				value = someJSON(2)
			}
			members = append(members, space(t)+name+space(t)+":"+space(t)+value.Draw(t, "value")+space(t))
		}
		return space(t) + "{" + space(t) + strings.Join(rapid.Permutation(members).Draw(t, "order"), ",") + "}"
	})
}

// wrongType reports whether a place with members is not an object, or a wanted value is not a
// string.
func (p *place) wrongType(value any) bool {
	if _, isString := value.(string); p.replace {
		return !isString
	}
	members, isObject := value.(object)
	if !isObject {
		return true
	}
	for _, m := range members {
		if below := p.members[m.name]; below != nil && below.wrongType(m.value) {
			return true
		}
	}
	return false
}

// lookUp returns the string at a path.
func lookUp(value any, path []string) (string, bool) {
	for _, name := range path {
		members, _ := value.(object)
		value = nil
		for _, m := range members {
			if m.name == name {
				value = m.value
			}
		}
	}
	found, ok := value.(string)
	return found, ok
}
