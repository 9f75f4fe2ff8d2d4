//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

// benchCase is a case that can be chosen by its name.
type benchCase struct {
	name, about string
	run         func(*suite) error
	versions    bool // whether the case can also compare two versions of the gate
}

var cases = []benchCase{
	{"decision", "a decision on a cached record, without HTTP", (*suite).decision, false},
	{"poll", "polls of jobs, 32 connections, 100 thousand keys in use", (*suite).polls, true},
	{"floor", "the same polls through the least that checks a key", floorOf("floor"), false},
	{"floor-jobs", "the same through the least that knows jobs as well", floorOf("floor-jobs"), false},
	{"floor-query", "the same as floor-jobs does, for recognitions with the key in the query", floorOf("floor-query"), false},
	{"floor-cost", "floor-jobs that costs about what the gate does, for nothing", floorOf("floor-cost"), false},
	{"poll-slow", "polls at the rate of churn, without its changes, and floor-cost at that rate", (*suite).slowPolls, false},
	{"query", "short recognitions with the key in the query", (*suite).queries, true},
	{"poll-million", "polls with a million keys in the store", (*suite).pollsOfMillion, true},
	{"form-u", "uploads of 4 KiB with the key in part u", func(s *suite) error { return s.forms("u") }, true},
	{"form-d", "uploads of 4 KiB with the key in the pairs of part d", func(s *suite) error { return s.forms("d") }, true},
	{"upload", "uploads of 1 MiB", (*suite).uploads, true},
	{"upload-memory", "peak memory of 64 uploads of 10 MiB at once", (*suite).uploadMemory, true},
	{"first-byte", "the first byte of a slow upload", (*suite).firstByte, false},
	{"create", "creation of jobs, recorded durably, 64 clients", (*suite).creations, true},
	{"flood", "good polls among ten times as many with unknown keys", (*suite).flood, false},
	{"churn", "polls while 100 keys are issued and 100 revoked per second", (*suite).churn, false},
	{"import", fmt.Sprintf("polls beside a command that imports %d keys, and without it", importedKeys), (*suite).imports, false},
	{"forward-auth", "polls through the gate and through forward_auth", (*suite).forwardAuth, false},
	{"stream", "one saturated stream", (*suite).saturatedStream, true},
	{"stream-start", "from the handshake of a stream to the answer to its start command", (*suite).streamStarts, true},
	{"streams", "500 streams at 32 KB/s", (*suite).manyStreams, true},
	{"idle-streams", fmt.Sprintf("memory of %d streams that have sent no command", idleCount), (*suite).idleStreams, true},
	{"openai-form", "OpenAI: uploads of 4 KiB with the key in the header", openAIForms(4<<10, smallConns, cpuAtMost(1.05), throughputAtLeast(0)), true},
	{"openai-upload", "OpenAI: uploads of 1 MiB with the key in the header", openAIForms(1<<20, 8, throughputAtLeast(0.97), cpuAtMost(0)), true},
	{"openai-sse", fmt.Sprintf("OpenAI: transcriptions that stream as %d events", eventCount), (*suite).openAIEvents, true},
	{"assemblyai-poll", "AssemblyAI: polls of jobs", (*suite).transcriptPolls, true},
	{"assemblyai-create", "AssemblyAI: creation of jobs by JSON, recorded durably, 64 clients", (*suite).transcriptCreations, true},
	{"assemblyai-list", fmt.Sprintf("AssemblyAI: lists of %d entries, half of them of the account", listLength), (*suite).transcriptLists, true},
	{"deepgram-stream", "Deepgram: one saturated stream, with as much audio back", (*suite).echoedStream, true},
	{"start", "start with a million keys, and memory with 100 thousand cached", (*suite).startAndMemory, false},
	{"console", fmt.Sprintf("pages of the console with %d times the keys in use, beside %d keys; its memory; polls beside it", consoleTimes, fewKeys), (*suite).console, false},
	{postgresCase, "polls and jobs with a keystore in PostgreSQL, beside SQLite", (*suite).postgresql, false},
	{issueCase, "keys issued with a keystore in PostgreSQL, beside SQLite", (*suite).issuing, false},
	{clusterCase, fmt.Sprintf("%d gateways with one database: how fast changes count at all of them, and a restart of the server", gateways), (*suite).cluster, false},
	{millionsCase, fmt.Sprintf("start, memory and lists with %d times the keys in use in PostgreSQL", storedTimes), (*suite).millions, false},
	{costsCase, "what gateways ask of one PostgreSQL server on this machine, for each thing they do", (*suite).databaseCosts, false},
	{replicaCase, fmt.Sprintf("the replica of an edge site with %d times the keys in use in PostgreSQL: filling it, following changes, catching up", replicaTimes), (*suite).replicas, false},
	{"rate", fmt.Sprintf("how exact limits of requests a minute are, in %s", rateTime), (*suite).rate, false},
	{"poll-2", "poll with " + twoThreads, withTwoThreads((*suite).polls), true},
	{"query-2", "query with " + twoThreads, withTwoThreads((*suite).queries), true},
	{"create-2", "create with " + twoThreads, withTwoThreads((*suite).creations), true},
	{"flood-2", "flood with " + twoThreads, withTwoThreads((*suite).flood), false},
	{"churn-2", "churn with " + twoThreads, withTwoThreads((*suite).churn), false},
	{"gc", "what settings of Go's garbage collector change", (*suite).collector, false},
}

