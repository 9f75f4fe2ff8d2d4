package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/policy"
)

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
	t.Parallel()
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	p, account := newExample(t)
	_, issuer := p.key(account, "--expires", "1h", "--issuable")
	slow := startSlowLink(t, strings.TrimPrefix(p.base, "http://"))
	settings, err := json.Marshal(map[string]string{"gateway": p.base, "slowGateway": "http://" + slow, "issuer": issuer})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	results := servePage(t, mux, "page.html")
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
		"traced":     {200, "application/json", recognized},
		"issued":     {200, "text/plain", func(text string) bool { return isKey(text) && text != key }},
		"again":      {200, "application/json", recognized},
		"refused":    {403, "text/plain", func(text string) bool { return strings.HasPrefix(text, "This key may not issue keys") }},
		"large":      {200, "application/json", func(text string) bool { return text == refusal }},
		"slow":       {200, "application/json", func(text string) bool { return text == refusal }},
	} {
		if got := answers[name]; got.Status != want.status || !strings.HasPrefix(got.Type, want.kind) || !want.ok(got.Text) {
			t.Errorf("%s: the page sees %+v, want status %d, %s", name, got, want.status, want.kind)
		}
	}
	for _, name := range []string{"recognized", "created", "again", "large", "slow"} {
		if answers[name].Session == "" {
			t.Errorf("%s: the page cannot read X-Session-ID", name)
		}
	}
	for _, path := range []string{issuancePath, "/v1/recognize", "/v2/recognitions/"} {
		if !p.logged(http.MethodOptions, path) {
			t.Errorf("the browser did not ask leave for %s: the test tests nothing", path)
		}
	}
	p.kept(key, issuer, answers["issued"].Text)
}

// servePage has the mux serve a page of testdata/browser, the recording that the page sends, and POST
// /results. The channel gets the body of that request.
func servePage(t *testing.T, mux *http.ServeMux, file string) (results <-chan []byte) {
	t.Helper()
	page, err := os.ReadFile("testdata/browser/" + file)
	if err != nil {
		t.Fatal(err)
	}
	bodies := make(chan []byte, 1)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.HandleFunc("GET /speech.wav", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(sandbox.SpeechWAV()) })
	mux.HandleFunc("POST /results", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- body
	})
	return bodies
}

// startSlowLink is a link to addr on which a client can send 1 MB in a second, as on a
// phone. It returns the address of its near end.
func startSlowLink(t *testing.T, addr string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	carry := func(near net.Conn) {
		defer near.Close()
		_ = near.(*net.TCPConn).SetReadBuffer(64 << 10) // or the link would take it all at once
		far, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer far.Close()
		go func() {
			for tick := time.Tick(100 * time.Millisecond); ; <-tick {
				if _, err := io.CopyN(far, near, 1<<20/10); err != nil {
					_ = far.(*net.TCPConn).CloseWrite()
					return
				}
			}
		}()
		_, _ = io.Copy(near, far)
	}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go carry(near)
		}
	}()
	return listener.Addr().String()
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

// browse shows a page to a browser with these flags until the results are there.
func browse(t *testing.T, browser, address string, results <-chan []byte, flags ...string) []byte {
	t.Helper()
	home, err := os.MkdirTemp("", "speechgate-browser-") //nolint:usetesting // a process that still writes to it is no failure
	if err != nil {
		t.Fatal(err)
	}
	output := new(safeBuffer)
	cmd := exec.Command(browser, append(flags, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--remote-debugging-port=0", "--user-data-dir="+home, address)...)
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
