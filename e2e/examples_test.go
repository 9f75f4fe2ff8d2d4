package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

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
	t.Parallel()
	page, err := os.ReadFile("../docs/issuing-programs.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range examples {
		text, err := os.ReadFile("../docs/examples/issue-key/" + example.file)
		if err != nil {
			t.Fatal(err)
		}
		if quoted := "\n```" + example.language + "\n" + string(text) + "```\n"; !strings.Contains(string(page), quoted) {
			t.Errorf("docs/issuing-programs.md does not quote %s as it is", example.file)
		}
	}
}

// TestTheExamplesHandOutKeysThatRecognizeSpeech runs each example as a user of
// it would, and in every way in which it can be asked.
func TestTheExamplesHandOutKeysThatRecognizeSpeech(t *testing.T) { //nolint:tparallel // the subtests use one program in turns
	t.Parallel()
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
			anyone.wants(http.MethodPost, "/speech-key?x=1", "", http.StatusUnauthorized)
			if status, body := anyone.ask(http.MethodPost, "/speech-key?x=1", "session=alice"); status != http.StatusOK {
				t.Errorf("a query has status %d, %s", status, body)
			}
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
func TestTheExamplesSendThePasswordNowhereElse(t *testing.T) { //nolint:tparallel // the subtests use one program in turns
	t.Parallel()
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
	out := p.printed("key", "list", "--account", account)
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
