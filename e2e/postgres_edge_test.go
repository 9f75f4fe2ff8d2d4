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
	p.killAndRestart()
	check("after a restart meanwhile")
	if !strings.Contains(p.output.String(), "records come from the replica") {
		t.Errorf("the log does not say it:\n%s", p.output)
	}
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := p.reload(admin, strings.Replace(string(config), "grace 1m", "grace 2m", 1)); status != http.StatusOK {
		t.Errorf("a reload: status %d, %s", status, answer)
	}
	check("after a reload meanwhile")

	server.StartAgain(t)
	p.eventually("new jobs are taken again", func() bool { status, _ := p.post("/v1/recognitions", key); return status == http.StatusOK })
	p.eventually("the log says that the database is back", func() bool {
		return strings.Contains(p.output.String(), "no records come from the replica any more")
	})
	p.kept(key, unseen, revoked, server.Password())
}

// A gateway with admit_jobs takes new jobs while the database is away, and its clients poll them, also with a key
// that has expired meanwhile, and after a restart. When the database is back, another gateway knows them.
func TestPostgres_AnEdgeSiteAdmitsJobs(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dir, dsn, backend := filepath.Join(t.TempDir(), "replica"), server.NewDatabase(t), newJobBackend(t)
	p, admin := newPostgresProgram(t, dsn, backend, " {\n			replica "+dir+"\n			admit_jobs\n		}\n		max_staleness 1h")
	account := p.account()
	_, key := p.key(account)
	_, theirs := p.key(p.account())
	_, short := p.key(account, "--expires", "12s")
	p.eventually("the replica has the keys", func() bool { return hasRow(t, dir, `SELECT COUNT(*) = 3 FROM api_keys`) })
	p.eventually("the replica is complete", func() bool { return strings.Contains(p.output.String(), "the replica is complete") })
	create := func(key string) string {
		t.Helper()
		var job string
		p.eventually("a job is created", func() bool {
			status, answer := p.post("/v1/recognitions", key)
			job, _ = answer["sessionid"].(string)
			return status == http.StatusOK && job != ""
		})
		return job
	}
	poll := func(what, job, key string, want int) {
		t.Helper()
		if status, answer := p.poll(job, key); status != want {
			t.Errorf("%s: a poll: %d %v, want %d", what, status, answer, want)
		}
	}

	server.Stop(t)
	jobs := []string{create(short), create(key)}
	poll("while the database is away", jobs[1], key, http.StatusOK)
	poll("of another account", jobs[1], theirs, http.StatusServiceUnavailable)
	p.eventually("the short key has expired", func() bool { return !p.recognizes(short) })
	poll("on grace", jobs[0], short, http.StatusOK)
	p.killAndRestart()
	poll("after a restart", jobs[1], key, http.StatusOK)
	poll("on grace after a restart", jobs[0], short, http.StatusOK)
	jobs = append(jobs, create(key))
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := p.reload(admin, strings.Replace(string(config), "max_staleness 1h", "max_staleness 2h", 1)); status != http.StatusOK {
		t.Fatalf("a reload that opens the keystore again: status %d, %s", status, answer)
	}
	poll("after a reload", jobs[2], key, http.StatusOK)
	jobs = append(jobs, create(key))
	waiting := func(n string) bool {
		t.Helper()
		return strings.Contains(getText(t, "http://"+admin+"/metrics"), `caddy_speechgate_jobs_unsent{state="waiting"} `+n+"\n")
	}
	if !waiting("4") {
		t.Error("the metric does not say that 4 jobs wait")
	}

	server.StartAgain(t)
	poll("when the database is back", jobs[1], key, http.StatusOK)
	p.eventually("all jobs are sent on", func() bool { return waiting("0") })
	other, _ := newPostgresProgram(t, dsn, backend, "")
	for _, job := range jobs {
		if status, answer := other.poll(job, key); status != http.StatusOK {
			t.Errorf("at another gateway: %d %v", status, answer)
		}
	}
	if status, answer := other.poll(jobs[0], short); status != http.StatusOK {
		t.Errorf("on grace at another gateway: %d %v", status, answer)
	}
	p.kept(key, short, theirs, server.Password())
}

// killAndRestart kills the gateway and starts it again, and waits until it answers, from whatever record.
func (p *program) killAndRestart() {
	p.t.Helper()
	p.kill()
	p.output = new(safeBuffer)
	p.cmd = p.command("run", "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.eventually("the gateway answers after a restart", func() bool {
		resp, err := http.Get(p.base)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	})
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
