package keystore

import (
	"encoding/binary"
	"math/rand/v2"
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

// sized is an item that takes bytes of its own.
type sized struct {
	digest digest
	size   int64
}

func (s sized) is(d digest) bool { return s.digest == d }
func (s sized) bytes() int64     { return s.size }

// Whatever is put, asked for and dropped: what is found is what was put last, the
// bound holds, and every slot is either in the index or free.
func TestTable_FindsWhatWasPutWithinItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := table[sized]{limit: rapid.Int64Range(0, 4000).Draw(t, "limit")}
		last := map[digest]int64{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			d := digestOf(rapid.IntRange(0, 40).Draw(t, "digest"))
			if rapid.Bool().Draw(t, "same name") {
				d = digest{31: d[0] % 4}
			}
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				last[d] = rapid.Int64Range(0, 500).Draw(t, "size")
				table.put(d, sized{d, last[d]})
			case 2:
				delete(last, d)
				table.drop(d)
			default:
				keep := rapid.Int64Range(300, 500).Draw(t, "keep")
				table.dropIf(func(s *sized) bool { return s.size > keep })
			}
			var taken int64
			live := 0
			for i := range table.slots {
				s := &table.slots[i]
				if s.hits == slotFree {
					continue
				}
				live++
				taken += table.cost(&s.value)
				if at := table.find(s.value.digest); at != uint32(i+1) {
					t.Fatalf("slot %d is found at %d", i+1, at)
				}
			}
			if taken != table.taken || taken > table.limit || live != table.live() {
				t.Fatalf("%d bytes are taken of %d, and counted as %d; %d slots live, %d free, %d in all",
					taken, table.limit, table.taken, live, len(table.free), len(table.slots))
			}
			for d, size := range last {
				if found := table.get(d); found != nil && (found.size != size || found.digest != d) {
					t.Fatalf("found %d, and %d was put last", found.size, size)
				}
			}
		}
	})
}

// A run through many keys, each used once, pushes none out that are in use; keys
// that come into use are admitted.
func TestTable_AdmitsWhatComesAgain(t *testing.T) {
	var table table[sized]
	const room = 1000
	table.limit = room * table.cost(new(sized))
	put := func(i int) { table.put(digestOf(i), sized{digest: digestOf(i)}) }
	kept := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if table.get(digestOf(i)) != nil {
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
			if table.get(digestOf(i)) == nil {
				put(i)
			}
		}
	}
	if n := kept(room, room*3/2); n < room*9/20 {
		t.Errorf("%d of %d that came into use are kept", n, room/2)
	}
}
