package jsonanswer_test

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/jsonanswer"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	for text, problem := range map[string]string{
		"sessionid": "", "job.status": "", "page_details.next_url": "", "transcripts[].resource_url": "", "[].id": "", "[]": "",
		"a[][].b": "", "[][]": "", "@nextLink": "", "a b": "", "é.ü": "", strings.Repeat("a", 128): "", strings.Repeat("a.", 15) + "a": "",

		"":                             "it is empty",
		".":                            "a name is missing",
		"a.":                           "a name is missing",
		".a":                           "a name is missing",
		"a..b":                         "a name is missing",
		"a.[]":                         "a name is missing",
		"a.[].b":                       "a name is missing",
		"a[":                           "has a bracket",
		"a[0]":                         "has a bracket",
		"a[]b":                         "has a bracket",
		"[]b":                          "has a bracket",
		`a"b`:                          "has a quote",
		`a\b`:                          "a backslash",
		"a\nb":                         "a control character",
		"a\x7f":                        "a control character",
		"a\xff":                        "not UTF-8",
		strings.Repeat("a", 129):       "129 bytes",
		strings.Repeat("a.", 16) + "a": "17 steps",
	} {
		path, err := jsonanswer.ParsePath(text)
		switch {
		case problem == "" && (err != nil || path.String() != text):
			t.Errorf("%q: %q, %v", text, path, err)
		case problem != "" && (err == nil || !strings.Contains(err.Error(), problem) || path != jsonanswer.Path{}):
			t.Errorf("%q: %q, %v, want %s", text, path, err, problem)
		}
	}
}

func wants(paths ...string) (wants []jsonanswer.Want) {
	for _, path := range paths {
		wants = append(wants, jsonanswer.Want{Path: jsonanswer.MustPath(path)})
	}
	return wants
}

func TestASetRefusesPathsThatContradictEachOther(t *testing.T) {
	t.Parallel()
	many := make([]string, 65)
	for i := range many {
		many[i] = strings.Repeat("a", i+1)
	}
	for _, test := range []struct {
		paths   []string
		problem string
	}{
		{nil, ""},
		{[]string{"id", "job.id", "job.status", "status"}, ""},
		{[]string{"id", "a.ID"}, ""},
		{many[:64], ""},
		{[]string{"id", "id"}, `path "id" is named twice`},
		{[]string{"job", "job.id"}, `path "job.id" goes through "job"`},
		{[]string{"job.id", "job"}, "another path goes through it"},
		{[]string{"id", "Id"}, "differ only in upper and lower case"},
		{[]string{"job.id", "Job.status"}, "differ only in upper and lower case"},
		{[]string{"jobs[].id"}, "goes through an array"},
		{[]string{"[]"}, "goes through an array"},
		{many, "more than 64 steps"},
	} {
		_, err := jsonanswer.NewSet(wants(test.paths...)...)
		if test.problem == "" && err != nil || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%q: %v, want %s", test.paths, err, test.problem)
		}
	}
	if _, err := jsonanswer.NewSet(jsonanswer.Want{}); err == nil {
		t.Error("a set has the path that is empty")
	}
}

func TestChangesRefusePathsThatContradictEachOther(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ replace, entries, problem string }{
		{"", "", ""},
		{"next list[].url", "list[].id", ""},
		{"list[].id", "list[].id", ""},
		{"", "[].job.id", ""},
		{"next next", "", "is named twice"},
		{"a a.b", "", `goes through "a"`},
		{"list[]", "list[].id", `goes through "list[]"`},
		{"", "list.id", "it needs one []"},
		{"", "list[]", "it needs one []"},
		{"", "a[].b[].id", "it needs one []"},
		{"", "list[].id active[].id", ""},
		{"", "list[].id list[].job.id", "its list has another path already"},
		{"", "list[].id list[].id", "its list has another path already"},
		{"List[].url", "list[].id", "differ only in upper and lower case"},
	} {
		changes := jsonanswer.Changes{}
		for path := range strings.FieldsSeq(test.replace) {
			changes.Replace = append(changes.Replace, jsonanswer.MustPath(path))
		}
		for path := range strings.FieldsSeq(test.entries) {
			changes.Entries = append(changes.Entries, jsonanswer.MustPath(path))
		}
		_, err := changes.Compile()
		if test.problem == "" && err != nil || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%q, %q: %v, want %s", test.replace, test.entries, err, test.problem)
		}
	}
}

func TestLastSegment(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://host/a/b": "b", "https://host/a/b?c=/d": "b", "https://host/a/b#/c": "b", "/b": "b", "b": "b",
		"https://host/a/": "", "": "", "?b": "", "https://host/a%2Fb": "a%2Fb",
	} {
		if got := jsonanswer.LastSegment(url); got != want {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
}
