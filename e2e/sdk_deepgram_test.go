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
	"slices"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/sandbox"
)

// What the sandbox hears in the recording: as a whole, and live.
const deepgramHeard = "5.82 s of 16000 Hz mono, 16 bits, 3 stretches of speech: 0.26-1.07 s, 1.50-3.22 s, 3.65-5.15 s; peak -5.9 dBFS, RMS -25.7 dBFS"

var deepgramSpeech = []string{"speech 1 (0.81 s)", "speech 2 (1.72 s)", "speech 3 (1.50 s)"}

// deepgramRefusals are the status and the vendor's code for bad keys.
var deepgramRefusals = map[string]struct {
	status int
	code   string
}{
	"an unknown key": {401, "INVALID_AUTH"}, "an expired key": {401, "INVALID_AUTH"}, "a revoked key": {401, "INVALID_AUTH"},
	"a key for another address": {403, "INSUFFICIENT_PERMISSIONS"},
}

// deepgramSettings starts a gateway, and returns the settings of a program that uses it. The mux is
// that of the server that revokes the keys named live and flux.
func deepgramSettings(t *testing.T, mux *http.ServeMux) (g *sdkGateway, settings map[string]any, keys []string) {
	t.Helper()
	g = newSDKGateway(t, "deepgram.caddyfile", "api.deepgram.com", "/v1/models", "DEEPGRAM_API_KEY", sandbox.NewDeepgram(sandbox.Config{Key: upstreamKey}))
	account := g.account()
	_, good := g.key(account)
	liveID, live := g.key(account)
	fluxID, flux := g.key(account)
	refused := g.refusedKeys(account)
	keys = []string{good, live, flux}
	for _, key := range refused {
		keys = append(keys, key)
	}
	mux.HandleFunc("POST /revoke/flux", func(http.ResponseWriter, *http.Request) { g.run("key", "revoke", fluxID) })
	return g, map[string]any{
		"base": g.base, "secure": g.secure, "audio": g.audio, "control": g.control(liveID, mux),
		"keys": map[string]any{"good": good, "live": live, "flux": flux, "refused": refused},
	}, keys
}

// TestSDK_Deepgram_Node runs the vendor's library for Node.js.
func TestSDK_Deepgram_Node(t *testing.T) {
	t.Parallel()
	for name, node := range nodes(t, "deepgram", 18) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, settings, keys := deepgramSettings(t, http.NewServeMux())
			seen := g.runSDK(t, exec.Command(node, filepath.Join("sdk", "deepgram", "deepgram.mjs")), settings)
			wantDeepgram(t, seen, "DeepgramError")
			if got := seen["callback"]; len(got.Text) != 36 {
				t.Errorf("callback: %+v", got)
			}
			if got := seen["models"]; got.Text != "sandbox" {
				t.Errorf("models: %+v", got)
			}
			if got := seen["projects"]; got.Error != "DeepgramError" || got.Status != 404 || got.Code != "NOT_FOUND" {
				t.Errorf("projects: %+v", got)
			}
			if got := seen["token"]; got.Text != deepgramHeard || !slices.Equal(got.Messages, []string{"60"}) {
				t.Errorf("token: %+v", got)
			}
			if got := seen["a token for another token"]; got.Error != "DeepgramError" || got.Status < 400 {
				t.Errorf("a token for another token: %+v", got)
			}
			if got := seen["a large upload with an unknown key, over TLS"]; got.Error != "DeepgramError" || got.Status != 401 || got.Code != "INVALID_AUTH" {
				t.Errorf("a large upload: %+v", got)
			}
			for name, want := range deepgramRefusals {
				if got := seen[name]; got.Code != want.code {
					t.Errorf("%s: %+v", name, got)
				}
				for _, live := range []string{"live, ", "live, Flux, "} {
					if got := seen[live+name]; got.Error != "Error" || got.Message != fmt.Sprintf("Unexpected server response: %d", want.status) {
						t.Errorf("%s%s: %+v", live, name, got)
					}
				}
			}
			wantDeepgramStreams(t, seen, "live", "live over TLS", "live with a token", "live, Flux")
			for _, path := range []string{"/v1/listen", "/v2/listen"} {
				g.wantStreams(1, path, "doomed")
				g.wantStreams(len(deepgramRefusals), path, "refused")
			}
			g.wantKept(keys...)
		})
	}
}

// TestSDK_Deepgram_Go runs the vendor's library for Go. It tells no code of a refusal, and no status
// of a handshake. It connects three times, and again at the first write after a stream has ended.
func TestSDK_Deepgram_Go(t *testing.T) {
	t.Parallel()
	binary := goSDK(t, "deepgram")
	g, settings, keys := deepgramSettings(t, http.NewServeMux())
	seen := g.runSDK(t, exec.Command(binary), settings)
	wantDeepgram(t, seen, "*interfacesv1.StatusError")
	for name := range deepgramRefusals {
		if got := seen["live, "+name]; got.Message != "the library has not connected" {
			t.Errorf("live, %s: %+v", name, got)
		}
	}
	if got := seen["live, revoked in mid-stream"]; got.Message != "connection is not valid" {
		t.Errorf("revoked in mid-stream: %+v", got)
	}
	g.wantStreams(3*len(deepgramRefusals), "/v1/listen", "refused")
	g.wantStreams(1+3, "/v1/listen", "doomed")
	g.wantKept(keys...)
}

