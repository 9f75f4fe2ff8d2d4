package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/wstest"
)

// speechmaticsRefusals are the status, the vendor's word, and the word of the library for temporary
// keys, for bad keys. That library has an error of its own for 403 only.
var speechmaticsRefusals = map[string]struct {
	status     int
	word, mint string
}{
	"an unknown key": {401, "Permission Denied", "UnknownError"}, "a revoked key": {401, "Permission Denied", "UnknownError"},
	"an expired key": {403, "Forbidden", "Unauthorized"}, "a key for another address": {403, "Forbidden", "Unauthorized"},
}

// speechmaticsSettings starts a gateway in front of a sandbox that speaks Speechmatics' API, and returns
// the settings of a program that uses the gateway. A job takes so long that the vendor's library, which
// polls every three seconds, polls it twice. The program gets a key of another account too, and from
// POST /expiring a key of that account that expires before the job ends.
func speechmaticsSettings(t *testing.T, mux *http.ServeMux) (g *sdkGateway, settings map[string]any, keys []string) {
	t.Helper()
	g = newSDKGateway(t, "speechmatics.caddyfile", "speechmatics.com", "/v2/jobs", "SPEECHMATICS_API_KEY",
		sandbox.NewSpeechmatics(sandbox.Config{Key: upstreamKey, QueueTime: -1, WorkTime: 6 * time.Second}))
	other := g.account()
	_, foreign := g.key(other)
	mux.HandleFunc("POST /expiring", func(w http.ResponseWriter, _ *http.Request) {
		_, key := g.key(other, "--expires", "5s")
		_ = json.NewEncoder(w).Encode(map[string]string{"key": key})
	})
	settings, keys = g.settings(mux, "live", "minted")
	settings["keys"].(map[string]any)["other"] = foreign
	return g, settings, append(keys, foreign)
}

// TestSDK_Speechmatics_Node runs the vendor's libraries for Node.js.
func TestSDK_Speechmatics_Node(t *testing.T) {
	t.Parallel()
	for name, node := range nodes(t, "speechmatics", 18) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, settings, keys := speechmaticsSettings(t, http.NewServeMux())
			seen := g.runSDK(t, exec.Command(node, filepath.Join("sdk", "speechmatics", "speechmatics.mjs")), settings)
			for _, step := range []string{"job as text", "job over TLS", "URL", "a temporary key", "a key that expires while the job runs"} {
				if got := seen[step]; got.Text != speechHeard {
					t.Errorf("%s: %+v", step, got)
				}
			}
			if got := seen["job"]; !slices.Equal(got.Messages, speechParts) || got.Text != "A; B" {
				t.Errorf("job: %+v", got)
			}
			if got := seen["subtitles"]; !strings.HasPrefix(got.Text, "1\n00:00:00,260 --> 00:00:01,070\nspeech 1 (0.81 s)\n") {
				t.Errorf("subtitles: %+v", got)
			}
			if got := seen["a key that expires while the job runs"]; got.Error != "SpeechmaticsResponseError" || got.Status != 403 || got.Code != "Forbidden" {
				t.Errorf("a new job with a key that has expired: %+v", got)
			}
			if got := seen["no speech"]; !slices.Equal(got.Messages, []string{"Job rejected due to invalid audio"}) {
				t.Errorf("no speech: %+v", got)
			}
			if got := seen["list"]; got.Text != "true" || !slices.Equal(got.Messages, []string{"8"}) {
				t.Errorf("list: %+v", got)
			}
			if got := seen["list of the other account"]; got.Text != "true" || !slices.Equal(got.Messages, []string{"2"}) {
				t.Errorf("list of the other account: %+v", got)
			}
			if got := seen["delete"]; got.Text != "deleted" {
				t.Errorf("delete: %+v", got)
			}
			for _, step := range []string{"read another account's job", "read another account's result", "delete another account's job", "read a deleted job"} {
				if got := seen[step]; got.Error != "SpeechmaticsResponseError" || got.Status != 404 || got.Code != "Job not found" {
					t.Errorf("%s: %+v", step, got)
				}
			}
			if got := seen["features"]; got.Error != "SpeechmaticsResponseError" || got.Status != 404 || got.Code != "Not Implemented" {
				t.Errorf("features: %+v", got)
			}
			wantSpeechmaticsRefusals(t, seen)
			if got := seen["a temporary key for another temporary key"]; got.Error != "SpeechmaticsJWTError" || got.Message != "Got response with status 401" {
				t.Errorf("a temporary key for another temporary key: %+v", got)
			}
			if got := seen["a large upload with an unknown key, over TLS"]; got.Error != "SpeechmaticsResponseError" || got.Status != 401 {
				t.Errorf("a large upload: %+v", got)
			}
			for name, want := range speechmaticsRefusals {
				if got := seen["live, "+name]; got.Error != "ErrorEvent" || got.Message != fmt.Sprintf("Unexpected server response: %d", want.status) || got.Took > 5000 {
					t.Errorf("live, %s: %+v", name, got)
				}
			}
			wantSpeechmaticsStreams(t, seen, "live", "live over TLS", "live with a temporary key")
			g.wantDials(1, "/v2?", "sm-app=doomed-live")
			g.wantDials(1, "/v2?", "sm-app=doomed-minted")
			g.wantDials(len(speechmaticsRefusals), "/v2?", "sm-app=refused")
			g.wantKept(keys...)
		})
	}
}

// wantSpeechmaticsRefusals checks the requests with bad keys.
func wantSpeechmaticsRefusals(t *testing.T, seen map[string]sdkResult) {
	t.Helper()
	for name, want := range speechmaticsRefusals {
		for _, step := range []string{name, "poll, " + name} {
			if got := seen[step]; got.Error != "SpeechmaticsResponseError" || got.Status != want.status || got.Code != want.word {
				t.Errorf("%s: %+v", step, got)
			}
		}
		if got := seen["mint, "+name]; got.Error != "SpeechmaticsJWTError" || got.Code != want.mint {
			t.Errorf("mint, %s: %+v", name, got)
		}
	}
}

