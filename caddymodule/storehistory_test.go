package caddymodule_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
)

const (
	madeNew = "there was no keystore here, and a new, empty one was made"
	another = "this is another keystore than this server had before"
)

// logged counts lines of the log, and then empties the log.
func (s *server) logged(texts ...string) (counts []int) {
	s.t.Helper()
	log := s.log()
	for _, text := range texts {
		counts = append(counts, strings.Count(log, text))
	}
	if err := os.Truncate(s.logPath, 0); err != nil {
		s.t.Fatal(err)
	}
	return counts
}

func wantCounts(t *testing.T, got []int, want ...int) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("log lines %v, want %v", got, want)
	}
}

// A server that had a keystore does not start without one. If it started with an empty keystore
// after a wrong path or without a mounted disk, all keys would be unknown.
func TestR17_VanishedKeystoreIsNotMadeAgain(t *testing.T) {
	s := newServer(t)
	right := s.place.File(t, "a file that vanishes")
	s.mustStart()
	id := s.storeID()
	wantCounts(t, s.logged(madeNew, `"msg":"the keystore is open"`, `"store_id":"`+id+`","schema":`, another), 1, 1, 1, 0)
	if got := s.history(); len(got) != 1 || got[s.place.Name(t)] != id {
		t.Errorf("the history has %v, want %s at %s", got, id, s.place.Name(t))
	}
	s.stop()
	s.mustStart()
	wantCounts(t, s.logged(madeNew, `"msg":"the keystore is open"`, another), 0, 1, 0)
	s.stop()

	for name, wrong := range map[string]string{
		"another name":      filepath.Join(filepath.Dir(right), "keystor.db"),
		"another directory": filepath.Join(s.dir, "stores", "keystore.db"),
	} {
		t.Run(name, func(t *testing.T) {
			s.t, s.place = t, storetest.Place(wrong)
			s.refused(wrong, "there is no file at this path", id+" at "+right, "speechgate init", "write create in a block")
			if entries, _ := filepath.Glob(filepath.Join(s.dir, "stores", "*")); len(entries) > 0 {
				t.Errorf("%v were made", entries)
			}
		})
	}
	s.t, s.place = t, storetest.Place(right)

	away := filepath.Join(s.dir, "away")
	if err := os.Rename(filepath.Dir(right), away); err != nil {
		t.Fatal(err)
	}
	s.refused(right, "there is no file at this path", id)
	if err := os.Mkdir(filepath.Dir(right), 0o700); err != nil { // as where a disk is to be mounted
		t.Fatal(err)
	}
	s.refused(right, "there is no file at this path", id)
	if err := os.WriteFile(right, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(right, "the file is empty", id)
	if fi, err := os.Stat(right); err != nil || fi.Size() != 0 {
		t.Errorf("the empty file is %v, %v", fi, err)
	}
	if err := os.RemoveAll(filepath.Dir(right)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, filepath.Dir(right)); err != nil {
		t.Fatal(err)
	}
	s.mustStart()
	if s.storeID() != id {
		t.Error("another store is served")
	}
}

// After a reload that is refused, the old configuration goes on.
func TestR17_ReloadWithAVanishedKeystore(t *testing.T) {
	s := newServer(t)
	s.mustStart()
	id := s.storeID()
	s.keys = s.openStore()
	s.account = s.newAccount("Test")
	key, secret := s.issue(keystore.NewKey{})
	s.recordJob("job", key, now())
	wants := func(status int) {
		t.Helper()
		eventually(t, func() bool { return s.poll("job", secret).status == status })
	}
	wants(http.StatusOK)

	right, away := s.place, s.place.Beside("away")
	s.place = storetest.New(t)
	s.refused(s.place.Name(t), id+" at "+right.Name(t))
	wants(http.StatusOK)

	s.place = right
	right.Move(t, away)
	wants(http.StatusServiceUnavailable)
	missing := []string{right.Name(t), "there is no file at this path", id}
	if right.IsPostgreSQL() {
		missing = []string{right.Name(t), "does not exist"}
	}
	s.refused(missing...)
	wants(http.StatusServiceUnavailable)
	s.block = " {\n must_exist\n }"
	s.refused(missing...)
	s.block = ""
	away.Move(t, right)
	wants(http.StatusOK)
	eventually(t, func() bool { return s.start() == nil })
}

// A configuration that is refused at a reload opens no listener, so no client connects to it.
// Caddy starts its apps in a random order, so the test tries several reloads.
func TestR17_RefusedReloadServesNobody(t *testing.T) {
	s := newServer(t)
	s.mustStart()
	id := s.storeID()
	running := func() int { return strings.Count(s.log(), `"msg":"server running"`) }
	before := running()
	if before == 0 {
		t.Fatal("the log does not say that a server runs")
	}
	s.place = storetest.New(t)
	for range 8 {
		s.refused(s.place.Name(t), id)
	}
	if n := running(); n != before {
		t.Errorf("%d refused reloads started a server", n-before)
	}
}

// A reload that would create a keystore where no file can be made is refused before a listener
// is opened, and nothing is created.
func TestR17_ReloadThatCannotMakeTheKeystoreServesNobody(t *testing.T) {
	postgrestest.OfSQLite(t, "places where no file can be made")
	s := newServer(t)
	s.mustStart()
	running := func() int { return strings.Count(s.log(), `"msg":"server running"`) }
	before := running()
	file := filepath.Join(s.dir, "file")
	shared := filepath.Join(s.dir, "shared")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(shared, 0o700), os.Chmod(shared, 0o777)); err != nil {
		t.Fatal(err)
	}
	s.block = " {\n create\n }"
	paths := map[string]string{
		filepath.Join(file, "keystore.db"):        "not a directory",
		filepath.Join(file, "dir", "keystore.db"): "not a directory",
		filepath.Join(shared, "keystore.db"):      "chmod go-w " + shared,
	}
	if runtime.GOOS == "linux" {
		paths["/proc/nope/keystore.db"] = "no file can be made in /proc"
	}
	for path, want := range paths {
		s.place = storetest.Place(path)
		for range 4 { // Caddy starts its apps in a random order
			s.refused(path, want)
		}
	}
	if n := running(); n != before {
		t.Errorf("the refused reloads started %d servers", n-before)
	}
	s.place = storetest.Place(filepath.Join(s.dir, "new", "dir", "keystore.db"))
	s.mustStart()
}

