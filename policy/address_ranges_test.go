package policy_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

func TestR4_ASetFromItsPartsIsTheSameSet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var texts []string
		var blocks []block
		for _, e := range rapid.SliceOfN(anEntry(), 0, 40).Draw(t, "entries") {
			texts, blocks = append(texts, e.text), append(blocks, e.is)
		}
		s, err := policy.NewAddrSet(texts)
		if err != nil {
			t.Fatal(err)
		}
		again := policy.AddrSetOf(s.Parts())
		if again != s || again.Any() != (len(texts) == 0) {
			t.Fatalf("%q became %q", s, again)
		}
		if len(texts) > 0 {
			checkRoundTrip(t, again)
		}
		for _, b := range blocks {
			for _, a := range []netip.Addr{addrOf(b.v4, b.lo), addrOf(b.v4, b.hi)} {
				if !again.Contains(a) || !again.Contains(netip.AddrFrom16(a.As16())) {
					t.Fatalf("%q does not hold %s any more", again, a)
				}
			}
		}
	})
}

// A damaged set contains fewer addresses or none. It never contains every address.
func TestR17_DamagedPartsNeverAllowEveryAddress(t *testing.T) {
	t.Parallel()
	entries, ranges := addrs(t, "192.0.2.0/24,2001:db8::/32").Parts()
	tooMany := binary.BigEndian.AppendUint32(nil, 1<<29) // eight times this is 0 in 32 bits
	inV6 := netip.MustParseAddr("2001:db8::1")
	for name, parts := range map[string][2]string{
		"no ranges":                  {entries, ""},
		"no entries":                 {"", ranges},
		"cut off":                    {entries, ranges[:len(ranges)-1]},
		"half a count":               {entries, ranges[:3]},
		"a count alone":              {entries, ranges[:4]},
		"without its count":          {entries, ranges[4:]},
		"another count":              {entries, "\x00\x00\x00\x02" + ranges[4:]},
		"a count beyond the ranges":  {entries, "\x00\x00\x00\x09" + ranges[4:]}, // with it, whole IPv6 ranges seem to be left
		"a count beyond all bounds":  {entries, string(tooMany) + ranges[4:]},
		"the greatest count":         {entries, "\xff\xff\xff\xff" + ranges[4:]},
		"text in place of ranges":    {entries, entries},
		"a separator and no entries": {",", ""},
	} {
		s := policy.AddrSetOf(parts[0], parts[1])
		if s.Any() {
			t.Errorf("%s: it is the set of all addresses", name)
		}
		for _, a := range []netip.Addr{{}, outside, netip.MustParseAddr("2001:db9::1")} {
			if s.Contains(a) {
				t.Errorf("%s: it holds %s", name, a)
			}
		}
		if name != "no entries" && (s.Contains(inside) || s.Contains(inV6)) {
			t.Errorf("%s: what cannot be read holds an address", name)
		}
		s.Entries()
		s.Warnings()
		if parts[1] != ranges && policy.CheckChild(keyWith(func(k *policy.Key) { k.Allow = s }), policy.ExpiresAt(during), addrs(t, "192.0.2.7")) == nil {
			t.Errorf("%s: a child is within it", name)
		}
	}
}

// A set with entries that cannot be read is within no set that has a limit.
func TestR17_AChildWithDamagedEntriesIsRefused(t *testing.T) {
	t.Parallel()
	issuer := keyWith(func(k *policy.Key) { k.Allow = addrs(t, "0.0.0.0/0,::/0") })
	_, ranges := addrs(t, "192.0.2.7").Parts()
	for _, entries := range []string{"nonsense", "192.0.2.7,", "192.0.2.7,nonsense"} {
		err := policy.CheckChild(issuer, policy.ExpiresAt(during), policy.AddrSetOf(entries, ranges))
		if err == nil {
			t.Errorf("%q is within the issuer's addresses", entries)
		}
	}
}

func TestAllocs_AddrSetAndSecret(t *testing.T) { //nolint:paralleltest // measures allocations
	s := addrs(t, "10.0.0.0/8,192.0.2.1,192.0.2.7,2001:db8::/32,2001:db8:1::1-2001:db8:1::9,fe80::/10")
	mapped, zoned := netip.AddrFrom16(inside.As16()), netip.MustParseAddr("fe80::1%eth0")
	entries, ranges := s.Parts()
	foreign := policy.NewSecret(strings.Repeat("k", 64))
	ours, err := policy.GenerateSecret(policy.KeyPrefix, strings.NewReader(strings.Repeat("speechgate", 10)))
	if err != nil {
		t.Fatal(err)
	}
	mistyped := policy.NewSecret(ours.Reveal() + "x")
	for name, f := range map[string]func() bool{
		"Contains":                    func() bool { return s.Contains(inside) },
		"Contains, IPv6":              func() bool { return s.Contains(netip.MustParseAddr("2001:db8:1::9")) },
		"Contains, mapped":            func() bool { return s.Contains(mapped) },
		"Contains, with a zone":       func() bool { return s.Contains(zoned) },
		"Contains, which it does not": func() bool { return !s.Contains(outside) },
		"AddrSetOf":                   func() bool { return !policy.AddrSetOf(entries, ranges).Any() },
		"CheckSecret":                 func() bool { return policy.CheckSecret(ours) == nil },
		"CheckSecret, imported":       func() bool { return policy.CheckSecret(foreign) == nil },
		"CheckSecret, mistyped":       func() bool { return policy.CheckSecret(mistyped) != nil },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if !f() {
				t.Errorf("%s: wrong", name)
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestR4_TheZoneOfAnAddressIsIgnored(t *testing.T) {
	t.Parallel()
	s := addrs(t, "fe80::/10")
	if !s.Contains(netip.MustParseAddr("fe80::1%eth0")) || s.Contains(netip.MustParseAddr("fec0::1%eth0")) {
		t.Error("a client's zone counts")
	}
}

func BenchmarkCheckSecret(b *testing.B) {
	ours, err := policy.GenerateSecret(policy.KeyPrefix, strings.NewReader(strings.Repeat("speechgate", 10)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := policy.CheckSecret(ours); err != nil {
			b.Fatal(err)
		}
	}
}
