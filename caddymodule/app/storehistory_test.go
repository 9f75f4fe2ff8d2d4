package app

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

// Servers that share a storage share the history, so the error names the host of the other
// server.
func TestMissingKeystore_ErrorNamesTheOtherHost(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	gone := fmt.Errorf("keystore /k.db: %w", keystore.ErrNoStore)
	opened := time.Date(2026, 11, 28, 10, 32, 55, 0, time.UTC)
	for before, want := range map[string]string{
		host:    "keystore 0123 at /other.db, opened on 2026-11-28T10:32:55Z: correct the path",
		"":      "keystore 0123 at /other.db, opened on 2026-11-28T10:32:55Z: correct the path",
		"web-1": "keystore 0123 at /other.db, opened on 2026-11-28T10:32:55Z by host web-1: correct the path",
	} {
		got := explainMissing(gone, &HistoryEntry{StoreID: "0123", Path: "/other.db", Host: before, Opened: opened}, new(keystore.Config))
		if !strings.Contains(got.Error(), want) || !errors.Is(got, keystore.ErrNoStore) {
			t.Errorf("host %q: error %q, want %q", before, got, want)
		}
	}
	full := errors.New("disk full")
	if got := explainMissing(full, &HistoryEntry{StoreID: "0123"}, new(keystore.Config)); got != full { //nolint:errorlint // the same error
		t.Errorf("another error becomes %q", got)
	}
	if got := explainMissing(gone, nil, new(keystore.Config)); got.Error() != gone.Error() {
		t.Errorf("with an empty history the error is %q", got)
	}
}

// A PostgreSQL database has no path and no disk that could be mounted.
func TestMissingKeystore_ErrorOfADatabaseNamesNoDisk(t *testing.T) {
	t.Parallel()
	gone := fmt.Errorf("keystore postgres://db.example.com/keys: %w", keystore.ErrNoStore)
	before := &HistoryEntry{StoreID: "0123", Path: "postgres://db.example.com/keys"}
	for _, mustExist := range []bool{false, true} {
		cfg := &keystore.Config{Postgres: new(keystore.Postgres), MustExist: mustExist}
		got := explainMissing(gone, before, cfg).Error()
		if !strings.Contains(got, "correct the connection string, or restore a backup") || strings.Contains(got, "path") || strings.Contains(got, "disk") {
			t.Errorf("must_exist %t: error %q", mustExist, got)
		}
	}
}
