package handler

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func TestRefusals_ShowWhatWasSeen(t *testing.T) {
	t.Parallel()
	m := NewMetrics(nil)
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.RemoteAddr = "[::ffff:198.51.100.1]:4711"
	r.Header["X-Forwarded-For"] = []string{"203.0.113.5, sgk_secret", "2001:db8::7"}
	d := DecisionRecord{
		Counters: m.CountersOf("amivoice"), Operation: policy.Recognize, Reason: policy.AddressRefused, At: 7,
		Owner: policy.Identity{KeyID: "key_1", AccountID: "acc_1"}, Client: netip.MustParseAddr("192.0.2.7"),
	}
	d.Report(r)
	if all, _, _ := m.Refusals().Since(0); len(all) != 0 {
		t.Errorf("nobody wants refusals, and the feed has %+v", all)
	}
	defer m.Refusals().Want()()
	d.Report(r)
	d.Reason = policy.Allowed
	d.Report(r)
	d.Reason = policy.AllowedByGrace
	d.Report(r)
	all, _, _ := m.Refusals().Since(0)
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	got := all[0]
	if got.Hops != "203.0.113.5, ?, 2001:db8::7, 198.51.100.1" || got.Backend != "amivoice" || got.Reason != policy.AddressRefused ||
		got.Operation != policy.Recognize || got.KeyID != "key_1" || got.AccountID != "acc_1" || got.At != 7 || got.Client.String() != "192.0.2.7" {
		t.Errorf("%+v", got)
	}
}

func TestRefusals_ShowTheLastHopsOnly(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.RemoteAddr = "@"
	for range 1000 {
		r.Header.Add("X-Forwarded-For", "192.0.2.1, 192.0.2.2")
	}
	r.Header.Add("X-Forwarded-For", "192.0.2.3")
	if got := hopsOf(r); got != "192.0.2.2, 192.0.2.1, 192.0.2.2, 192.0.2.1, 192.0.2.2, 192.0.2.1, 192.0.2.2, 192.0.2.3" {
		t.Errorf("got %s", got)
	}
}

func BenchmarkReportRefusal(b *testing.B) {
	for _, wanted := range []bool{false, true} {
		b.Run(map[bool]string{false: "unwatched", true: "watched"}[wanted], func(b *testing.B) {
			m := NewMetrics(nil)
			if wanted {
				defer m.Refusals().Want()()
			}
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			d := DecisionRecord{Counters: m.CountersOf("amivoice"), Operation: policy.Recognize, Reason: policy.KeyExpired}
			b.ReportAllocs()
			for b.Loop() {
				d.Report(r)
			}
		})
	}
}
