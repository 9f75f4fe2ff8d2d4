package recordcache

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// digestOf returns digest i: random bytes, the same in each run.
func digestOf(i int) (d Digest) {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	for at := 0; at < len(d); at += 8 {
		binary.LittleEndian.PutUint64(d[at:], random.Uint64())
	}
	return d
}

// named is a value that repeats the digest of its record.
type named Digest

// After any calls of put, get and drop, get returns the record that was put last, the
// records that get returned earlier are unchanged, and the table is within its limit.
func TestTable_FindsWhatWasPutWithinItsLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		table := table[named]{seed: randomSeed(), limit: rapid.Int64Range(0, 6000).Draw(t, "limit")}
		last, returned := map[Digest]string{}, map[string]string{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			d := digestOf(rapid.IntRange(0, 40).Draw(t, "digest"))
			if rapid.Bool().Draw(t, "same hash") {
				d = Digest{31: d[0] % 4}
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
				table.dropIf(func(_ *named, record string) bool { return len(record) > keep })
			}
			checkTable(t, &table)
			for d, want := range last {
				if found, record := table.get(&d); found != nil {
					if record != want || Digest(*found) != d {
						t.Fatalf("found %q, and %q was put last", record, want)
					}
					returned[record] = strings.Clone(record)
				}
			}
		}
		for record, was := range returned {
			if record != was {
				t.Fatalf("%q has become %q", was, record)
			}
		}
	})
}

// checkTable compares the table's counters with its slots and chunks.
func checkTable(t *rapid.T, table *table[named]) {
	var used int64
	live, chunks := 0, 0
	for i := range table.slots {
		s := &table.slots[i]
		if s.hits == slotFree {
			continue
		}
		live++
		used += table.cost(int(s.record.length))
		d := Digest(s.value)
		if at := table.find(&d); at != uint32(i+1) || !strings.HasPrefix(table.arena.get(s.record), string(d[:])) {
			t.Fatalf("slot %d is found at %d", i+1, at)
		}
	}
	for _, chunk := range table.arena.chunks {
		chunks += len(chunk)
	}
	if used != table.used || used > table.limit || live != table.live() {
		t.Fatalf("%d bytes are used of %d, and counted as %d; %d slots live, %d free, %d in all",
			used, table.limit, table.used, live, len(table.free), len(table.slots))
	}
	if most := 2*table.arena.live + 4*minChunk; chunks > most {
		t.Fatalf("%d bytes of records are in chunks of %d", table.arena.live, chunks)
	}
}

// A scan over many keys, each used once, evicts no keys that are in use. Keys that come
// into use are admitted.
func TestTable_AdmitsOnTheSecondRequest(t *testing.T) {
	t.Parallel()
	table := table[named]{seed: randomSeed()}
	const capacity = 1000
	table.limit = capacity * table.cost(len(Digest{}))
	get := func(i int) *named {
		d := digestOf(i)
		found, _ := table.get(&d)
		return found
	}
	put := func(i int) {
		d := digestOf(i)
		table.put(d, named(d), string(d[:]))
	}
	kept := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if get(i) != nil {
				n++
			}
		}
		return n
	}
	for i := range capacity {
		put(i)
	}
	if n := kept(0, capacity); n != capacity {
		t.Fatalf("%d of %d are kept, where there is room for all", n, capacity)
	}
	for i := range 50 * capacity {
		put(1_000_000 + i)
	}
	if n := kept(0, capacity); n < capacity*99/100 {
		t.Errorf("%d of %d are left after a scan over many others", n, capacity)
	}
	for range 20 { // other keys come into use
		for i := capacity; i < capacity*3/2; i++ {
			if get(i) == nil {
				put(i)
			}
		}
	}
	if n := kept(capacity, capacity*3/2); n < capacity*9/20 {
		t.Errorf("%d of %d that came into use are kept", n, capacity/2)
	}
}

// An attacker can choose some bits of the digests of unknown keys by trying many keys.
// The seed prevents that such digests share a chain.
func TestTable_ChosenDigestsShareNoChain(t *testing.T) {
	t.Parallel()
	const chosen, bits = 1000, 16 // as a table with 65,536 chains uses of a hash
	table := table[struct{}]{seed: randomSeed()}
	chains := make(map[uint32]int)
	for i := range chosen {
		d := digestOf(i)
		copy(d[1:4], "abc")
		chains[table.hash(&d)%(1<<bits)]++
	}
	for chain, n := range chains {
		if n > chosen/10 {
			t.Errorf("%d of %d digests that begin alike are in chain %d", n, chosen, chain)
		}
	}
}

// A full table keeps the entries that were requested lately.
func TestTable_EvictsWhatIsNotRequested(t *testing.T) {
	t.Parallel()
	table := table[named]{seed: randomSeed()}
	const capacity = 8
	table.limit = capacity * table.cost(len(Digest{}))
	put := func(i int) {
		d := digestOf(i)
		table.put(d, named(d), string(d[:]))
	}
	for i := range capacity {
		put(i)
	}
	wanted := digestOf(0)
	for range slotHot {
		table.get(&wanted)
	}
	for i := capacity; i < 2*capacity; i++ {
		put(i)
		put(i) // the first time it is refused
	}
	if found, _ := table.get(&wanted); found == nil {
		t.Error("the only entry that was requested has been evicted")
	}
	if n := table.live(); n != capacity {
		t.Errorf("%d entries, want %d", n, capacity)
	}
}

// dropIf looks at entries only, and not at slots without one.
func TestTable_DropIfPassesFreeSlots(t *testing.T) {
	t.Parallel()
	table := table[named]{seed: randomSeed(), limit: someBytes}
	for i := range 4 {
		d := digestOf(i)
		table.put(d, named(d), string(d[:]))
	}
	table.drop(digestOf(1))
	seen := 0
	table.dropIf(func(_ *named, record string) bool { seen++; return record != "" })
	if seen != 3 || table.live() != 0 || table.used != 0 || len(table.free) != 4 {
		t.Errorf("%d entries were seen; %d are left, of %d bytes, and %d slots are free", seen, table.live(), table.used, len(table.free))
	}
}

// A digest that was admitted is refused once more after it was evicted.
func TestDoorkeeper_AdmitsEverySecondRequest(t *testing.T) {
	t.Parallel()
	var k doorkeeper
	for i, want := range []bool{false, true, false, true} {
		if got := k.admits(digestOf(1), 100, 100); got != want {
			t.Errorf("request %d: admitted %t, want %t", i+1, got, want)
		}
	}
	if !(&doorkeeper{}).admits(digestOf(1), 0, 0) {
		t.Error("an empty table refused an entry")
	}
}

// A chunk never grows beyond its size, because growing copies it.
func TestArena_ChunksHaveASize(t *testing.T) {
	t.Parallel()
	var a arena
	record := strings.Repeat("r", 100)
	for range 20 * maxChunk / len(record) {
		a.add(record)
	}
	for i, chunk := range a.chunks {
		if len(chunk) > maxChunk+maxChunk/4 {
			t.Errorf("chunk %d has %d bytes, want about %d at most", i, len(chunk), maxChunk)
		}
	}
	long := a.add(strings.Repeat("l", 2*maxChunk))
	if got := a.get(long); len(got) != 2*maxChunk || got[0] != 'l' {
		t.Errorf("a long record has %d bytes", len(got))
	}
}
