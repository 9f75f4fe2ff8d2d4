package jsonanswer_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/jsonanswer"
)

// compiled returns edits. Replace and entries have paths with spaces between them, and can be empty.
func compiled(tb testing.TB, replace, entries string, entryURL bool) *jsonanswer.Edits {
	tb.Helper()
	changes := jsonanswer.Changes{EntryURL: entryURL}
	for path := range strings.FieldsSeq(replace) {
		changes.Replace = append(changes.Replace, jsonanswer.MustPath(path))
	}
	for path := range strings.FieldsSeq(entries) {
		changes.Entries = append(changes.Entries, jsonanswer.MustPath(path))
	}
	edits, err := changes.Compile()
	if err != nil {
		tb.Fatal(err)
	}
	return edits
}

// edit gives text to an editor in pieces of n bytes. It returns the bytes that leave the
// editor, and the first error.
func edit(editor *jsonanswer.Editor, text string, n int) (string, error) {
	var out strings.Builder
	for len(text) > 0 {
		piece := []byte(text[:min(n, len(text))])
		before := string(piece)
		text = text[len(piece):]
		p, err := editor.Next(piece)
		out.Write(p)
		if err != nil {
			return out.String(), err
		}
		if string(piece) != before {
			return out.String(), errors.New("the editor has changed the piece itself")
		}
	}
	return out.String(), editor.Close()
}

// toGate is a function that replaces URLs, and keepOwn one that keeps entries.
func toGate(url string) string {
	return strings.Replace(url, "https://backend", "https://gate", 1)
}

// appends makes a function that replaces one that appends.
func appends(replace func(url string) string) func(dst, url []byte) []byte {
	return func(dst, url []byte) []byte { return append(dst, replace(string(url))...) }
}

func keepOwn(id string) bool { return strings.HasPrefix(id, "own") }

func keepOwns(ids []string, keep []bool) {
	for i, id := range ids {
		keep[i] = keepOwn(id)
	}
}

var pieceSizes = []int{1, 2, 3, 7, 64, 1 << 20}

func TestAnEditorReplacesStrings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, paths, text, want string }{
		{"a member", "url", `{"url":"https://backend/a"}`, `{"url":"https://gate/a"}`},
		{"a member below others", "a.b.url", `{"a":{"url":"https://backend/","b":{"url":"https://backend/a"}}}`, `{"a":{"url":"https://backend/","b":{"url":"https://gate/a"}}}`},
		{"members of entries", "list[].url", `{"list":[{"url":"https://backend/a"},{"url":"https://backend/b"}]}`, `{"list":[{"url":"https://gate/a"},{"url":"https://gate/b"}]}`},
		{"entries at the top level", "[].url", `[{"url":"https://backend/a"},{}]`, `[{"url":"https://gate/a"},{}]`},
		{"strings of an array", "urls[]", `{"urls":["https://backend/a","",1,"https://backend/b"]}`, `{"urls":["https://gate/a","",1,"https://gate/b"]}`},
		{"arrays of arrays", "a[][]", `{"a":[["https://backend/a"],"https://backend/b"]}`, `{"a":[["https://gate/a"],"https://backend/b"]}`},
		{"several", "next prev list[].url", `{"next":"https://backend/n","list":[{"url":"https://backend/a"}],"prev":null}`, `{"next":"https://gate/n","list":[{"url":"https://gate/a"}],"prev":null}`},
		{"a name with an escape", "url", `{"\u0075rl":"https://backend/a"}`, `{"\u0075rl":"https://gate/a"}`},
		{"a value with escapes", "url", `{"url":"https:\/\/backend\/\u0061?a=b&c=\"\u00e9"}`, `{"url":"https://gate/a?a=b&c=\"é"}`},
		{"a value with & < >", "url", `{"url":"https://backend/?a&b<c>\\"}`, `{"url":"https://gate/?a&b<c>\\"}`},
		{"the same value keeps its escapes", "url", `{"url":"https:\/\/other\/\u0061"}`, `{"url":"https:\/\/other\/\u0061"}`},
		{"white space and other values stay", "url", "\r\n{ \"a\" : [ 1e5 , \"\\u0061\" ] ,\t\"url\":\n\"https://backend/\" }\n", "\r\n{ \"a\" : [ 1e5 , \"\\u0061\" ] ,\t\"url\":\n\"https://gate/\" }\n"},
		{"values of other types", "url a.url b[].url", `{"url":{"url":"https://backend/"},"a":["https://backend/"],"b":{"url":"https://backend/"}}`, `{"url":{"url":"https://backend/"},"a":["https://backend/"],"b":{"url":"https://backend/"}}`},
		{"a string at the top level", "url", `"https://backend/"`, `"https://backend/"`},
		{"a number at the top level", "url", `-1.5e3`, `-1.5e3`},
		{"NaN", "url", `{"a":NaN,"b":-Infinity,"url":"https://backend/"}`, `{"a":NaN,"b":-Infinity,"url":"https://gate/"}`},
	} {
		for _, n := range pieceSizes {
			t.Run(fmt.Sprintf("%s, in pieces of %d", test.name, n), func(t *testing.T) {
				t.Parallel()
				got, err := edit(compiled(t, test.paths, "", false).Editor(appends(toGate), nil), test.text, n)
				if got != test.want || err != nil {
					t.Errorf("%s\ngot %s, %v\nwant %s", test.text, got, err, test.want)
				}
			})
		}
	}
}

