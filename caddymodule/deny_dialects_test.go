package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
)

// With one upstream key for all clients, each of these requests would reach more than the client's own:
// keys, balances and members of the operator's account, jobs of others, and work of another price.
func TestR15_NoOtherOperationReachesTheBackend(t *testing.T) {
	for dialect, test := range map[string]struct {
		scheme  string
		targets []string
	}{
		"openai": {"Bearer ", []string{
			"POST /v1/chat/completions", "POST /v1/responses", "POST /v1/audio/speech", "POST /v1/files", "GET /v1/files", "POST /v1/realtime/calls",
			"POST /v1/realtime/sessions", "GET /v1/organization/admin_api_keys", "GET /v1/organization/usage/audio_transcriptions", "DELETE /v1/models/ft-a",
			"POST /v1/models", "HEAD /v1/models", "GET /v1/models/", "GET /v1/models/a/b", "GET /v1/models/a%2Fb", "GET /v1/models/..", "GET /v1/models/%2e%2e/files",
			"GET /V1/models", "GET //v1/models", "GET /v1//models", "GET /v1/./models", "GET /v1/models;a", "GET /v1/audio/transcriptions", "get /v1/models", "GET /load", "POST /load", "POST /inference",
			"GET /v1/realtime", "POST /v1/realtime", "TRACE /v1/models", "GET /", "GET /metrics",
		}},
		"deepgram": {"Token ", []string{
			"GET /v1/projects", "POST /v1/projects/p/keys", "GET /v1/projects/p/balances", "GET /v1/projects/p/requests", "DELETE /v1/projects/p/members/m",
			"GET /v1/auth/token", "POST /v1/speak", "POST /v1/read", "POST /v1/agent/settings/think/models", "PUT /v1/listen", "HEAD /v1/models", "POST /v2/listen", "GET /v1/listen",
			"POST /v1/listen/", "POST /v1/listen%2F..%2Fprojects", "POST /v1/listen/../projects", "POST /v1//listen", "GET /v1/models/../projects", "POST /V1/listen", "GET /v1/models/a/b", "POST /v1/auth/grant/",
		}},
		"assemblyai": {"", []string{
			"GET /v2/account", "POST /lemur/v3/generate/task", "GET /v2/realtime/token", "POST /v2/realtime/token", "PUT /v2/transcript/own", "HEAD /v2/transcript", "HEAD /v2/transcript/own",
			"DELETE /v2/transcript", "GET /v2/transcript/", "GET /v2/transcript/own/", "GET /v2/transcript//own", "GET /v2/transcript/own/a/b", "GET /v2/transcript/own/..", "GET /v2/transcript/own/../foreign",
			"GET /v2/transcript/own%2F..%2Fforeign", "GET /v2/transcript/%6Fwn", "GET /v2/transcript/own;x=foreign", "GET /v2/transcript/own/%2e%2e", "GET /v2/transcript/own%00", "GET /v2/Transcript/own",
			"POST /v3/token", "GET /v3/ws", "POST /v2/upload/../transcript",
		}},
		"speechmatics": {"Bearer ", []string{
			"GET /v2/usage", "GET /v1/api_keys", "DELETE /v1/api_keys/k", "POST /v1/api_keys/", "GET /jobs", "GET /live", "PUT /v2/jobs/own", "DELETE /v2/jobs", "HEAD /v2/jobs", "HEAD /v2/jobs/own",
			"GET /v2/jobs/own/", "GET /v2/jobs//own", "GET /v2/jobs/own/a/b", "GET /v2/jobs/own/..", "GET /v2/jobs/own/../foreign", "GET /v2/jobs/own%2F..%2Fforeign", "GET /v2/jobs/own%3Fa",
			"GET /V2/jobs", "GET /v2", "GET /v2/", "POST /v2", "GET /v2/en",
		}},
	} {
		t.Run(dialect, func(t *testing.T) {
			g := newDialectGateway(t, dialect, "")
			key, secret := g.issue(keystore.NewKey{})
			g.recordJob("own", key, now())
			for _, target := range test.targets {
				method, path, _ := strings.Cut(target, " ")
				if got := g.ask(method, path, test.scheme+secret, ""); got.status != http.StatusNotFound {
					t.Errorf("%s: status %d, %s", target, got.status, got.body)
				}
			}
			if received := g.backend.received(); received != "" {
				t.Errorf("the backend got %q", received)
			}
		})
	}
}

// A client that knows the ID of a call could otherwise listen to the call of another client.
func TestR15_OpenAI_AStreamJoinsNoCall(t *testing.T) {
	g := newDialectGateway(t, "openai", "")
	_, secret := g.issue(keystore.NewKey{})
	for _, query := range []string{"call_id=rtc_1", "model=gpt-realtime&call_id=rtc_1", "call%5Fid=rtc_1", "CALL_ID=rtc_1", "call_id", "model=a;call_id=rtc_1", "call_id[]=rtc_1"} {
		c := wstest.Dial(t, g.addr, g.keyedHandshake("/v1/realtime?"+query, "Authorization: Bearer "+secret))
		if got := readReply(t, c.Conn); got.status != http.StatusNotFound || !strings.Contains(got.body, "Invalid URL.") {
			t.Errorf("%s: status %d, %s", query, got.status, got.body)
		}
	}
	if n := strings.Count(g.log(), "the query has a parameter that the openai dialect does not let through with this path: call_id"); n != 7 {
		t.Errorf("the log names the parameter %d times", n)
	}
	if received := g.backend.received(); received != "" {
		t.Errorf("the backend got %q", received)
	}
	g.backend.realtime(t, "", say(`{"type":"session.created"}`))
	c, _ := g.dialKeyed(t, "/v1/realtime?model=gpt-realtime&call_ids=1&x=call_id", "Authorization: Bearer "+secret)
	c.WantText(`{"type":"session.created"}`)
}

// Frameworks take the method or the path from these fields. The backend must do what the gate has judged.
func TestR19_NoFieldChangesTheOperation(t *testing.T) {
	g := newDialectGateway(t, "assemblyai", "")
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("own", key, now())
	fields := []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL", "Proxy-Authorization", "Cookie", "Te", "X_Http_Method_Override"}
	var lines []string
	for _, field := range fields {
		lines = append(lines, field+": DELETE")
	}
	if got := g.ask("GET", "/v2/transcript/own", secret, "", lines...); got.status != http.StatusOK {
		t.Fatalf("status %d, %s", got.status, got.body)
	}
	if received := g.backend.received(); !strings.HasPrefix(received, "GET /v2/transcript/own HTTP/1.1\r\n") || strings.Contains(received, "DELETE") {
		t.Errorf("the backend got %q", received)
	}
}