// Like a start, a reload checks that the store can be written.
func TestR10_ReloadTriesToWrite(t *testing.T) {
	s := newServer(t)
	path := s.place.File(t, "the permissions of a directory")
	s.mustStart()
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	err := s.start()
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "chmod go-w "+filepath.Dir(path)) {
		t.Errorf("error %v", err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	s.mustStart()
}

func TestKeystoreCreateAndMustExist(t *testing.T) {
	s := newServer(t)
	s.block = " {\n must_exist\n }"
	missing := "there is no file at this path"
	if s.place.IsPostgreSQL() {
		missing = "there is no keystore in the database"
	}
	s.refused(s.place.Name(t), missing)
	if got := s.history(); len(got) != 0 {
		t.Errorf("the history has %v", got)
	}
	s.block = ""
	s.mustStart()
	first, right := s.storeID(), s.place
	s.stop()
	_ = s.logged()

	s.place, s.block = storetest.New(t), " {\n create\n }"
	s.mustStart()
	second := s.storeID()
	if second == first {
		t.Fatal("it is the same store")
	}
	wantCounts(t, s.logged(madeNew, another, `"store_id":"`+second+`","path":"`+s.place.Name(t)+`","store_id_before":"`+first+`","path_before":"`+right.Name(t)+`"`), 1, 1, 1)
	s.stop()

	// A keystore that exists is opened, and create has no effect.
	s.mustStart()
	wantCounts(t, s.logged(madeNew, another), 0, 0)
	s.stop()
	s.block = " {\n must_exist\n }"
	s.mustStart()
	wantCounts(t, s.logged(madeNew, another), 0, 0)
	if s.storeID() != second {
		t.Error("another store is served")
	}
	s.stop()
}

// A store that an operator has moved is opened, and so is another store at the path.
func TestAnotherKeystoreIsOpenedWithAWarning(t *testing.T) {
	s := newServer(t)
	s.mustStart()
	first, right := s.storeID(), s.place
	s.stop()
	moved := right.Beside("moved")
	right.Move(t, moved)
	s.place = moved
	_ = s.logged()
	s.mustStart()
	wantCounts(t, s.logged(madeNew, another), 0, 0)
	if got := s.history(); len(got) != 1 || got[moved.Name(t)] != first {
		t.Errorf("the history has %v, want %s at %s only", got, first, moved.Name(t))
	}
	s.stop()

	// Another store at the same place.
	moved.Move(t, moved.Beside("away"))
	s.place = storetest.New(t)
	other, err := keystore.Open(t.Context(), s.place.CommandLine())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	second := s.storeID()
	s.place.Move(t, moved)
	s.place = moved
	s.mustStart()
	wantCounts(t, s.logged(madeNew, another, first, `"store_id_before":"`+first+`"`), 0, 1, 1, 1)
	if got := s.history(); len(got) != 1 || got[moved.Name(t)] != second {
		t.Errorf("the history has %v", got)
	}
}

// If Caddy's storage fails, the gateway starts nevertheless.
func TestR17_StartsIfTheStorageFails(t *testing.T) {
	const (
		unread  = "Caddy's storage cannot be read"
		unsaved = "Caddy's storage cannot be written"
		damaged = "an entry of Caddy's storage about a keystore cannot be read"
	)
	t.Run("no storage", func(t *testing.T) {
		s := newServer(t)
		if err := errors.Join(os.Mkdir(s.storage, 0o700), os.WriteFile(filepath.Join(s.storage, "speechgate"), nil, 0o600)); err != nil {
			t.Fatal(err) // the file is where a directory is to be
		}
		s.mustStart()
		s.storeID()
		got := s.logged(unread, unsaved, madeNew)
		if got[0] == 0 || got[1] != 1 || got[2] != 1 {
			t.Errorf("log lines %v", got)
		}
	})
	t.Run("a damaged entry", func(t *testing.T) {
		s := newServer(t)
		s.mustStart()
		s.stop()
		files, _ := filepath.Glob(filepath.Join(s.storage, "speechgate", "keystores", "*"))
		if len(files) != 1 {
			t.Fatalf("entries %v", files)
		}
		if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = s.logged()
		s.mustStart()
		if got := s.logged(damaged); got[0] == 0 {
			t.Errorf("log lines %v", got)
		}
		if got := s.history(); len(got) != 1 {
			t.Errorf("the history has %v: the entry is written again", got)
		}
	})
}

// The history in the storage contains no secret.
func TestR18_HistoryHoldsNoSecret(t *testing.T) {
	t.Setenv("TEST_PEPPER", "a-canary-of-a-pepper")
	s := newServer(t)
	s.global = "pepper {env.TEST_PEPPER}"
	s.mustStart()
	files, _ := filepath.Glob(filepath.Join(s.storage, "speechgate", "keystores", "*"))
	if len(files) != 1 {
		t.Fatalf("entries %v", files)
	}
	text, err := os.ReadFile(files[0])
	if err != nil || strings.Contains(string(text), "canary") || !strings.Contains(string(text), `"store_id"`) {
		t.Errorf("the entry is %s, %v", text, err)
	}
	if strings.Contains(s.log(), "canary") {
		t.Error("the log shows the pepper")
	}
}

// The error about a missing keystore tells the operator to write create. This must work with a
// reload, too.
func TestR17_CreateWorksWithAReload(t *testing.T) {
	s := newServer(t)
	s.mustStart()
	path := s.place.File(t, "a file that vanishes")
	if err := os.Rename(filepath.Dir(path), filepath.Join(s.dir, "away")); err != nil {
		t.Fatal(err)
	}
	if err := s.start(); err == nil {
		t.Fatal("a reload without the keystore succeeds")
	}
	s.block = " {\n create\n }"
	if err := s.start(); err != nil {
		t.Errorf("with create: %v", err)
	}
}