func TestAnEditorFiltersAList(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, entry, text, want string }{
		{"all kept", "list[].id", `{"list":[{"id":"own1"}, {"id":"own2"}],"n":2}`, `{"list":[{"id":"own1"}, {"id":"own2"}],"n":2}`},
		{"none kept", "list[].id", `{"list":[{"id":"x"},{"id":"y"}],"n":2}`, `{"list":[],"n":2}`},
		{"the first", "list[].id", `{"list":[{"id":"own"},{"id":"y"},{"id":"z"}]}`, `{"list":[{"id":"own"}]}`},
		{"the last", "list[].id", `{"list":[{"id":"x"},{"id":"y"},{"id":"own"}]}`, `{"list":[{"id":"own"}]}`},
		{"the middle", "list[].id", `{"list":[{"id":"x"},{"id":"own"},{"id":"z"}]}`, `{"list":[{"id":"own"}]}`},
		{"the first and the last", "list[].id", `{"list":[{"id":"own1"},{"id":"x"},{"id":"own2"}]}`, `{"list":[{"id":"own1"},{"id":"own2"}]}`},
		{"with white space", "list[].id", "{\"list\": [\n  {\"id\": \"x\"},\n  {\"id\": \"own1\"},\n  {\"id\": \"y\"},\n  {\"id\": \"own2\"}\n]}", "{\"list\": [\n  {\"id\": \"own1\"},\n  {\"id\": \"own2\"}\n]}"},
		{"none kept, with white space", "list[].id", "{\"list\": [\n  {\"id\": \"x\"} ,\n  {\"id\": \"y\"}\n]}", "{\"list\": [\n   \n]}"},
		{"an empty list", "list[].id", `{"list":[ ]}`, `{"list":[ ]}`},
		{"null", "list[].id", `{"list":null}`, `{"list":null}`},
		{"at the top level", "[].id", ` [{"id":"x"},{"id":"own"}] `, ` [{"id":"own"}] `},
		{"within an object", "a.list[].id", `{"list":[{"id":"x"}],"a":{"list":[{"id":"x"},{"id":"own"}]}}`, `{"list":[{"id":"x"}],"a":{"list":[{"id":"own"}]}}`},
		{"the ID within an object", "list[].job.id", `{"list":[{"job":{"id":"x"},"id":"own"},{"id":"x","job":{"id":"own"}}]}`, `{"list":[{"id":"x","job":{"id":"own"}}]}`},
		{"the ID behind other members", "list[].id", `{"list":[{"a":[{"id":"own"}],"b":"own","id":"x"},{"a":[{"id":"x"}],"id":"own"}]}`, `{"list":[{"a":[{"id":"x"}],"id":"own"}]}`},
		{"an ID with an escape", "list[].id", `{"list":[{"id":"\u006fwn"},{"\u0069d":"own"},{"id":"\u0078"}]}`, `{"list":[{"id":"\u006fwn"},{"\u0069d":"own"}]}`},
		{"entries without a string as ID", "list[].id", `{"list":[{},{"id":1},{"id":null},{"id":""},{"id":["own"]},{"id":{"id":"own"}},{"ids":"own"},{"id":"own"}]}`, `{"list":[{"id":"own"}]}`},
		{"entries that are not objects", "list[].id", `{"list":["own",["own"],[{"id":"own"}],1,null,true,{"id":"own"},[]]}`, `{"list":[{"id":"own"}]}`},
		{"one of two forms", "list[].id active[].job", `{"list":[{"id":"x","job":"own"},{"id":"own","job":"x"}]}`, `{"list":[{"id":"own","job":"x"}]}`},
		{"the other of two forms", "list[].id active[].job", `{"active":[{"id":"x","job":"own"},{"id":"own","job":"x"}],"n":2}`, `{"active":[{"id":"x","job":"own"}],"n":2}`},
		{"both of two forms", "list[].id active[].job", `{"list":[{"id":"own"}],"active":[{"job":"x"},{"job":"own"}]}`, `{"list":[{"id":"own"}],"active":[{"job":"own"}]}`},
		{"an object in the place of the ID's parent", "list[].job.id", `{"list":[{"job":"own"},{"job":[{"id":"own"}]},{"job":{"id":"own"}}]}`, `{"list":[{"job":{"id":"own"}}]}`},
	} {
		for _, n := range pieceSizes {
			t.Run(fmt.Sprintf("%s, in pieces of %d", test.name, n), func(t *testing.T) {
				t.Parallel()
				got, err := edit(compiled(t, "", test.entry, false).Editor(nil, keepOwns), test.text, n)
				if got != test.want || err != nil {
					t.Errorf("%s\ngot %s, %v\nwant %s", test.text, got, err, test.want)
				}
			})
		}
	}
}

