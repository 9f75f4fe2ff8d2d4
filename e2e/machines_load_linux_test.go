package e2e_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	steadyKeys  = 30 // of ten accounts; they are never revoked
	pollers     = 3  // for each gateway
	pollEvery   = 20 * time.Millisecond
	changers    = 6 // that issue and revoke keys
	changeEvery = 400 * time.Millisecond
	watchEvery  = 5 * time.Millisecond // between two requests with a key that was revoked
	resumeLimit = 40 * time.Second
)

// siteLoad uses all gateways of a site, and keeps what they acknowledge.
type siteLoad struct {
	*site
	*acknowledged

	stop func() // ends the load, and waits for it

	phaseMu sync.Mutex
	phase   string // what is tried, for the figures
}

// startSiteLoad makes accounts with keys and jobs, and begins to use them.
func startSiteLoad(s *site) *siteLoad {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &siteLoad{site: s, acknowledged: newAcknowledged()}
	var running sync.WaitGroup
	l.stop = func() { cancel(); running.Wait() }
	s.t.Cleanup(l.stop)
	account := ""
	for n := range steadyKeys {
		var err error
		if n%3 == 0 {
			if account, err = s.gateways[n%len(s.gateways)].createAccount(ctx, "account "+strconv.Itoa(n)); err != nil {
				s.t.Fatal(err)
			}
		}
		if _, err := l.newKey(ctx, account); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, g := range s.gateways {
		l.settle(g)
		for range pollers {
			running.Go(func() { every(ctx, pollEvery, func() { l.ask(ctx, g) }) })
		}
	}
	for range changers {
		running.Go(func() { every(ctx, changeEvery, func() { l.change(ctx, &running) }) })
	}
	return l
}

// every calls a function again and again until ctx ends.
func every(ctx context.Context, period time.Duration, do func()) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for ctx.Err() == nil {
		do()
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// eventuallyRevoked waits until so many keys are revoked.
func (l *siteLoad) eventuallyRevoked(count int) {
	l.t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for revoked := 0; revoked < count; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("%d keys are revoked in 5 minutes, want %d", revoked, count)
		}
		l.mu.Lock()
		revoked = 0
		for _, k := range l.keys {
			if !k.revoked.IsZero() {
				revoked++
			}
		}
		l.mu.Unlock()
	}
}

// enter begins a phase, and returns its name.
func (l *siteLoad) enter(phase string) string {
	l.phaseMu.Lock()
	defer l.phaseMu.Unlock()
	l.phase = phase
	return phase
}

func (l *siteLoad) now() (phase string) {
	l.phaseMu.Lock()
	defer l.phaseMu.Unlock()
	return l.phase
}

// anyGateway returns a gateway, less often a disturbed one, which keeps its caller waiting.
func (l *siteLoad) anyGateway() *siteGateway {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if g := l.gateways[rand.N(len(l.gateways))]; !g.calm.since.IsZero() || rand.N(4) == 0 {
			return g
		}
	}
}

// look polls a key's job, and compares the answer with what was promised.
func (l *siteLoad) look(ctx context.Context, g *siteGateway, k *siteKey) (status int) {
	begun := time.Now()
	status, err := g.poll(ctx, k.job, k.secret)
	if ctx.Err() != nil {
		return 0
	}
	l.answered(g, k, begun, status, err)
	return status
}

// ask is a request of a client: most often a poll, and now and then a new job.
func (l *siteLoad) ask(ctx context.Context, g *siteGateway) {
	switch n := rand.N(100); {
	case n < 2:
		k := l.steady()
		begun := time.Now()
		if id, err := g.createJob(ctx, k.secret); err == nil {
			l.created(k, id)
		} else if ctx.Err() == nil {
			l.failed(g, begun, err)
		}
	case n < 12:
		k, owner := l.some(), l.some()
		if status, err := g.poll(ctx, owner.job, k.secret); err == nil {
			l.foreign(g, k, owner, status)
		}
	default:
		l.look(ctx, g, l.some())
	}
}

func (l *siteLoad) steady() *siteKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys[rand.N(steadyKeys)]
}

// newKey issues a key at some gateway, and creates a job with it at another.
func (l *siteLoad) newKey(ctx context.Context, account string) (*siteKey, error) {
	issuer, other := l.anyGateway(), l.anyGateway()
	begun := time.Now()
	k, err := l.newKeyAt(ctx, account, issuer, other)
	if err == nil {
		l.add(k)
		return k, nil
	}
	if ctx.Err() == nil {
		l.mu.Lock()
		calm := issuer.wasCalm(begun.Add(-settling)) && other.wasCalm(begun.Add(-settling))
		l.mu.Unlock()
		if calm {
			l.failed(issuer, begun, err)
		}
	}
	return nil, err
}

func (l *siteLoad) newKeyAt(ctx context.Context, account string, issuer, other *siteGateway) (*siteKey, error) {
	id, secret, err := issuer.issueKey(ctx, account)
	if err != nil {
		return nil, err
	}
	k := &siteKey{account: account, id: id, secret: secret, issued: time.Now()}
	if k.job, err = other.createJob(ctx, secret); errors.Is(err, errKeyRefused) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.breaks("no good key is refused", "%s: key %s, for its first job", other.name, id)
	}
	return k, err
}

// unlessEnded notes a write that failed, except because the load ends.
func (l *siteLoad) unlessEnded(ctx context.Context, g *siteGateway, begun time.Time, err error) {
	if ctx.Err() == nil {
		l.failed(g, begun, err)
	}
}

