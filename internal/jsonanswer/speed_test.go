package jsonanswer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const pollAnswer = `{"status":"processing","session_id":"0123456789abcdef01234567","service_id":"bench","audio_size":112044}`

func BenchmarkMembers(b *testing.B) {
	for name, answer := range map[string]string{
		"at the start": pollAnswer,
		"behind 1 MiB": `{"segments":["` + strings.Repeat("speech ", 1<<20/7) + `"],"status":"completed"}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(answer)))
			text := []byte(answer)
			for b.Loop() {
				if state := readState(b, text); state == "" {
					b.Fatal("no state")
				}
			}
		})
	}
}

var status = MustSet("status")

func readState(tb testing.TB, answer []byte) string {
	m := new(Members)
	m.Begin(status)
	_, _ = m.Write(answer)
	state, err := m.Get(0)
	if err != nil {
		tb.Fatal(err)
	}
	return state.Text
}

// The two allocations are the reader and the state.
func TestMembers_allocatesLittle(t *testing.T) { //nolint:paralleltest // measures allocations
	answer := []byte(pollAnswer)
	if n := testing.AllocsPerRun(100, func() { readState(t, answer) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

// aList is a list of n entries, like an answer of AssemblyAI. Every second entry has an ID that
// begins with a.
func aList(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"page_details":{"limit":1000,"result_count":1000,"current_url":"https://api.assemblyai.com/v2/transcript?limit=1000","prev_url":"https://api.assemblyai.com/v2/transcript?limit=1000&before_id=5b3a","next_url":null},"transcripts":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		id := fmt.Sprintf("%c%07x-1c9b-4f0e-8a57-6a1f0c2d3e4b", "ab"[i%2], i)
		fmt.Fprintf(&b, `{"id":"%s","resource_url":"https://api.assemblyai.com/v2/transcript/%s","status":"completed","created":"2026-11-28T10:00:00.123456","completed":"2026-11-28T10:00:10.123456","audio_url":"https://cdn.assemblyai.com/upload/%x","error":null}`, id, id, i)
	}
	b.WriteString("]}")
	return b.Bytes()
}

// listEdits are the edits of a list of AssemblyAI, without the replacements if only is set.
func listEdits(tb testing.TB, only bool) *Edits {
	changes := Changes{Entries: []Path{MustPath("transcripts[].id")}}
	if !only {
		changes.Replace = []Path{
			MustPath("page_details.next_url"), MustPath("page_details.prev_url"), MustPath("page_details.current_url"), MustPath("transcripts[].resource_url"),
		}
	}
	edits, err := changes.Compile()
	if err != nil {
		tb.Fatal(err)
	}
	return edits
}

func ownIDs(ids []string, keep []bool) {
	for i, id := range ids {
		keep[i] = id[0] == 'a'
	}
}

func ownOrigin(dst, url []byte) []byte {
	if rest, ok := bytes.CutPrefix(url, []byte("https://api.assemblyai.com")); ok {
		return append(append(dst, "https://gate.example"...), rest...)
	}
	return append(dst, url...)
}

// editAll gives a text to an editor in the pieces of a proxy.
func editAll(tb testing.TB, edits *Edits, text []byte) (size int) {
	editor := edits.Editor(ownOrigin, ownIDs)
	for piece := range slices.Chunk(text, 32<<10) {
		out, err := editor.Next(piece)
		if err != nil {
			tb.Fatal(err)
		}
		size += len(out)
	}
	if err := editor.Close(); err != nil && !errors.Is(err, errNoList) {
		tb.Fatal(err)
	}
	return size
}

func BenchmarkEditor(b *testing.B) {
	list := aList(1000)
	live := []byte(`{"id":"45463597-20b7-4af7-b3b3-f5fb778203ab","created_at":"2026-11-28T04:43:26.319Z","url":"https://api.assemblyai.com/v2/live?token=4a39145c-2844-4557-8f34-34883f7be7d9"}`)
	url, err := Changes{Replace: []Path{MustPath("url")}}.Compile()
	if err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct {
		name  string
		edits *Edits
		text  []byte
	}{
		{"filter 1,000 entries", listEdits(b, true), list},
		{"filter 1,000 entries and replace their URLs", listEdits(b, false), list},
		{"replace one URL", url, live},
		{"replace nothing in 300 KB", url, list},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bench.text)))
			for b.Loop() {
				editAll(b, bench.edits, bench.text)
			}
		})
	}
}

// The allocations of a list do not grow with its entries, only with its pieces.
func TestEditor_allocatesLittle(t *testing.T) { //nolint:paralleltest // measures allocations
	list := aList(1000)
	for _, test := range []struct {
		edits *Edits
		limit float64
	}{
		{listEdits(t, true), 100}, // with a few that the race detector adds
		{listEdits(t, false), 120},
	} {
		if n := testing.AllocsPerRun(5, func() { editAll(t, test.edits, list) }); n > test.limit {
			t.Errorf("%v allocations, more than %v", n, test.limit)
		}
	}
}

// A list of any length needs the same memory.
func TestEditor_keepsOneEntry(t *testing.T) { //nolint:paralleltest // measures memory
	list := aList(10_000)
	editor := listEdits(t, false).Editor(ownOrigin, ownIDs)
	for piece := range slices.Chunk(list, 4096) {
		if _, err := editor.Next(piece); err != nil {
			t.Fatal(err)
		}
	}
	if n := editor.Kept(); n > 16<<10 {
		t.Errorf("%d bytes kept", n)
	}
}
