package console

import (
	"math/big"
	"net/netip"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// block says what an entry of a key's addresses holds.
type block struct {
	Entry string `json:"entry"`
	First string `json:"first"`
	Last  string `json:"last"`
	Count string `json:"count"` // for people
	// Bits is how many leading bits of an address the entry fixes, and Of how many bits an
	// address has; 0 for a range that is no block.
	Bits int `json:"bits"`
	Of   int `json:"of"`
}

// blocks says what each entry of a set holds.
func (v *visit) blocks(set policy.AddrSet) []block {
	entries := set.Entries()
	all := make([]block, 0, len(entries))
	for _, entry := range entries {
		first, last, bits := bounds(entry)
		b := block{Entry: entry, First: first.String(), Last: last.String(), Bits: bits, Of: first.BitLen()}
		count := new(big.Int).Sub(number(last), number(first))
		count.Add(count, big.NewInt(1))
		switch {
		case count.IsInt64() && count.BitLen() < 40:
			b.Count = v.T("%d addresses", count.Int64())
		default:
			b.Count = v.T("about 10^%d addresses", len(count.String())-1)
		}
		all = append(all, b)
	}
	return all
}

// bounds returns the first and the last address of an entry in canonical form, and the length
// of the prefix if the entry is an address or a block.
func bounds(entry string) (first, last netip.Addr, bits int) {
	if from, to, ok := strings.Cut(entry, "-"); ok {
		first, _ = netip.ParseAddr(from)
		last, _ = netip.ParseAddr(to)
		return first, last, 0
	}
	prefix, err := netip.ParsePrefix(entry)
	if err != nil {
		first, _ = netip.ParseAddr(entry)
		return first, first, first.BitLen()
	}
	bytes := prefix.Addr().AsSlice()
	for i := prefix.Bits(); i < len(bytes)*8; i++ {
		bytes[i/8] |= 0x80 >> (i % 8)
	}
	last, _ = netip.AddrFromSlice(bytes)
	return prefix.Addr(), last, prefix.Bits()
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
