package policy

import (
	"encoding/binary"
	"net/netip"
)

// The packed form of ranges: the number of IPv4 ranges in four bytes, then the IPv4
// ranges, then the IPv6 ranges. Each range is its first address and its last
// address. All numbers are big-endian. The ranges of a family are sorted and
// disjoint.
const (
	countLen   = 4
	v4RangeLen = 2 * 4
	v6RangeLen = 2 * 16
)

// packRanges packs ranges that merge has merged. It packs no ranges into the empty
// string.
func packRanges(merged []addrRange) string {
	if len(merged) == 0 {
		return ""
	}
	var v4 uint32
	packed := make([]byte, countLen, countLen+len(merged)*v6RangeLen)
	for _, r := range merged { // IPv4 comes first
		if r.from.Is4() {
			v4++
		}
		packed = append(packed, r.from.AsSlice()...)
		packed = append(packed, r.to.AsSlice()...)
	}
	binary.BigEndian.PutUint32(packed, v4)
	return string(packed)
}

// splitRanges splits packed ranges by family. If the length of the string does not fit
// its count, it returns no ranges, so that no address is in them.
func splitRanges(packed string) (v4, v6 string) {
	if len(packed) < countLen {
		return "", ""
	}
	n := uint64(uint32At(packed, 0)) * v4RangeLen
	packed = packed[countLen:]
	if n > uint64(len(packed)) || (uint64(len(packed))-n)%v6RangeLen != 0 {
		return "", ""
	}
	return packed[:n], packed[n:]
}

// Parts returns the two strings of the set, its entries and its packed ranges, for
// storage in a cache. The strings share their memory with the set. Only [AddrSetOf]
// can read them.
func (s AddrSet) Parts() (entries, ranges string) { return s.entries, s.ranges }

// AddrSetOf returns the set with these Parts, without an allocation. It never
// returns the set of all addresses for two parts that do not belong together.
func AddrSetOf(entries, ranges string) AddrSet { return AddrSet{entries, ranges} }

// Contains reports whether a is in the set. An invalid address is only in the set
// of all addresses.
func (s AddrSet) Contains(a netip.Addr) bool {
	if s.Any() {
		return true
	}
	a = a.Unmap()
	v4, v6 := splitRanges(s.ranges)
	switch {
	case a.Is4():
		n := v4Number(a)
		end, ok := end4(v4, n)
		return ok && n <= end
	case a.Is6():
		n := v6Number(a)
		end, ok := end6(v6, n)
		return ok && !end.less(n)
	}
	return false
}

// holds reports whether all addresses of r are in s. Ranges that touch are merged,
// so all of r must be in one range.
func (s AddrSet) holds(r addrRange) bool {
	v4, v6 := splitRanges(s.ranges)
	if r.from.Is4() {
		end, ok := end4(v4, v4Number(r.from))
		return ok && v4Number(r.to) <= end
	}
	end, ok := end6(v6, v6Number(r.from))
	return ok && !end.less(v6Number(r.to))
}

// end4 returns the end of the last range that begins at or before a.
func end4(ranges string, a uint32) (end uint32, ok bool) {
	low, high := 0, len(ranges)/v4RangeLen
	for low < high {
		if mid := (low + high) / 2; uint32At(ranges, mid*v4RangeLen) <= a {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return 0, false
	}
	return uint32At(ranges, low*v4RangeLen-v4RangeLen/2), true
}

// end6 is end4 for IPv6.
func end6(ranges string, a number) (end number, ok bool) {
	low, high := 0, len(ranges)/v6RangeLen
	for low < high {
		if mid := (low + high) / 2; !a.less(numberAt(ranges, mid*v6RangeLen)) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return number{}, false
	}
	return numberAt(ranges, low*v6RangeLen-v6RangeLen/2), true
}

func v4Number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// number is an IPv6 address as a number of 128 bits.
type number struct{ high, low uint64 }

func v6Number(a netip.Addr) number {
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (n number) less(other number) bool {
	return n.high < other.high || n.high == other.high && n.low < other.low
}

func numberAt(s string, at int) number { return number{uint64At(s, at), uint64At(s, at+8)} }

func uint64At(s string, at int) uint64 {
	return uint64(uint32At(s, at))<<32 | uint64(uint32At(s, at+4))
}

func uint32At(s string, at int) uint32 {
	s = s[at : at+4]
	return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
}
