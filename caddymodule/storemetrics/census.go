package storemetrics

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/speechgate/speechgate/internal/upstreamkey"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	// censusShare bounds the time that counting takes: after a census that took one second, the
	// next one begins after 100 seconds at the earliest.
	censusShare = 100
	// censusPause is the shortest time between two counts.
	censusPause = time.Second
	// censusWait is how long a scrape waits for a count. A scrape that has waited for so
	// long shows the numbers before.
	censusWait = 500 * time.Millisecond
	// censusLimit is the longest that one count may take.
	censusLimit = time.Minute
)

// spans are the times of the metric keys_expiring, by their label.
var spans = []struct {
	label  string
	length time.Duration
}{{"1d", 24 * time.Hour}, {"7d", 7 * 24 * time.Hour}, {"30d", 30 * 24 * time.Hour}}

// census counts records in the keystore when it is scraped. To count them reads whole tables,
// so a count runs beside the scrapes, and rarely if it takes long.
type census struct {
	last    *counted               // nil before the first count
	running chan *counted          // receives the result of the count that runs; nil if none does
	from    keystore.TallyPosition // up to where keys_issued and keys_ended are counted
	next    time.Time              // when the next count may begin
}

// counted is the result of a count.
type counted struct {
	numbers keystore.Census
	keys    []keystore.UpstreamKeyNeed
	tally   keystore.Tally
	from    keystore.TallyPosition // where tally begins
	to      keystore.TallyPosition // where tally ends
	err     error
	at      time.Time // when it began
	took    time.Duration
}

// begin notes from where keys_issued and keys_ended count, unless this keystore was counted before.
func (c *census) begin(source *Source) {
	store, release := source.Store()
	defer release()
	if store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), censusLimit)
	defer cancel()
	_, at, err := store.Tally(ctx, keystore.TallyPosition{}, source.Now())
	if err == nil && !at.SameStore(c.from) { // after an error, the first count tries again
		c.from = at
	}
}

// collectCensus counts, unless it is too soon, and tells the newest numbers.
func (c *Collector) collectCensus(ch chan<- prometheus.Metric, source *Source) {
	n := &c.census
	if n.running == nil && !time.Now().Before(n.next) {
		n.running = make(chan *counted, 1)
		go n.count(source, n.from, n.running)
	}
	if n.running != nil {
		timeout := time.NewTimer(censusWait)
		defer timeout.Stop()
		select {
		case result := <-n.running:
			c.settle(result)
		case <-timeout.C:
		}
	}
	if n.last == nil {
		return
	}
	for _, state := range policy.JobStates() {
		ch <- jobs.of(float64(n.last.numbers.Jobs[state]), state.String())
	}
	ch <- onGrace.of(float64(n.last.numbers.OnGrace))
	for i, span := range spans {
		ch <- expiring.of(float64(n.last.numbers.Expiring[i]), span.label)
	}
	ch <- censusAge.of(time.Since(n.last.at).Seconds())
}

// removed is the position of the keys that are not configured any more.
const removed = "removed"

// collectKeys tells what still needs each upstream key: what was counted last in the keystore, and
// what runs now.
func (c *Collector) collectKeys(ch chan<- prometheus.Metric, source *Source, store *keystore.Store) {
	var recorded []keystore.UpstreamKeyNeed
	if c.census.last != nil {
		recorded = c.census.last.keys
	}
	// Several keys of a backend can be removed, and have one series.
	type series struct{ backend, position string }
	var order []series
	sums := make(map[series]upstreamkey.Need)
	for _, n := range upstreamkey.Needs(store, source.Upstreams, recorded, source.KeyUses) {
		of := series{n.Backend, removed}
		if n.Position > 0 {
			of.position = strconv.Itoa(n.Position)
		}
		sum, seen := sums[of]
		if !seen {
			order = append(order, of)
		}
		sum.Jobs += n.Jobs
		sum.Tokens += n.Tokens
		sum.Streams += n.Streams
		sum.Requests += n.Requests
		sum.LastUsed = max(sum.LastUsed, n.LastUsed)
		sums[of] = sum
	}
	for _, of := range order {
		sum := sums[of]
		if c.census.last != nil { // otherwise an old key could seem idle
			ch <- keyNeeded.of(float64(sum.Jobs), of.backend, of.position, "jobs")
			ch <- keyNeeded.of(float64(sum.Tokens), of.backend, of.position, "tokens")
			ch <- keyNeeded.of(float64(sum.Streams), of.backend, of.position, "streams")
			ch <- keyNeeded.of(float64(sum.Requests), of.backend, of.position, "requests")
		}
		if !sum.LastUsed.IsZero() {
			ch <- keyUsed.of(float64(sum.LastUsed)/1000, of.backend, of.position)
		}
	}
}

// count counts, and sends the result.
func (*census) count(source *Source, from keystore.TallyPosition, result chan<- *counted) {
	r := &counted{at: time.Now(), from: from, to: from}
	defer func() {
		r.took = time.Since(r.at)
		result <- r
	}()
	store, release := source.Store()
	defer release()
	if store == nil {
		r.err = keystore.ErrClosed
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), censusLimit)
	defer cancel()
	now := source.Now()
	request := keystore.CensusRequest{Now: now, LongestGrace: source.longestGrace(), OnGrace: func(key *policy.Key, job *policy.Job) bool { return source.onGrace(now, key, job) }}
	for _, span := range spans {
		request.Within = append(request.Within, span.length)
	}
	if r.numbers, r.err = store.Census(ctx, request); r.err != nil {
		return
	}
	if r.keys, r.err = store.UpstreamKeyNeeds(ctx, now); r.err != nil {
		return
	}
	r.tally, r.to, r.err = store.Tally(ctx, from, now)
}

// settle takes the result of a count. After an error, the numbers before stay, and their age
// tells.
func (c *Collector) settle(r *counted) {
	n := &c.census
	n.running = nil
	n.next = r.at.Add(max(censusPause, censusShare*r.took))
	if r.err != nil || r.from != n.from { // another keystore is in use since then
		return
	}
	n.last, n.from = r, r.to
	for _, by := range keystore.Issuers() {
		c.issued.WithLabelValues(string(by)).Add(float64(r.tally.Issued[by]))
	}
	for _, how := range keystore.KeyEnds() {
		c.ended.WithLabelValues(string(how)).Add(float64(r.tally.Ended[how]))
	}
}

func (s *Source) longestGrace() (longest time.Duration) {
	for _, graces := range s.Graces {
		for _, grace := range graces {
			longest = max(longest, grace.Window)
		}
	}
	return longest
}

// onGrace reports whether a gate lets the key read the job because of grace. It decides as the
// gate decides on a poll from the address from which the job was created.
func (s *Source) onGrace(now policy.Time, key *policy.Key, job *policy.Job) bool {
	for _, grace := range s.Graces[job.Backend] {
		poll := policy.Request{Operation: policy.ReadJob, Job: job, Client: job.Client}
		if policy.Decide(now, key, &poll, policy.Rules{Grace: grace}).Reason == policy.AllowedByGrace {
			return true
		}
	}
	return false
}
