package jsonanswer_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/jsonanswer"
)

// The paths of the properties, and the same as places.
const (
	propertyReplace = "next a.url list[].url"
	propertyEntry   = "list[].id"
)

var propertyPlaces = &place{toList: true, members: map[string]*place{
	"next": {replace: true},
	"a":    {members: map[string]*place{"url": {replace: true}}},
	"list": {list: true, element: &place{members: map[string]*place{"url": {replace: true}, "id": {id: true}}}},
}}

// anAnswer is an answer with a list. Some answers have a name twice, or no list.
func anAnswer() *rapid.Generator[string] {
	url := rapid.SampledFrom([]string{`"https://backend/a"`, `"https:\/\/backend\/é\n\ud83d\ude00"`, `"https://other"`, `""`, `null`, `{"url":"https://backend/"}`})
	id := rapid.SampledFrom([]string{`"own1"`, `"own2"`, `"\u006fwn3"`, `"x"`, `"y"`, `""`, `1`, `null`, `{"id":"own"}`, `["own"]`})
	name := rapid.SampledFrom([]string{`"k"`, `"text"`, `"ids"`, `""`, `"\u0069"`, `"lists"`, `"é"`})
	members := func(t *rapid.T, own ...string) string {
		all := own
		for range rapid.IntRange(0, 3).Draw(t, "others") {
			all = append(all, name.Draw(t, "name")+space(t)+":"+someJSON(2).Draw(t, "value"))
		}
		all = rapid.Permutation(all).Draw(t, "order")
		if len(all) > 1 && rapid.IntRange(0, 4).Draw(t, "fewer") == 0 {
			all = all[1:]
		}
		return "{" + space(t) + strings.Join(all, space(t)+","+space(t)) + space(t) + "}"
	}
	entry := rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
			return someJSON(2).Draw(t, "entry")
		}
		return members(t, `"id":`+space(t)+id.Draw(t, "id"), `"url":`+url.Draw(t, "url"))
	})
	return rapid.Custom(func(t *rapid.T) string {
		entries := rapid.SliceOfN(entry, 0, 6).Draw(t, "entries")
		list := `"list":` + space(t) + "[" + space(t) + strings.Join(entries, space(t)+","+space(t)) + space(t) + "]"
		own := []string{list, `"next":` + url.Draw(t, "next"), `"a":` + members(t, `"url":`+url.Draw(t, "url"))}
		if rapid.IntRange(0, 19).Draw(t, "twice") == 0 {
			own = append(own, rapid.SampledFrom([]string{`"list":[]`, `"Next":1`, `"a":{}`}).Draw(t, "second"))
		}
		return space(t) + members(t, own...) + space(t)
	})
}

// checkEdit compares what an editor makes of a text with what encoding/json reads, and
// reports how the editing ended.
func checkEdit(t interface{ Fatalf(string, ...any) }, edits *jsonanswer.Edits, text []byte, n int) string {
	got, err := edit(edits.Editor(appends(toGate), keepOwns), string(text), n)
	if whole, wholeErr := edit(edits.Editor(appends(toGate), keepOwns), string(text), len(text)+1); fmt.Sprint(err) != fmt.Sprint(wholeErr) || err == nil && got != whole {
		t.Fatalf("%s\nin pieces of %d: %s, %v\nwhole: %s, %v", text, n, got, err, whole, wholeErr)
	}
	if errors.Is(err, jsonanswer.ErrLong) || errors.Is(err, jsonanswer.ErrDepth) {
		return "bound"
	}
	if !wellFormed(text) {
		if err == nil {
			t.Fatalf("%s: no error, although it is not JSON", text)
		}
		return "broken"
	}
	value, ok := parse(text)
	if !ok { // it has a word such as NaN
		return "word"
	}
	hasList := false
	members, _ := value.(object)
	for _, m := range members {
		hasList = hasList || m.name == "list"
	}
	switch {
	case propertyPlaces.faulty(value):
		if err == nil {
			t.Fatalf("%s: no error, although it can be read in two ways", text)
		}
		return "faulty"
	case !hasList:
		if !errors.Is(err, jsonanswer.ErrNoList) {
			t.Fatalf("%s: %v, although it has no list", text, err)
		}
		return "no list"
	case err != nil:
		t.Fatalf("%s: %v", text, err)
	}
	after, ok := parse([]byte(got))
	want := propertyPlaces.edited(value)
	if !ok || !reflect.DeepEqual(after, want) {
		t.Fatalf("%s\nbecomes %s\nwhich is %v,\nwant %v", text, got, after, want)
	}
	if reflect.DeepEqual(value, want) && got != string(text) {
		t.Fatalf("%s\nbecomes %s\nalthough nothing is to be changed", text, got)
	}
	if reflect.DeepEqual(value, want) {
		return "same"
	}
	return "changed"
}

