package handler

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// CanaryHeader is the field with the ID of a canary.
const CanaryHeader = "Speechgate-Canary"

const (
	canaryLives  = time.Minute // how long a canary is expected
	maxCanaries  = 16          // expected at a time
	maxSightings = 16          // of one canary
)

// Canaries are requests without a key that an operator sends to a gate, to learn by which address the
// gateway goes. They may be used concurrently.
type Canaries struct {
	expected atomic.Int32 // the number of canaries, so that other refusals cost nothing

	mu  sync.Mutex
	all map[string]*canary
}

type canary struct {
	since time.Time
	seen  []Sighting
}

// Sighting is what a gate has seen of a canary.
type Sighting struct {
	Connection string              `json:"connection"` // the address of the connection; empty if it has none
	Header     map[string][]string `json:"header"`     // the fields in which proxies name clients, such as X-Forwarded-For
	ClientIP   string              `json:"client_ip"`  // what the gate takes for the client's address; empty if it is unknown
}

// clientFields are the fields in which proxies name clients.
var clientFields = []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "X-Client-Ip", "Via"}

// Expect returns the ID of a new canary, which is expected for a minute. It returns "" if too many
// canaries are expected.
func (c *Canaries) Expect(now time.Time) (id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, known := range c.all {
		if now.Sub(known.since) > canaryLives {
			delete(c.all, id)
		}
	}
	if c.all == nil {
		c.all = make(map[string]*canary)
	}
	if len(c.all) < maxCanaries {
		id = NewRequestID()
		c.all[id] = &canary{since: now}
	}
	c.expected.Store(int32(len(c.all)))
	return id
}

// Note notes a refused request, if it is an expected canary.
func (c *Canaries) Note(r *http.Request, client netip.Addr) {
	if c.expected.Load() == 0 || len(r.Header[CanaryHeader]) != 1 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.all[r.Header[CanaryHeader][0]]
	if known == nil || len(known.seen) == maxSightings {
		return
	}
	seen := Sighting{Header: make(map[string][]string)}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		seen.Connection = host
	}
	if client.IsValid() {
		seen.ClientIP = client.String()
	}
	for _, name := range clientFields {
		if values := r.Header[name]; len(values) > 0 {
			seen.Header[name] = slices.Clone(values)
		}
	}
	known.seen = append(known.seen, seen)
}

// Seen returns what gates have seen of a canary. It returns false if the canary is not expected.
func (c *Canaries) Seen(id string) ([]Sighting, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.all[id]
	if known == nil {
		return nil, false
	}
	return slices.Clone(known.seen), true
}
