package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
)

// AddrSet is the set of addresses that a key may be used from. The zero value
// contains every address: a key without an address rule.
//
// An IPv4-mapped IPv6 address (::ffff:a.b.c.d) counts as the IPv4 address in it.
//
// An AddrSet consists of two strings, so that a cache can hold many sets without
// work for the garbage collector; see [AddrSet.Parts].
type AddrSet struct {
	entries string // the entries in canonical form, joined by commas
	ranges  string // the addresses of all entries, see packRanges
}

// addrRange is an inclusive range within one family.
type addrRange struct{ from, to netip.Addr }

// ParseAddrSet reads a list of single addresses (192.0.2.7), CIDR blocks
// (192.0.2.0/24, 2001:db8::/32) and inclusive ranges (192.0.2.10-192.0.2.20),
// separated by commas or white space. An empty list is the set of all addresses. A
// list with a comma and an empty entry is an error, so that a typing mistake does
// not open a key to every address. The error names the entry or the list, says what
// is wrong, and says what was probably meant if that can be guessed.
func ParseAddrSet(list string) (AddrSet, error) {
	var entries []string
	for piece := range strings.SplitSeq(list, ",") {
		words := strings.FieldsFunc(piece, func(r rune) bool {
			return r == ' ' || r == '\t' || r == '\n' || r == '\r'
		})
		if len(words) == 0 && strings.Contains(list, ",") {
			return AddrSet{}, phrase.Errorf("addresses %q: there is a comma too many", list)
		}
		if err := checkSpacedRange(words); err != nil {
			return AddrSet{}, err
		}
		entries = append(entries, words...)
	}
	return NewAddrSet(entries)
}

// checkSpacedRange refuses a range that has spaces around its hyphen.
func checkSpacedRange(words []string) error {
	for i, word := range words {
		from, to := i, i+1
		if strings.HasPrefix(word, "-") {
			from = max(from-1, 0)
		}
		if strings.HasSuffix(word, "-") {
			to = min(to+1, len(words))
		}
		meant := strings.Join(words[from:to], "")
		if _, _, err := parseEntry(meant); err == nil && to-from > 1 {
			return phrase.Errorf("address %q: a range has no spaces around its hyphen: want %s", strings.Join(words[from:to], " "), meant)
		}
	}
	return nil
}

// NewAddrSet does what [ParseAddrSet] does, for a list that is already split into
// entries.
func NewAddrSet(entries []string) (AddrSet, error) {
	spelled := make([]string, len(entries))
	ranges := make([]addrRange, len(entries))
	for i, entry := range entries {
		r, canonical, err := parseEntry(entry)
		if err != nil {
			return AddrSet{}, phrase.Errorf("address %q: %w", entry, err)
		}
		spelled[i], ranges[i] = canonical, r
	}
	return AddrSet{strings.Join(spelled, ","), packRanges(merge(ranges))}, nil
}

// Any reports whether s is the set of all addresses, from an empty list.
func (s AddrSet) Any() bool { return s.entries == "" && s.ranges == "" }

// Entries returns the entries that s was made from, in canonical form. It never
// returns nil.
func (s AddrSet) Entries() []string {
	if s.entries == "" {
		return []string{}
	}
	return strings.Split(s.entries, ",")
}

// String returns the entries joined by commas, or "any".
func (s AddrSet) String() string {
	if s.Any() {
		return "any"
	}
	return s.entries
}

// Warnings describes entries that are allowed but are probably a mistake.
func (s AddrSet) Warnings() []string {
	var warnings []string
	for e := range strings.SplitSeq(s.entries, ",") {
		switch e {
		case "0.0.0.0/0":
			warnings = append(warnings, e+" allows all IPv4 addresses and no IPv6 address: leave the list empty to allow any address")
		case "::/0":
			warnings = append(warnings, e+" allows all IPv6 addresses and no IPv4 address: leave the list empty to allow any address")
		}
	}
	return warnings
}

// NetworkOf returns the network that counts as one client when clients are counted
// by address. For an IPv4 address, mapped into IPv6 or not, it is the address
// itself. For an IPv6 address it is the /64, because one client usually has a whole
// /64. For an invalid address it is the invalid prefix, so that all unknown clients
// count together.
func NetworkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 64
	if a.Is4() {
		bits = 32
	}
	network, _ := a.Prefix(bits) // fails only if the address is invalid
	return network
}

