package e2e_test

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
)

const assemblyDenied = "Authentication error, API token missing/invalid"

// assemblyRefusals are the status and the vendor's message for bad keys.
var assemblyRefusals = map[string]struct {
	status  int
	message string
}{
	"an unknown key": {401, assemblyDenied}, "an expired key": {401, assemblyDenied}, "a revoked key": {401, assemblyDenied},
	"a key for another address": {403, "Forbidden"},
}

// assemblyUnknown is the vendor's message for a transcript that does not exist.
const assemblyUnknown = "Transcript lookup error, transcript id not found"

// assemblyGateway is a gateway in front of a sandbox that speaks AssemblyAI's API.
type assemblyGateway struct {
	*sdkGateway
	clock *stoppableClock
}

func newAssemblyGateway(t *testing.T) *assemblyGateway {
	t.Helper()
	clock := new(stoppableClock)
	backend := sandbox.NewAssemblyAI(sandbox.Config{Key: upstreamKey, QueueTime: -1, WorkTime: time.Millisecond, Now: clock.now})
	return &assemblyGateway{newSDKGateway(t, "assemblyai.caddyfile", "assemblyai.com", "/v2/transcript", "ASSEMBLYAI_API_KEY", backend), clock}
}

// settings returns the settings of a program. They have a key of another account too. POST /brief on
// the control server issues a key for five seconds, and stops the sandbox's clock. POST /expired/KEY
// returns when the key has expired and has read its transcript, and starts the clock.
func (g *assemblyGateway) settings(mux *http.ServeMux, doomed ...string) (settings map[string]any, keys []string) {
	other := g.account()
	_, foreign := g.key(other)
	mux.HandleFunc("POST /brief", func(w http.ResponseWriter, _ *http.Request) {
		_, key := g.key(other, "--expires", "5s")
		g.clock.stop()
		_ = json.NewEncoder(w).Encode(map[string]string{"key": key})
	})
	mux.HandleFunc("POST /expired/{key}", func(w http.ResponseWriter, r *http.Request) {
		g.eventually("the key has expired", func() bool {
			status, _ := g.do(http.MethodGet, "/v2/transcript", nil, "Authorization", r.PathValue("key"))
			return status == http.StatusUnauthorized
		})
		before := g.polls()
		for begun := time.Now(); g.polls() == before && time.Since(begun) < 30*time.Second; { // the library for Go polls rarely
			time.Sleep(20 * time.Millisecond)
		}
		g.clock.start()
		_ = json.NewEncoder(w).Encode(map[string]int{"polls": g.polls() - before})
	})
	settings, keys = g.sdkGateway.settings(mux, doomed...)
	settings["keys"].(map[string]any)["other"] = foreign
	return settings, append(keys, foreign)
}

// polls returns how many polls of transcripts the gateway has let through.
func (g *assemblyGateway) polls() (n int) {
	for line := range strings.Lines(g.output.String()) {
		if strings.Contains(line, `"uri":"/v2/transcript/`) && strings.Contains(line, `"status":200`) {
			n++
		}
	}
	return n
}

// stoppableClock is the clock of a sandbox.
type stoppableClock struct {
	mu      sync.Mutex
	stopped time.Time // zero if the clock runs
}

func (c *stoppableClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped.IsZero() {
		return time.Now()
	}
	return c.stopped
}

func (c *stoppableClock) set(stopped time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = stopped
}

func (c *stoppableClock) stop()  { c.set(time.Now()) }
func (c *stoppableClock) start() { c.set(time.Time{}) }