func TestAnEditorReplacesStringsOfKeptEntries(t *testing.T) {
	t.Parallel()
	const text = `{"values":[{"self":"https://backend/jobs/x?v=1"},{"self":"https://backend/jobs/own1?v=1#a"},{"self":"https://backend/jobs/own2/"},{"self":"own3"}],"next":"https://backend/?page=2"}`
	const want = `{"values":[{"self":"https://gate/jobs/own1?v=1#a"},{"self":"own3"}],"next":"https://gate/?page=2"}`
	for _, n := range pieceSizes {
		var seen []string
		replace := func(url string) string {
			seen = append(seen, url)
			return toGate(url)
		}
		got, err := edit(compiled(t, "values[].self next", "values[].self", true).Editor(appends(replace), keepOwns), text, n)
		if got != want || err != nil {
			t.Errorf("in pieces of %d: %s, %v\nwant %s", n, got, err, want)
		}
		if strings.Contains(strings.Join(seen, " "), "jobs/x") || len(seen) != 3 {
			t.Errorf("replaced in dropped entries too: %q", seen)
		}
	}
}

// TestAnEditorStopsBeforeAnUndecidedEntry: the answers hold the word secret in entries that
// must not leave, because their entry or their list can be read in two ways.
func TestAnEditorStopsBeforeAnUndecidedEntry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		err        error
	}{
		{"the list twice", `{"list":[{"id":"own"}],"list":[{"id":"own","a":"secret"}]}`, jsonanswer.ErrTwice},
		{"the list in another case", `{"List":[{"id":"own","a":"secret"}]}`, jsonanswer.ErrCase},
		{"the list in another case, later", `{"list":[],"LIST":[{"id":"own","a":"secret"}]}`, jsonanswer.ErrCase},
		{"the list in another spelling", `{"list":[],"\u006cist":[{"id":"own","a":"secret"}]}`, jsonanswer.ErrTwice},
		{"the ID twice", `{"list":[{"id":"own","a":"secret","id":"x"}]}`, jsonanswer.ErrTwice},
		{"the ID twice, kept later", `{"list":[{"id":"x","a":"secret","id":"own"}]}`, jsonanswer.ErrTwice},
		{"the ID in another case", `{"list":[{"id":"own","a":"secret","ID":"x"}]}`, jsonanswer.ErrCase},
		{"an object in place of the list", `{"list":{"a":{"id":"own","a":"secret"}}}`, jsonanswer.ErrList},
		{"a string in place of the list", `{"list":"secret"}`, jsonanswer.ErrList},
		{"a broken entry", `{"list":[{"id":"own","a":"secret","b"}]}`, jsonanswer.ErrJSON},
		{"an entry with a wrong bracket", `{"list":[{"id":"own","a":["secret"}]}`, jsonanswer.ErrJSON},
		{"an entry that does not end", `{"list":[{"id":"own","a":"secret"`, jsonanswer.ErrJSON},
		{"an entry with a comma at its end", `{"list":[{"id":"own","a":"secret",}]}`, jsonanswer.ErrJSON},
		{"an entry with a comment", `{"list":[{"id":"own","a":"secret"/* */}]}`, jsonanswer.ErrJSON},
		{"an entry with a control character", "{\"list\":[{\"id\":\"own\",\"a\":\"secret\n\"}]}", jsonanswer.ErrJSON},
		{"an entry with a wrong escape", `{"list":[{"id":"own","a":"secret\u"}]}`, jsonanswer.ErrJSON},
		{"two entries without a comma", `{"list":[{"id":"x"}{"id":"own","a":"secret"}]}`, jsonanswer.ErrJSON},
		{"text behind the answer", `{"list":[]}{"list":[{"id":"own","a":"secret"}]}`, jsonanswer.ErrJSON},
		{"an entry that is too deep", `{"list":[{"id":"own","a":"secret","b":` + strings.Repeat("[", jsonanswer.MaxDepth), jsonanswer.ErrDepth},
		{"an ID that is too long", `{"list":[{"a":"secret","id":"own` + strings.Repeat("a", jsonanswer.MaxValue) + `"}]}`, jsonanswer.ErrLong},
		{"an entry that is too large", `{"list":[{"id":"own","a":"secret` + strings.Repeat("a", jsonanswer.MaxEntry) + `"}]}`, jsonanswer.ErrEntry},
		{"an entry that is too large before its ID", `{"list":[{"a":"secret` + strings.Repeat("a", jsonanswer.MaxEntry) + `","id":"x"}]}`, jsonanswer.ErrEntry},
		{"not JSON", `<p>secret</p>`, jsonanswer.ErrJSON},
		{"a byte order mark", "\ufeff" + `{"list":[{"id":"own","a":"secret"}]}`, jsonanswer.ErrJSON},
		{"an object in place of the answer", `[{"list":[{"id":"own","a":"secret"}]}]`, jsonanswer.ErrList},
	} {
		sizes := pieceSizes
		if len(test.text) > 1<<20 {
			sizes = []int{4096, 32 << 10, 2 << 20}
		}
		for _, n := range sizes {
			t.Run(fmt.Sprintf("%s, in pieces of %d", test.name, n), func(t *testing.T) {
				t.Parallel()
				editor := compiled(t, "", "list[].id", false).Editor(nil, keepOwns)
				got, err := edit(editor, test.text, n)
				if strings.Contains(got, "secret") || !errors.Is(err, test.err) {
					t.Errorf("got %.200s, %v, want %v", got, err, test.err)
				}
				if more, again := editor.Next([]byte(`]}`)); len(more) > 0 || again == nil || editor.Close() == nil {
					t.Errorf("after the error: %s, %v", more, again)
				}
			})
		}
	}
}

