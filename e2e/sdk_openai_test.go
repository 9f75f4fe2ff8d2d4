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

// openAIHeard is what the sandbox hears in the recording.
const openAIHeard = "5.82 s of 16000 Hz mono, 16 bits, 3 stretches of speech: 0.26-1.07 s, 1.50-3.22 s, 3.65-5.15 s; peak -5.9 dBFS, RMS -25.7 dBFS"

// openAICodes are the codes of the vendor's error for bad keys.
var openAICodes = map[string]string{
	"an unknown key": "invalid_api_key", "an expired key": "invalid_api_key", "a revoked key": "invalid_api_key",
	"a key for another address": "ip_not_authorized",
}

// openAISettings starts a gateway, and returns the settings of a program that uses it. The mux is
// that of the server that revokes the key named doomed.
func openAISettings(t *testing.T, mux *http.ServeMux) (g *sdkGateway, settings map[string]any, keys []string) {
	t.Helper()
	g = newSDKGateway(t, "openai.caddyfile", "api.openai.com", "/v1/models", "OPENAI_API_KEY", sandbox.NewOpenAI(sandbox.Config{Key: upstreamKey}))
	account := g.account()
	_, good := g.key(account)
	doomedID, doomed := g.key(account)
	refused := g.refusedKeys(account)
	keys = []string{good, doomed}
	for _, key := range refused {
		keys = append(keys, key)
	}
	return g, map[string]any{
		"base": g.base, "secure": g.secure, "audio": g.audio, "control": g.control(doomedID, mux),
		"keys": map[string]any{"good": good, "doomed": doomed, "refused": refused},
	}, keys
}

// TestSDK_OpenAI_Node runs the vendor's library for Node.js. The package asks for Node.js 22, but
// the program's steps work with Node.js 20 too.
func TestSDK_OpenAI_Node(t *testing.T) { //nolint:tparallel // one run of Node.js at a time is enough for a machine
	t.Parallel()
	for name, node := range nodes(t, "openai", 20) {
		t.Run(name, func(t *testing.T) {
			g, settings, keys := openAISettings(t, http.NewServeMux())
			seen := g.runSDK(t, exec.Command(node, filepath.Join("sdk", "openai", "openai.mjs")), settings)
			wantOpenAI(t, seen, "AuthenticationError", "OpenAIRealtimeError")
			for _, step := range []string{"srt", "verbose", "a model that does not exist", "a large upload with an unknown key, over TLS"} {
				if _, ran := seen[step]; !ran {
					t.Errorf("there is no step %s", step)
				}
			}
			if got := seen["srt"]; !strings.Contains(got.Text, "2\n00:00:01,500 --> 00:00:03,220\nspeech 2 (1.72 s)\n") {
				t.Errorf("srt: %+v", got)
			}
			if got := seen["verbose"]; got.Text != openAIHeard || !slices.Equal(got.Messages, []string{"speech 1 (0.81 s)", "speech 2 (1.72 s)", "speech 3 (1.50 s)"}) {
				t.Errorf("verbose: %+v", got)
			}
			if got := seen["a model that does not exist"]; got.Error != "NotFoundError" || got.Code != "model_not_found" {
				t.Errorf("a model that does not exist: %+v", got)
			}
			if got := seen["a large upload with an unknown key, over TLS"]; got.Error != "AuthenticationError" || got.Status != 401 || got.Code != "invalid_api_key" {
				t.Errorf("a large upload: %+v", got)
			}
			if got := seen["realtime, revoked in mid-stream"]; got.Dials != 0 || got.Closed != 1008 {
				t.Errorf("revoked in mid-stream: %+v", got)
			}
			g.wantDials(1, "/v1/realtime?model=")
			secret := seen["a client secret"]
			if !strings.HasPrefix(secret.Text, "ek_") || secret.Error != "" || secret.Closed != 1000 || secret.Took < 50 || secret.Took > 60 {
				t.Errorf("a client secret: %+v", secret)
			}
			if got := seen["a client secret for a transcription"]; got.Error != "AuthenticationError" || got.Code != "invalid_api_key" {
				t.Errorf("a client secret for a transcription: %+v", got)
			}
			if got := seen["realtime, a client secret whose key is revoked"]; got.Error != "OpenAIRealtimeError" || got.Code != "invalid_api_key" {
				t.Errorf("a client secret whose key is revoked: %+v", got)
			}
			for name, code := range openAICodes {
				if got := seen["a client secret of "+name]; got.Error != "AuthenticationError" || got.Code != code {
					t.Errorf("a client secret of %s: %+v", name, got)
				}
			}
			g.kept(secret.Text)
			g.wantKept(keys...)
		})
	}
}

// TestSDK_OpenAI_Go runs the vendor's library for Go.
func TestSDK_OpenAI_Go(t *testing.T) {
	t.Parallel()
	binary := goSDK(t, "openai")
	g, settings, keys := openAISettings(t, http.NewServeMux())
	wantOpenAI(t, g.runSDK(t, exec.Command(binary), settings), "*apierror.Error", "")
	g.wantKept(keys...)
}

