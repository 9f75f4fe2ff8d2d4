package keystore

import (
	"math"
	"net/netip"
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

func someLimits() *rapid.Generator[policy.Limits] {
	return rapid.Custom(func(t *rapid.T) policy.Limits {
		if rapid.Bool().Draw(t, "none") {
			return policy.Limits{}
		}
		return policy.Limits{
			Operations: policy.OperationSet(rapid.Uint16().Draw(t, "operations")),
			Requests:   rapid.Uint32().Draw(t, "requests"), Concurrent: rapid.Uint32().Draw(t, "concurrent"), Streams: rapid.Uint32().Draw(t, "streams"),
			AudioDay: rapid.Uint32().Draw(t, "audio"), AudioTotal: rapid.Uint32().Draw(t, "audio in all"),
		}
	})
}

func TestRecord_UnpacksThePackedKey(t *testing.T) {
	t.Parallel()
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
			RevokeFrom: anInstant().Draw(t, "scheduled"), SuspendedAt: anInstant().Draw(t, "suspended"),
			AccountSuspended: rapid.Bool().Draw(t, "account suspended"), LastUsedAt: anInstant().Draw(t, "used"),
			Limits: someLimits().Draw(t, "limits"), AccountLimits: someLimits().Draw(t, "account's limits"),
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
		if id != want.ID || account != want.AccountID || r.issuerID() != want.IssuerID || r.digest() != d || r.Limited() != (want.Limits != policy.Limits{} || want.AccountLimits != policy.Limits{}) {
			t.Fatalf("IDs %q, %q, %q of %+v", id, account, r.issuerID(), want)
		}
	})
}

// A name that is too long for a record is an error. It is never cut.
func TestR17_NamesThatDoNotFitARecordAreErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", math.MaxUint8+1)
	for _, k := range []policy.Key{{ID: long}, {AccountID: long}, {IssuerID: long}} {
		if _, err := newRecord(&k, digest{}); err == nil {
			t.Errorf("a key with an ID of %d bytes has a record", len(long))
		}
	}
	longer := strings.Repeat("x", math.MaxUint16+1)
	for _, j := range []policy.Job{{Backend: longer}, {ID: longer}, {Dialect: long}, {AccountID: long}, {KeyID: long}} {
		if _, err := packJob(&j, digest{}); err == nil {
			t.Error("a job with a name that is too long has a record")
		}
	}
}

func TestPackedJob_UnpacksThePackedJob(t *testing.T) {
	t.Parallel()
	for _, addr := range []netip.Addr{
		{},
		netip.IPv4Unspecified(), netip.IPv6Unspecified(), client, netip.AddrFrom16(client.As16()),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%eth0"),
	} {
		for _, ended := range []policy.Time{0, start} {
			want := typicalJob("j1")
			want.Client, want.EndedAt = addr, ended
			r, err := packJob(&want, digest{})
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

// The longest names that fit come back.
func TestRecord_TakesTheLongestNames(t *testing.T) {
	t.Parallel()
	long, longer := strings.Repeat("x", math.MaxUint8), strings.Repeat("y", math.MaxUint16)
	k := policy.Key{ID: long, AccountID: long, IssuerID: long, Origin: policy.OriginAPI}
	r, err := newRecord(&k, digest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Key(); got.ID != long || got.AccountID != long || got.IssuerID != long {
		t.Errorf("the key is %+v", got)
	}
	j := policy.Job{Backend: longer, ID: longer, Dialect: long, AccountID: long, KeyID: long, CreatedAt: start}
	p, err := packJob(&j, digest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.job(); got != j {
		t.Errorf("the job is %+v", got)
	}
}

// A clone does not keep the memory of the cache.
func TestRecord_CloneHasItsOwnMemory(t *testing.T) {
	t.Parallel()
	r, err := newRecord(&policy.Key{ID: "k"}, digest{})
	if err != nil {
		t.Fatal(err)
	}
	c := r.Clone()
	if c != r || unsafe.StringData(c.packed) == unsafe.StringData(r.packed) {
		t.Errorf("the clone of %+v is %+v, in the same memory: %t", r, c, unsafe.StringData(c.packed) == unsafe.StringData(r.packed))
	}
}
