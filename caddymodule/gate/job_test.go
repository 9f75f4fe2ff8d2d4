package gate

import (
	"context"
	"database/sql"
	"net/http"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // to hold the keystore's lock
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestR10_ARecordThatCannotBeWrittenIsAnErrorOfTheServer(t *testing.T) {
	g := newRig(t)
	if g.gate.recordJobWithin != 10*time.Second {
		t.Errorf("the record of a job may take %s, want 10s", g.gate.recordJobWithin)
	}
	g.gate.recordJobWithin = 50 * time.Millisecond
	core, logs := observer.New(zap.ErrorLevel)
	g.gate.logger = zap.New(core)
	if got := g.ask(t, g.creation(), answering(http.StatusOK, `{"sessionid":"written"}`)); got.Code != http.StatusOK {
		t.Fatalf("status %d, body %q", got.Code, got.Body)
	}

	unlock := g.lockStore(t)
	defer unlock()
	got := g.ask(t, g.creation(), answering(http.StatusOK, `{"sessionid":"unwritten"}`))
	if got.Code != http.StatusServiceUnavailable || strings.Contains(got.Body.String(), "unwritten") || got.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, header %v, body %q", got.Code, got.Header(), got.Body)
	}
	if all := logs.All(); len(all) != 1 || all[0].ContextMap()["job_id"] != "unwritten" {
		t.Errorf("the log has %v", all)
	}
}

// lockStore locks the database, so that nobody else can write to the keystore.
func (g *rig) lockStore(t *testing.T) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+g.path+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = tx.Rollback()
		_ = db.Close()
	}
}
