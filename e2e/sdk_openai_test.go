package e2e_test

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/sandbox"
)

// openAICodes are the codes of the vendor's error for bad keys.
var openAICodes = map[string]string{
	"an unknown key": "invalid_api_key", "an expired key": "invalid_api_key", "a revoked key": "invalid_api_key",
	"a key for another address": "ip_not_authorized",
}

// overTLS is what each version of Node.js speaks over TLS.
var overTLS = map[string]string{machineNode: "HTTP/1.1", newestNode: "HTTP/2.0"}

// newOpenAIGateway starts a gateway in front of a sandbox that speaks OpenAI's API.
func newOpenAIGateway(t *testing.T) *sdkGateway {
	t.Helper()
	return newSDKGateway(t, "openai.caddyfile", "api.openai.com", "/v1/models", "OPENAI_API_KEY", sandbox.NewOpenAI(sandbox.Config{Key: upstreamKey}))
}

// TestSDK_OpenAI_Node runs the vendor's library for Node.js. The package asks for Node.js 22, but
// the program's steps work with Node.js 20 too.
func TestSDK_OpenAI_Node(t *testing.T) { //nolint:tparallel // one run of Node.js at a time is enough for a machine
	t.Parallel()
	for name, node := range nodes(t, "openai", 20) {
		t.Run(name, func(t *testing.T) {
			g := newOpenAIGateway(t)
			settings, keys := g.settings(http.NewServeMux(), "doomed")
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
			if got := seen["verbose"]; got.Text != speechHeard || !slices.Equal(got.Messages, speechParts) {
				t.Errorf("verbose: %+v", got)
			}
			if got := seen["a model that does not exist"]; got.Error != "NotFoundError" || got.Code != "model_not_found" {
				t.Errorf("a model that does not exist: %+v", got)
			}
			if got := seen["a large upload with an unknown key, over TLS"]; got.Error != "AuthenticationError" || got.Status != 401 || got.Code != "invalid_api_key" {
				t.Errorf("a large upload: %+v", got)
			}
			g.wantDials(1, "/v1/audio/transcriptions?large=", "")
			g.wantDials(1, "/v1/audio/transcriptions?large=", `"proto":"`+overTLS[name]+`"`)
			if got := seen["realtime, revoked in mid-stream"]; got.Dials != 0 || got.Closed != 1008 {
				t.Errorf("revoked in mid-stream: %+v", got)
			}
			g.wantDials(1, "/v1/realtime?model=", "")
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
	g := newOpenAIGateway(t)
	settings, keys := g.settings(http.NewServeMux(), "doomed")
	wantOpenAI(t, g.runSDK(t, exec.Command(binary), settings), "*apierror.Error", "")
	g.wantKept(keys...)
}

// TestSDK_OpenAI_Browser runs the vendor's library in a page of another origin. The page has the
// key of a session in a subprotocol.
func TestSDK_OpenAI_Browser(t *testing.T) {
	t.Parallel()
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	library := sdkInstalled(t, "openai", "openai")
	mux := http.NewServeMux()
	mux.Handle("GET /openai/", http.StripPrefix("/openai/", http.FileServer(http.Dir(library))))
	results := servePage(t, mux, "openai.html")
	g := newOpenAIGateway(t)
	settings, keys := g.settings(mux, "doomed")
	issued := settings["keys"].(map[string]any)
	issued["secret"], issued["doomedSecret"] = g.clientSecret(issued["good"].(string)), g.clientSecret(issued["doomed"].(string))
	// The browser has no option for one more authority.
	seen := g.runPage(t, browser, settings, results, "--ignore-certificate-errors")
	if got := seen["transcription"]; got.Text != speechHeard {
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
		if got := seen[step]; got.Text != speechHeard {
			t.Errorf("%s: %+v", step, got)
		}
	}
	if got := seen["stream"]; got.Text != speechHeard || strings.Join(got.Messages, "") != speechHeard || len(got.Messages) < 2 {
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
