package caddymodule_test

import (
	"context"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// registry returns the registry of the running configuration.
func registry() *prometheus.Registry {
	running := caddy.ActiveContext()
	return running.GetMetricsRegistry()
}

// families returns the metrics of the gateway, by name.
func families(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]*dto.MetricFamily)
	for _, family := range all {
		if strings.HasPrefix(family.GetName(), "caddy_speechgate_") {
			found[family.GetName()] = family
		}
	}
	return found
}

// metric returns the value of a metric, or -1 if it is not there: of a histogram, the number of
// its observations. Labels are pairs of name and value.
func metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	for _, m := range families(t)["caddy_speechgate_"+name].GetMetric() {
		var have []string
		for _, label := range m.GetLabel() {
			have = append(have, label.GetName(), label.GetValue())
		}
		switch {
		case !slices.Equal(have, labels):
		case m.GetHistogram() != nil:
			return float64(m.GetHistogram().GetSampleCount())
		case m.GetCounter() != nil:
			return m.GetCounter().GetValue()
		default:
			return m.GetGauge().GetValue()
		}
	}
	return -1
}

// diskMetrics tell of the disk of the keystore's file. A gateway with PostgreSQL does not have them.
var diskMetrics = []string{"store_bytes", "store_wal_bytes", "store_disk_free_bytes"}

// replicaMetrics tell of the replica. Only a gateway with one has them, and only one that admits jobs while its database is
// away has jobs_unsent too.
var replicaMetrics = []string{"replica_readable", "replica_serving", "replica_filling", "replica_age_seconds", "replica_keys", "replica_bytes"}

// docs/metrics.md has a row for each metric of the registry, with its type and its labels, and no
// other row.
func TestMetrics_ThePageListsEachMetric(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	g.poll("j", secret)
	g.send("POST /v1/recognize HTTP/1.1\r\nHost: " + g.addr + "\r\nContent-Length: 3\r\n\r\nabc") // refused, and read on
	eventually(t, func() bool { return families(t)["caddy_speechgate_drained_uploads_total"] != nil })

	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(caddy_speechgate_\\w+)` \\| ([a-z ]+) \\| ([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		rows[row[1]] = row[2] + ": " + strings.TrimSpace(row[3])
	}
	for name, family := range families(t) {
		kind := strings.ToLower(family.GetType().String())
		if kind == "histogram" {
			kind = "native histogram"
		}
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+label.GetName()+"`")
		}
		if want := kind + ": " + strings.Join(labels, ", "); rows[name] != want {
			t.Errorf("docs/metrics.md says of %s %q, want %q", name, rows[name], want)
		}
		delete(rows, name)
	}
	for name := range rows {
		short := strings.TrimPrefix(name, "caddy_speechgate_")
		if g.place.IsPostgreSQL() && slices.Contains(diskMetrics, short) || slices.Contains(replicaMetrics, short) || short == "jobs_unsent" {
			continue
		}
		t.Errorf("docs/metrics.md has a row for %s, which the gateway does not have", name)
	}
	problems, err := promlint.NewWithMetricFamilies(slices.Collect(maps.Values(families(t)))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

func TestMetrics_CountAcrossReloads(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{Expires: policy.ExpiresAt(now().Add(time.Hour))})
	for _, id := range []string{"j", "j2", "j3"} {
		g.recordJob(id, key, now())
	}
	written := time.Now()
	// The server counts all this now, and has heard of it, so that it removes no cached record for it any more.
	for _, age := range []string{"census_age_seconds", "cache_age_seconds"} {
		eventually(t, func() bool {
			since := time.Since(written).Seconds()
			is := metric(t, age)
			return is >= 0 && is < since
		})
	}
	names := []struct {
		name   string
		labels []string
		add    float64 // by three polls: the second and the third find the key in the cache
	}{
		{"decisions_total", []string{"backend", "amivoice", "operation", "read_job", "reason", "allowed"}, 3},
		{"decision_seconds", []string{"operation", "read_job"}, 3},
		{"cache_misses_total", []string{"cache", "keys"}, 1},
		{"cache_hits_total", []string{"cache", "keys"}, 2},
		{"keys_issued_total", []string{"by", "operator"}, 0},
		{"keys_ended_total", []string{"how", "revoked"}, 0},
	}
	before := make(map[string]float64)
	for _, m := range names {
		before[m.name] = max(metric(t, m.name, m.labels...), 0)
	}
	for range 3 {
		if reply := g.poll("j", secret); reply.status != 200 {
			t.Fatalf("status %d", reply.status)
		}
	}
	check := func(when string) {
		t.Helper()
		for _, m := range names {
			if got, want := metric(t, m.name, m.labels...), before[m.name]+m.add; got != want {
				t.Errorf("%s: %s is %v, want %v", when, m.name, got, want)
			}
		}
	}
	check("after the polls")
	g.load()
	check("after a reload")
	g.global = "max_staleness 6s" // another store is opened
	g.load()
	check("after a reload with another keystore")

	g.issue(keystore.NewKey{})
	names[4].add++
	if _, err := g.keys.RevokeKey(context.Background(), now(), operator, key.ID, ""); err != nil {
		t.Fatal(err)
	}
	names[5].add++
	eventually(t, func() bool { return metric(t, "keys_ended_total", "how", "revoked") > before["keys_ended_total"] }) // two counts are a second apart
	check("after another process has issued and revoked keys")
}

