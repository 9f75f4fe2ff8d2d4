package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

var schemaVersion = regexp.MustCompile(`const SchemaVersion = (\d+)`)

// laterProgram is a program of a later version: this one, with more migrations.
type laterProgram struct {
	version int // of its schema
	binary  string
}

// knownVersion returns the version of the schema that this program knows, and the file that says so.
func knownVersion(t *testing.T) (version int, file string, text []byte) {
	t.Helper()
	file, err := filepath.Abs("../keystore/internal/engine/version.go")
	if err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	found := schemaVersion.FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no version", file)
	}
	if version, err = strconv.Atoi(string(found[1])); err != nil {
		t.Fatal(err)
	}
	return version, file, text
}

// buildLater builds a program with a further migration for each element. The files of the repository
// stay as they are: the compiler reads others in their place.
func buildLater(t *testing.T, migrations ...map[string]string) laterProgram {
	t.Helper()
	dir := t.TempDir()
	known, file, text := knownVersion(t)
	p := laterProgram{known + len(migrations), filepath.Join(dir, "caddy")}
	replace := map[string]string{}
	put := func(of, name, content string) {
		t.Helper()
		replace[of] = filepath.Join(dir, name)
		if err := os.WriteFile(replace[of], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(file, "version.go", schemaVersion.ReplaceAllString(string(text), fmt.Sprint("const SchemaVersion = ", p.version)))
	root := filepath.Join(filepath.Dir(file), "..", "..", "..")
	for i, statements := range migrations {
		for engine, text := range statements {
			name := fmt.Sprintf("%05d_later.sql", known+1+i)
			put(filepath.Join(root, "keystore", "internal", engine, "migrations", name), engine+name, "-- +goose Up\n"+text)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", p.binary, "./cmd/caddy")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building a later program: %v\n%s", err, out)
	}
	return p
}

// expanding is two migrations with which the programs before them go on.
func expanding() []map[string]string {
	const table = `CREATE TABLE later (id TEXT PRIMARY KEY, key_id TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE);
ALTER TABLE jobs ADD COLUMN later TEXT NOT NULL DEFAULT 'none';
ALTER TABLE api_keys ADD COLUMN later BIGINT;
INSERT INTO feed (at, kind, ref) VALUES (0, 'later', '');
`
	return []map[string]string{
		{"postgres": table, "sqlite": table},
		{
			"postgres": "-- +goose NO TRANSACTION\nDROP INDEX CONCURRENTLY IF EXISTS jobs_later;\nCREATE INDEX CONCURRENTLY jobs_later ON jobs (later);\n",
			"sqlite":   "CREATE INDEX jobs_later ON jobs (later);\n",
		},
	}
}

// contracting is a migration with which only programs from a version on go on.
func contracting(compatible int) map[string]string {
	text := fmt.Sprintf(`ALTER TABLE api_keys DROP COLUMN later;
INSERT INTO meta (name, value) VALUES ('compatible', '%d') ON CONFLICT (name) DO UPDATE SET value = excluded.value;
INSERT INTO feed (at, kind, ref) VALUES (0, 'store', '');
`, compatible)
	return map[string]string{"postgres": text, "sqlite": text}
}

// rolling is a gateway under load, which is replaced by one of another version.
type rolling struct {
	*program
	admin string
	stop  chan struct{} // ends the load
	done  sync.WaitGroup
	count atomic.Int64 // requests of the load
}

// defaultKeystore is the path of the keystore in the home of a program.
const defaultKeystore = "/data/caddy/speechgate/keystore.db"

// newRolling is a running gateway. place is the keystore's file, or its connection string; option names it.
func newRolling(t *testing.T, place, option, jobs string) *rolling {
	t.Helper()
	r := &rolling{admin: "localhost:" + port(t)}
	r.program = newProgram(t, `{
	admin `+r.admin+`
	speechgate {
		keystore `+option+`
	}
}
http://:8080 {
	bind 127.0.0.1
	speechgate_issue {
		max_rate 10000
	}
	speechgate amivoice {
		upstream_key sandbox-backend-key
	}
	@jobs path /v1/recognitions*
	reverse_proxy @jobs `+jobs+`
	respond /v1/recognize "{}"
}
`)
	if strings.HasPrefix(option, "postgres ") {
		r.dsn, r.env = place, []string{"SPEECHGATE_DSN=" + place}
	} else {
		r.dir = strings.TrimSuffix(place, defaultKeystore) // the gateways of one machine
	}
	r.start()
	return r
}

// load creates and polls jobs, and issues keys, until quiet is called. No request may fail.
func (r *rolling) load(key string) {
	r.stop = make(chan struct{})
	form := recognitionForm(key, "u")
	r.done.Go(func() {
		for {
			select {
			case <-r.stop:
				return
			default:
			}
			if err := r.exchange(key, form); err != nil {
				r.t.Errorf("a request of the load: %v", err)
				return
			}
			r.count.Add(1)
		}
	})
}

// quiet ends the load.
func (r *rolling) quiet() {
	close(r.stop)
	r.done.Wait()
}

func (r *rolling) exchange(key, form string) error {
	created, err := r.ok(http.MethodPost, "/v1/recognitions", form, clientForm, "")
	if err != nil {
		return err
	}
	var job struct {
		SessionID string `json:"sessionid"`
	}
	if err := json.Unmarshal(created, &job); err != nil || job.SessionID == "" {
		return fmt.Errorf("no job: %s, %w", created, err)
	}
	if _, err := r.ok(http.MethodGet, "/v1/recognitions/"+job.SessionID, "", "", key); err != nil {
		return err
	}
	_, err = r.issue()
	return err
}

func (r *rolling) issue() (string, error) {
	issued, err := r.ok(http.MethodPost, issuancePath, url.Values{"sid": {serviceID}, "spw": {servicePassword}, "epi": {"600000"}}.Encode(), "application/x-www-form-urlencoded", "")
	return string(issued), err
}

// ok sends a request, and returns the answer. An answer other than 200 is an error.
func (r *rolling) ok(method, path, body, contentType, key string) ([]byte, error) {
	req, err := http.NewRequest(method, r.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, err
}

// replace starts the gateway again, as another program.
func (r *rolling) replace(binary, key string) {
	r.t.Helper()
	r.quiet()
	r.kill()
	r.binary = binary
	r.start()
	r.load(key)
}

// wantChangesAt checks that a key that r issues works at the other gateway, and that one that r revokes
// is refused there.
func (r *rolling) wantChangesAt(other *rolling, account string) {
	r.t.Helper()
	issued, err := r.issue()
	if err != nil {
		r.t.Fatal(err)
	}
	other.eventually("a key that another gateway has issued works", func() bool { return other.takes(issued) })
	id, key := r.key(account)
	other.eventually("a key that a command has issued works", func() bool { return other.takes(key) })
	resp, err := http.Post("http://"+r.admin+"/speechgate/keys/"+id+"/revoke", "application/json", strings.NewReader(`{"reason":"leaked"}`))
	if err != nil {
		r.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("revoking: %s", resp.Status)
	}
	other.eventually("a key that another gateway has revoked is refused", func() bool { return !other.takes(key) })
}

// takes reports whether the gateway lets a key through.
func (r *rolling) takes(key string) bool {
	answer, err := r.ok(http.MethodPost, "/v1/recognize", recognitionForm(key, "u"), clientForm, "")
	return err == nil && string(answer) == "{}"
}

// Gateways of two versions serve side by side. While one version changes the tables, and while its
// gateways replace the others one by one, no request fails. A gateway for which the tables are too
// new stops.
func TestUpgrade_GatewaysOfTwoVersionsServeSideBySide(t *testing.T) {
	t.Parallel()
	known, _, _ := knownVersion(t)
	next := buildLater(t, expanding()...)
	last := buildLater(t, append(expanding(), contracting(next.version))...)
	jobs := newJobBackend(t)
	for name, place := range map[string]func(t *testing.T) (place, option string){
		"PostgreSQL": func(t *testing.T) (place, option string) {
			t.Helper()
			return postgrestest.Start(t).NewDatabase(t), "postgres {env.SPEECHGATE_DSN}"
		},
		"SQLite": func(t *testing.T) (place, option string) {
			t.Helper()
			path := t.TempDir() + defaultKeystore
			return path, "sqlite " + path
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place, option := place(t)
			gates := make([]*rolling, 3)
			for i := range gates {
				gates[i] = newRolling(t, place, option, jobs)
			}
			one, two, three := gates[0], gates[1], gates[2]
			account := one.importAccount()
			_, key := one.key(account)
			for _, r := range gates {
				r.eventually("the key works", func() bool { return r.takes(key) })
				r.load(key)
			}

			// The next version changes the tables.
			tool := newProgram(t, "")
			tool.binary = next.binary
			if _, stderr, status := tool.ask(place, "init"); status != 0 {
				t.Fatalf("init: status %d, %s", status, stderr)
			}
			one.wantChangesAt(two, account)

			// Its gateways replace the others. One of the others starts again first.
			one.replace(next.binary, key)
			two.replace("caddy", key)
			two.eventually("the log says that the tables are newer", func() bool {
				output := two.output.String()
				return strings.Contains(output, "the schema of the keystore is newer than this program") && strings.Contains(output, fmt.Sprintf(`"schema":%d`, next.version))
			})
			if found := two.examine(place); !strings.Contains(found, fmt.Sprintf("warn migrations: The schema of the keystore is version %d", next.version)) {
				t.Errorf("doctor finds\n%s", found)
			}
			one.wantChangesAt(two, account)
			two.wantChangesAt(one, account)
			two.replace(next.binary, key)

			// A version later, the tables are no longer for the first one.
			three.quiet()
			tool.binary = last.binary
			if _, stderr, status := tool.ask(place, "init"); status != 0 {
				t.Fatalf("init: status %d, %s", status, stderr)
			}
			three.eventually("the old gateway stops", func() bool {
				_, err := three.ok(http.MethodPost, "/v1/recognitions", recognitionForm(key, "u"), clientForm, "")
				return err != nil && strings.Contains(err.Error(), "503")
			})
			three.eventually("the log says why", func() bool { return strings.Contains(three.output.String(), "run the newer program") })
			three.kill()
			if output, err := three.command("run", "--config", three.config).CombinedOutput(); err == nil ||
				!strings.Contains(string(output), fmt.Sprintf("its schema is version %d, and this program knows versions up to %d", last.version, known)) {
				t.Errorf("an old program starts: %v\n%s", err, output)
			}
			one.wantIssuedAt(two)
			for _, r := range []*rolling{one, two} {
				r.quiet()
			}
			for i, r := range gates {
				t.Logf("gateway %d: %d jobs and keys", i+1, r.count.Load())
				if r.count.Load() == 0 {
					t.Errorf("gateway %d was under no load", i+1)
				}
			}
		})
	}
}

// wantIssuedAt checks that a key that r issues works at the other gateway.
func (r *rolling) wantIssuedAt(other *rolling) {
	r.t.Helper()
	issued, err := r.issue()
	if err != nil {
		r.t.Fatal(err)
	}
	other.eventually("a key that another gateway has issued works", func() bool { return other.takes(issued) })
}
