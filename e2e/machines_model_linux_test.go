package e2e_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// rest is how much longer a request may take until the gateway answers it.
	rest = propagation
	// settling is how long a gateway that has come back may still give up connections to the server before.
	settling = 2 * time.Second
	// busy is how long a change may take to count on a machine that is slow: all machines of a test share
	// its processor. The figures tell how long it took.
	busy = 8 * propagation
)

// maxStaleness is how long a gateway of a site goes on without its database.
func maxStaleness() time.Duration {
	if os.Getenv("SPEECHGATE_NIGHTLY") != "" {
		return 5 * time.Second
	}
	return 2 * time.Second
}

// acknowledged is what the site has promised: all that it has answered without an error. Its methods may
// be called concurrently.
type acknowledged struct {
	mu       sync.Mutex
	keys     []*siteKey
	jobs     []siteJob
	broken   map[string]int // promises that were broken, with how often
	examples map[string]string
	answers  int
	figures  figures
}

// siteJob is a job that a client has learned of.
type siteJob struct {
	key *siteKey // created it
	id  string
	at  time.Time // when the client learned of it
}

// siteKey is a key that was issued, with a job of its own.
type siteKey struct {
	account, id, secret, job string
	issued                   time.Time

	// Guarded by acknowledged.mu. The key may be refused since the request for its revocation was
	// sent, and must be refused soon after the answer.
	revoking, revoked time.Time
}

// calmness says whether all promises count at a gateway. Guarded by acknowledged.mu.
type calmness struct {
	since     time.Time // since when the gateway was undisturbed; zero while it is disturbed
	disturbed time.Time // when the last disturbance began
	kind      disturbance
}

// disturbance is what a disturbed gateway can still do.
type disturbance int

const (
	troubled disturbance = iota // nobody knows what it can do
	slow                        // everything, but not in time
	cutOff                      // nothing that needs the database
)

func newAcknowledged() *acknowledged {
	return &acknowledged{broken: make(map[string]int), examples: make(map[string]string), figures: make(figures)}
}

// breaks notes that a promise was broken.
func (a *acknowledged) breaks(promise, format string, args ...any) {
	a.broken[promise]++
	if a.examples[promise] == "" {
		a.examples[promise] = fmt.Sprintf(format, args...)
	}
}

// disturb says that gateways are disturbed from now on.
func (a *acknowledged) disturb(kind disturbance, gateways ...*siteGateway) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range gateways {
		g.calm = calmness{disturbed: time.Now(), kind: kind}
	}
}

// settle says that a gateway is undisturbed from now on.
func (a *acknowledged) settle(g *siteGateway) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g.calm = calmness{since: time.Now()}
}

// wasCalm reports whether a gateway was undisturbed since an instant.
func (g *siteGateway) wasCalm(since time.Time) bool {
	return !g.calm.since.IsZero() && !g.calm.since.After(since)
}

// answered compares an answer with what was promised: a gateway was asked, at begun, for the job of a key.
func (a *acknowledged) answered(g *siteGateway, k *siteKey, begun time.Time, status int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers++
	switch {
	case status == http.StatusOK && err == nil:
		a.accepted(g, k, begun)
	case status == http.StatusUnauthorized && k.revoking.IsZero():
		a.breaks("no good key is refused", "%s: key %s of job %s", g.name, k.id, k.job)
	case status == http.StatusUnauthorized: // as it may be
	case status == http.StatusNotFound:
		a.breaks("no job is lost", "%s: job %s of key %s", g.name, k.job, k.id)
	case g.wasCalm(begun.Add(-settling)):
		a.breaks("an undisturbed gateway answers", "%s: status %d, %v", g.name, status, err)
	}
}

// accepted checks that a key may still be accepted.
func (a *acknowledged) accepted(g *siteGateway, k *siteKey, begun time.Time) {
	if g.calm.kind == cutOff {
		const what = "a gateway cut from the database accepts cached keys for"
		a.figures[what] = append(a.figures[what], begun.Sub(g.calm.disturbed))
	}
	if g.calm.kind == cutOff && begun.After(g.calm.disturbed.Add(maxStaleness()+rest)) {
		a.breaks("a gateway without its database stops", "%s: it accepts %s after the cut", g.name, begun.Sub(g.calm.disturbed))
	}
	if k.revoked.IsZero() {
		return
	}
	bound := maxStaleness() + rest
	if g.wasCalm(k.revoked) {
		bound = busy
	}
	if late := begun.Sub(k.revoked); late > bound {
		a.breaks("no revoked key is accepted", "%s: key %s is accepted %s after its revocation, want %s at most", g.name, k.id, late, bound)
	}
}

// foreign checks the answer to a poll of another account's job.
func (a *acknowledged) foreign(g *siteGateway, k, owner *siteKey, status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers++
	if status == http.StatusOK && k.account != owner.account {
		a.breaks("a job stays its account's", "%s: key %s reads job %s", g.name, k.id, owner.job)
	}
}

// add adds a key that was issued and has a job.
func (a *acknowledged) add(k *siteKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = append(a.keys, k)
	a.jobs = append(a.jobs, siteJob{k, k.job, time.Now()})
}

// some returns one of the first keys, which stay valid, or now and then one of all keys.
func (a *acknowledged) some() *siteKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	if rand.N(4) == 0 {
		return a.keys[rand.N(len(a.keys))]
	}
	return a.keys[rand.N(steadyKeys)]
}

// created notes a job.
func (a *acknowledged) created(k *siteKey, id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.jobs = append(a.jobs, siteJob{k, id, time.Now()})
}

// failed notes that a write was not acknowledged, which breaks a promise if the gateway was undisturbed.
func (a *acknowledged) failed(g *siteGateway, begun time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if g.wasCalm(begun.Add(-settling)) {
		a.breaks("an undisturbed gateway writes", "%s: %v", g.name, err)
	}
}

// revoke revokes a key by a function, which returns without an error if the revocation is acknowledged.
func (a *acknowledged) revoke(k *siteKey, do func() error) (at time.Time, err error) {
	a.mu.Lock()
	k.revoking = time.Now()
	a.mu.Unlock()
	if err := do(); err != nil {
		return time.Time{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k.revoked = time.Now()
	return k.revoked, nil
}

// verdict returns the promises that were broken, with an example of each.
func (a *acknowledged) verdict() (lines []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, promise := range slices.Sorted(maps.Keys(a.broken)) {
		lines = append(lines, fmt.Sprintf("%s: broken %d times, such as: %s", promise, a.broken[promise], a.examples[promise]))
	}
	return lines
}

// figures are times that were measured, by what they are.
type figures map[string][]time.Duration

func (a *acknowledged) measured(what string, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.figures[what] = append(a.figures[what], took)
}

// table returns the figures as lines.
func (a *acknowledged) table() (lines []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(a.figures)) {
		times := slices.Sorted(slices.Values(a.figures[what]))
		at := func(percent int) time.Duration { return times[(len(times)-1)*percent/100].Round(time.Millisecond) }
		lines = append(lines, fmt.Sprintf("%-60s %5d times: half %s, 99 %% %s, all %s", what, len(times), at(50), at(99), at(100)))
	}
	return lines
}