func TestAnEditorsBoundsAreExact(t *testing.T) {
	t.Parallel()
	depth := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	value := func(n int) string { return `{"url":"` + strings.Repeat("a", n-2) + `"}` }
	entry := func(n int) string {
		const head, tail = `{"id":"own","a":"`, `"}`
		return `{"url":"","list":[` + head + strings.Repeat("a", n-len(head)-len(tail)) + tail + `]}`
	}
	for _, test := range []struct {
		name, entry, longest, longer string
		err                          error
	}{
		{"levels", "", depth(jsonanswer.MaxDepth), depth(jsonanswer.MaxDepth + 1), jsonanswer.ErrDepth},
		{"a string", "", value(jsonanswer.MaxValue), value(jsonanswer.MaxValue + 1), jsonanswer.ErrLong},
		{"an entry", "list[].id", entry(jsonanswer.MaxEntry), entry(jsonanswer.MaxEntry + 1), jsonanswer.ErrEntry},
	} {
		for _, n := range []int{4096, 32 << 10, 2 << 20} {
			edits := compiled(t, "url", test.entry, false)
			if got, err := edit(edits.Editor(appends(toGate), keepOwns), test.longest, n); got != test.longest || err != nil {
				t.Errorf("%s, in pieces of %d: %d bytes, %v", test.name, n, len(got), err)
			}
			if _, err := edit(edits.Editor(appends(toGate), keepOwns), test.longer, n); !errors.Is(err, test.err) {
				t.Errorf("%s, in pieces of %d: %v, want %v", test.name, n, err, test.err)
			}
		}
	}
}