func TestAnEditorsOutputIsWhatEncodingJSONSays(t *testing.T) {
	t.Parallel()
	edits := compiled(t, propertyReplace, propertyEntry, false)
	kinds := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		for range 3 {
			text := anAnswer().Draw(t, "answer")
			kinds[checkEdit(t, edits, []byte(text), rapid.IntRange(1, len(text)).Draw(t, "n"))]++
		}
	})
	for _, kind := range []string{"faulty", "no list", "same", "changed"} {
		if kinds[kind] == 0 {
			t.Errorf("no random answer was of the kind %q: %v", kind, kinds)
		}
	}
}

func TestADamagedAnswerStopsAnEditor(t *testing.T) {
	t.Parallel()
	edits := compiled(t, propertyReplace, propertyEntry, false)
	broken := 0
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(anAnswer().Draw(t, "answer"))
		for range rapid.IntRange(1, 3).Draw(t, "damages") {
			text[rapid.IntRange(0, len(text)-1).Draw(t, "at")] = rapid.SampledFrom([]byte("\"\\{}[]:,x 0\x01u")).Draw(t, "by")
		}
		if checkEdit(t, edits, text, rapid.IntRange(1, len(text)).Draw(t, "n")) == "broken" {
			broken++
		}
	})
	if broken == 0 {
		t.Error("no damage has broken an answer")
	}
}

// TestWithoutAMatchEveryByteStays: any JSON whose members no path names.
func TestWithoutAMatchEveryByteStays(t *testing.T) {
	t.Parallel()
	edits := compiled(t, "no b.url c[].url", "", false)
	rapid.Check(t, func(t *rapid.T) {
		text := space(t) + someJSON(4).Draw(t, "text") + space(t)
		n := rapid.IntRange(1, len(text)).Draw(t, "n")
		if got, err := edit(edits.Editor(appends(toGate), nil), text, n); got != text || err != nil {
			t.Fatalf("%s\nin pieces of %d becomes %s, %v", text, n, got, err)
		}
	})
}

func FuzzEditor(f *testing.F) {
	for _, seed := range []string{
		`{"list":[{"id":"own","url":"https://backend/"},{"id":"x"}],"next":"https://backend/","a":{"url":"https://backend/"}}`,
		`{"list":[{"id":"x"},1,null,[],{"id":"own"}] , "n":-1.5e3}`, `{"list":null}`, `{"list":[],"list":[]}`, `[]`, `{}`, `"a"`, "",
		`{"list":[{"id":"own","ID":1}]}`, `{"\u006cist":[{"\u0069d":"\u006fwn"}]}`, `{"list":[{"id":"own"} {"id":"own"}]}`, `{"next":NaN,"list":[ ]}`,
		"{\"list\":[{\"id\":\"own\xff\"}],\"next\":\"\\ud800\"}", `{"list":[{"id":"own"`,
	} {
		f.Add([]byte(seed), uint8(3))
	}
	edits := compiled(f, propertyReplace, propertyEntry, false)
	f.Fuzz(func(t *testing.T, text []byte, n uint8) { checkEdit(t, edits, text, int(n)+1) })
}

func TestUnescapedStopsAtTheFirstByteThatItMust(t *testing.T) {
	t.Parallel()
	special := rapid.SampledFrom([]byte{0, 1, '\n', 0x1f, ' ', '!', '"', '#', '[', '\\', ']', 0x7f, 0x80, 0x9f, 0xa0, 0xa2, 0xdc, 0xff})
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(special, 0, 20).Draw(t, "bytes")
		want := 0
		for want < len(p) && p[want] != '"' && p[want] != '\\' && p[want] >= ' ' {
			want++
		}
		if got := jsonanswer.Unescaped(p); got != want {
			t.Fatalf("%q: %d, want %d", p, got, want)
		}
	})
}
