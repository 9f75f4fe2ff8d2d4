package doctor_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // the modules of the configurations
	"github.com/caddyserver/certmagic"
	_ "github.com/mattn/go-sqlite3" // for spoil
	"go.uber.org/zap"

	_ "github.com/speechgate/speechgate/caddymodule" // the modules of the gateway
	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/internal/doctor"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
)

const upstreamKey = "backend-key-0123456789abcdef"

// patient is a sound gateway. A test plants a fault in it.
type patient struct {
	t       *testing.T
	text    string // Caddyfile
	edit    func(json string) string
	storage certmagic.Storage
	subject doctor.Subject

	backend *httptest.Server
	answer  http.HandlerFunc // of the backend, to a good key
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	dir := t.TempDir()
	p := &patient{t: t, storage: &certmagic.FileStorage{Path: filepath.Join(dir, "storage")}}
	p.answer = func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"message":"not found"}`, http.StatusNotFound)
	}
	p.backend = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+upstreamKey {
			http.Error(w, `{"message":"unauthorized"}`, http.StatusUnauthorized)
			return
		}
		p.answer(w, r)
	}))
	t.Cleanup(p.backend.Close)
	p.subject = doctor.Subject{Source: "--config Caddyfile", Now: time.Now, Store: keystore.Config{Path: filepath.Join(dir, "store", "keystore.db"), CommandLine: true}}
	p.text = testutil.Caddyfile{
		Options: `	storage file_system ` + filepath.Join(dir, "storage") + `
	servers {
		trusted_proxies static 10.0.0.1/32
		trusted_proxies_strict
	}
	speechgate {
		keystore sqlite ` + p.subject.Store.Path + `
	}
`,
		Log: `		output file ` + filepath.Join(dir, "caddy.log") + "\n",
		Sites: `http://localhost:1 {
	log
	speechgate amivoice {
		upstream_key ` + upstreamKey + `
	}
	reverse_proxy ` + p.backend.URL + ` {
		stream_close_delay 10m
	}
}
`,
	}.String()
	p.open(func(*keystore.Store) {})
	return p
}

// open opens the keystore, and makes it if it is missing.
func (p *patient) open(use func(*keystore.Store)) {
	p.t.Helper()
	store, err := keystore.Open(context.Background(), p.subject.Store)
	if err != nil {
		p.t.Fatal(err)
	}
	use(store)
	if err := store.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// replace changes the Caddyfile.
func (p *patient) replace(old, by string) {
	p.t.Helper()
	if !strings.Contains(p.text, old) {
		p.t.Fatalf("the Caddyfile has no %q", old)
	}
	p.text = strings.Replace(p.text, old, by, 1)
}

// configure writes another keystore into the Caddyfile.
func (p *patient) configure(keystore string) {
	p.t.Helper()
	p.replace("keystore sqlite "+p.subject.Store.Path, "keystore "+keystore)
}

// replacing returns a fault that changes texts of the Caddyfile: each text is followed by the new one.
func replacing(texts ...string) func(*patient) {
	return func(p *patient) {
		p.t.Helper()
		for pair := range slices.Chunk(texts, 2) {
			p.replace(pair[0], pair[1])
		}
	}
}

// gateFor returns a fault that gives the gate a matcher.
func gateFor(matcher string) func(*patient) {
	return replacing("	speechgate amivoice", "	@k "+matcher+"\n	speechgate @k amivoice")
}

// signInAt adds a console whose operators can sign in at a provider.
func (p *patient) signInAt(issuer string) {
	p.t.Helper()
	p.replace("	speechgate amivoice", "	speechgate_console {\n		oidc {\n			issuer "+issuer+"\n			client_id speechgate\n			client_secret 0123456789abcdef\n		}\n	}\n	speechgate amivoice")
}

// breaksConnections lets the backend answer its first n requests by closing the connection.
func (p *patient) breaksConnections(n int64) {
	var requests atomic.Int64
	answer := p.answer
	p.answer = func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) <= n {
			panic(http.ErrAbortHandler)
		}
		answer(w, r)
	}
}

// spoil changes the keystore as another program would.
func (p *patient) spoil(statement string) {
	p.t.Helper()
	db, err := sql.Open("sqlite3", p.subject.Store.Path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		p.t.Fatal(err)
	}
}

// had notes in Caddy's storage that the server had this keystore.
func (p *patient) had(storeID string) {
	app.History{Storage: p.storage, Logger: zap.NewNop()}.Record(context.Background(), storeID, p.subject.Store.Path, time.Now())
}

func (p *patient) examine() *doctor.Report {
	p.t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(p.text), nil)
	if err != nil {
		p.t.Fatalf("%v in\n%s", err, p.text)
	}
	if p.edit != nil {
		config = []byte(p.edit(string(config)))
	}
	p.subject.Config = config
	report, err := doctor.Examine(p.t.Context(), p.subject)
	if err != nil {
		p.t.Fatal(err)
	}
	return report
}

// runs is a server that runs this configuration.
type runs string

func (runs) ExpectCanary(context.Context) (string, error) { return "", errors.New("no canary") }

func (runs) Sightings(context.Context, string) ([]handler.Sighting, error) { return nil, nil }

func (runs) UpstreamKeys(context.Context) ([]doctor.KeyUse, error) { return nil, nil }

func (s runs) Config(context.Context) ([]byte, error) {
	if s == "" {
		return nil, errors.New("connection refused")
	}
	return []byte(s), nil
}

// echoOfKey is a server that speaks no HTTP. It sends the value of Authorization back.
func echoOfKey(t *testing.T) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if request, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, request.Header.Get("Authorization")+"\r\n\r\n")
			}
			_ = conn.Close()
		}
	}()
	return "http://" + l.Addr().String()
}

func (p *patient) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}
