package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/policy"
)

func TestR4_AKeyMayNameAnyMixOfAddresses(t *testing.T) {
	t.Parallel()
	s := addrs(t, "192.0.2.7, 198.51.100.0/30\n2001:db8::/127\t203.0.113.250-203.0.113.252,2001:db8::ff-2001:db8::101\r\n10.0.0.0/8")
	wantEntries := []string{
		"192.0.2.7", "198.51.100.0/30", "2001:db8::/127", "203.0.113.250-203.0.113.252", "2001:db8::ff-2001:db8::101", "10.0.0.0/8",
	}
	if diff := cmp.Diff(wantEntries, s.Entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if got, want := s.String(), strings.Join(wantEntries, ","); got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if s.Any() {
		t.Error("the set says that it holds any address")
	}
	members := map[string]bool{
		"192.0.2.6": false, "192.0.2.7": true, "192.0.2.8": false,
		"198.51.99.255": false, "198.51.100.0": true, "198.51.100.3": true, "198.51.100.4": false,
		"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff": false, "2001:db8::": true, "2001:db8::1": true, "2001:db8::2": false,
		"203.0.113.249": false, "203.0.113.250": true, "203.0.113.252": true, "203.0.113.253": false,
		"2001:db8::fe": false, "2001:db8::ff": true, "2001:db8::100": true, "2001:db8::101": true, "2001:db8::102": false,
		"9.255.255.255": false, "10.0.0.0": true, "10.255.255.255": true, "11.0.0.0": false,
		"0.0.0.0": false, "255.255.255.255": false, "::": false, "::a00:1": false,
	}
	for text, want := range members {
		if got := s.Contains(netip.MustParseAddr(text)); got != want {
			t.Errorf("Contains(%s) = %v, want %v", text, got, want)
		}
	}
	if s.Contains(netip.Addr{}) {
		t.Error("an invalid address is in the set")
	}
}

func TestR4_AnEmptyRuleIsEveryAddress(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"", " ", "\t\r\n"} {
		s := addrs(t, list)
		if !s.Any() || !s.Contains(outside) || !s.Contains(netip.Addr{}) || s.String() != "any" || len(s.Warnings()) != 0 {
			t.Errorf("%q: %v, any is %v", list, s, s.Any())
		}
		if e := s.Entries(); e == nil || len(e) != 0 {
			t.Errorf("%q: Entries = %#v, want empty and not nil", list, e)
		}
	}
	if s, err := policy.NewAddrSet(nil); err != nil || !s.Any() {
		t.Errorf("NewAddrSet(nil) = %v, %v", s, err)
	}
}

func TestR4_EntriesAreSpelledCanonically(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"192.0.2.7":                     "192.0.2.7",
		"::ffff:192.0.2.7":              "192.0.2.7",
		"::FFFF:C000:207":               "192.0.2.7",
		"2001:0DB8:0:0:0:0:0:1":         "2001:db8::1",
		"2001:DB8::/32":                 "2001:db8::/32",
		"::ffff:192.0.2.0/120":          "192.0.2.0/24",
		"::ffff:0.0.0.0/96":             "0.0.0.0/0",
		"::ffff:192.0.2.7/128":          "192.0.2.7/32",
		"::ffff:192.0.2.7-192.0.2.9":    "192.0.2.7-192.0.2.9",
		"192.0.2.7-192.0.2.7":           "192.0.2.7-192.0.2.7",
		"2001:db8::0-2001:DB8:0::00ff":  "2001:db8::-2001:db8::ff",
		"64:ff9b::192.0.2.7":            "64:ff9b::c000:207",
		"0.0.0.0-255.255.255.255":       "0.0.0.0-255.255.255.255",
		"255.255.255.255":               "255.255.255.255",
		"ffff:ffff:ffff:ffff::/64":      "ffff:ffff:ffff:ffff::/64",
		"::1":                           "::1",
		"::ffff:10.0.0.1-::ffff:a00:ff": "10.0.0.1-10.0.0.255",
	} {
		if got := addrs(t, written).Entries(); len(got) != 1 || got[0] != want {
			t.Errorf("%q is spelled %q, want %q", written, got, want)
		}
	}
}