const smallConns = 32

// churnRate is the rate of requests in the case churn, per second.
const churnRate = 6000

// twoThreads lets Go run two threads on the proxies' core. With one thread, all requests
// would wait for the garbage collector and for the disk.
const twoThreads = "GOMAXPROCS=2"

func withTwoThreads(run func(*suite) error) func(*suite) error {
	return func(s *suite) error {
		defer func(env []string) { s.env, s.suffix = env, "" }(s.env)
		s.env, s.suffix = append(slices.Clone(s.env), twoThreads), ", "+twoThreads
		return run(s)
	}
}

// closed compares two proxies under full load: each client sends its next request when the
// answer to the one before has arrived.
func (s *suite) closed(name string, one, other *proxy, next source, conns int, measures ...measure) error {
	run := func(p *proxy) func() (sample, error) {
		return func() (sample, error) {
			r, err := s.play(p, plan{conns: conns, next: next, classes: []class{answered}, length: s.length})
			if err != nil {
				return nil, err
			}
			return sample{"throughput": r.perSecond(), "CPU per request": r.cpuEach()}, nil
		}
	}
	if err := s.compare(name, s.pairs, run(one), run(other), measures...); err != nil {
		return err
	}
	return s.profiles(name, []*proxy{one, other}, func(p *proxy) error {
		_, err := s.play(p, plan{conns: conns, next: next, classes: []class{answered}, length: profileTime})
		return err
	})
}

// rateOf returns a fraction of the rate at which a proxy answers a plan under full load.
func (s *suite) rateOf(p *proxy, load plan, part float64) (float64, error) {
	load.length = s.length
	var most []float64 // the rates of several runs: near full load, latency depends on a few percent
	for range min(5, s.pairs) {
		r, err := s.play(p, load)
		if err != nil {
			return 0, err
		}
		most = append(most, r.perSecond())
	}
	return part * median(most), nil
}

// atRate compares the latencies of class 0 of a plan. Its requests come at a constant
// rate.
func (s *suite) atRate(name string, one, other *proxy, p plan, m measure) error {
	p.length = 2 * s.length
	run := func(target *proxy) func() (sample, error) {
		return func() (sample, error) {
			r, err := s.play(target, p)
			if err != nil {
				return nil, err
			}
			return sample{m.name: r.percentile(0.99), "CPU per request": r.cpuEach()}, nil
		}
	}
	m.unit = "µs"
	return s.compare(fmt.Sprintf("%s, %.0f requests/s", name, p.rate), s.pairs, run(one), run(other), m, cpuAtMost(0))
}

// warm sends a poll with every key in use, so that the gate has looked up all keys.
func (s *suite) warm(p *proxy, f *fixture) error {
	return s.warmWith(p, f, func(buf []byte, n int) []byte {
		return pollWith(buf, f.jobs[n%len(f.jobs)], f.keys[n%len(f.keys)])
	})
}

