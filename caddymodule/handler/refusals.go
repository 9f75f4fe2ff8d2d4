package handler

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/speechgate/speechgate/internal/refusals"
)

// Refusals returns the feed of the refusals of this process, for people who watch them.
func (m *Metrics) Refusals() *refusals.Feed { return &m.refusals }

// show adds a refusal to the feed, if somebody wants it.
func (d *DecisionRecord) show(r *http.Request) {
	feed := &d.Counters.all.refusals
	if d.Reason.OK() || !feed.Wanted() {
		return
	}
	feed.Add(refusals.Refusal{
		At: d.At, Reason: d.Reason, Operation: d.Operation, Backend: d.Counters.backend,
		KeyID: d.Owner.KeyID, AccountID: d.Owner.AccountID, Client: d.Client, Hops: hopsOf(r),
	})
}

// maxHops is how many addresses of X-Forwarded-For are shown: the last ones, which proxies have
// added.
const maxHops = 8

// hopsOf returns the addresses that X-Forwarded-For names, and the other end of the connection. What
// is no address is a question mark, because clients write into the field what they want.
func hopsOf(r *http.Request) string {
	var hops []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		for hop := range strings.SplitSeq(line, ",") {
			hops = append(hops, addressOrMark(strings.TrimSpace(hop)))
			if len(hops) > maxHops {
				hops = append(hops[:0], hops[1:]...)
			}
		}
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		hops = append(hops, addressOrMark(host))
	}
	return strings.Join(hops, ", ")
}

func addressOrMark(text string) string {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return "?"
	}
	return addr.WithZone("").Unmap().String()
}
