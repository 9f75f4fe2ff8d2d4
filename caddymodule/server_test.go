package caddymodule_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
)

// server is Caddy in this process, with a keystore and a storage. It can be started and stopped.
type server struct {
	*gateway

	dir     string
	storage string
	block   string // of the keystore option
}

// newServer returns a server that has not been started.
func newServer(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	g := &gateway{
		t: t, addr: freeAddr(t), scheme: "http://", backend: newBackend(t), site: defaultSite,
		place: storetest.New(t), logPath: filepath.Join(dir, "caddy.log"),
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	return &server{gateway: g, dir: dir, storage: filepath.Join(dir, "storage")}
}

// start loads the configuration. It starts the server, or reloads it.
func (s *server) start() error {
	text := strings.Replace(s.config(), s.place.Option(), s.place.Option()+s.block, 1)
	return loadCaddyfile(strings.Replace(text, filepath.Join(s.dir, "storage"), s.storage, 1))
}

func (s *server) mustStart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) stop() {
	s.t.Helper()
	if err := caddy.Stop(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, func() bool { return !s.place.InUse(s.t) }) // the keystore is closed a moment later
}

// storeID returns the ID of the store at the path.
func (s *server) storeID() string {
	s.t.Helper()
	cfg := s.place.CommandLine()
	cfg.MustExist = true
	store, err := keystore.Open(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	sum, err := store.Summary(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return sum.ID
}

// history returns the store IDs of the entries in Caddy's storage, by path.
func (s *server) history() map[string]string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.storage, "speechgate", "keystores", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		var entry app.HistoryEntry
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &entry)
		}
		if err != nil {
			s.t.Fatalf("%s: %v", file, err)
		}
		all[entry.Path] = entry.StoreID
	}
	return all
}

// refused starts the server, which must fail with an error that contains all of these texts.
func (s *server) refused(wants ...string) {
	s.t.Helper()
	err := s.start()
	if err == nil {
		s.t.Fatal("the server started")
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			s.t.Errorf("error %q, want %q in it", err, want)
		}
	}
	if s.place.Exists(s.t) && !strings.Contains(strings.Join(wants, " "), "empty") {
		s.t.Errorf("there is a keystore at %s now", s.place.Name(s.t))
	}
}
