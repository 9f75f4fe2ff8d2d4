package storemetrics

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// newCollector returns a Collector that tells of an empty keystore.
func newCollector(t *testing.T) *Collector {
	t.Helper()
	store, err := keystore.Open(t.Context(), storetest.New(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c := New()
	c.Use(&Source{Now: keystore.SystemClock().Now, Store: func() (*keystore.Store, func()) { return store, func() {} }, Streams: func() int { return 3 }})
	return c
}

// scrape returns the values of the metrics without labels, by name.
func scrape(t *testing.T, c *Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		if family.GetType() == dto.MetricType_GAUGE && len(family.GetMetric()[0].GetLabel()) == 0 {
			values[family.GetName()] = family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return values
}

// The time between two counts is a hundred times the time that a count takes, and a second at least.
func TestCensus_TakesAHundredthOfTheTimeAtMost(t *testing.T) {
	t.Parallel()
	c := New()
	begun := time.Now()
	for took, want := range map[time.Duration]time.Duration{
		0: time.Second, time.Millisecond: time.Second, 10 * time.Millisecond: time.Second,
		20 * time.Millisecond: 2 * time.Second, 6 * time.Second: 10 * time.Minute,
	} {
		for _, err := range []error{nil, errors.New("the keystore is locked")} {
			c.settle(&counted{at: begun, took: took, err: err})
			if got := c.census.next.Sub(begun); got != want {
				t.Errorf("after a count of %s, %v, the next begins after %s, want %s", took, err, got, want)
			}
		}
	}
}

// A second scrape within the pause does not count again.
func TestCensus_IsNotCountedAtEachScrape(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	if values := scrape(t, c); values["caddy_speechgate_live_streams"] != 3 || values["caddy_speechgate_store_up"] != 1 {
		t.Fatalf("the scrape has %v", values)
	}
	first := c.census.last
	if first == nil {
		t.Fatal("the first scrape did not count")
	}
	c.census.next = time.Now().Add(time.Hour)
	scrape(t, c)
	if c.census.last != first || c.census.running != nil {
		t.Error("a scrape within the pause has counted")
	}
	c.census.next = time.Now()
	scrape(t, c)
	if c.census.last == first {
		t.Error("a scrape after the pause has not counted")
	}
}

// While a count runs, scrapes show the numbers before, and begin no second count. The error of a
// count leaves the numbers as they were.
func TestCensus_AScrapeDoesNotWaitForALongCount(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	scrape(t, c)
	c.census.last.numbers.OnGrace = 5
	running := make(chan *counted, 1)
	c.census.running = running
	begun := time.Now()
	if got := scrape(t, c)["caddy_speechgate_jobs_on_grace"]; got != 5 {
		t.Errorf("while a count runs, %v jobs are on grace; want the number before", got)
	}
	if took := time.Since(begun); took < censusWait || took > censusWait+10*time.Second {
		t.Errorf("the scrape took %s, want %s", took, censusWait)
	}
	if c.census.running != running {
		t.Error("a second count has begun")
	}
	running <- &counted{err: errors.New("the keystore is locked"), at: time.Now()}
	if got := scrape(t, c)["caddy_speechgate_jobs_on_grace"]; got != 5 || c.census.running != nil {
		t.Errorf("after a count that failed, %v jobs are on grace; want the number before", got)
	}
}

// The result of a count in a keystore that is not used any more adds nothing to the counters.
func TestCensus_DropsTheCountOfAnotherKeystore(t *testing.T) {
	t.Parallel()
	c, other := newCollector(t), newCollector(t)
	scrape(t, c)
	last, from := c.census.last, c.census.from
	c.settle(&counted{from: other.census.from, to: other.census.from, tally: keystore.Tally{Issued: map[keystore.Issuer]uint64{keystore.IssuedByOperator: 7}}})
	if c.census.last != last || c.census.from != from {
		t.Error("the count of another keystore counts")
	}
	metric := new(dto.Metric)
	if err := c.issued.WithLabelValues(string(keystore.IssuedByOperator)).Write(metric); err != nil || metric.GetCounter().GetValue() != 0 {
		t.Errorf("keys_issued_total is %v, %v", metric, err)
	}
}

// Drop gives the word back to the source that was used before.
func TestCollector_TellsOfTheLastSourceThatIsUsed(t *testing.T) {
	t.Parallel()
	c := New()
	if values := scrape(t, c); len(values) != 0 {
		t.Errorf("without a source, the scrape has %v", values)
	}
	source := func(streams int) *Source {
		return &Source{Now: func() policy.Time { return 0 }, Store: func() (*keystore.Store, func()) { return nil, func() {} }, Streams: func() int { return streams }}
	}
	first, second := source(1), source(2)
	want := func(when string, streams float64) {
		t.Helper()
		values := scrape(t, c)
		if up, told := values["caddy_speechgate_store_up"]; values["caddy_speechgate_live_streams"] != streams || !told || up != 0 {
			t.Errorf("%s: the scrape has %v; want %v streams, and a keystore that is not up", when, values, streams)
		}
	}
	c.Use(first)
	want("the first", 1)
	c.Use(second)
	want("the second", 2)
	c.Drop(second)
	want("the first again", 1)
	c.Use(second)
	c.Drop(first)
	want("the second alone", 2)
	c.Drop(nil) // of a configuration that has not started
	want("still", 2)
}