// warmWith sends the requests 1 to the number of keys in use, at least.
func (s *suite) warmWith(p *proxy, f *fixture, request func(buf []byte, n int) []byte) error {
	n := 0
	next := func(buf []byte) ([]byte, int) {
		n++
		return request(buf, n), 0
	}
	for n < len(f.keys) {
		s.progress("warming up: %d of %d keys", n, len(f.keys))
		if _, err := s.play(p, plan{conns: smallConns, next: next, classes: []class{answered}, length: 500 * time.Millisecond}); err != nil {
			return err
		}
	}
	return nil
}

// warmPair starts both, and puts load on each.
func (s *suite) warmPair(f *fixture, plain, gate site) (one, other *proxy, err error) {
	if one, other, err = s.both(plain, gate); err != nil {
		return nil, nil, err
	}
	if err = s.warm(one, f); err != nil {
		return nil, nil, err
	}
	return one, other, s.warm(other, f)
}

// apiPair starts both proxies for an API whose key is in a header line. It sends the requests of the
// function warm to each, so that the gate has looked up all keys.
func (s *suite) apiPair(api, keyLine string, warm func(f *fixture, buf []byte, n int) []byte) (f *fixture, one, other *proxy, err error) {
	if f, err = s.small(); err != nil {
		return nil, nil, nil, err
	}
	gate := gateFor(f, api, keyLine)
	if one, other, err = s.both(s.insteadOf(gate), gate); err != nil {
		return nil, nil, nil, err
	}
	for _, p := range []*proxy{one, other} {
		if err := s.warmWith(p, f, func(buf []byte, n int) []byte { return warm(f, buf, n) }); err != nil {
			return nil, nil, nil, err
		}
	}
	return f, one, other, nil
}

func cpuAtMost(target float64) measure {
	return measure{name: "CPU per request", unit: "µs", target: target, atMost: true}
}

func throughputAtLeast(target float64) measure {
	return measure{name: "throughput", unit: "requests/s", target: target}
}

func p99AtMost(target float64) measure { return measure{name: "p99", target: target, atMost: true} }

// smallRequests compares plain Caddy and a site under full load and under half load.
func (s *suite) smallRequests(name string, f *fixture, site site, next source, cpu, throughput, p99 measure) error {
	one, other, err := s.warmPair(f, s.otherSite(f), site)
	if err != nil {
		return err
	}
	if err := s.closed(name, one, other, next, smallConns, cpu, throughput); err != nil {
		return err
	}
	p := plan{conns: smallConns, next: next, classes: []class{answered}}
	if p.rate, err = s.rateOf(one, p, 0.5); err != nil {
		return err
	}
	return s.atRate(name, one, other, p, p99)
}

func (s *suite) polls() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	return s.smallRequests("poll", f, gateSite(f), f.poll, cpuAtMost(1.05), throughputAtLeast(0.95), p99AtMost(1.2))
}

func (s *suite) queries() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	return s.smallRequests("query", f, gateSite(f), f.query, cpuAtMost(1.05), throughputAtLeast(0.95), p99AtMost(1.2))
}

func (s *suite) pollsOfMillion() error {
	f, err := s.large()
	if err != nil {
		return err
	}
	one, other, err := s.warmPair(f, s.otherSite(f), gateSite(f))
	if err != nil {
		return err
	}
	return s.closed("poll-million", one, other, f.poll, smallConns, cpuAtMost(1.08), throughputAtLeast(0))
}

// underLoad is closed after warmPair.
func (s *suite) underLoad(name string, next func(*fixture) source, conns int, measures ...measure) error {
	f, err := s.small()
	if err != nil {
		return err
	}
	one, other, err := s.warmPair(f, s.otherSite(f), gateSite(f))
	if err != nil {
		return err
	}
	return s.closed(name, one, other, next(f), conns, measures...)
}

func (s *suite) forms(in string) error {
	next := func(f *fixture) source { return f.forms("/v1/recognize", in, 4<<10) }
	return s.underLoad("form-"+in, next, smallConns, cpuAtMost(1.15), throughputAtLeast(0))
}

func (s *suite) uploads() error {
	next := func(f *fixture) source { return f.forms("/v1/recognize", "u", 1<<20) }
	return s.underLoad("upload", next, 8, throughputAtLeast(0.97), cpuAtMost(0))
}