func TestR4_MistakesAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, entry string
		says        []string // beside the entry, quoted
	}{
		{"host bits in an IPv4 block", "192.0.2.7/24", []string{"192.0.2.0/24", "192.0.2.7 "}},
		{"host bits in an IPv6 block", "2001:db8::1/64", []string{"2001:db8::/64", "2001:db8::1 "}},
		{"host bits in a block of mapped addresses", "::ffff:192.0.2.7/120", []string{"192.0.2.0/24"}},
		{"host bits in a block of everything", "192.0.2.7/0", []string{"0.0.0.0/0"}},
		{"a reversed range", "192.0.2.20-192.0.2.10", []string{"reversed", "192.0.2.10-192.0.2.20"}},
		{"a reversed range of IPv6", "2001:db8::ff-2001:db8::1", []string{"reversed", "2001:db8::1-2001:db8::ff"}},
		{"a reversed range in two spellings", "::ffff:192.0.2.20-192.0.2.10", []string{"reversed", "192.0.2.10-192.0.2.20"}},
		{"a range of two families", "192.0.2.1-2001:db8::1", []string{"mixes IPv4 and IPv6"}},
		{"a range of two families, reversed", "2001:db8::1-192.0.2.1", []string{"mixes IPv4 and IPv6"}},
		{"a range from below into the mapped addresses", "::1-::ffff:192.0.2.1", []string{"mixes IPv4 and IPv6"}},
		{"a zone", "fe80::1%eth0", []string{"zone", "write fe80::1"}},
		{"a zone in a block", "fe80::%eth0/64", []string{"zone", "write fe80::"}},
		{"a zone in a range", "fe80::1-fe80::9%eth0", []string{"end of the range", "zone", "write fe80::9"}},
		{"a zone on a mapped address", "::ffff:192.0.2.7%eth0", []string{"zone", "192.0.2.7"}},
		{"a leading zero", "192.168.010.1", []string{"leading zero", "without"}},
		{"a zero too many", "192.168.00.1", []string{"leading zero"}},
		{"a leading zero in a block", "010.0.0.0/8", []string{"leading zero"}},
		{"a leading zero in a range", "192.0.2.1-192.0.2.09", []string{"end of the range", "leading zero"}},
		{"a leading zero in the length", "10.0.0.0/08", []string{"length", "0 to 32"}},
		{"0.0.0.0 meant as anyone", "0.0.0.0", []string{"no client's address", "leave the list empty", "0.0.0.0/0"}},
		{"0.0.0.0 mapped", "::ffff:0.0.0.0", []string{"leave the list empty", "0.0.0.0/0"}},
		{":: meant as anyone", "::", []string{"no client's address", "leave the list empty", "::/0"}},
		{":: written out", "0:0:0:0:0:0:0:0", []string{"leave the list empty", "::/0"}},
		{"an IPv4 address with a port", "192.0.2.7:443", []string{"port", "write 192.0.2.7 "}},
		{"an IPv6 address with a port", "[2001:db8::7]:443", []string{"port", "write 2001:db8::7 "}},
		{"a length beyond IPv4", "192.0.2.0/33", []string{"length", "0 to 32"}},
		{"a length beyond IPv6", "2001:db8::/129", []string{"length", "128"}},
		{"a negative length", "192.0.2.0/-1", nil},
		{"a signed length", "192.0.2.0/+24", []string{"length"}},
		{"a netmask", "192.0.2.0/255.255.255.0", []string{"length", "0 to 32"}},
		{"no length", "192.0.2.0/", []string{"length"}},
		{"two lengths", "192.0.2.0/24/24", []string{"length"}},
		{"no address before the length", "/24", []string{"192.0.2.0/24"}},
		{"an IPv4 length on a mapped address", "::ffff:192.0.2.0/24", []string{"beyond the IPv4 addresses"}},
		{"a mapped block one bit too wide", "::ffff:0.0.0.0/95", []string{"beyond the IPv4 addresses"}},
		{"a mapped block of everything", "::ffff:0.0.0.0/0", []string{"beyond the IPv4 addresses"}},
		{"a range without an end", "198.51.100.1-", []string{"end of the range", "192.0.2.10-192.0.2.20"}},
		{"a range without a start", "-1.2.3.4", []string{"start of the range", "192.0.2.10-192.0.2.20"}},
		{"a dash", "-", []string{"start of the range"}},
		{"a range of three", "1.2.3.4-1.2.3.5-1.2.3.6", []string{"end of the range"}},
		{"a range by its last number", "192.0.2.10-20", []string{"end of the range"}},
		{"a range of blocks", "192.0.2.0/24-198.51.100.0/24", []string{"start of the range"}},
		{"a name", "localhost", []string{"192.0.2.7"}},
		{"a wildcard", "192.0.2.*", []string{"192.0.2.7"}},
		{"three numbers", "192.0.2", []string{"192.0.2.7"}},
		{"a number", "3232235521", []string{"192.0.2.7"}},
		{"a number with a leading zero", "010", []string{"192.0.2.7"}},
		{"three numbers, one with a leading zero", "192.0.02", []string{"192.0.2.7"}},
		{"a hexadecimal number", "0xc0.0.2.1", []string{"192.0.2.7"}},
		{"a number too large", "192.0.2.256", []string{"192.0.2.7"}},
		{"other digits", "１９２.0.2.7", []string{"192.0.2.7"}},
		{"a NUL", "192.0.2.7\x00", []string{"192.0.2.7"}},
		{"another separator", "192.0.2.7;192.0.2.8", []string{"192.0.2.7"}},
	}
	for _, tt := range tests {
		t.Run(tt.name+" is refused", func(t *testing.T) {
			t.Parallel()
			for _, list := range []string{tt.entry, "192.0.2.99," + tt.entry, tt.entry + " 192.0.2.99"} {
				s, err := policy.ParseAddrSet(list)
				wantError(t, err, append(tt.says, fmt.Sprintf("%q", tt.entry))...)
				// The returned set must not be used: it contains every address.
				if len(s.Entries()) != 0 {
					t.Errorf("%q: entries %q beside the error", list, s.Entries())
				}
			}
			_, err := policy.NewAddrSet([]string{tt.entry})
			wantError(t, err, fmt.Sprintf("%q", tt.entry))
		})
	}
}

