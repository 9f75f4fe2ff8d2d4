package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/wstest"
)

// propagation is how long a change at one gateway may take to count at another.
const propagation = 250 * time.Millisecond

// postgresCaddyfile is a gateway whose keystore is in the database of SPEECHGATE_DSN, with options of the
// keystore, further handlers and further sites. A sandbox of its own answers everything except jobs.
func postgresCaddyfile(admin, options, handlers, jobs, sites string) string {
	return `{
	admin ` + admin + `
	speechgate {
		keystore postgres {env.SPEECHGATE_DSN}` + options + `
	}
}
http://:8080 {
	bind 127.0.0.1
	speechgate_issue
	` + handlers + `
	speechgate amivoice {
		upstream_key sandbox-backend-key
		grace 1m
	}
	@jobs path /v1/recognitions*
	reverse_proxy @jobs ` + jobs + `
	reverse_proxy localhost:8081
}
http://:8081 {
	bind 127.0.0.1
	speechgate_sandbox amivoice {
		key sandbox-backend-key
	}
}
` + sites
}

// newPostgresProgram is a running gateway whose keystore is in the database. The backend of jobs is
// shared by all gateways, and a sandbox of its own answers everything else.
func newPostgresProgram(t *testing.T, dsn, jobs, options string, env ...string) (p *program, admin string) {
	t.Helper()
	admin = "localhost:" + port(t)
	p = newProgram(t, postgresCaddyfile(admin, options, "", jobs, ""))
	p.dsn, p.env = dsn, append(env, "SPEECHGATE_DSN="+dsn)
	p.start()
	return p, admin
}

// newJobBackend is a backend whose jobs never end.
func newJobBackend(t *testing.T) string {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost {
			_, _ = fmt.Fprintf(w, `{"sessionid":"job-%d"}`, time.Now().UnixNano())
			return
		}
		_, _ = io.WriteString(w, `{"status":"processing"}`)
	}))
	t.Cleanup(backend.Close)
	return strings.TrimPrefix(backend.URL, "http://")
}

// within checks that a condition comes true soon enough after a change.
func (p *program) within(what string, ok func() bool) {
	p.t.Helper()
	begun := time.Now()
	p.eventually(what, ok)
	if took := time.Since(begun); took > propagation {
		p.t.Errorf("%s: it took %s, want %s at most", what, took, propagation)
	}
}

func (p *program) recognizes(key string) bool {
	p.t.Helper()
	_, answer := p.post("/v1/recognize", key)
	return answer["code"] == ""
}

