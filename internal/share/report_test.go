package share

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

func TestReport_IsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) entry {
			return entry{Kind(rapid.Uint8().Draw(t, "kind")), Change{
				ID:  rapid.StringN(0, -1, mostIDBytes).Draw(t, "id"),
				Now: rapid.IntRange(0, 1<<31-1).Draw(t, "now"),
				Past: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Past {
					return Past{start - policy.Time(rapid.IntRange(0, 60_000).Draw(t, "age")), rapid.IntRange(-1000, 1000).Draw(t, "n")}
				}), 0, 5).Draw(t, "past"),
			}}
		}), 0, 10).Draw(t, "entries")
		const later = 5_000_000 // the reader's clock is ahead
		got, err := decode(encode(entries, start), start+later)
		if err != nil || len(got) != len(entries) {
			t.Fatalf("%d entries of %d, %v", len(got), len(entries), err)
		}
		for i, e := range entries {
			if got[i].kind != e.kind || got[i].ID != e.ID || got[i].Now != e.Now || len(got[i].Past) != len(e.Past) {
				t.Fatalf("%+v, want %+v", got[i], e)
			}
			for j, p := range e.Past {
				if got[i].Past[j] != (Past{p.At + later, p.N}) {
					t.Fatalf("%+v, want %+v", got[i].Past[j], p)
				}
			}
		}
	})
}

// FuzzReport reads reports of any form.
func FuzzReport(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{reportVersion + 1})
	f.Add(encode([]entry{{Streams, Change{ID: "key_1", Now: 2, Past: []Past{{start, 1}, {start - 1000, -1}}}}}, start))
	f.Fuzz(func(t *testing.T, body []byte) {
		entries, err := decode(body, start)
		if err != nil {
			if entries != nil {
				t.Errorf("an error, and %d entries", len(entries))
			}
			return
		}
		again, err := decode(encode(entries, start), start)
		if err != nil || len(again) != len(entries) {
			t.Errorf("%d entries are read again as %d, %v", len(entries), len(again), err)
		}
		for _, e := range entries {
			if e.Now < 0 || len(e.ID) > mostIDBytes {
				t.Errorf("an entry with %d at a time and an ID of %d bytes", e.Now, len(e.ID))
			}
			for _, p := range e.Past {
				if p.At > start {
					t.Errorf("an event in the future: %+v", p)
				}
			}
		}
	})
}