func TestR4_EmptyPiecesAreRefused(t *testing.T) {
	t.Parallel()
	for _, list := range []string{",", " , ", ",,", "192.0.2.7,", ",192.0.2.7", "192.0.2.7,,192.0.2.8", "192.0.2.7, ,192.0.2.8"} {
		t.Run(fmt.Sprintf("%q is refused", list), func(t *testing.T) {
			t.Parallel()
			_, err := policy.ParseAddrSet(list)
			wantError(t, err, fmt.Sprintf("addresses %q: ", list), "comma too many")
		})
	}
	for _, entries := range [][]string{{""}, {" "}, {"192.0.2.7", ""}, {" 192.0.2.7"}, {"192.0.2.7,192.0.2.8"}} {
		t.Run(fmt.Sprintf("the entries %q are refused", entries), func(t *testing.T) {
			t.Parallel()
			_, err := policy.NewAddrSet(entries)
			wantError(t, err, fmt.Sprintf("%q", entries[len(entries)-1]))
		})
	}
}

func TestR4_RangesHaveNoSpaces(t *testing.T) {
	t.Parallel()
	for _, list := range []string{
		"192.0.2.1 - 192.0.2.9", "192.0.2.1- 192.0.2.9", "192.0.2.1 -192.0.2.9", "192.0.2.1\t-\n192.0.2.9",
		"10.0.0.1 192.0.2.1 - 192.0.2.9 10.0.0.2", "10.0.0.1,192.0.2.1 - 192.0.2.9",
	} {
		t.Run(list, func(t *testing.T) {
			t.Parallel()
			s, err := policy.ParseAddrSet(list)
			wantError(t, err, `address "192.0.2.1`, "no spaces around its hyphen", "want 192.0.2.1-192.0.2.9")
			if len(s.Entries()) != 0 {
				t.Errorf("entries %q beside the error", s.Entries())
			}
		})
	}
	for list, says := range map[string]string{
		"192.0.2.9 - 192.0.2.1": `address "-"`, "192.0.2.1 -": `address "-"`, "- 192.0.2.1": `address "-"`, "a - b": `address "a"`,
	} {
		_, err := policy.ParseAddrSet(list)
		wantError(t, err, says)
	}
}

func TestR4_ABlockOfAllAddressesGivesAWarning(t *testing.T) {
	t.Parallel()
	tests := []struct {
		list string
		warn []string // what each warning begins with
	}{
		{"0.0.0.0/0", []string{"0.0.0.0/0 "}},
		{"::/0", []string{"::/0 "}},
		{"::ffff:0:0/96", []string{"0.0.0.0/0 "}},
		{"192.0.2.7,0.0.0.0/0,::/0", []string{"0.0.0.0/0 ", "::/0 "}},
		{"0.0.0.0/1", nil},
		{"192.0.2.7,2001:db8::/32", nil},
		{"10.0.0.0/8", nil},
	}
	for _, tt := range tests {
		t.Run(tt.list, func(t *testing.T) {
			t.Parallel()
			got := addrs(t, tt.list).Warnings()
			if !slices.EqualFunc(got, tt.warn, strings.HasPrefix) {
				t.Errorf("warnings %q, want ones of %q", got, tt.warn)
			}
			for _, w := range got {
				if !strings.Contains(w, "leave the list empty") {
					t.Errorf("warning %q does not say what to do", w)
				}
			}
		})
	}
	if s := addrs(t, "0.0.0.0/0"); !s.Contains(outside) || s.Contains(netip.MustParseAddr("2001:db8::1")) || s.Any() {
		t.Error("0.0.0.0/0 is every IPv4 address, and no other")
	}
	if s := addrs(t, "::/0"); s.Contains(outside) || !s.Contains(netip.MustParseAddr("2001:db8::1")) || s.Any() {
		t.Error("::/0 is every IPv6 address, and no other")
	}
}

func TestNetworkOf_isOneClient(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.7":                     "192.0.2.7/32",
		"::ffff:192.0.2.7":              "192.0.2.7/32",
		"2001:db8:1:2:ffff:ffff:ffff:1": "2001:db8:1:2::/64",
		"fe80::1%eth0":                  "fe80::/64",
	} {
		if got := policy.NetworkOf(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("the network of %s is %s, want %s", address, got, want)
		}
	}
	if got := policy.NetworkOf(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("the network of an unknown address is %v", got)
	}
}
