package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
	"github.com/speechgate/speechgate/sandbox"
)

const (
	serviceID       = "example-app"
	servicePassword = "p@ss w&rd" // every other character needs escaping in a form
	issuancePath    = "/issue_service_authorization"
)

// tool finds a program that a test needs. Where all of the checks are to be made,
// which CI says, it must be there.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s on the PATH, and with CI set there must be", strings.Join(names, " or "))
	}
	t.Skipf("there is no %s on the PATH", strings.Join(names, " or "))
	return ""
}

// newExample is a running Caddyfile.example that knows an account by its service
// ID and service password.
func newExample(t *testing.T) (p *program, account string) {
	t.Helper()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	p = newProgram(t, string(example))
	p.start()
	return p, p.importAccount()
}

func (p *program) importAccount() string {
	p.t.Helper()
	ctx := context.Background()
	path := filepath.Join(p.dir, "data", "caddy", "speechgate", "keystore.db")
	store, err := keystore.Open(ctx, keystore.Config{Path: path, CommandLine: true})
	if err != nil {
		p.t.Fatal(err)
	}
	account, err := store.ImportAccount(ctx, policy.At(time.Now()), keystore.Actor{Kind: keystore.ActorOperator, ID: "test"},
		"Example", serviceID, policy.NewSecret(servicePassword))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		p.t.Fatal(err)
	}
	return account.ID
}

// kept checks that the gateway's log shows no secret.
func (p *program) kept(secrets ...string) {
	p.t.Helper()
	output := p.output.String()
	for _, secret := range append(secrets, servicePassword, url.QueryEscape(servicePassword), url.PathEscape(servicePassword), "sandbox-backend-key") {
		if secret == "" || strings.Contains(output, secret) {
			p.t.Errorf("a secret is in the output, or empty:\n%s", output)
		}
	}
}

var examples = []struct {
	file, language string
	tool           string
	command        func(t *testing.T, tool, file string) *exec.Cmd
}{
	{"server.py", "python", "python3", interpreted},
	{"server.mjs", "js", "node", interpreted},
	{"main.go", "go", "go", compiled},
}

func interpreted(_ *testing.T, tool, file string) *exec.Cmd { return exec.Command(tool, file) }

func compiled(t *testing.T, tool, file string) *exec.Cmd {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "server.exe")
	if out, err := exec.Command(tool, "build", "-o", binary, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return exec.Command(binary)
}

func TestThePageQuotesItsExamplesByteForByte(t *testing.T) {
	page, err := os.ReadFile("../docs/issuing.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range examples {
		text, err := os.ReadFile("../docs/examples/issue-key/" + example.file)
		if err != nil {
			t.Fatal(err)
		}
		if quoted := "\n```" + example.language + "\n" + string(text) + "```\n"; !strings.Contains(string(page), quoted) {
			t.Errorf("docs/issuing.md does not quote %s as it is", example.file)
		}
	}
}

// TestTheExamplesHandOutKeysThatRecognizeSpeech runs each example as a user of
// it would, and in every way in which it can be asked.
func TestTheExamplesHandOutKeysThatRecognizeSpeech(t *testing.T) {
	p, account := newExample(t)
	for _, example := range examples {
		t.Run(example.file, func(t *testing.T) {
			cmd := example.command(t, tool(t, example.tool), filepath.Join("..", "docs", "examples", "issue-key", example.file))
			gateway := strings.Replace(p.base, "localhost", "127.0.0.1", 1) // Node.js 18 would try ::1 alone
			anyone := newApplication(t, cmd, "SPEECHGATE_URL="+gateway)
			key := anyone.wantKey()
			if _, answer := p.post("/v1/recognize", key); answer["code"] != "" || !strings.HasPrefix(fmt.Sprint(answer["text"]), "5.82 s") {
				t.Errorf("the key's answer is %v", answer)
			}
			if other := anyone.wantKey(); other == key {
				t.Error("two users got one key")
			}
			p.wantIssued(account, nil)
			bound := newApplication(t, cmd, "SPEECHGATE_URL="+gateway+"/", "BIND_KEYS=yes")
			key = bound.wantKey()
			if _, answer := p.post("/v1/recognize", key); answer["code"] != "" {
				t.Errorf("the answer to the bound key is %v", answer)
			}
			p.wantIssued(account, []any{"127.0.0.1"})

			anyone.wants(http.MethodPost, "/speech-key", "", http.StatusUnauthorized)
			anyone.wants(http.MethodPost, "/speech-key", "session=another", http.StatusUnauthorized)
			anyone.wants(http.MethodPost, "/else", "session=alice", http.StatusNotFound)
			if status, _ := anyone.ask(http.MethodGet, "/speech-key", "session=alice"); status < 400 {
				t.Errorf("a GET, which a link can make, has status %d", status)
			}
			nobody := newApplication(t, cmd, "SPEECHGATE_URL="+gateway, "SESSION=")
			nobody.wants(http.MethodPost, "/speech-key", "session=", http.StatusUnauthorized)
			wrong := newApplication(t, cmd, "SPEECHGATE_URL="+gateway, "SPEECHGATE_SPW=wrong-password")
			wrong.wants(http.MethodPost, "/speech-key", "session=alice", http.StatusBadGateway)
			p.eventually("the application's operator learns why", func() bool {
				return strings.Contains(wrong.output.String(), "401 The credentials are not valid")
			})
			gone := newApplication(t, cmd, "SPEECHGATE_URL=http://127.0.0.1:"+port(t))
			gone.wants(http.MethodPost, "/speech-key", "session=alice", http.StatusBadGateway)
			p.kept(key)
		})
	}
}

