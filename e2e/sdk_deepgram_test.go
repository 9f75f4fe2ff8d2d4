package e2e_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/speechgate/speechgate/internal/sandbox"
)

// deepgramRefusals are the status and the vendor's code for bad keys.
var deepgramRefusals = map[string]struct {
	status int
	code   string
}{
	"an unknown key": {401, "INVALID_AUTH"}, "an expired key": {401, "INVALID_AUTH"}, "a revoked key": {401, "INVALID_AUTH"},
	"a key for another address": {403, "INSUFFICIENT_PERMISSIONS"},
}

// newDeepgramGateway starts a gateway in front of a sandbox that speaks Deepgram's API.
func newDeepgramGateway(t *testing.T) *sdkGateway {
	t.Helper()
	return newSDKGateway(t, "deepgram.caddyfile", "api.deepgram.com", "/v1/models", "DEEPGRAM_API_KEY", sandbox.NewDeepgram(sandbox.Config{Key: upstreamKey}))
}

// TestSDK_Deepgram_Node runs the vendor's library for Node.js.
func TestSDK_Deepgram_Node(t *testing.T) {
	t.Parallel()
	for name, node := range nodes(t, "deepgram", 18) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newDeepgramGateway(t)
			settings, keys := g.settings(http.NewServeMux(), "live", "flux")
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
			if got := seen["token"]; got.Text != speechHeard || !slices.Equal(got.Messages, []string{"60"}) {
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
				g.wantDials(1, path+"?", "tag=doomed")
				g.wantDials(len(deepgramRefusals), path+"?", "tag=refused")
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
	g := newDeepgramGateway(t)
	settings, keys := g.settings(http.NewServeMux(), "live", "flux")
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
	g.wantDials(3*len(deepgramRefusals), "/v1/listen?", "tag=refused")
	g.wantDials(1+3, "/v1/listen?", "tag=doomed")
	g.wantKept(keys...)
}

// TestSDK_Deepgram_Browser runs the vendor's library in a page of another origin. The page has the
// key of a stream in a subprotocol.
func TestSDK_Deepgram_Browser(t *testing.T) {
	t.Parallel()
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	library := sdkInstalled(t, "deepgram", "@deepgram/sdk/dist/browser")
	mux := http.NewServeMux()
	mux.Handle("GET /deepgram/", http.StripPrefix("/deepgram/", http.FileServer(http.Dir(library))))
	results := servePage(t, mux, "deepgram.html")
	g := newDeepgramGateway(t)
	settings, keys := g.settings(mux, "live", "flux")
	seen := g.runPage(t, browser, settings, results)
	if got := seen["recording"]; got.Text != speechHeard {
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
		g.wantDials(1, path+"?", "tag=doomed")
	}
	g.wantDials(len(deepgramRefusals), "/v1/listen?", "tag=refused")
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
		if got := seen[step]; got.Text != speechHeard {
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
	if got := seen["live"]; !slices.Equal(got.Messages, speechParts) || got.Text != "5.818625" {
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
		if got := seen[step]; !slices.Equal(got.Messages, speechParts) || got.Error != "" || got.Closed != 1000 {
			t.Errorf("%s: %+v", step, got)
		}
	}
	for _, step := range []string{"live, revoked in mid-stream", "live, Flux, revoked in mid-stream"} {
		if got := seen[step]; got.Code != "INVALID_AUTH" || got.Cut < 1 || got.Cut > 1000 || got.Closed != 1000 {
			t.Errorf("%s: %+v", step, got)
		}
	}
}
