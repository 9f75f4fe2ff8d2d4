package keystore

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// Two different entries never have the same hash, even if their texts joined are the same.
func TestAuditHead_KeepsFieldsApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		entry := func(label string) AuditEntry {
			from := rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::1")})
			text := rapid.SampledFrom([]string{"", "a", "b", "ab", "aab", "\x01a"})
			return AuditEntry{
				At: policy.Time(rapid.Int64Range(0, 1).Draw(t, label)), Action: text.Draw(t, label), AccountID: text.Draw(t, label),
				Actor:   Actor{Kind: text.Draw(t, label), ID: text.Draw(t, label), From: from.Draw(t, label)},
				Subject: text.Draw(t, label), Detail: text.Draw(t, label),
			}
		}
		one, other := entry("one"), entry("other")
		head := firstHead("store")
		if same := head.next(hasher{}, &one) == head.next(hasher{}, &other); same != (one == other) {
			t.Fatalf("%+v and %+v: same hash %t", one, other, same)
		}
	})
}

func TestParseAuditHead(t *testing.T) {
	t.Parallel()
	head := AuditHead{Seq: 42, hash: firstHead("store").hash}
	for _, head := range []AuditHead{head, firstHead("store")} {
		if again, err := ParseAuditHead(head.String()); err != nil || again != head {
			t.Errorf("got %v, %v", again, err)
		}
	}
	for _, text := range []string{"", "42", "42:", "42:00", ":" + strings.Repeat("0", 64), "-1:" + strings.Repeat("0", 64), head.String() + "0", "x" + head.String(), head.String()[:66]} {
		if _, err := ParseAuditHead(text); err == nil || !strings.Contains(err.Error(), "want a number, a colon") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

// The number of an entry is a part of its hash.
func TestAuditHead_HashesTheNumber(t *testing.T) {
	t.Parallel()
	var e AuditEntry
	one := AuditHead{Seq: 1}.next(hasher{}, &e)
	two := AuditHead{Seq: 2}.next(hasher{}, &e)
	if one.Seq != 2 || two.Seq != 3 || one.hash == two.hash {
		t.Errorf("got %s and %s", one, two)
	}
}
