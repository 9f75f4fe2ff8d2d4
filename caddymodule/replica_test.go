package caddymodule_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
)

// A load balancer keeps a gateway that answers from its replica, also after a restart meanwhile, and takes the gateway
// out when the replica is too old. The metrics tell when records come from the replica.
func TestReplica_HealthAndMetricsWhileTheDatabaseIsAway(t *testing.T) {
	server := postgrestest.New(t)
	g := newGatewayWith(t, &gateway{
		place: storetest.Place(server.NewDatabase(t)), block: "{\n			replica " + filepath.Join(t.TempDir(), "replica") + "\n		}",
		global: "max_staleness 1h", options: "upstream_key " + backendKey, site: "speechgate_health\n" + defaultSite,
	})
	_, secret := g.issue(keystore.NewKey{})
	follows := func() { // all that was committed before this call
		t.Helper()
		begun := time.Now()
		holdsSoon(t, "the replica follows", func() bool {
			since := time.Since(begun).Seconds()
			age := metric(t, "replica_age_seconds")
			return metric(t, "replica_readable") == 1 && age >= 0 && age < since
		})
	}
	want := func(when string, values map[string]float64) {
		t.Helper()
		for name, value := range values {
			if got := metric(t, name); got != value {
				t.Errorf("%s: %s is %v, want %v", when, name, got, value)
			}
		}
		if got := g.check("GET", "/healthz"); got.status != http.StatusOK || got.body != "ok\n" {
			t.Errorf("%s: a check is answered with %d %q", when, got.status, got.body)
		}
	}
	follows()
	want("with the database", map[string]float64{"store_up": 1, "replica_readable": 1, "replica_serving": 0, "replica_filling": 0})
	if age, size := metric(t, "replica_age_seconds"), metric(t, "replica_bytes"); age < 0 || age > 3 || size < 4096 {
		t.Errorf("the replica is %v seconds old and has %v bytes", age, size)
	}
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range replicaMetrics {
		if metric(t, name) < 0 || !strings.Contains(string(page), "| `caddy_speechgate_"+name+"` | gauge | | ") {
			t.Errorf("the gateway does not have the metric %s, or docs/metrics.md has no row for it", name)
		}
	}

	server.Stop(t)
	want("the database went away", map[string]float64{"store_up": 1, "replica_readable": 1})
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	g.load()
	if reply := g.send(g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"a", "audio"})); reply.status != http.StatusOK {
		t.Errorf("a recognition after a restart: %d", reply.status)
	}
	eventually(t, func() bool { return metric(t, "replica_keys") == 1 })
	want("after a restart", map[string]float64{"store_up": 0, "replica_readable": 1, "replica_serving": 1})

	server.StartAgain(t)
	eventually(t, func() bool { return metric(t, "replica_serving") == 0 })
	g.global = "max_staleness 4s"
	g.load()
	follows()
	server.Stop(t)
	holdsSoon(t, "a replica that is too old is not read", func() bool {
		healthy, readable := g.check("GET", "/healthz").status == http.StatusOK, metric(t, "replica_readable") == 1
		if age := metric(t, "replica_age_seconds"); age < 4 && (!healthy || !readable) {
			t.Fatalf("healthy: %t, readable: %t, and the replica is only %v seconds old: %v", healthy, readable, age, g.app().Ready(t.Context()))
		}
		return !healthy && !readable && metric(t, "replica_serving") == 0
	})
	server.StartAgain(t)
	g.waitForHealth(http.StatusOK)
	eventually(t, func() bool { return metric(t, "replica_readable") == 1 })
}