// TestSDK_Deepgram_Browser runs the vendor's library in a page of another origin. The page has the
// key of a stream in a subprotocol.
func TestSDK_Deepgram_Browser(t *testing.T) {
	t.Parallel()
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	library := sdkInstalled(t, "deepgram", "@deepgram/sdk/dist/browser")
	page, err := os.ReadFile("testdata/browser/deepgram.html")
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan []byte, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.Handle("GET /deepgram/", http.StripPrefix("/deepgram/", http.FileServer(http.Dir(library))))
	mux.HandleFunc("GET /speech.wav", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(sandbox.SpeechWAV()) })
	mux.HandleFunc("POST /results", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		results <- body
	})
	g, settings, keys := deepgramSettings(t, mux)
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	body := browse(t, browser, settings["control"].(string)+"/#"+url.PathEscape(string(text)), results)
	var seen map[string]sdkResult
	if err := json.Unmarshal(body, &seen); err != nil {
		t.Fatalf("%v: the page reports %s", err, body)
	}
	if got := seen["recording"]; got.Text != deepgramHeard {
		t.Errorf("recording: %+v", got)
	}
	for name, want := range deepgramRefusals {
		if got := seen[name]; got.Status != want.status || got.Code != want.code {
			t.Errorf("%s: %+v", name, got)
		}
		if got := seen["live, "+name]; got.Message != "not opened" || got.Error == "" {
			t.Errorf("live, %s: %+v", name, got)
		}
	}
	wantDeepgramStreams(t, seen, "live", "live, Flux", "live with a token")
	for step, want := range map[string]string{"live": "token", "live, Flux": "token", "live, revoked in mid-stream": "token", "live with a token": "bearer"} {
		if got := seen[step]; got.Text != want {
			t.Errorf("%s: the subprotocol is %q, want %q", step, got.Text, want)
		}
	}
	for _, path := range []string{"/v1/listen", "/v2/listen"} {
		g.wantStreams(1, path, "doomed")
	}
	g.wantStreams(len(deepgramRefusals), "/v1/listen", "refused")
	if !g.logged(http.MethodOptions, "/v1/listen") {
		t.Error("the browser did not ask leave for the recording: the test tests nothing")
	}
	g.wantKept(keys...)
}

// wantDeepgram checks the steps that the programs in both languages have. A request with a bad key
// ends in an error of this type.
func wantDeepgram(t *testing.T, seen map[string]sdkResult, refused string) {
	t.Helper()
	for _, step := range []string{"recording", "recording in memory", "recording over TLS", "URL"} {
		if got := seen[step]; got.Text != deepgramHeard {
			t.Errorf("%s: %+v", step, got)
		}
	}
	if got := seen["models"]; !slices.Equal(got.Messages, []string{"sandbox"}) {
		t.Errorf("models: %+v", got)
	}
	for name, want := range deepgramRefusals {
		if got := seen[name]; got.Error != refused || got.Status != want.status {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := seen["live"]; !slices.Equal(got.Messages, deepgramSpeech) || got.Text != "5.818625" {
		t.Errorf("live: %+v", got)
	}
	if got := seen["live, revoked in mid-stream"]; got.Code != "INVALID_AUTH" || got.Cut < 1 || got.Cut > 1000 {
		t.Errorf("revoked in mid-stream: %+v", got)
	}
}

// wantDeepgramStreams checks the streams of the library for JavaScript: these of a good key, and
// those whose keys are revoked.
func wantDeepgramStreams(t *testing.T, seen map[string]sdkResult, good ...string) {
	t.Helper()
	for _, step := range good {
		if got := seen[step]; !slices.Equal(got.Messages, deepgramSpeech) || got.Error != "" || got.Closed != 1000 {
			t.Errorf("%s: %+v", step, got)
		}
	}
	for _, step := range []string{"live, revoked in mid-stream", "live, Flux, revoked in mid-stream"} {
		if got := seen[step]; got.Code != "INVALID_AUTH" || got.Cut < 1 || got.Cut > 1000 || got.Closed != 1000 {
			t.Errorf("%s: %+v", step, got)
		}
	}
}

// wantStreams checks how many handshakes for a path have a tag in the query.
func (g *sdkGateway) wantStreams(want int, path, tag string) {
	g.t.Helper()
	n := 0
	for line := range strings.Lines(g.output.String()) {
		if strings.Contains(line, "http.log.access") && strings.Contains(line, `"uri":"`+path+"?") && strings.Contains(line, "tag="+tag) {
			n++
		}
	}
	if n != want {
		g.t.Errorf("the gateway has had %d handshakes for %s with the tag %s, want %d", n, path, tag, want)
	}
}