// An answer without the list can have the entries of other accounts in another place.
func TestAnEditorHoldsAllBeforeTheList(t *testing.T) {
	t.Parallel()
	before := func(n int) string {
		const head = `{"a":"`
		return head + strings.Repeat("a", n-len(head)-len(`","list":`)) + `","list":`
	}
	for _, test := range []struct{ name, entry, text, want string }{
		{"another list", "list[].id", `{"items":[{"id":"x"}]}`, ""},
		{"another list, and a long text", "list[].id", `{"items":[{"id":"x"}],"a":"` + strings.Repeat("a", 10<<10) + `"}`, ""},
		{"null around the list", "a.list[].id", `{"a":null,"list":[{"id":"x"}]}`, ""},
		{"no list around the entry", "a.list[].id", `{"list":[{"id":"x"}],"a":{}}`, ""},
		{"the longest text", "list[].id", before(jsonanswer.MaxBeforeList) + `[]}`, before(jsonanswer.MaxBeforeList) + `[]}`},
		{"a longer text", "list[].id", before(jsonanswer.MaxBeforeList+1) + `[]}`, ""},
	} {
		for _, n := range []int{1, 7, 4096, 1 << 20} {
			got, err := edit(compiled(t, "", test.entry, false).Editor(nil, keepOwns), test.text, n)
			if got != test.want || errors.Is(err, jsonanswer.ErrNoList) != (test.want == "") {
				t.Errorf("%s, in pieces of %d: %d bytes %.200s, %v", test.name, n, len(got), got, err)
			}
		}
	}
}

// A dropped entry is not kept in memory, so its size does not matter.
func TestAnEditorDropsLargeEntries(t *testing.T) {
	t.Parallel()
	text := `{"list":[{"id":"x","a":"` + strings.Repeat("a", 3*jsonanswer.MaxEntry) + `"},{"id":"own"}]}`
	editor := compiled(t, "", "list[].id", false).Editor(nil, keepOwns)
	if got, err := edit(editor, text, 32<<10); got != `{"list":[{"id":"own"}]}` || err != nil {
		t.Errorf("%.100s, %v", got, err)
	}
	if n := editor.Kept(); n > 100<<10 {
		t.Errorf("%d bytes kept", n)
	}
}

func TestCloseSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		``:                        jsonanswer.ErrJSON,
		`{"list":[]`:              jsonanswer.ErrJSON,
		`{"list":[{"id":"own"}],`: jsonanswer.ErrJSON,
		`{}`:                      jsonanswer.ErrNoList,
		`{"items":[{"id":"x"}]}`:  jsonanswer.ErrNoList,
		`{"list":[]}`:             nil,
		`{"list":null}`:           nil,
	} {
		if _, err := edit(compiled(t, "", "list[].id", false).Editor(nil, keepOwns), text, 3); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}