// TestSDK_AssemblyAI_Node runs the vendor's library for Node.js. Its errors for transcripts have a
// message, and no status.
func TestSDK_AssemblyAI_Node(t *testing.T) {
	t.Parallel()
	for name, node := range nodes(t, "assemblyai", 18) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newAssemblyGateway(t)
			settings, keys := g.settings(http.NewServeMux(), "live", "token", "gone")
			seen := g.runSDK(t, exec.Command(node, filepath.Join("sdk", "assemblyai", "assemblyai.mjs")), settings)
			wantAssembly(t, g, seen, "Error")
			times := []string{"speech-1@260", "speech-2@1500", "speech-3@3650"}
			for _, step := range []string{"short", "short, over TLS"} {
				if got := seen[step]; got.Text != speechHeard || !slices.Equal(got.Messages, times) {
					t.Errorf("%s: %+v", step, got)
				}
			}
			if got := seen["short, raw and live"]; got.Text != speechHeard || len(got.Messages) != 3 {
				t.Errorf("short, raw and live: %+v", got)
			}
			if got := seen["short, no audio"]; got.Error != "SyncTranscriptError" || got.Status != 400 {
				t.Errorf("short, no audio: %+v", got)
			}
			if got := seen["connection test"]; got.Text != "true" {
				t.Errorf("connection test: %+v", got)
			}
			if got := seen["a large upload with an unknown key, over TLS"]; got.Error != "Error" || got.Message != assemblyDenied {
				t.Errorf("a large upload: %+v", got)
			}
			for _, step := range []string{"a token for another token", "a token for a list"} {
				if got := seen[step]; got.Error != "Error" || got.Message != assemblyDenied {
					t.Errorf("%s: %+v", step, got)
				}
			}
			for name, want := range assemblyRefusals {
				if got := seen["short, "+name]; got.Error != "SyncTranscriptError" || got.Status != want.status || got.Message != want.message {
					t.Errorf("short, %s: %+v", name, got)
				}
				if got := seen["token, "+name]; got.Error != "Error" || got.Message != want.message {
					t.Errorf("token, %s: %+v", name, got)
				}
				wantNoAssemblyStream(t, seen, "live, "+name)
			}
			wantNoAssemblyStream(t, seen, "live, a token whose key is revoked")
			// The refusal is the vendor's, after which the library connects again.
			if got := seen["live with a token that was used"]; got.Error != "StreamingError" || got.Code != "1008" {
				t.Errorf("a token that was used: %+v", got)
			}
			wantAssemblyStreams(t, seen, "live", "live with a token")
			wantAssemblyCuts(t, seen, "live, revoked in mid-stream", "live with a token, revoked in mid-stream")
			g.wantDials(3, "/v3/ws?", "prompt=used")
			g.wantDials(2, "/v3/ws?", "prompt=doomed")
			g.wantDials(len(assemblyRefusals)+1, "/v3/ws?", "prompt=refused")
			g.wantKept(keys...)
		})
	}
}

// TestSDK_AssemblyAI_Go runs the vendor's library for Go. Its live streams are those of the API before
// version 3, which the gate does not let through.
func TestSDK_AssemblyAI_Go(t *testing.T) {
	t.Parallel()
	binary := goSDK(t, "assemblyai")
	g := newAssemblyGateway(t)
	settings, keys := g.settings(http.NewServeMux())
	seen := g.runSDK(t, exec.Command(binary), settings)
	wantAssembly(t, g, seen, "assemblyai.APIError")
	for name, want := range assemblyRefusals {
		for _, step := range []string{name, "poll, " + name} {
			if got := seen[step]; got.Status != want.status {
				t.Errorf("%s: %+v", step, got)
			}
		}
	}
	g.wantKept(keys...)
}

// TestSDK_AssemblyAI_Browser runs the vendor's library in a page of another origin. The page has a
// token for a stream.
func TestSDK_AssemblyAI_Browser(t *testing.T) {
	t.Parallel()
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	library := sdkInstalled(t, "assemblyai", "assemblyai/dist")
	mux := http.NewServeMux()
	mux.Handle("GET /assemblyai/", http.StripPrefix("/assemblyai/", http.FileServer(http.Dir(library))))
	results := servePage(t, mux, "assemblyai.html")
	g := newAssemblyGateway(t)
	settings, keys := g.settings(mux, "live")
	issued := settings["keys"].(map[string]any)
	status, minted := g.do(http.MethodGet, "/v3/token?expires_in_seconds=60", nil, "Authorization", issued["good"].(string))
	if status != http.StatusOK {
		t.Fatalf("the token: status %d, %v", status, minted)
	}
	issued["minted"] = minted["token"]
	// The browser has no option for one more authority.
	seen := g.runPage(t, browser, settings, results, "--ignore-certificate-errors")
	if got := seen["transcript"]; got.Text != speechHeard || got.Code != "completed" {
		t.Errorf("transcript: %+v", got)
	}
	if got := seen["list"]; len(got.Messages) != 1 || !strings.HasPrefix(got.Messages[0], g.base+"/v2/transcript/") {
		t.Errorf("list: %+v", got)
	}
	if got := seen["short"]; got.Text != speechHeard {
		t.Errorf("short: %+v", got)
	}
	for name, want := range assemblyRefusals {
		for _, step := range []string{name, "token, " + name} {
			if got := seen[step]; got.Error != "Error" || got.Message != want.message {
				t.Errorf("%s: %+v", step, got)
			}
		}
		if got := seen["short, "+name]; got.Error != "SyncTranscriptError" || got.Status != want.status {
			t.Errorf("short, %s: %+v", name, got)
		}
		wantNoAssemblyStream(t, seen, "live, a key in the place of a token, "+name)
	}
	wantAssemblyStreams(t, seen, "live with a token", "live with a token of the page's server")
	wantAssemblyCuts(t, seen, "live with a token, revoked in mid-stream")
	g.wantDials(1, "/v3/ws?", "prompt=doomed")
	g.wantDials(len(assemblyRefusals), "/v3/ws?", "prompt=refused")
	if !g.logged(http.MethodOptions, "/v2/upload") {
		t.Error("the browser did not ask leave for the upload: the test tests nothing")
	}
	g.kept(minted["token"].(string))
	g.wantKept(keys...)
}