func (s *suite) creations() error {
	next := func(f *fixture) source { return f.forms("/v2/recognitions", "u", 4<<10) }
	return s.underLoad("create", next, 64, throughputAtLeast(0.8), cpuAtMost(0))
}

// flood sends requests with unknown keys between good polls. The plain proxy refuses
// these requests by a header field.
func (s *suite) flood() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	plain := plainSite()
	plain.before = "@flood header " + floodField + " *\n\trespond @flood `{\"message\":\"received illegal service authorization\"}` 401"
	one, other, err := s.warmPair(f, plain, gateSite(f))
	if err != nil {
		return err
	}
	mix := plan{conns: 2 * smallConns, next: f.flooded(10), classes: []class{answered, {status: 401}}}
	if mix.rate, err = s.rateOf(one, mix, 0.4); err != nil {
		return err
	}
	return s.atRate("flood", one, other, mix, p99AtMost(1.5))
}

// churn issues keys through the gate, while another process revokes other keys.
func (s *suite) churn() error {
	const perSecond = 100
	f, err := s.small()
	if err != nil {
		return err
	}
	store, err := f.open(s.ctx)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	plain, gate := plainSite(), gateSite(f)
	plain.before = "respond " + issuePath + " sgk_00000000000000000000000000000000000000 200"
	gate.before += "\n\tspeechgate_issue {\n\t\tmax_rate 10000\n\t}"
	one, other, err := s.warmPair(f, plain, gate)
	if err != nil {
		return err
	}
	if need := int(perSecond * (s.length * time.Duration(5*s.pairs)).Seconds()); need > len(f.victims) {
		return fmt.Errorf("churn: there are %d keys to revoke, and %d may be needed: want fewer pairs, or shorter ones", len(f.victims), need)
	}
	begun := time.Now()
	stop := revoke(s.ctx, store, f.victims, perSecond)
	run := func(p *proxy) func() (sample, error) {
		return func() (sample, error) {
			r, err := s.play(p, plan{conns: smallConns, next: f.issued(churnRate/perSecond - 1), classes: []class{answered, {status: 200}}, rate: churnRate, length: 2 * s.length, together: true})
			if err != nil {
				return nil, err
			}
			return sample{"p99": r.percentile(0.99)}, nil
		}
	}
	m := p99AtMost(1.3)
	m.unit = "µs"
	err = s.compare(fmt.Sprintf("churn, %d requests/s", churnRate), s.pairs, run(one), run(other), m)
	revoked, revoking := stop()
	f.victims = f.victims[revoked:]
	if done := float64(revoked) / time.Since(begun).Seconds(); err == nil && revoking == nil && done < 0.9*perSecond {
		err = fmt.Errorf("churn: %.0f keys were revoked per second, where %d should be", done, perSecond)
	}
	return errors.Join(err, revoking)
}

// revoke revokes keys at a rate until stop is called. If one revocation takes long,
// several run at once. Stop returns the number of revoked keys.
func revoke(ctx context.Context, store *keystore.Store, victims []string, perSecond float64) (stop func() (int, error)) {
	done, next := make(chan struct{}), make(chan string)
	var workers sync.WaitGroup
	var revoked atomic.Int64
	var failed atomic.Pointer[error]
	for range 8 {
		workers.Go(func() {
			for victim := range next {
				if _, err := store.RevokeKey(ctx, now(), operator, victim, ""); err != nil {
					failed.Store(&err)
				}
				revoked.Add(1)
			}
		})
	}
	workers.Go(func() {
		defer close(next)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		begun := time.Now()
		for sent, stopped := 0, false; !stopped && sent < len(victims); {
			select {
			case <-done:
				stopped = true // the revocations that are due still run
			case <-tick.C:
			}
			for float64(sent) < perSecond*time.Since(begun).Seconds() && sent < len(victims) {
				next <- victims[sent]
				sent++
			}
		}
	})
	return func() (int, error) {
		close(done)
		workers.Wait()
		if err := failed.Load(); err != nil {
			return int(revoked.Load()), *err
		}
		return int(revoked.Load()), nil
	}
}
