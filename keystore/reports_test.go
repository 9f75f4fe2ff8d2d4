package keystore

import (
	"database/sql"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// received returns the numbers and bodies of the reports that a gateway can read, by sender.
func received(t *testing.T, s *Store, gateway string, span time.Duration, seen map[string]int64) map[string][]Report {
	t.Helper()
	reports, err := s.ReceiveReports(t.Context(), gateway, span, seen)
	if err != nil {
		t.Fatal(err)
	}
	by := make(map[string][]Report)
	for _, r := range reports {
		if r.Age < 0 || r.Age > time.Minute {
			t.Errorf("report %d of %s is %s old", r.Number, r.Gateway, r.Age)
		}
		by[r.Gateway] = append(by[r.Gateway], r)
	}
	return by
}

func TestReports_ReachTheOtherGatewaysOnce(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	one, other := openStore(t, "", inPostgres(dsn)), openStore(t, "", inPostgres(dsn))
	send := func(gateway string, number int64, body string) {
		t.Helper()
		if err := one.SendReport(t.Context(), gateway, number, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if !one.SharesReports() {
		t.Fatal("a store in PostgreSQL shares no reports")
	}
	if got := received(t, other.Store, "b", time.Minute, nil); len(got) != 0 {
		t.Errorf("%d gateways have sent reports to a new database", len(got))
	}
	send("a", 1, "first")
	send("a", 2, "second")
	send("a", 2, "is not sent again")
	send("b", 1, "own")
	send("c", 9, "")
	got := received(t, other.Store, "b", time.Minute, map[string]int64{"a": 0, "nobody": 7})
	if a := got["a"]; len(a) != 2 || a[0].Number != 1 || string(a[0].Body) != "first" || a[1].Number != 2 || string(a[1].Body) != "second" {
		t.Errorf("reports of a: %+v", a)
	}
	if len(got["b"]) != 0 || len(got["c"]) != 1 {
		t.Errorf("%d own reports, and %d of c", len(got["b"]), len(got["c"]))
	}
	if got := received(t, other.Store, "b", time.Minute, map[string]int64{"a": 1, "c": 9}); len(got["a"]) != 1 || got["a"][0].Number != 2 || len(got["c"]) != 0 {
		t.Errorf("after what was seen: %+v", got)
	}

	// Reports that are too old are not read, and are removed.
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	makeOlder := func(ms int) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), `UPDATE gateway_reports SET at = at - $1 WHERE gateway = 'a'`, ms); err != nil {
			t.Fatal(err)
		}
	}
	makeOlder(69000)
	if got := received(t, other.Store, "b", 65*time.Second, nil); len(got["a"]) != 0 || len(got["c"]) != 1 {
		t.Errorf("old reports are read: %+v", got)
	}
	makeOlder(2000)
	one.advance(sweepEvery)
	send("c", 10, "")
	var n int
	if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM gateway_reports`).Scan(&n); err != nil || n != 3 {
		t.Errorf("%d reports are kept, want 3; %v", n, err)
	}
}

// The names in reports are the same everywhere, and show nothing.
func TestReports_NamesDependOnThePepper(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	plain, peppered := server.NewDatabase(t), server.NewDatabase(t)
	pepper := func(c *Config) { c.Pepper = policy.NewSecret("a pepper of the test, long enough") }
	one, other := openStore(t, "", inPostgres(peppered), pepper), openStore(t, "", inPostgres(peppered), pepper)
	without := openStore(t, "", inPostgres(plain))
	name := one.ReportName("192.0.2.0/32")
	if len(name) != 32 || name != other.ReportName("192.0.2.0/32") || name == one.ReportName("192.0.2.1/32") || name == without.ReportName("192.0.2.0/32") {
		t.Errorf("names %q, %q, %q and %q", name, other.ReportName("192.0.2.0/32"), one.ReportName("192.0.2.1/32"), without.ReportName("192.0.2.0/32"))
	}
}

// Processes on one file count by themselves.
func TestReports_AreNotSentInAFile(t *testing.T) {
	t.Parallel()
	s := openStore(t, newFile(t, "the file"))
	if s.SharesReports() {
		t.Error("a store in a file shares reports")
	}
}
