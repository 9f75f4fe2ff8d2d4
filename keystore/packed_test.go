package keystore

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

func anInstant() *rapid.Generator[policy.Time] {
	return rapid.Custom(func(t *rapid.T) policy.Time {
		return policy.Time(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64()).Draw(t, "ms"))
	})
}

func TestRecord_SaysWhatTheKeyWas(t *testing.T) {
	lists := []string{"", "192.0.2.7", "10.0.0.0/8,2001:db8::/32", "::/0", strings.TrimSuffix(strings.Repeat("192.0.2.10-192.0.2.20,", 500), ",")}
	rapid.Check(t, func(t *rapid.T) {
		allow, err := policy.ParseAddrSet(rapid.SampledFrom(lists).Draw(t, "allow"))
		if err != nil {
			t.Fatal(err)
		}
		want := policy.Key{
			ID: rapid.StringN(0, -1, 255).Draw(t, "ID"), AccountID: rapid.StringN(0, -1, 255).Draw(t, "account"),
			IssuerID: rapid.StringN(0, -1, 255).Draw(t, "issuer"), AccountOpen: rapid.Bool().Draw(t, "open"),
			Origin: rapid.SampledFrom([]policy.Origin{policy.OriginInitial, policy.OriginConsole, policy.OriginAPI}).Draw(t, "origin"),
			Allow:  allow, Issuable: rapid.Bool().Draw(t, "issuable"), CreatedAt: anInstant().Draw(t, "created"),
			Expires:   rapid.SampledFrom([]policy.Expiry{policy.Never(), policy.ExpiresAt(anInstant().Draw(t, "expires"))}).Draw(t, "expiry"),
			DeletedAt: anInstant().Draw(t, "deleted"), RevokedAt: anInstant().Draw(t, "revoked"),
			RevokeFrom: anInstant().Draw(t, "scheduled"), LastUsedAt: anInstant().Draw(t, "used"),
		}
		d := digest{1, 31: 2}
		r, err := newRecord(&want, d)
		if err != nil {
			t.Fatal(err)
		}
		got := r.Key()
		if diff := cmp.Diff(want, got, cmpPolicy); diff != "" || got.Allow != want.Allow {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		id, account := r.IDs()
		if id != want.ID || account != want.AccountID || r.issuerID() != want.IssuerID || r.digest() != d {
			t.Fatalf("IDs %q, %q, %q of %+v", id, account, r.issuerID(), want)
		}
	})
}

// What does not fit is damaged, and never cut to what fits.
func TestR17_WhatDoesNotFitARecordIsRefused(t *testing.T) {
	long := strings.Repeat("x", math.MaxUint8+1)
	for _, k := range []policy.Key{{ID: long}, {AccountID: long}, {IssuerID: long}} {
		if _, err := newRecord(&k, digest{}); err == nil {
			t.Errorf("a key with an ID of %d bytes has a record", len(long))
		}
	}
	longer := strings.Repeat("x", math.MaxUint16+1)
	for _, j := range []policy.Job{{Backend: longer}, {ID: longer}, {Dialect: long}, {AccountID: long}, {KeyID: long}} {
		if _, err := newJobRecord(&j, digest{}); err == nil {
			t.Error("a job with a name that is too long has a record")
		}
	}
}

func TestJobRecord_SaysWhatTheJobWas(t *testing.T) {
	for _, addr := range []netip.Addr{
		{},
		netip.IPv4Unspecified(), netip.IPv6Unspecified(), client, netip.AddrFrom16(client.As16()),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%eth0"),
	} {
		for _, ended := range []policy.Time{0, start} {
			want := typicalJob("j1")
			want.Client, want.EndedAt = addr, ended
			r, err := newJobRecord(&want, digest{})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.job(); got != want {
				t.Errorf("%+v became %+v", want, got)
			}
		}
	}
	if got := unpackAddr("damaged"); got.IsValid() {
		t.Errorf("seven bytes are the address %s", got)
	}
}

// Those of a million keys are looked through. Two stand in a line of a core's cache.
func TestSlot_IsSmall(t *testing.T) {
	if n := max(unsafe.Sizeof(slot[policy.Time]{}), unsafe.Sizeof(slot[struct{}]{})); n > 32 {
		t.Errorf("a slot has %d bytes, want at most 32", n)
	}
}

// What the cache keeps has no pointers, which the garbage collector would walk.
func TestRecord_HasNoPointers(t *testing.T) {
	var walk func(what reflect.Type) bool
	walk = func(what reflect.Type) bool {
		switch kind := what.Kind(); kind {
		case reflect.Struct:
			for i := range what.NumField() {
				if !walk(what.Field(i).Type) {
					t.Errorf("%s.%s has a pointer", what, what.Field(i).Name)
				}
			}
			return true
		case reflect.Array:
			return walk(what.Elem())
		default:
			return kind > reflect.Invalid && kind <= reflect.Complex128
		}
	}
	for _, slot := range []any{slot[policy.Time]{}, slot[struct{}]{}} {
		walk(reflect.TypeOf(slot))
	}
}

// liveBytes are those on the heap that are in use.
func liveBytes() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first has freed is swept now
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// putTypical caches n records, and says how many bytes they have been counted as.
func putTypical(t *testing.T, c *cache[policy.Time], n int, edit func(i int, k *policy.Key)) {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	for i := range n {
		var d digest
		_, _ = source{random}.Read(d[:])
		k := typicalKey(t, i)
		edit(i, &k)
		r, err := newRecord(&k, d)
		if err != nil {
			t.Fatal(err)
		}
		c.put(d, c.generation(d), &r.noted, r.text)
	}
}

func TestCache_AKeyTakesLittleMemory(t *testing.T) {
	const n = 100_000
	before := liveBytes()
	c := newCache[policy.Time](n*400, 0)
	putTypical(t, c, n, func(int, *policy.Key) {})
	each := (liveBytes() - before) / n
	records, counted := c.size()
	if counted /= n; records != n {
		t.Fatalf("%d records are cached, want %d", records, n)
	}
	t.Logf("a key takes %d bytes, and is counted as %d", each, counted)
	if each > 180 {
		t.Errorf("a key takes %d bytes, want at most 180", each)
	}
	// A third is for what is dead among the texts, and for lists that a full cache has.
	if counted < each || counted > each*4/3 {
		t.Errorf("a key takes %d bytes, and is counted as %d", each, counted)
	}
	runtime.KeepAlive(c)

	before = liveBytes()
	jobs := newCache[struct{}](n*600, 0)
	for i := range n {
		j := typicalJob(fmt.Sprintf("%036d", i))
		d := jobDigest(j.Backend, j.ID)
		r, err := newJobRecord(&j, d)
		if err != nil {
			t.Fatal(err)
		}
		jobs.put(d, jobs.generation(d), new(struct{}), string(r))
	}
	if each = (liveBytes() - before) / n; each > 230 {
		t.Errorf("a job takes %d bytes, want at most 230", each)
	}
	_, counted = jobs.size()
	counted /= n
	t.Logf("a job takes %d bytes, and is counted as %d", each, counted)
	if counted < each || counted > each*4/3 {
		t.Errorf("a job takes %d bytes, and is counted as %d", each, counted)
	}
	runtime.KeepAlive(jobs)
}

// The bound is one of bytes: keys with long lists of addresses take the place of
// more keys, not more memory.
func TestCache_StaysWithinItsBytes(t *testing.T) {
	const bound = 16 << 20
	long := addrs(t, strings.Repeat("192.0.2.10-192.0.2.20 2001:db8::1 ", 100))
	before := liveBytes()
	c := newCache[policy.Time](bound, 0)
	putTypical(t, c, 2*bound/230, func(i int, k *policy.Key) {
		if i%100 == 0 {
			k.Allow = long
		}
	})
	if taken := liveBytes() - before; taken > bound || taken < bound/2 {
		t.Errorf("the cache takes %d bytes, want less than %d and more than half of it", taken, bound)
	}
	if _, n := c.size(); n > bound {
		t.Errorf("%d bytes are cached, want at most %d", n, bound)
	}
	runtime.KeepAlive(c)

	before = liveBytes()
	c = newCache[policy.Time](bound, bound)
	for i := range 3 * bound / 80 {
		d := digest{byte(i), byte(i >> 8), byte(i >> 16)}
		c.put(d, c.generation(d), nil, "")
	}
	if taken := liveBytes() - before; taken > bound {
		t.Errorf("absences take %d bytes, want at most %d", taken, bound)
	}
	runtime.KeepAlive(c)
}
