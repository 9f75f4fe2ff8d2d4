package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/keystore"
)

// stop stops the server, which finishes its writes.
func (g *gateway) stop() {
	g.t.Helper()
	store := serverStore(g.t)
	if err := caddy.Stop(); err != nil {
		g.t.Fatal(err)
	}
	eventually(g.t, func() bool { return isClosed(g.t, store) })
}

// written returns the records of a store that requests can change, except the usage, and the size of
// its files in bytes. On PostgreSQL the size is 4 KiB for each row that was ever written.
func (g *gateway) written() (text string, size int64) {
	g.t.Helper()
	var all strings.Builder
	if g.place.IsPostgreSQL() {
		row := g.place.Database(g.t).QueryRowContext(g.t.Context(), `SELECT 4096 * SUM(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables`)
		if err := row.Scan(&size); err != nil {
			g.t.Fatal(err)
		}
	} else {
		for _, suffix := range []string{"", "-wal"} {
			file, err := os.Stat(string(g.place) + suffix)
			if err != nil {
				g.t.Fatal(err)
			}
			size += file.Size()
		}
	}
	keys, _, err := g.keys.Keys(g.t.Context(), keystore.KeyList{})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, key := range keys {
		fmt.Fprintf(&all, "key %s last used at %s\n", key.ID, key.LastUsedAt)
	}
	entries, _, err := g.keys.Audit(g.t.Context(), keystore.AuditList{Limit: 1000})
	if err != nil {
		g.t.Fatal(err)
	}
	fmt.Fprintf(&all, "%d audit entries\n", len(entries))
	return all.String(), size
}

// A flood of unknown keys causes no write except one of the usage, which does not grow with the
// flood, and good keys are not throttled.
func TestGate_UnknownKeysWriteNothingAndThrottleNobody(t *testing.T) {
	g := newGateway(t, "")
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("job", key, now())
	unused, _ := g.written()
	good := func() {
		t.Helper()
		if got := g.poll("job", secret); got.status != http.StatusOK {
			t.Fatalf("a good key polls: %d", got.status)
		}
		if got := g.send(g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"a", "RIFF"})); !strings.Contains(got.body, "hello") {
			t.Fatalf("a good key recognizes: %q", got.body)
		}
	}
	good()
	g.stop()
	g.load() // which writes to the store, to see that it can
	before, sizeBefore := g.written()
	if before == unused {
		t.Fatal("the use of a good key is not written: this tests nothing")
	}
	for n := range 250 {
		unknown := fmt.Sprintf("unknown-key-%d", n%125) // each twice
		if got := g.poll("job", unknown); got.status != http.StatusUnauthorized {
			t.Fatalf("unknown key %d polls: %d", n, got.status)
		}
		if got := g.send(g.form("/v1/recognize", [2]string{"u", unknown}, [2]string{"a", "RIFF"})); !strings.Contains(got.body, `"code":"-"`) {
			t.Fatalf("unknown key %d recognizes: %q", n, got.body)
		}
	}
	g.stop()
	after, size := g.written()
	if after != before {
		t.Errorf("unknown keys were written about:\n%s\nbefore\n%s", after, before)
	}
	if size-sizeBefore > 256<<10 { // 500 writes of a page each have 2 MiB
		t.Errorf("the keystore has grown by %d bytes", size-sizeBefore)
	}
	g.load()
	for range 5 {
		good() // from the same address
	}
}
