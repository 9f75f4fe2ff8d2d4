package caddymodule_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // the modules of the configurations

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const backendKey = "backend-key-0123456789abcdef"

// gateway is Caddy with a gate, in this process, in front of a backend that
// records every byte it gets. Only one can run at a time.
type gateway struct {
	t       *testing.T
	addr    string // of the gate
	scheme  string // of the site; http:// unless it says otherwise
	backend *backend
	path    string // of the keystore
	logPath string // of the default logger's output, which is at debug level
	options string // of the gate
	site    string // the rest of the site, besides the gate
	global  string // the block of the global option speechgate
	order   string // what the global options say of the order of directives
	keys    *keystore.Store
	live    *livestream.Registry // of this server; reloads leave it as it is
	account policy.Account
}

// defaultSite sends everything to the backend.
const defaultSite = `reverse_proxy {backend}`

// newGateway starts Caddy with these options of the gate.
func newGateway(t *testing.T, options string) *gateway {
	t.Helper()
	return newGatewayWith(t, &gateway{options: options})
}

func newGatewayWith(t *testing.T, g *gateway) *gateway {
	t.Helper()
	g.t = t
	dir := t.TempDir()
	if g.path == "" {
		g.path = filepath.Join(dir, "store", "keystore.db")
	}
	g.logPath = filepath.Join(dir, "caddy.log")
	g.backend = newBackend(t)
	g.addr = freeAddr(t)
	if g.site == "" {
		g.site = defaultSite
	}
	if g.scheme == "" {
		g.scheme = "http://"
	} else {
		g.addr = strings.Replace(g.addr, "127.0.0.1", "localhost", 1) // TLS goes by names
	}
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	g.load()
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	g.keys = g.openStore()
	g.account = g.newAccount("Test")
	return g
}

// config is the Caddyfile.
func (g *gateway) config() string {
	text := `{
	` + g.order + `
	admin off
	persist_config off
	storage file_system {storage}
	auto_https disable_redirects
	skip_install_trust
	log default {
		output file {log}
		level DEBUG
		format filter {
			request speechgate
			resp_headers speechgate
			headers speechgate
			uri speechgate
			error speechgate
			http speechgate
		}
	}
	servers {
		trusted_proxies static 127.0.0.1/32
		trusted_proxies_strict
	}
	speechgate {
		keystore sqlite {store}
		` + g.global + `
	}
}
{scheme}{addr} {
	log
	speechgate amivoice {
		` + g.options + `
	}
	` + g.site + `
}
`
	return strings.NewReplacer("{log}", g.logPath, "{storage}", filepath.Join(filepath.Dir(g.logPath), "storage"), "{store}", g.path, "{addr}", g.addr, "{scheme}", g.scheme,
		"{backend}", g.backend.addr()).Replace(text)
}

// app is the app of the configuration that runs.
func (g *gateway) app() *app.App {
	g.t.Helper()
	return runningApp(g.t)
}

func runningApp(tb testing.TB) *app.App {
	tb.Helper()
	running, err := app.Of(caddy.ActiveContext())
	if err != nil {
		tb.Fatal(err)
	}
	return running
}

// serverStore is the store of the configuration that runs, opened. A reload can close
// it.
func serverStore(tb testing.TB) *keystore.Store {
	tb.Helper()
	running := runningApp(tb)
	running.AcquireStore()
	defer running.ReleaseStore()
	store, err := running.Store()
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

// load starts Caddy, or reloads it.
func (g *gateway) load() {
	g.t.Helper()
	if err := loadCaddyfile(g.config()); err != nil {
		g.t.Fatalf("loading the configuration: %v", err)
	}
	g.live = g.app().Streams()
}

func loadCaddyfile(text string) error {
	caddy.DefaultStorage.Path = caddy.AppDataDir() // which was not the test's when the process started
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// openStore opens the keystore as another process would.
func (g *gateway) openStore() *keystore.Store {
	g.t.Helper()
	store, err := keystore.Open(context.Background(), keystore.Config{Path: g.path, Clock: now, CommandLine: true})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = store.Close() })
	return store
}

// now is the instant by the clock of the system, as the gateway's is.
var now = keystore.SystemClock().Now

var operator = keystore.Actor{Kind: "operator", ID: "test"}

func (g *gateway) newAccount(name string) policy.Account {
	g.t.Helper()
	account, _, err := g.keys.CreateAccount(context.Background(), now(), operator, name)
	if err != nil {
		g.t.Fatal(err)
	}
	return account
}

// issue makes a key of the gateway's account. What is zero in k gets a default:
// no expiry, any address.
func (g *gateway) issue(k keystore.NewKey) (policy.Key, string) {
	g.t.Helper()
	return g.issueAt(now(), k)
}

// issueAt makes a key as it was made at another time.
func (g *gateway) issueAt(at policy.Time, k keystore.NewKey) (policy.Key, string) {
	g.t.Helper()
	if k.AccountID == "" {
		k.AccountID = g.account.ID
	}
	if k.Origin == 0 {
		k.Origin = policy.OriginConsole
	}
	if k.Expires == (policy.Expiry{}) {
		k.Expires = policy.Never()
	}
	key, secret, err := g.keys.IssueKey(context.Background(), at, operator, k)
	if err != nil {
		g.t.Fatal(err)
	}
	return key, secret.Reveal()
}