// The gauges tell of the configuration that runs, also after a reload that has failed.
func TestMetrics_TellOfTheRunningKeystore(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, _ := g.issue(keystore.NewKey{Expires: policy.ExpiresAt(now().Add(2 * 24 * time.Hour))})
	g.recordJob("j", key, now())
	expired, _ := g.expired()
	g.recordJob("on grace", expired, now().Add(-90*time.Minute))
	check := func(when string) {
		t.Helper()
		for name, want := range map[string]float64{"store_up": 1, "jobs_on_grace": 1, "live_streams": 0, "throttled_total": max(metric(t, "throttled_total"), 0)} {
			if got := metric(t, name); got != want {
				t.Errorf("%s: %s is %v, want %v", when, name, got, want)
			}
		}
		for label, want := range map[string]float64{"1d": 0, "7d": 1, "30d": 1} {
			if got := metric(t, "keys_expiring", "within", label); got != want {
				t.Errorf("%s: %v keys end within %s, want %v", when, got, label, want)
			}
		}
		if got := metric(t, "jobs", "state", "unknown"); got != 2 {
			t.Errorf("%s: %v jobs, want 2", when, got)
		}
		for _, name := range append([]string{"store_write_seconds"}, diskMetrics...) {
			if got, has := metric(t, name), name == "store_write_seconds" || !g.place.IsPostgreSQL(); (got > 0) != has {
				t.Errorf("%s: %s is %v", when, name, got)
			}
		}
		if age := metric(t, "cache_age_seconds"); age < 0 || age > 2 {
			t.Errorf("%s: the age of what is known is %v", when, age)
		}
	}
	eventually(t, func() bool { return metric(t, "jobs_on_grace") == 1 && metric(t, "keys_expiring", "within", "7d") == 1 })
	check("at first")
	addr, place := g.addr, g.place
	g.addr, g.place = g.backend.addr(), storetest.New(t) // another server listens there
	if err := loadCaddyfile(g.config()); err == nil {
		t.Fatal("the configuration was loaded, although its address is in use")
	}
	check("after a reload that has failed")
	g.addr, g.place = addr, place
	g.load()
	check("after a reload")
}

func TestMetrics_RefusalsHaveMetricsOfTheirOwn(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	if got := metric(t, "upstream_refused_total", "backend", "amivoice"); got < 0 {
		t.Error("before the first refusal, upstream_refused_total does not show the backend, so that no alarm sees the first one")
	}
	_, secret := g.issue(keystore.NewKey{})
	before := metric(t, "upstream_refused_total", "backend", "amivoice")
	decided := metric(t, "decision_seconds", "operation", "recognize")
	g.backend.respondText(200, deniedBody)
	g.send(requestForms["curl's form with u"](g, secret))
	if got := metric(t, "upstream_refused_total", "backend", "amivoice"); got != before+1 {
		t.Errorf("upstream_refused_total was %v and is %v after a refusal", before, got)
	}
	if got := metric(t, "decision_seconds", "operation", "recognize"); got != max(decided, 0)+1 {
		t.Errorf("decision_seconds has %v observations, and had %v: want one more for a request that is counted twice", got, decided)
	}
}
