package e2e_test

import (
	"database/sql"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// A gateway with a replica answers while the database is away, also for keys that it has never seen, and after
// a restart and a reload meanwhile. It takes no new jobs then.
func TestPostgres_AnEdgeSiteServesWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dir := filepath.Join(t.TempDir(), "replica")
	p, admin := newPostgresProgram(t, server.NewDatabase(t), newJobBackend(t), " {\n			replica "+dir+"\n		}\n		max_staleness 1h")
	account := p.account()
	_, key := p.key(account)
	revokedID, revoked := p.key(account)
	p.run("key", "revoke", revokedID)
	status, answer := p.post("/v1/recognitions", key)
	job, _ := answer["sessionid"].(string)
	if status != http.StatusOK || job == "" {
		t.Fatalf("a new job: %d %v", status, answer)
	}
	_, unseen := p.key(account)
	p.eventually("the replica has the job", func() bool { return hasRow(t, dir, `SELECT COUNT(*) FROM jobs WHERE id = '`+job+`'`) })
	p.eventually("the replica has the last key", func() bool { return hasRow(t, dir, `SELECT COUNT(*) = 3 FROM api_keys`) })
	p.eventually("the replica is complete", func() bool { return strings.Contains(p.output.String(), "the replica is complete") })

	const sound = "pass replica: The replica is complete, has 3 keys, and was up to date "
	if found := p.examine(p.dsn); !strings.Contains(found, sound) {
		t.Errorf("doctor finds\n%s\nwant %s", found, sound)
	}
	server.Stop(t)
	check := func(what string) {
		t.Helper()
		p.eventually(what+": a key that was never seen is accepted", func() bool { return p.recognizes(unseen) })
		if !p.recognizes(key) || p.recognizes(revoked) {
			t.Errorf("%s: the key is refused, or the revoked one is accepted", what)
		}
		if status, answer := p.post("/v1/recognize", "a-key-that-was-never-issued"); status != http.StatusServiceUnavailable {
			t.Errorf("%s: an unknown key: %d %v", what, status, answer)
		}
		if status, answer := p.poll(job, key); status != http.StatusOK {
			t.Errorf("%s: a poll: %d %v", what, status, answer)
		}
		if status, answer := p.post("/v1/recognitions", key); status != http.StatusServiceUnavailable {
			t.Errorf("%s: a new job: %d %v", what, status, answer)
		}
	}
	check("while the database is away")
	if found := p.examine(p.dsn); !strings.Contains(found, sound) || !strings.Contains(found, "fail keystore: ") {
		t.Errorf("while the database is away, doctor finds\n%s\nwant %s", found, sound)
	}
	p.kill()
	p.output = new(safeBuffer)
	p.cmd = p.command("run", "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.eventually("the gateway answers after a restart", func() bool {
		resp, err := http.Get(p.base)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	})
	check("after a restart meanwhile")
	if !strings.Contains(p.output.String(), "records come from the replica") {
		t.Errorf("the log does not say it:\n%s", p.output)
	}
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+admin+"/load", "text/caddyfile", strings.NewReader(strings.Replace(string(config), "grace 1m", "grace 2m", 1)))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a reload: %v %v", err, resp)
	}
	if err == nil {
		_ = resp.Body.Close()
	}
	check("after a reload meanwhile")

	server.StartAgain(t)
	p.eventually("new jobs are taken again", func() bool { status, _ := p.post("/v1/recognitions", key); return status == http.StatusOK })
	p.eventually("the log says that the database is back", func() bool {
		return strings.Contains(p.output.String(), "no records come from the replica any more")
	})
	p.kept(key, unseen, revoked, server.Password())
}

// hasRow reports whether a query of the file of a replica returns a number above zero.
func hasRow(t *testing.T, dir, query string) bool {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "replica.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	return db.QueryRow(query).Scan(&n) == nil && n > 0
}
