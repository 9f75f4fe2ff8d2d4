package policy_test

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// spellings are ways to write one address.
func spellings(a netip.Addr) []string {
	if a.Is4() {
		b := a.As4()
		dotted := a.String()
		hex := fmt.Sprintf("%x:%x", int(b[0])<<8|int(b[1]), int(b[2])<<8|int(b[3]))
		return []string{
			dotted, "::ffff:" + dotted, "::FFFF:" + dotted, "::ffff:" + hex, "::FFFF:" + strings.ToUpper(hex),
			"0:0:0:0:0:ffff:" + dotted, "0:0:0:0:0:FFFF:" + hex, "0000:0000:0000:0000:0000:ffff:" + dotted,
			fmt.Sprintf("0000:0000:0000:0000:0000:FFFF:%02X%02X:%02X%02X", b[0], b[1], b[2], b[3]), "0::ffff:" + dotted,
		}
	}
	b := a.As16()
	var short, long []string
	for i := 0; i < 16; i += 2 {
		group := int(b[i])<<8 | int(b[i+1])
		short = append(short, fmt.Sprintf("%x", group))
		long = append(long, fmt.Sprintf("%04x", group))
	}
	expanded := strings.Join(long, ":")
	tail := strings.Join(short[:6], ":") + ":" + netip.AddrFrom4([4]byte(b[12:])).String()
	return []string{
		a.String(), strings.ToUpper(a.String()), strings.Join(short, ":"), strings.ToUpper(strings.Join(short, ":")),
		expanded, strings.ToUpper(expanded), tail, strings.ToUpper(tail),
	}
}

func TestR4_EverySpellingOfAnAddressDecidesAlike(t *testing.T) {
	t.Parallel()
	anAddr := rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "IPv4") {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		}
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xab, 0xff}), 16, 16).Draw(t, "bytes")
		b[0] |= 0x20 // no mapped one
		return netip.AddrFrom16([16]byte(b))
	})
	rapid.Check(t, func(t *rapid.T) {
		a := anAddr.Draw(t, "address")
		if a.IsUnspecified() {
			return // refused: another test covers it
		}
		other := a.Next()
		if !other.IsValid() {
			other = a.Prev()
		}
		for _, rule := range spellings(a) {
			set, err := policy.NewAddrSet([]string{rule})
			if err != nil {
				t.Fatal(err)
			}
			key := keyWith(func(k *policy.Key) { k.Allow = set })
			for _, client := range spellings(a) {
				addr, err := netip.ParseAddr(client)
				if err != nil {
					t.Fatal(err)
				}
				if d := policy.Decide(during, key, &policy.Request{Operation: policy.Recognize, Client: addr}, policy.Rules{}); d.Reason != policy.Allowed {
					t.Fatalf("rule %q, client %q: %v", rule, client, d.Reason)
				}
			}
			for _, client := range spellings(other) {
				addr := netip.MustParseAddr(client)
				if d := policy.Decide(during, key, &policy.Request{Operation: policy.Recognize, Client: addr}, policy.Rules{}); d.Reason != policy.AddressRefused {
					t.Fatalf("rule %q, client %q: %v", rule, client, d.Reason)
				}
			}
		}
	})
}

// block is the meaning of one entry, computed without the code under test: a range of
// integers of one family.
type block struct {
	v4     bool
	lo, hi *big.Int
}

func (b block) holds(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	a = a.Unmap()
	n := new(big.Int).SetBytes(a.AsSlice())
	return a.Is4() == b.v4 && n.Cmp(b.lo) >= 0 && n.Cmp(b.hi) <= 0
}

func addrOf(v4 bool, n *big.Int) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte(n.FillBytes(make([]byte, 4))))
	}
	return netip.AddrFrom16([16]byte(n.FillBytes(make([]byte, 16))))
}

// anEntry is an entry near 10.0.0.0 or 2001:db8::, or at an end of its family,
// with its meaning. The addresses are few, so that entries overlap.
func anEntry() *rapid.Generator[entry] {
	return rapid.Custom(func(t *rapid.T) entry {
		v4 := rapid.Bool().Draw(t, "IPv4")
		a, b := aNumber(v4).Draw(t, "from"), aNumber(v4).Draw(t, "to")
		spell := func(n *big.Int) string { return rapid.SampledFrom(spellings(addrOf(v4, n))).Draw(t, "spelling") }
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			if a.Sign() == 0 {
				a = big.NewInt(1)
			}
			return entry{spell(a), block{v4, a, a}}
		case 1:
			if a.Cmp(b) > 0 {
				a, b = b, a
			}
			return entry{spell(a) + "-" + spell(b), block{v4, a, b}}
		default:
			total := 128
			if v4 {
				total = 32
			}
			free := uint(rapid.IntRange(0, 7).Draw(t, "free bits"))
			lo := new(big.Int).Lsh(new(big.Int).Rsh(a, free), free)
			hi := new(big.Int).Add(lo, big.NewInt(1<<free-1))
			text := spell(lo)
			if v4 && strings.Contains(text, ":") {
				total = 128
			}
			return entry{fmt.Sprintf("%s/%d", text, total-int(free)), block{v4, lo, hi}}
		}
	})
}

type entry struct {
	text string
	is   block
}

func aNumber(v4 bool) *rapid.Generator[*big.Int] {
	return rapid.Custom(func(t *rapid.T) *big.Int {
		bits, base := uint(128), new(big.Int).SetBytes(netip.MustParseAddr("2001:db8::").AsSlice())
		if v4 {
			bits, base = 32, big.NewInt(10<<24)
		}
		off := big.NewInt(rapid.Int64Range(0, 200).Draw(t, "offset"))
		switch rapid.IntRange(0, 5).Draw(t, "corner") {
		case 4:
			return off
		case 5:
			end := new(big.Int).Lsh(big.NewInt(1), bits)
			return end.Sub(end.Sub(end, big.NewInt(1)), off)
		}
		return base.Add(base, off)
	})
}

