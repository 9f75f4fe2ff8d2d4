package keystore

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// digestOf is the digest of item i, of a random look that stays the same.
func digestOf(i int) (d digest) {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	for at := 0; at < len(d); at += 8 {
		binary.LittleEndian.PutUint64(d[at:], random.Uint64())
	}
	return d
}

// named is a value that repeats its digest.
type named digest

// Whatever is put, asked for and dropped: what is found is what was put last, texts
// that were taken out stay as they are, and the bound holds.
func TestTable_FindsWhatWasPutWithinItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := table[named]{limit: rapid.Int64Range(0, 6000).Draw(t, "limit")}
		last, taken := map[digest]string{}, map[string]string{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			d := digestOf(rapid.IntRange(0, 40).Draw(t, "digest"))
			if rapid.Bool().Draw(t, "same name") {
				d = digest{31: d[0] % 4}
			}
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				last[d] = string(d[:]) + strings.Repeat(string(rune('a'+d[3]%26)), rapid.IntRange(0, 500).Draw(t, "length"))
				table.put(d, named(d), last[d])
			case 2:
				delete(last, d)
				table.drop(d)
			default:
				keep := rapid.IntRange(300, 500).Draw(t, "keep")
				table.dropIf(func(_ *named, text string) bool { return len(text) > keep })
			}
			checkTable(t, &table)
			for d, want := range last {
				if found, text := table.get(d); found != nil {
					if text != want || digest(*found) != d {
						t.Fatalf("found %q, and %q was put last", text, want)
					}
					taken[text] = strings.Clone(text)
				}
			}
		}
		for text, was := range taken {
			if text != was {
				t.Fatalf("%q has become %q", was, text)
			}
		}
	})
}

func checkTable(t *rapid.T, table *table[named]) {
	var taken int64
	live, room := 0, 0
	for i := range table.slots {
		s := &table.slots[i]
		if s.hits == slotFree {
			continue
		}
		live++
		taken += table.cost(int(s.text.length))
		d := digest(s.value)
		if at := table.find(&d); at != uint32(i+1) || !strings.HasPrefix(table.texts.get(s.text), string(d[:])) {
			t.Fatalf("slot %d is found at %d", i+1, at)
		}
	}
	for _, piece := range table.texts.pieces {
		room += len(piece)
	}
	if taken != table.taken || taken > table.limit || live != table.live() {
		t.Fatalf("%d bytes are taken of %d, and counted as %d; %d slots live, %d free, %d in all",
			taken, table.limit, table.taken, live, len(table.free), len(table.slots))
	}
	if most := 2*table.texts.live + 4*minPiece; room > most {
		t.Fatalf("%d bytes of texts are in pieces of %d", table.texts.live, room)
	}
}

// A run through many keys, each used once, pushes none out that are in use; keys
// that come into use are admitted.
func TestTable_AdmitsWhatComesAgain(t *testing.T) {
	var table table[named]
	const room = 1000
	table.limit = room * table.cost(digestLen)
	put := func(i int) {
		d := digestOf(i)
		table.put(d, named(d), string(d[:]))
	}
	kept := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if found, _ := table.get(digestOf(i)); found != nil {
				n++
			}
		}
		return n
	}
	for i := range room {
		put(i)
	}
	if n := kept(0, room); n != room {
		t.Fatalf("%d of %d are kept, where there is room for all", n, room)
	}
	for i := range 50 * room {
		put(1_000_000 + i)
	}
	if n := kept(0, room); n < room*99/100 {
		t.Errorf("%d of %d are left after a run through many others", n, room)
	}
	for range 20 { // others come into use
		for i := room; i < room*3/2; i++ {
			if found, _ := table.get(digestOf(i)); found == nil {
				put(i)
			}
		}
	}
	if n := kept(room, room*3/2); n < room*9/20 {
		t.Errorf("%d of %d that came into use are kept", n, room/2)
	}
}

// Whoever makes keys up can choose some bits of their digests by trying, but not so
// that they share a chain.
func TestTable_ChosenDigestsShareNoChain(t *testing.T) {
	const chosen, bits = 1000, 16 // of a name, as the heads of 65,536 chains use it
	chains := make(map[uint32]int)
	for i := range chosen {
		d := digestOf(i)
		copy(d[1:4], "abc")
		chains[nameOf(&d)%(1<<bits)]++
	}
	for chain, n := range chains {
		if n > chosen/10 {
			t.Errorf("%d of %d digests that begin alike are in chain %d", n, chosen, chain)
		}
	}
}
