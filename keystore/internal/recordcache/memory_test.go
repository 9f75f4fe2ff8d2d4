package recordcache

import (
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

// A lookup among a million keys touches several slots. Two of them fit into one cache
// line of 64 bytes.
func TestSlot_IsSmall(t *testing.T) {
	t.Parallel()
	if n := max(unsafe.Sizeof(slot[int64]{}), unsafe.Sizeof(slot[struct{}]{})); n > 32 {
		t.Errorf("a slot has %d bytes, want at most 32", n)
	}
}

// The garbage collector would follow pointers in every slot.
func TestSlot_HasNoPointers(t *testing.T) {
	t.Parallel()
	var walk func(what reflect.Type) bool
	walk = func(what reflect.Type) bool {
		switch kind := what.Kind(); kind {
		case reflect.Struct:
			for field := range what.Fields() {
				if !walk(field.Type) {
					t.Errorf("%s.%s has a pointer", what, field.Name)
				}
			}
			return true
		case reflect.Array:
			return walk(what.Elem())
		default:
			return kind > reflect.Invalid && kind <= reflect.Complex128
		}
	}
	for _, slot := range []any{slot[int64]{}, slot[struct{}]{}} {
		walk(reflect.TypeOf(slot))
	}
}

// liveBytes returns the bytes on the heap that are in use.
func liveBytes() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // sweeps what the first one has freed
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// The limit is in bytes. Long records take the place of more short ones, not more
// memory. This test measures the heap, so it does not run in parallel.
func TestCache_StaysWithinItsLimit(t *testing.T) { //nolint:paralleltest // measures the heap
	const limit = 16 << 20
	short, long := strings.Repeat("s", 120), strings.Repeat("l", 6000)
	before := liveBytes()
	c := New[int64](limit, 0)
	for i := range 2 * limit / 230 {
		d, rest := digestOf(i), short
		if i%100 == 0 {
			rest = long
		}
		c.Put(d, c.Generation(d), 0, string(d[:])+rest)
	}
	if used := liveBytes() - before; used > limit || used < limit/2 {
		t.Errorf("the cache takes %d bytes, want less than %d and more than half of it", used, limit)
	}
	if _, n := c.Size(); n > limit {
		t.Errorf("the cache counts %d bytes, want at most %d", n, limit)
	}
	runtime.KeepAlive(c)

	before = liveBytes()
	c = New[int64](limit, limit)
	for i := range 3 * limit / 80 {
		d := Digest{byte(i), byte(i >> 8), byte(i >> 16)}
		c.PutAbsent(d, c.Generation(d))
	}
	if used := liveBytes() - before; used > limit {
		t.Errorf("absences take %d bytes, want at most %d", used, limit)
	}
	runtime.KeepAlive(c)
}
