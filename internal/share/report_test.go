package share

import (
	"encoding/binary"
	"math"
	"reflect"
	"strings"
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

// A report that breaks a rule of its form says nothing, also not what is in front of the mistake.
func TestReport_IsReadInItsFormOnly(t *testing.T) {
	t.Parallel()
	number := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	signed := func(n int64) string { return string(binary.AppendVarint(nil, n)) }
	endless := strings.Repeat("\xff", 11)
	const version, kind, id, now, events = "\x01", "\x02", "\x01k", "\x03", "\x01"
	for what, body := range map[string]string{
		"no version":                   "",
		"another version":              "\x02" + kind + id + now + events + number(1000) + signed(1),
		"a kind that is no byte":       version + number(256) + id + now + events + number(1000) + signed(1),
		"a number without an end":      version + kind + id + endless,
		"no ID":                        version + kind,
		"an ID that is cut":            version + kind + "\x02k",
		"an ID with the rest in it":    version + kind + "\x03" + now + number(0),
		"a long ID":                    version + kind + number(mostIDBytes+1) + strings.Repeat("k", mostIDBytes+1) + now + number(0),
		"no number at a time":          version + kind + id,
		"half a number at a time":      version + kind + id + "\x80",
		"too much at a time":           version + kind + id + number(math.MaxInt32+1) + number(0),
		"no number of events":          version + kind + id + now,
		"more events than bytes":       version + kind + id + now + number(3) + "\x01",
		"fewer events than it says":    version + kind + id + now + number(2) + number(1000) + signed(1),
		"an event without a number":    version + kind + id + now + events + number(1000),
		"half a number of events":      version + kind + id + now + events + number(1000) + "\x80",
		"a signed number without end":  version + kind + id + now + events + number(1000) + endless,
		"too many events":              version + kind + id + now + events + number(1000) + signed(math.MaxInt32+1),
		"too many that are taken back": version + kind + id + now + events + number(1000) + signed(-math.MaxInt32-1),
		"an event of a time too far":   version + kind + id + now + events + number(66_000_000) + signed(1),
		"an entry, and half another":   version + kind + id + now + number(0) + kind + id,
	} {
		if entries, err := decode([]byte(body), start); err == nil || entries != nil {
			t.Errorf("%s: read as %+v, %v", what, entries, err)
		}
	}
	for what, test := range map[string]struct {
		body string
		want entry
	}{
		"the least": {version + number(0) + number(0) + number(0) + number(0), entry{}},
		"the largest numbers": {
			version + number(255) + number(mostIDBytes) + strings.Repeat("k", mostIDBytes) + number(math.MaxInt32) + number(2) + number(0) + signed(math.MaxInt32) + number(65_000_000) + signed(-math.MaxInt32),
			entry{255, Change{strings.Repeat("k", mostIDBytes), math.MaxInt32, []Past{{start, math.MaxInt32}, {start - 65_000_000, -math.MaxInt32}}}},
		},
	} {
		entries, err := decode([]byte(test.body), start)
		if err != nil || len(entries) != 1 || !reflect.DeepEqual(entries[0], test.want) {
			t.Errorf("%s: read as %+v, %v; want %+v", what, entries, err, test.want)
		}
	}
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
