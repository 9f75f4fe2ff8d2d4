package e2e_test

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/netnstest"
	"github.com/speechgate/speechgate/internal/postgrestest"
)

// databaseAddress is the address of the database that moves: the server that is the primary has it.
const databaseAddress = "10.0.9.9"

// site is a company's machines, each with an address of its own: three gateways, a PostgreSQL server and
// its standby, PgBouncer, the backend, and the machine of the clients and the operator.
type site struct {
	t       *testing.T
	network *netnstest.Network

	clients, backend, bouncer *netnstest.Machine
	databases                 [2]*netnstest.Machine // of the primary and of the standby, as it begins
	primary, standby          *postgrestest.Server
	dsn                       string // leads to the primary with which the site begins
	gateways                  []*siteGateway
}

// siteGateway is a gateway on a machine of its own.
type siteGateway struct {
	*netnstest.Machine
	site    *site
	name    string // how it reaches the database
	dir     string
	env     []string
	process *exec.Cmd
	output  *safeBuffer
	http    *http.Client
	calm    calmness
}

// newSite starts all machines. The gateways reach the database in three ways: directly at the address that
// moves, through PgBouncer, and with a connection string that names both servers.
func newSite(t *testing.T, settings ...string) *site {
	t.Helper()
	s := &site{t: t, network: netnstest.New(t)}
	s.clients, s.backend, s.bouncer = s.network.Machine(t, "clients"), s.network.Machine(t, "backend"), s.network.Machine(t, "pgbouncer")
	s.databases = [2]*netnstest.Machine{s.network.Machine(t, "primary"), s.network.Machine(t, "standby")}
	for _, m := range s.databases {
		m.Adopt(t, databaseAddress)
	}
	s.give(s.databases[0])
	s.databases[0].Do(t, func() { s.primary = postgrestest.NewAt(t, s.databases[0].Addr(), settings...) })
	s.dsn = s.primary.NewDatabase(t)
	s.databases[1].Do(t, func() { s.standby = s.primary.StandbyAt(t, s.databases[1].Addr()) })
	moving := withHost(t, s.dsn, databaseAddress)
	var pooled string
	s.bouncer.Do(t, func() { pooled = s.primary.PgBouncerAt(t, s.bouncer.Addr(), postgrestest.Transaction, moving) })

	s.startBackend()
	u := mustParse(t, s.dsn)
	u.Host += "," + s.databases[1].Addr() + ":" + u.Port()
	for _, way := range []struct{ name, dsn, direct string }{
		{"an address that moves", moving, moving},
		{"PgBouncer", pooled, moving},
		{"two hosts", u.String(), u.String()},
	} {
		g := &siteGateway{Machine: s.network.Machine(t, way.name), site: s, name: way.name, dir: t.TempDir()}
		g.env = []string{"SPEECHGATE_DSN=" + way.dsn, "SPEECHGATE_DIRECT=" + way.direct}
		transport := &http.Transport{DialContext: s.clients.DialContext, MaxIdleConnsPerHost: 64}
		t.Cleanup(transport.CloseIdleConnections)
		g.http = &http.Client{Transport: transport}
		s.gateways = append(s.gateways, g)
		t.Cleanup(g.kill)
		g.start()
		s.answersAt(g)
	}
	return s
}

// give gives the address that moves to a machine.
func (s *site) give(to *netnstest.Machine) {
	s.t.Helper()
	if err := s.network.Give(databaseAddress, to); err != nil {
		s.t.Fatal(err)
	}
}

func mustParse(t *testing.T, dsn string) *url.URL {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// withHost returns a connection string that leads to another host, at the same port.
func withHost(t *testing.T, dsn, host string) string {
	t.Helper()
	u := mustParse(t, dsn)
	u.Host = host + ":" + u.Port()
	return u.String()
}

// startBackend starts the sandbox. It forgets jobs when it has too many, so that polls which a gateway lets
// through have an answer of their own: whose a job is, the gateway decides.
func (s *site) startBackend() {
	s.t.Helper()
	backend := &siteGateway{Machine: s.backend, site: s, name: "backend", dir: s.t.TempDir()}
	s.t.Cleanup(backend.kill)
	backend.run(`{
	admin off
	persist_config off
}
http://:8081 {
	route {
		@poll {
			method GET
			path /v2/recognitions/*
		}
		respond @poll ` + "`{\"status\":\"processing\"}`" + `
		speechgate_sandbox amivoice {
			key sandbox-backend-key
		}
	}
}
`)
}

func (g *siteGateway) start() {
	g.site.t.Helper()
	g.run(`{
	admin ` + g.Addr() + `:2019
	persist_config off
	speechgate {
		keystore postgres {env.SPEECHGATE_DSN} {
			direct {env.SPEECHGATE_DIRECT}
		}
		max_staleness ` + maxStaleness().String() + `
	}
}
http://:8080 {
	speechgate amivoice {
		upstream_key sandbox-backend-key
	}
	reverse_proxy ` + g.site.backend.Addr() + `:8081
}
`)
}

// run starts Caddy on the machine.
func (g *siteGateway) run(caddyfile string) {
	t := g.site.t
	t.Helper()
	config := filepath.Join(g.dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	g.output = new(safeBuffer)
	g.process = exec.Command("caddy", "run", "--config", config)
	g.process.Env = append(os.Environ(), "HOME="+g.dir, "XDG_DATA_HOME="+g.dir+"/data", "XDG_CONFIG_HOME="+g.dir+"/config")
	g.process.Env = append(g.process.Env, g.env...)
	g.process.Stdout, g.process.Stderr = g.output, g.output
	g.Do(t, func() {
		if err := g.process.Start(); err != nil {
			t.Fatal(err)
		}
	})
}

// kill is kill -9.
func (g *siteGateway) kill() {
	if g.process == nil {
		return
	}
	_ = g.process.Process.Signal(syscall.SIGKILL)
	_ = g.process.Wait()
	g.process = nil
}

// answersAt waits until a gateway and its keystore answer.
func (s *site) answersAt(g *siteGateway) {
	s.t.Helper()
	s.eventually(g.name+": it answers", func() bool {
		status, err := g.poll(context.Background(), "unknown", "sgk_nobody")
		return err == nil && status == http.StatusUnauthorized
	})
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	logs := ""
	for i, g := range s.gateways {
		logs += "\ngateway " + strconv.Itoa(i) + " (" + g.name + "):\n" + lastLines(g.output.String())
	}
	s.t.Fatalf("still not after 40 s: %s%s", what, logs)
}

// lastLines returns the end of a log.
func lastLines(log string) string { return log[max(0, len(log)-4000):] }
