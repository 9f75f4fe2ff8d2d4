package e2e_test

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/sandbox"
)

// calledAPI is an API whose examples of calls are run.
type calledAPI struct {
	example, vendor, path, variable string // as newSDKGateway takes them
	backend                         http.Handler
	curl                            string // what the curl example prints; the others print the text
	npm                             string // the directory of e2e/sdk with the library of the JavaScript example; empty if it needs none
}

// calledAPIs are the APIs by dialect.
func calledAPIs() map[string]calledAPI {
	config := sandbox.Config{Key: upstreamKey, QueueTime: -1, WorkTime: time.Millisecond}
	heard := regexp.QuoteMeta(speechHeard)
	return map[string]calledAPI{
		"amivoice":   {"vendor.caddyfile", "amivoice.com", "/v2/recognitions/unknown", "AMIVOICE_KEY", sandbox.NewAmiVoice(config), heard, ""},
		"openai":     {"openai.caddyfile", "api.openai.com", "/v1/models", "OPENAI_API_KEY", sandbox.NewOpenAI(config), heard, "openai"},
		"deepgram":   {"deepgram.caddyfile", "api.deepgram.com", "/v1/models", "DEEPGRAM_API_KEY", sandbox.NewDeepgram(config), heard, ""},
		"assemblyai": {"assemblyai.caddyfile", "assemblyai.com", "/v2/transcript", "ASSEMBLYAI_API_KEY", sandbox.NewAssemblyAI(config), `"status": ?"(queued|processing|completed)"`, "assemblyai"},
		"speechmatics": {
			"speechmatics.caddyfile", "speechmatics.com", "/v2/jobs", "SPEECHMATICS_API_KEY", sandbox.NewSpeechmatics(config),
			`"id": ?"[a-z0-9]+"`, "speechmatics",
		},
	}
}

// TestConsole_ItsExamplesWorkAsTheyAre pastes each example of the page of a new key into a file, and runs
// it. The page is that of the real gateway.
func TestConsole_ItsExamplesWorkAsTheyAre(t *testing.T) {
	t.Parallel()
	apis := calledAPIs()
	for _, name := range dialect.Names() {
		api, ok := apis[name]
		if !ok {
			t.Errorf("there is no test of the examples for %s", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newSDKGateway(t, api.example, api.vendor, api.path, api.variable, api.backend, "\tspeechgate_console")
			secret, page := issueByForm(t, g)
			heard := "^" + regexp.QuoteMeta(speechHeard) + `\s*$`
			for language, want := range map[string]string{"curl": api.curl, "python": heard, "js": heard} {
				t.Run(language, func(t *testing.T) {
					text := regexp.MustCompile(`(?s)<pre id="` + language + `-0"[^>]*>(.*?)</pre>`).FindStringSubmatch(page)
					if text == nil {
						t.Fatalf("the page has no example of %s:\n%s", language, page)
					}
					cmd := pasted(t, api.npm, language, html.UnescapeString(text[1]))
					cmd.Dir = filepath.Dir(g.audio)
					var stderr strings.Builder
					cmd.Stderr = &stderr
					got, err := cmd.Output()
					if err != nil || !regexp.MustCompile(want).Match(got) {
						t.Errorf("it prints %q, want %s; %v %s\nthe gateway's output:\n%s", got, want, err, &stderr, g.output)
					}
				})
			}
			g.wantKept(secret)
		})
	}
}

// pasted returns the command that runs an example.
func pasted(t *testing.T, npm, language, text string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	write := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	switch language {
	case "curl":
		tool(t, "curl")
		return exec.CommandContext(t.Context(), tool(t, "sh"), "-e", write("call.sh"))
	case "python":
		return exec.CommandContext(t.Context(), pythonWithRequests(t), write("call.py"))
	}
	if npm != "" {
		if err := os.Symlink(filepath.Dir(sdkInstalled(t, npm, ".package-lock.json")), filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}
	return exec.CommandContext(t.Context(), sdkInstalled(t, "node", "node/bin/node"), write("call.mjs"))
}

// pythonWithRequests returns a Python that has the package requests: the first one on the PATH, or that of
// the system, which the system's package belongs to.
func pythonWithRequests(t *testing.T) string {
	t.Helper()
	for _, python := range []string{tool(t, "python3"), "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import requests").Run() == nil {
			return python
		}
	}
	const message = "Python has no package requests"
	if os.Getenv("CI") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}

// issueByForm signs the holder of a new account in at the console, and issues a key. It returns the key,
// and the page that shows it.
func issueByForm(t *testing.T, g *sdkGateway) (secret, page string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: time.Minute}
	post := func(address string, form url.Values) string {
		response, err := client.PostForm(address, form)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v: %s", address, response.Status, err, text)
		}
		return string(text)
	}
	part := func(of, pattern string) string {
		found := regexp.MustCompile(pattern).FindStringSubmatch(of)
		if found == nil {
			t.Fatalf("there is no %s in\n%s", pattern, of)
		}
		return found[1]
	}
	invitation := g.run("account", "invite", g.account(), "--config", g.config, "--url", g.base+"/console/")
	_, link, _ := strings.Cut(invitation["setup_url"].(string), "/console/")
	post(g.base+"/console/"+link, url.Values{"password": {"a password of the test"}, "repeat": {"a password of the test"}})
	form := url.Values{"expires": {"period"}, "count": {"1"}, "unit": {"d"}, "step": {"check"}}
	form.Set("once", part(post(g.base+"/console/keys/new", form), `name="once" value="([^"]+)"`))
	form.Set("step", "issue")
	page = post(g.base+"/console/keys/new", form)
	return part(page, `id="secret">(sgk_[0-9A-Za-z]+)<`), page
}