// TestSDK_OpenAI_Browser runs the vendor's library in a page of another origin. The page has the
// key of a session in a subprotocol.
func TestSDK_OpenAI_Browser(t *testing.T) {
	t.Parallel()
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	library := sdkInstalled(t, "openai", "openai")
	page, err := os.ReadFile("testdata/browser/openai.html")
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan []byte, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.Handle("GET /openai/", http.StripPrefix("/openai/", http.FileServer(http.Dir(library))))
	mux.HandleFunc("GET /speech.wav", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(sandbox.SpeechWAV()) })
	mux.HandleFunc("POST /results", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		results <- body
	})
	g, settings, keys := openAISettings(t, mux)
	issued := settings["keys"].(map[string]any)
	issued["secret"], issued["doomedSecret"] = g.clientSecret(issued["good"].(string)), g.clientSecret(issued["doomed"].(string))
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	// The browser has no option for one more authority.
	body := browse(t, browser, settings["control"].(string)+"/#"+url.PathEscape(string(text)), results, "--ignore-certificate-errors")
	var seen map[string]sdkResult
	if err := json.Unmarshal(body, &seen); err != nil {
		t.Fatalf("%v: the page reports %s", err, body)
	}
	if got := seen["transcription"]; got.Text != openAIHeard {
		t.Errorf("transcription: %+v", got)
	}
	wantOpenAISessions(t, seen, "AuthenticationError", "OpenAIRealtimeError")
	for _, step := range []string{"realtime", "realtime, an unknown key", "realtime, revoked in mid-stream"} {
		if got := seen[step]; got.Text != "realtime" {
			t.Errorf("%s: the subprotocol is %q", step, got.Text)
		}
	}
	if got := seen["a client secret"]; got.Text != "realtime" || got.Error != "" {
		t.Errorf("a client secret: %+v", got)
	}
	if got := seen["a client secret whose key is revoked"]; got.Error != "OpenAIRealtimeError" || got.Code != "invalid_api_key" {
		t.Errorf("a client secret whose key is revoked: %+v", got)
	}
	if !g.logged(http.MethodOptions, "/v1/audio/transcriptions") {
		t.Error("the browser did not ask leave for the transcription: the test tests nothing")
	}
	g.wantKept(keys...)
}

// wantOpenAI checks the steps that the programs in both languages have. A request with a bad key
// ends in an error of type refused, and a session in one of type ended.
func wantOpenAI(t *testing.T, seen map[string]sdkResult, refused, ended string) {
	t.Helper()
	for _, step := range []string{"transcription", "transcription over TLS", "translation"} {
		if got := seen[step]; got.Text != openAIHeard {
			t.Errorf("%s: %+v", step, got)
		}
	}
	if got := seen["stream"]; got.Text != openAIHeard || strings.Join(got.Messages, "") != openAIHeard || len(got.Messages) < 2 {
		t.Errorf("stream: %+v", got)
	}
	if got := seen["models"]; !slices.Contains(got.Messages, "whisper-1") {
		t.Errorf("models: %+v", got)
	}
	wantOpenAISessions(t, seen, refused, ended)
}

// wantOpenAISessions checks the steps with bad keys, and those of sessions.
func wantOpenAISessions(t *testing.T, seen map[string]sdkResult, refused, ended string) {
	t.Helper()
	for name, code := range openAICodes {
		if got := seen[name]; got.Error != refused || got.Status != 401 || got.Code != code {
			t.Errorf("%s: %+v", name, got)
		}
		if got := seen["realtime, "+name]; ended != "" && got.Error != ended || got.Code != code || len(got.Messages) > 0 {
			t.Errorf("realtime, %s: %+v", name, got)
		}
	}
	// The sandbox takes the samples for those of 24 kHz.
	want := []string{
		"speech 1 (0.55 s): 0.17-0.72 s of 24000 Hz mono, 16 bits", "speech 2 (1.15 s): 1.00-2.15 s of 24000 Hz mono, 16 bits",
		"speech 3 (0.99 s): 2.45-3.44 s of 24000 Hz mono, 16 bits",
	}
	if got := seen["realtime"]; !slices.Equal(got.Messages, want) || got.Error != "" {
		t.Errorf("realtime: %+v", got)
	}
	if got := seen["realtime, revoked in mid-stream"]; got.Code != "invalid_api_key" || got.Error == "" || got.Cut < 1 || got.Cut > 1000 {
		t.Errorf("revoked in mid-stream: %+v", got)
	}
}

// clientSecret has a client secret minted with a key.
func (g *sdkGateway) clientSecret(key string) string {
	g.t.Helper()
	status, made := g.do(http.MethodPost, "/v1/realtime/client_secrets", strings.NewReader("{}"), "Authorization", "Bearer "+key, "Content-Type", "application/json")
	secret, _ := made["value"].(string)
	if status != http.StatusOK || secret == "" {
		g.t.Fatalf("status %d, %v", status, made)
	}
	return secret
}

// wantDials checks how many handshakes with a URI of this prefix the access log has.
func (g *sdkGateway) wantDials(want int, uri string) {
	g.t.Helper()
	n := 0
	for line := range strings.Lines(g.output.String()) {
		if strings.Contains(line, "http.log.access") && strings.Contains(line, fmt.Sprintf(`"uri":"%s`, uri)) {
			n++
		}
	}
	if n != want {
		g.t.Errorf("the gateway has had %d handshakes for %s, want %d", n, uri, want)
	}
}