// wantAssembly checks the steps that the programs in both languages have. A request with a bad key
// ends in an error of this type.
func wantAssembly(t *testing.T, g *assemblyGateway, seen map[string]sdkResult, refused string) {
	t.Helper()
	words := []string{"speech-1", "speech-2", "speech-3"}
	for _, step := range []string{"transcript", "transcript of bytes, over TLS", "transcript of a stream", "URL", "a key that expires during the job"} {
		if got := seen[step]; got.Text != speechHeard || got.Error != "" || !slices.Equal(got.Messages, words) {
			t.Errorf("%s: %+v", step, got)
		}
	}
	if got := seen["a key that expires during the job"]; got.Dials < 1 || got.Code != assemblyDenied {
		t.Errorf("a key that expires during the job: %+v", got)
	}
	if got := seen["transcript of no audio"]; got.Code != "error" || !strings.Contains(got.Message, "does not appear to contain audio") {
		t.Errorf("transcript of no audio: %+v", got)
	}
	for step, want := range map[string][]string{
		"sentences":              speechParts,
		"paragraphs":             {strings.Join(speechParts, " ")},
		"word search":            {"speech-2@1"},
		"another account's list": nil,
	} {
		if got := seen[step]; !slices.Equal(got.Messages, want) || got.Error != "" {
			t.Errorf("%s: %+v", step, got)
		}
	}
	if got := seen["subtitles"].Messages; len(got) != 2 || !strings.HasPrefix(got[0], "1\n00:00:00,260 -->") || !strings.HasPrefix(got[1], "WEBVTT\n\n00:00:00.260 -->") {
		t.Errorf("subtitles: %q", got)
	}
	list := seen["list"].Messages
	if len(list) != 5 || slices.ContainsFunc(list, func(entry string) bool { return !strings.Contains(entry, " "+g.base+"/v2/transcript/") }) {
		t.Errorf("list: %q", list)
	}
	for _, step := range []string{"another account's transcript", "another account's deletion", "an unknown transcript"} {
		if got := seen[step]; got.Error != refused || got.Message != assemblyUnknown {
			t.Errorf("%s: %+v", step, got)
		}
	}
	if got := seen["redacted audio"]; got.Error != refused || !strings.Contains(got.Message, "not requested") {
		t.Errorf("redacted audio: %+v", got)
	}
	if got := seen["deletion"]; got.Text != "Deleted by user." {
		t.Errorf("deletion: %+v", got)
	}
	for name, want := range assemblyRefusals {
		for _, step := range []string{name, "poll, " + name} {
			if got := seen[step]; got.Error != refused || got.Message != want.message {
				t.Errorf("%s: %+v", step, got)
			}
		}
	}
}

// wantNoAssemblyStream checks a step whose stream is refused.
func wantNoAssemblyStream(t *testing.T, seen map[string]sdkResult, step string) {
	t.Helper()
	if got := seen[step]; got.Error != "StreamingError" || got.Code != "4001" || !strings.HasPrefix(got.Message, "Unauthorized Connection") {
		t.Errorf("%s: %+v", step, got)
	}
}

// wantAssemblyStreams checks the streams of the library for JavaScript to their end. It waits for the
// message Termination for five seconds.
func wantAssemblyStreams(t *testing.T, seen map[string]sdkResult, good ...string) {
	t.Helper()
	for _, step := range good {
		if got := seen[step]; !slices.Equal(got.Messages, speechParts) || got.Error != "" || got.Took >= 5000 {
			t.Errorf("%s: %+v", step, got)
		}
	}
}

// wantAssemblyCuts checks the streams whose keys are revoked.
func wantAssemblyCuts(t *testing.T, seen map[string]sdkResult, steps ...string) {
	t.Helper()
	for _, step := range steps {
		if got := seen[step]; got.Error != "StreamingError" || got.Code != "4001" || got.Cut < 1 || got.Cut > 1000 || got.Closed != 4001 {
			t.Errorf("%s: %+v", step, got)
		}
	}
}