func TestR4_AddrSetIsTheUnionOfItsEntries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var texts []string
		var blocks []block
		for _, e := range rapid.SliceOfN(anEntry(), 1, 12).Draw(t, "entries") {
			texts = append(texts, e.text)
			blocks = append(blocks, e.is)
		}
		s, err := policy.ParseAddrSet(strings.Join(texts, rapid.SampledFrom([]string{",", " ", ", ", "\n"}).Draw(t, "separator")))
		if err != nil {
			t.Fatal(err)
		}
		union := func(a netip.Addr) bool {
			return slices.ContainsFunc(blocks, func(b block) bool { return b.holds(a) })
		}
		probe := func(a netip.Addr) {
			if got, want := s.Contains(a), union(a); got != want {
				t.Fatalf("%v: Contains(%v) = %v, want %v", s, a, got, want)
			}
		}
		for _, b := range blocks {
			for _, n := range []*big.Int{b.lo, b.hi} {
				a := addrOf(b.v4, n)
				probe(a)
				probe(a.Prev())
				probe(a.Next())
				if b.v4 {
					probe(netip.AddrFrom16(a.As16()))                      // mapped
					probe(netip.AddrFrom16([16]byte{12: 10, 15: byte(1)})) // its number, in the other family
				}
			}
		}
		for range 20 {
			v4 := rapid.Bool().Draw(t, "IPv4")
			probe(addrOf(v4, aNumber(v4).Draw(t, "probe")))
		}
		checkRoundTrip(t, s)
	})
}

// checkRoundTrip checks that a set is the same after it is written and read again.
func checkRoundTrip(t interface{ Fatalf(string, ...any) }, s policy.AddrSet) {
	again, err := policy.ParseAddrSet(s.String())
	if err != nil {
		t.Fatalf("%q is refused: %v", s, err)
	}
	if again.String() != s.String() || !slices.Equal(again.Entries(), s.Entries()) {
		t.Fatalf("%q became %q", s, again)
	}
	separate, err := policy.NewAddrSet(s.Entries())
	if err != nil || separate.String() != s.String() {
		t.Fatalf("entries %q became %q, %v", s.Entries(), separate, err)
	}
	if !cmp.Equal(s.Warnings(), again.Warnings()) {
		t.Fatalf("warnings %q became %q", s.Warnings(), again.Warnings())
	}
}

func FuzzParseAddrSet(f *testing.F) {
	for _, seed := range []string{
		"", ",", "192.0.2.7", "192.0.2.0/24 2001:db8::/32", "192.0.2.10-192.0.2.20", "::ffff:192.0.2.7", "::ffff:192.0.2.0/120",
		"0.0.0.0", "::", "0.0.0.0/0", "::/0", "1.2.3.4-", "fe80::1%eth0", "192.0.2.7:80", "[::1]:80", "255.255.255.255", "any",
		"::1-::fffe:ffff:ffff,10.0.0.0/8", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0.0.0.0-255.255.255.255", "010.0.0.1",
	} {
		f.Add(seed, []byte{192, 0, 2, 7})
	}
	f.Fuzz(func(t *testing.T, list string, probe []byte) {
		s, err := policy.ParseAddrSet(list)
		if err != nil {
			if len(s.Entries()) != 0 {
				t.Errorf("entries %q beside the error", s.Entries())
			}
			return
		}
		if s.Any() {
			if strings.TrimSpace(list) != "" {
				t.Fatalf("%q became the set of all addresses", list)
			}
			return
		}
		checkRoundTrip(t, s)
		var blocks []block
		for _, e := range s.Entries() {
			blocks = append(blocks, meaning(t, e))
		}
		probes := []netip.Addr{{}, inside, outside}
		if a, ok := netip.AddrFromSlice(probe); ok {
			probes = append(probes, a)
		}
		for _, b := range blocks {
			for _, n := range []*big.Int{b.lo, b.hi} {
				a := addrOf(b.v4, n)
				probes = append(probes, a, a.Prev(), a.Next(), netip.AddrFrom16(a.As16()))
			}
		}
		for _, a := range probes {
			want := slices.ContainsFunc(blocks, func(b block) bool { return b.holds(a) })
			if got := s.Contains(a); got != want {
				t.Errorf("%v: Contains(%v) = %v, want %v", s, a, got, want)
			}
		}
	})
}

// meaning reads a canonical entry, with the standard library's parsers.
func meaning(t *testing.T, text string) block {
	number := func(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
	if from, to, ok := strings.Cut(text, "-"); ok {
		lo, hi := netip.MustParseAddr(from), netip.MustParseAddr(to)
		return block{lo.Is4(), number(lo), number(hi)}
	}
	if strings.Contains(text, "/") {
		p := netip.MustParsePrefix(text)
		if p != p.Masked() || p.Addr().Is4In6() {
			t.Fatalf("entry %q is not canonical", text)
		}
		size := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
		hi := new(big.Int).Add(number(p.Addr()), size)
		return block{p.Addr().Is4(), number(p.Addr()), hi.Sub(hi, big.NewInt(1))}
	}
	a := netip.MustParseAddr(text)
	if a.Is4In6() || a.Zone() != "" || a.IsUnspecified() {
		t.Fatalf("entry %q is not canonical", text)
	}
	return block{a.Is4(), number(a), number(a)}
}