// TestTheExamplesSendThePasswordNowhereElse leads them away from the gateway.
func TestTheExamplesSendThePasswordNowhereElse(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("a redirect was followed")
		_, _ = io.WriteString(w, "sgk_not-a-key")
	}))
	defer elsewhere.Close()
	var status atomic.Int64
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, int(status.Load()))
	}))
	defer gateway.Close()
	for _, example := range examples {
		t.Run(example.file, func(t *testing.T) {
			cmd := example.command(t, tool(t, example.tool), filepath.Join("..", "docs", "examples", "issue-key", example.file))
			app := newApplication(t, cmd, "SPEECHGATE_URL="+gateway.URL)
			for _, code := range []int64{http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
				status.Store(code)
				app.wants(http.MethodPost, "/speech-key", "session=alice", http.StatusBadGateway)
			}
		})
	}
}

// wantIssued checks the account's newest key.
func (p *program) wantIssued(account string, allow []any) {
	p.t.Helper()
	cmd := p.command("speechgate", "--json", "key", "list", "--account", account)
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatal(err)
	}
	var keys []struct {
		Origin    string    `json:"origin"`
		Allow     []any     `json:"allow"`
		Issuable  bool      `json:"issuable"`
		CreatedAt time.Time `json:"created_at"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(out, &keys); err != nil || len(keys) == 0 {
		p.t.Fatalf("%v: %s", err, out)
	}
	newest := keys[0]
	for _, key := range keys {
		if key.CreatedAt.After(newest.CreatedAt) {
			newest = key
		}
	}
	if newest.Origin != "api" || newest.Issuable || fmt.Sprint(newest.Allow) != fmt.Sprint(append([]any{}, allow...)) ||
		newest.ExpiresAt.Sub(newest.CreatedAt) != time.Minute {
		p.t.Errorf("the key that was issued is %+v", newest)
	}
}

// application is a running example.
type application struct {
	t      *testing.T
	base   string
	output *safeBuffer
}

// newApplication runs an example, in which the user alice is logged in.
func newApplication(t *testing.T, like *exec.Cmd, env ...string) *application {
	t.Helper()
	listens := port(t)
	app := &application{t: t, base: "http://127.0.0.1:" + listens, output: new(safeBuffer)}
	cmd := exec.Command(like.Path, like.Args[1:]...)
	cmd.Env = append(os.Environ(), "HTTP_PROXY=", "http_proxy=", "PORT="+listens, "SESSION=alice",
		"SPEECHGATE_SID="+serviceID, "SPEECHGATE_SPW="+servicePassword)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = app.output, app.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(app.base + "/")
		if err == nil {
			_ = resp.Body.Close()
			return app
		}
		if time.Now().After(deadline) {
			t.Fatalf("the example does not answer: %v; its output:\n%s", err, app.output)
		}
	}
}

// ask returns the status and the body of an answer, which must be one that
// nobody keeps.
func (a *application) ask(method, path, cookie string) (status int, body string) {
	a.t.Helper()
	req, err := http.NewRequest(method, a.base+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if cookie != "" {
		req.Header.Set("Cookie", "theme=dark; "+cookie)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatalf("%v; the example's output:\n%s", err, a.output)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK && resp.Header.Get("Cache-Control") != "no-store" {
		a.t.Errorf("Cache-Control is %q", resp.Header.Get("Cache-Control"))
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			a.t.Errorf("pages of other origins get %s", name)
		}
	}
	return resp.StatusCode, string(text)
}

func (a *application) wants(method, path, cookie string, want int) {
	a.t.Helper()
	status, body := a.ask(method, path, cookie)
	if status != want || strings.Contains(body, "sgk_") || strings.Contains(body, "credentials") {
		a.t.Errorf("%s %s with cookie %q: %d %s, want %d; the example's output:\n%s", method, path, cookie, status, body, want, a.output)
	}
}

func (a *application) wantKey() string {
	a.t.Helper()
	status, body := a.ask(http.MethodPost, "/speech-key", "session=alice")
	if status != http.StatusOK || !strings.HasPrefix(body, "sgk_") || strings.TrimSpace(body) != body {
		a.t.Fatalf("status %d, %s; the example's output:\n%s", status, body, a.output)
	}
	return body
}

// pageAnswer is what a page sees of an answer.
type pageAnswer struct {
	Status  int    `json:"status"`
	Text    string `json:"text"`
	Type    string `json:"type"`
	Session string `json:"session"`
}

// TestABrowserIssuesAKeyAndRecognizesWithIt holds that a page of another origin
// can do what the vendor's JavaScript client does, with the browser as the judge.
func TestABrowserIssuesAKeyAndRecognizesWithIt(t *testing.T) {
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	p, account := newExample(t)
	_, issuer := p.key(account, "--expires", "1h", "--issuable")
	page, err := os.ReadFile("testdata/browser/page.html")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := json.Marshal(map[string]string{"gateway": p.base, "issuer": issuer})
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan []byte, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.HandleFunc("GET /speech.wav", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(sandbox.SpeechWAV()) })
	mux.HandleFunc("POST /results", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		results <- body
	})
	origin := httptest.NewServer(mux) // on another port, hence of another origin
	defer origin.Close()

	var answers map[string]pageAnswer
	body := browse(t, browser, origin.URL+"/#"+url.PathEscape(string(settings)), results)
	if err := json.Unmarshal(body, &answers); err != nil {
		t.Fatalf("%v: the page reports %s; the gateway's output:\n%s", err, body, p.output)
	}
	key := answers["asked"].Text
	recognized := func(text string) bool {
		var answer struct{ Text, Code string }
		return json.Unmarshal([]byte(text), &answer) == nil && answer.Code == "" && strings.HasPrefix(answer.Text, "5.82 s of 16000 Hz mono")
	}
	isKey := func(text string) bool {
		return strings.HasPrefix(text, policy.KeyPrefix) && policy.CheckSecret(policy.NewSecret(text)) == nil
	}
	for name, want := range map[string]struct {
		status int
		kind   string
		ok     func(text string) bool
	}{
		"wrong":      {401, "text/plain", func(text string) bool { return strings.HasPrefix(text, "The credentials are not valid") }},
		"asked":      {200, "text/plain", isKey},
		"recognized": {200, "application/json", recognized},
		"created":    {200, "application/json", func(text string) bool { return strings.Contains(text, `"sessionid"`) }},
		"polled":     {200, "application/json", func(text string) bool { return strings.Contains(text, `"status":"queued"`) }},
		"issued":     {200, "text/plain", func(text string) bool { return isKey(text) && text != key }},
		"again":      {200, "application/json", recognized},
		"refused":    {403, "text/plain", func(text string) bool { return strings.HasPrefix(text, "This key may not issue keys") }},
	} {
		if got := answers[name]; got.Status != want.status || !strings.HasPrefix(got.Type, want.kind) || !want.ok(got.Text) {
			t.Errorf("%s: the page sees %+v, want status %d, %s", name, got, want.status, want.kind)
		}
	}
	for _, name := range []string{"recognized", "created", "again"} {
		if answers[name].Session == "" {
			t.Errorf("%s: the page cannot read X-Session-ID", name)
		}
	}
	for _, path := range []string{issuancePath, "/v2/recognitions/"} {
		if !p.logged(http.MethodOptions, path) {
			t.Errorf("the browser did not ask leave for %s: the test tests nothing", path)
		}
	}
	p.kept(key, issuer, answers["issued"].Text)
}

// logged reports whether the access log has such a request.
func (p *program) logged(method, pathPrefix string) bool {
	for line := range strings.Lines(p.output.String()) {
		if strings.Contains(line, `"method":"`+method+`"`) && strings.Contains(line, `"uri":"`+pathPrefix) {
			return true
		}
	}
	return false
}

// browse shows a page to a browser until the results are there.
func browse(t *testing.T, browser, address string, results <-chan []byte) []byte {
	t.Helper()
	home, err := os.MkdirTemp("", "speechgate-browser-") //nolint:usetesting // a process that still writes to it is no failure
	if err != nil {
		t.Fatal(err)
	}
	output := new(safeBuffer)
	cmd := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--remote-debugging-port=0", "--user-data-dir="+home, address)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt) // so that it ends its own processes
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		for range 50 { // some of them may still write
			if os.RemoveAll(home) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	select {
	case body := <-results:
		return bytes.TrimSpace(body)
	case <-time.After(90 * time.Second):
		t.Fatalf("the page reports nothing; the browser's output:\n%s", output)
		return nil
	}
}