// change issues a key, uses it at all gateways, and revokes it at one. Then it watches until all refuse it.
func (l *siteLoad) change(ctx context.Context, running *sync.WaitGroup) {
	k, err := l.newKey(ctx, l.steady().account)
	if err != nil {
		return
	}
	var streams sync.Map
	var warming sync.WaitGroup
	for _, g := range l.gateways {
		warming.Go(func() {
			if l.look(ctx, g, k) != http.StatusOK || rand.N(4) > 0 {
				return
			}
			if ended, err := g.startStream(ctx, k.secret); err == nil {
				streams.Store(g, ended)
			}
		})
	}
	warming.Wait()
	g, begun := l.anyGateway(), time.Now()
	at, err := l.revoke(k, func() error { return g.revokeKey(ctx, k.id) })
	if err != nil {
		l.unlessEnded(ctx, g, begun, err)
		return
	}
	phase := l.now()
	for _, g := range l.gateways {
		running.Go(func() {
			watching, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			every(watching, watchEvery, func() {
				if l.look(watching, g, k) == http.StatusUnauthorized {
					l.counts(g, phase, ": a revoked key is refused", at, time.Now())
					cancel()
				}
			})
		})
		if ended, found := streams.Load(g); found {
			running.Go(func() {
				select {
				case <-ctx.Done():
				case end := <-ended.(<-chan time.Time):
					l.counts(g, phase, ": a live stream is cut", at, end)
				case <-time.After(10 * time.Second):
					l.mu.Lock()
					l.breaks("no stream outlives its key", "%s: key %s", g.name, k.id)
					l.mu.Unlock()
				}
			})
		}
	}
}

// counts notes when a revocation came to count, unless something else began meanwhile.
func (l *siteLoad) counts(g *siteGateway, phase, what string, revoked, seen time.Time) {
	l.mu.Lock()
	usable := g.wasCalm(revoked) || g.calm.kind == slow && g.calm.disturbed.Before(revoked)
	l.mu.Unlock()
	if usable && l.now() == phase {
		l.measured(phase+what, max(0, seen.Sub(revoked)))
	}
}

// resume waits until disturbed gateways take part again, and measures how long that takes from an instant: a
// gateway takes part when it issues a key and creates a job with it.
func (l *siteLoad) resume(phase string, since time.Time, gateways ...*siteGateway) {
	l.t.Helper()
	l.disturb(troubled, gateways...)
	var resuming sync.WaitGroup
	for _, g := range gateways {
		resuming.Go(func() {
			if l.takesPart(g) {
				l.measured(phase+": until "+g.name+" takes part", time.Since(since))
				l.settle(g)
			}
		})
	}
	resuming.Wait()
	for _, g := range gateways {
		if g.calm.since.IsZero() {
			l.t.Fatalf("%s: %s does not take part again within %s; its log ends with\n%s", phase, g.name, resumeLimit, lastLines(g.output.String()))
		}
	}
}

// takesPart waits until a gateway takes part. It tries several times at once: so one try that hangs does not
// keep another one from being the first.
func (l *siteLoad) takesPart(g *siteGateway) bool {
	ctx, cancel := context.WithTimeout(l.t.Context(), resumeLimit)
	defer cancel()
	account := l.steady().account
	var done atomic.Bool
	var tries sync.WaitGroup
	for range 4 {
		tries.Go(func() {
			every(ctx, watchEvery, func() {
				trying, stop := context.WithTimeout(ctx, time.Second)
				defer stop()
				if k, err := l.newKeyAt(trying, account, g, g); err == nil {
					l.add(k)
					done.Store(true)
					cancel()
				}
			})
		})
	}
	tries.Wait()
	return done.Load()
}

// check polls every job with its key at every gateway, when the load has ended, and returns how much of
// what was acknowledged is there.
func (l *siteLoad) check() (keys, revocations, jobs int) {
	l.t.Helper()
	for _, g := range l.gateways {
		var checking sync.WaitGroup
		jobsLeft := make(chan siteJob)
		for range 8 {
			checking.Go(func() {
				for job := range jobsLeft {
					l.checkJob(g, job)
				}
			})
		}
		for _, job := range l.jobs {
			jobsLeft <- job
		}
		close(jobsLeft)
		checking.Wait()
	}
	for _, k := range l.keys {
		keys++
		if !k.revoked.IsZero() {
			revocations++
		}
	}
	return keys, revocations, len(l.jobs)
}

func (l *siteLoad) checkJob(g *siteGateway, job siteJob) {
	status, err := g.poll(l.t.Context(), job.id, job.key.secret)
	for range 5 { // a connection that was not used since the promotion can still lead to the old primary
		if err == nil && status != http.StatusServiceUnavailable {
			break
		}
		status, err = g.poll(l.t.Context(), job.id, job.key.secret)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := job.key
	switch {
	case err != nil:
		l.breaks("an undisturbed gateway answers", "%s: %v", g.name, err)
	case !k.revoked.IsZero() && status != http.StatusUnauthorized:
		l.breaks("no revocation is lost", "%s: key %s: status %d", g.name, k.id, status)
	case k.revoking.IsZero() && status != http.StatusOK:
		l.breaks("no key and no job is lost", "%s: key %s, job %s: status %d", g.name, k.id, job.id, status)
	}
}