// expired makes a key that has expired an hour ago.
func (g *gateway) expired() (policy.Key, string) {
	g.t.Helper()
	return g.issueAt(now().Add(-2*time.Hour), keystore.NewKey{Expires: policy.ExpiresAt(now().Add(-time.Hour))})
}

func (g *gateway) allow(list string) policy.AddrSet {
	g.t.Helper()
	set, err := policy.ParseAddrSet(list)
	if err != nil {
		g.t.Fatal(err)
	}
	return set
}

// recordJob writes down a job that the key created at another time.
func (g *gateway) recordJob(id string, key policy.Key, created policy.Time) {
	g.t.Helper()
	err := g.keys.CreateJob(context.Background(), policy.Job{
		Backend: "amivoice", ID: id, Dialect: "amivoice", AccountID: key.AccountID, KeyID: key.ID,
		Client: netip.MustParseAddr("127.0.0.1"), CreatedAt: created,
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// log is all that was logged so far.
func (g *gateway) log() string {
	g.t.Helper()
	text, err := os.ReadFile(g.logPath)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text)
}

// reply is an answer as it came over the wire.
type reply struct {
	status int
	header http.Header
	raw    string // status line and header
	body   string
}

// send writes a request's bytes on a connection of its own and reads the
// answer.
func (g *gateway) send(request string) reply {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.WriteString(conn, request) }()
	method, _, _ := strings.Cut(request, " ")
	return readReplyTo(g.t, method, conn)
}

func readReply(t *testing.T, conn io.Reader) reply {
	t.Helper()
	return readReplyTo(t, http.MethodGet, conn)
}

// readReplyTo knows that an answer to HEAD has no body.
func readReplyTo(t *testing.T, method string, conn io.Reader) reply {
	t.Helper()
	var raw bytes.Buffer
	reader := bufio.NewReader(io.TeeReader(conn, &raw))
	resp, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the answer: %v (got %q)", err, raw.String())
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer's body: %v", err)
	}
	head, _, _ := strings.Cut(raw.String(), "\r\n\r\n")
	return reply{status: resp.StatusCode, header: resp.Header, raw: head, body: string(body)}
}

// poll asks for a job.
func (g *gateway) poll(id, key string, headers ...string) reply {
	g.t.Helper()
	return g.send("GET /v1/recognitions/" + id + " HTTP/1.1\r\nHost: " + g.addr + "\r\nAuthorization: Bearer " + key +
		"\r\n" + strings.Join(headers, "") + "Connection: close\r\n\r\n")
}

// form is a multipart request as curl sends it.
func (g *gateway) form(path string, parts ...[2]string) string {
	const boundary = "------------------------c0ffee"
	var body strings.Builder
	for _, part := range parts {
		body.WriteString("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + part[0] + "\"")
		if part[0] == "a" {
			body.WriteString("; filename=\"speech.wav\"\r\nContent-Type: application/octet-stream")
		}
		body.WriteString("\r\n\r\n" + part[1] + "\r\n")
	}
	body.WriteString("--" + boundary + "--\r\n")
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nContent-Type: multipart/form-data; boundary=%s\r\nConnection: close\r\n\r\n%s",
		path, g.addr, body.Len(), boundary, body.String())
}

// backend is a stand-in that records what it gets.
type backend struct {
	listener net.Listener
	answer   atomic.Pointer[http.HandlerFunc]
	server   *http.Server
	forget   atomic.Bool // record no more

	mu       sync.Mutex
	recorded []*bytes.Buffer // by connection
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{listener: listener}
	b.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"results":[],"text":"hello","code":"","message":""}`+"\r\n")
	})
	b.server = &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*b.answer.Load())(w, r) }),
	}
	go func() { _ = b.server.Serve(recordingListener{listener, b}) }()
	t.Cleanup(func() { _ = b.server.Close() })
	return b
}

func (b *backend) addr() string { return b.listener.Addr().String() }

// respond sets what the backend answers from now on.
func (b *backend) respond(h http.HandlerFunc) { b.answer.Store(&h) }

// respondText answers everything with this.
func (b *backend) respondText(status int, body string) {
	b.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// received is every byte that came in since the last call.
func (b *backend) received() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all strings.Builder
	for _, conn := range b.recorded {
		all.Write(conn.Bytes())
		conn.Reset()
	}
	return all.String()
}

type recordingListener struct {
	net.Listener
	b *backend
}

func (l recordingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	buf := new(bytes.Buffer)
	l.b.mu.Lock()
	l.b.recorded = append(l.b.recorded, buf)
	l.b.mu.Unlock()
	return &recordingConn{Conn: conn, b: l.b, buf: buf}, nil
}

type recordingConn struct {
	net.Conn
	b   *backend
	buf *bytes.Buffer
}

func (c *recordingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.b.forget.Load() {
		c.b.mu.Lock()
		c.buf.Write(p[:n])
		c.b.mu.Unlock()
	}
	return n, err
}

// freeAddr is an address on which nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	port, err := testutil.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}