var errNotAddress = phrase.Errorf("want an address (192.0.2.7), a CIDR block (192.0.2.0/24) or a range (192.0.2.10-192.0.2.20)")

func parseEntry(entry string) (addrRange, string, error) {
	if entry == "" {
		return addrRange{}, "", phrase.Errorf("there is none")
	}
	if from, to, ok := strings.Cut(entry, "-"); ok {
		return parseRange(from, to)
	}
	if strings.Contains(entry, "/") {
		return parsePrefix(entry)
	}
	a, err := parseAddr(entry)
	if err != nil {
		return addrRange{}, "", err
	}
	if a.IsUnspecified() {
		return addrRange{}, "", phrase.Errorf("that is no client's address; to allow any address leave the list empty, or write %s/0", a)
	}
	return addrRange{a, a}, a.String(), nil
}

func parseRange(from, to string) (addrRange, string, error) {
	lo, err := parseAddr(from)
	if err != nil {
		return addrRange{}, "", phrase.Errorf("start of the range: %w", err)
	}
	hi, err := parseAddr(to)
	if err != nil {
		return addrRange{}, "", phrase.Errorf("end of the range: %w", err)
	}
	if lo.BitLen() != hi.BitLen() {
		return addrRange{}, "", phrase.Errorf("the range mixes IPv4 and IPv6")
	}
	if hi.Less(lo) {
		return addrRange{}, "", phrase.Errorf("the range is reversed: want %s-%s", hi, lo)
	}
	return addrRange{lo, hi}, lo.String() + "-" + hi.String(), nil
}

func parsePrefix(entry string) (addrRange, string, error) {
	addr, _, _ := strings.Cut(entry, "/")
	if _, err := parseAddr(addr); err != nil {
		return addrRange{}, "", err
	}
	p, err := netip.ParsePrefix(entry)
	if err != nil {
		return addrRange{}, "", phrase.Errorf("the length after the slash must be a number from 0 to 32 for IPv4, to 128 for IPv6")
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return addrRange{}, "", phrase.Errorf("the block reaches beyond the IPv4 addresses that it is written in; write the IPv4 block itself")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if m := p.Masked(); m != p {
		return addrRange{}, "", phrase.Errorf("bits are set beyond the block's length: want %s for the block, or %s for the one address", m, p.Addr())
	}
	return addrRange{p.Addr(), lastOf(p)}, p.String(), nil
}

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, mistakeIn(text)
	}
	if a.Zone() != "" {
		return a, phrase.Errorf("a zone has a meaning on one machine only; write %s", a.WithZone(""))
	}
	return a.Unmap(), nil
}

// mistakeIn says what is wrong with a text that is no address.
func mistakeIn(text string) error {
	if leadingZero(text) {
		return phrase.Errorf("an IPv4 number has a leading zero, which some programs read as octal; write it without")
	}
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return phrase.Errorf("a client's port is never the same; write %s without it", withPort.Addr().WithZone(""))
	}
	return errNotAddress
}

func leadingZero(text string) bool {
	parts := strings.Split(text, ".")
	return len(parts) == 4 && slices.ContainsFunc(parts, func(p string) bool {
		return len(p) > 1 && p[0] == '0' && strings.Trim(p, "0123456789") == ""
	})
}

// lastOf returns the last address of a block.
func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for i := p.Bits(); i < len(bytes)*8; i++ {
		bytes[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// merge sorts the ranges, and joins ranges that overlap or touch. A search then
// needs to look at one range only.
func merge(ranges []addrRange) []addrRange {
	slices.SortFunc(ranges, func(a, b addrRange) int { return a.from.Compare(b.from) })
	out := ranges[:0]
	for _, r := range ranges {
		// Every IPv4 address sorts before every IPv6 address, and the last one has no next.
		if n := len(out); n > 0 && (r.from.Compare(out[n-1].to) <= 0 || out[n-1].to.Next() == r.from) {
			if out[n-1].to.Less(r.to) {
				out[n-1].to = r.to
			}
			continue
		}
		out = append(out, r)
	}
	return out
}