func TestPostgres_TwoGatewaysShareOneDatabase(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn, jobs := server.NewDatabase(t), newJobBackend(t)
	one, admin := newPostgresProgram(t, dsn, jobs, "")
	other, _ := newPostgresProgram(t, dsn, jobs, "")
	account := one.importAccount()

	// One gateway issues a key, and the other takes it.
	issue := func(epi string) string {
		t.Helper()
		answer, err := http.PostForm(one.base+issuancePath, url.Values{"sid": {serviceID}, "spw": {servicePassword}, "epi": {epi}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		key, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("issuing a key: %s %s, %v", answer.Status, key, err)
		}
		return string(key)
	}
	if other.recognizes("sgk_unknown") {
		t.Fatal("an unknown key is accepted")
	}
	issued := issue("600000")
	other.within("the issued key counts at the other gateway", func() bool { return other.recognizes(issued) })

	// One gateway revokes a key: the other refuses it, and cuts its stream.
	id, key := one.key(account)
	if !other.recognizes(key) {
		t.Fatalf("the other gateway refuses the key; its output:\n%s", other.output)
	}
	stream := other.stream(startWith(key))
	stream.WantText("s")
	go stream.goOn()
	type cut struct {
		at  time.Time
		err error
	}
	cuts := make(chan cut, 1)
	go func() {
		for {
			frame, err := stream.ReadFrame()
			if err != nil || frame == wstest.Text(cutText) {
				stream.stop()
				cuts <- cut{time.Now(), err}
				return
			}
		}
	}()
	answer, err := http.Post("http://"+admin+"/speechgate/keys/"+id+"/revoke", "application/json", strings.NewReader(`{"reason":"leaked"}`))
	if err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("revoking: %s", answer.Status)
	}
	other.within("the revoked key is refused at the other gateway", func() bool { return !other.recognizes(key) })
	if seen := <-cuts; seen.err != nil || seen.at.After(revoked.Add(propagation)) {
		t.Errorf("the stream at the other gateway was cut %s after the revocation, %v", seen.at.Sub(revoked), seen.err)
	}
	stream.WantEnd()

	// A job of one gateway is polled at the other after its key has expired.
	_, short := one.key(account, "--expires", "1500ms")
	status, created := one.post("/v1/recognitions", short)
	job, _ := created["sessionid"].(string)
	if job == "" {
		t.Fatalf("no job was created: %d, %v; the gateway's output:\n%s", status, created, one.output)
	}
	other.eventually("the key has expired", func() bool { return !other.recognizes(short) })
	for _, p := range []*program{other, one} {
		if status, _ := p.poll(job, short); status != http.StatusOK {
			t.Errorf("polling the job in its grace window: status %d", status)
		}
		if status, _ := p.poll("job-of-nobody", short); status != http.StatusUnauthorized {
			t.Errorf("polling another job with the expired key: status %d", status)
		}
	}

	// The connection string shows nowhere.
	one.kept(server.Password(), dsn, issued, key, short)
	other.kept(server.Password(), dsn, issued, key, short)
	for _, path := range []string{"/config/", "/speechgate/keys", "/speechgate/audit"} {
		if body := getText(t, "http://"+admin+path); strings.Contains(body, server.Password()) || path == "/config/" && !strings.Contains(body, "{env.SPEECHGATE_DSN}") {
			t.Errorf("%s shows the password, or not the placeholder: %s", path, body)
		}
	}
	if metrics := getText(t, "http://"+admin+"/metrics"); !strings.Contains(metrics, "caddy_speechgate_store_up 1") || strings.Contains(metrics, "caddy_speechgate_store_bytes") || strings.Contains(metrics, "caddy_speechgate_store_disk_free_bytes") {
		t.Errorf("the metrics do not say that the keystore is open, or tell sizes of this machine's disk:\n%s", metrics)
	}
	if output := one.output.String(); !strings.Contains(output, `"keystore":"postgres://127.0.0.1:`) {
		t.Errorf("no line of the log names the keystore:\n%s", output)
	}
}

// Behind PgBouncer a gateway hears of changes by a direct connection, or reads the feed often.
func TestPostgres_GatewaysWorkBehindPgBouncer(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	direct, jobs := server.NewDatabase(t), newJobBackend(t)
	for name, test := range map[string]struct {
		mode, options string
		deaf          bool
	}{
		"transaction mode":                          {postgrestest.Transaction, "", true},
		"transaction mode, and a direct connection": {postgrestest.Transaction, " {\n			direct {env.DIRECT}\n		}", false},
		"session mode":                              {postgrestest.Session, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := newPostgresProgram(t, server.PgBouncer(t, test.mode, direct), jobs, test.options, "DIRECT="+direct)
			id, key := p.key(p.account())
			if !p.recognizes(key) {
				t.Fatalf("the key is refused; the gateway's output:\n%s", p.output)
			}
			if status, created := p.post("/v1/recognitions", key); created["sessionid"] == nil {
				t.Errorf("no job was created: %d, %v", status, created)
			}
			p.run("key", "revoke", id)
			p.within("the revoked key is refused", func() bool { return !p.recognizes(key) })
			const told = "no notifications of the change feed come: the feed is read every 100 ms instead"
			if deaf := strings.Contains(p.output.String(), told); deaf != test.deaf {
				t.Errorf("the log says that no notifications come: %t, want %t:\n%s", deaf, test.deaf, p.output)
			}
			p.kept(server.Password(), key)
		})
	}
}

func getText(t *testing.T, address string) string {
	t.Helper()
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", address, answer.Status, err)
	}
	return string(text)
}