// wantSpeechmaticsStreams checks the sessions: these of a good key, and those whose keys are revoked.
// The library tells that it has no connection any more when the program goes on sending.
func wantSpeechmaticsStreams(t *testing.T, seen map[string]sdkResult, good ...string) {
	t.Helper()
	for _, step := range good {
		if got := seen[step]; !slices.Equal(got.Messages, speechParts) || got.Error != "" || got.Text != "stopped" {
			t.Errorf("%s: %+v", step, got)
		}
	}
	for _, step := range []string{"live, revoked in mid-stream", "live with a temporary key, revoked in mid-stream"} {
		if got := seen[step]; got.Code != "not_authorised" || got.Cut < 1 || got.Cut > 1000 || got.Closed != 4001 || got.Error != "SpeechmaticsRealtimeError" {
			t.Errorf("%s: %+v", step, got)
		}
	}
}

// TestSDK_Speechmatics_Browser runs the vendor's libraries in a page of another origin. The page has
// them as ES modules, as they are published.
func TestSDK_Speechmatics_Browser(t *testing.T) {
	t.Parallel()
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	modules := filepath.Dir(sdkInstalled(t, "speechmatics", ".package-lock.json"))
	mux := http.NewServeMux()
	mux.Handle("GET /modules/", http.StripPrefix("/modules/", http.FileServer(http.Dir(modules))))
	results := servePage(t, mux, "speechmatics.html")
	g, settings, keys := speechmaticsSettings(t, mux)
	seen := g.runPage(t, browser, settings, results)
	for _, step := range []string{"job", "a temporary key"} {
		if got := seen[step]; got.Text != speechHeard {
			t.Errorf("%s: %+v", step, got)
		}
	}
	for name, want := range speechmaticsRefusals {
		if got := seen[name]; got.Error != "SpeechmaticsResponseError" || got.Status != want.status || got.Code != want.word {
			t.Errorf("%s: %+v", name, got)
		}
		if got := seen["mint, "+name]; got.Error != "SpeechmaticsJWTError" || got.Code != want.mint {
			t.Errorf("mint, %s: %+v", name, got)
		}
		if got := seen["live, "+name]; got.Error != "Event" { // a page learns no status
			t.Errorf("live, %s: %+v", name, got)
		}
	}
	wantSpeechmaticsStreams(t, seen, "live", "live with a temporary key")
	g.wantDials(1, "/v2?", "sm-app=doomed-live")
	g.wantDials(1, "/v2?", "sm-app=doomed-minted")
	g.wantDials(len(speechmaticsRefusals), "/v2?", "sm-app=refused")
	for _, path := range []string{"/v2/jobs", "/v1/api_keys"} {
		if !g.logged(http.MethodOptions, path) {
			t.Errorf("the browser did not ask leave for %s: the test tests nothing", path)
		}
	}
	g.wantKept(keys...)
}

// TestSpeechmatics_SelfHosted runs the example in front of containers without keys.
func TestSpeechmatics_SelfHosted(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/examples/speechmatics-self-hosted.caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	worker := serveRecorded(t, sandbox.NewSpeechmatics(sandbox.Config{QueueTime: -1, WorkTime: -1}))
	realTime := serveRecorded(t, sandbox.NewSpeechmatics(sandbox.Config{}))
	p := newProgram(t, strings.NewReplacer("http://asr.internal.example.com", "http://localhost:8080", "worker.internal.example.com:18000", worker.addr,
		"realtime.internal.example.com:9000", realTime.addr, "\t\tkeystore sqlite /var/lib/speechgate/keystore.db\n", "", "\n{\n", "\n{\n\tadmin off\n").Replace(string(text)))
	p.probe = "/v2/jobs"
	p.start()
	account := p.account()
	_, key := p.key(account)

	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("data_file", "speech.wav")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(sandbox.SpeechWAV())
	_ = form.WriteField("config", `{"type":"transcription","transcription_config":{"language":"en"}}`)
	_ = form.Close()
	req, err := http.NewRequest(http.MethodPost, p.base+"/v2/jobs?wait=5&format=txt", &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("X-SM-Processing-Data", `{"parallel_engines": 8, "user_id": "another"}`)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusCreated || !strings.Contains(string(answer), speechHeard) {
		t.Errorf("status %d, %s, %v", resp.StatusCode, answer, err)
	}
	got := string(worker.received())
	if !strings.Contains(got, "\r\nX-Sm-Processing-Data: {\"user_id\": \""+account+"\"}\r\n") || strings.Count(got, "Processing-Data") != 1 {
		t.Errorf("the worker got %.600q", got)
	}

	host := strings.TrimPrefix(p.base, "http://")
	peer := wstest.Dial(t, strings.Replace(host, "localhost", "127.0.0.1", 1), wstest.LibraryHandshake("/v2?jwt="+key, host)).Upgraded()
	peer.SendText(`{"message":"StartRecognition","audio_format":{"type":"file"},"transcription_config":{"language":"en"}}`)
	if f := peer.Next(); !strings.Contains(f.Payload, `"message":"RecognitionStarted"`) {
		t.Errorf("the first message is %v", f)
	}
	for name, backend := range map[string]*recorder{"the worker": worker, "the real-time container": realTime} {
		if got := backend.received(); bytes.Contains(got, []byte(key)) || bytes.Contains(got, []byte("Authorization")) {
			t.Errorf("%s got %.600q", name, got)
		}
	}
	p.kept(key)
}
