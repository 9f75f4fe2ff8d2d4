package dialect_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

func TestR15_DeepgramListsRecognitionAndNoManagement(t *testing.T) {
	t.Parallel()
	for _, want := range []listedCall{
		{"POST", "/v1/listen", policy.Recognize, ""},
		{"GET", "/v1/listen", policy.Stream, ""},
		{"GET", "/v2/listen", policy.Stream, ""},
		{"GET", "/v1/models", policy.Info, ""},
		{"GET", "/v1/models/5a9dbb0c-0000-4000-8000-000000000001", policy.Info, ""},
	} {
		got := dialect.Deepgram.Classify(want.method, want.path)
		if got.Route == nil || got.Operation != want.op || got.Route.UpstreamKey.Scheme != "Token" || got.Route.UpstreamKey.Name != "Authorization" {
			t.Errorf("%s %s: %+v", want.method, want.path, got)
		}
	}
	// With the upstream key, a management request could issue a key of the vendor's.
	for _, path := range []string{
		"/v1/projects", "/v1/projects/p", "/v1/projects/p/keys", "/v1/projects/p/keys/k", "/v1/projects/p/members", "/v1/projects/p/balances",
		"/v1/projects/p/requests", "/v1/projects/p/models", "/v1/auth/token", "/v1/keys", "/v1/speak", "/v1/read", "/v1/agent/settings/think/models",
		"/v1/listen/", "/v1/listen/x", "/v2/listen/x", "/v1//listen", "/v1/models/", "/v1/models/a/b", "/v1/models/../projects", "/V1/listen", "/v3/listen",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if got := dialect.Deepgram.Classify(method, path); got.Route != nil {
				t.Errorf("%s %s is listed: %v", method, path, got.Operation)
			}
		}
	}
	for _, method := range []string{"PUT", "DELETE", "HEAD", "OPTIONS", "post"} {
		if got := dialect.Deepgram.Classify(method, "/v1/listen"); got.Route != nil {
			t.Errorf("%s /v1/listen is listed", method)
		}
	}
}

// The vendor answers a bad key with these bytes: developers.deepgram.com/reference/errors.
func TestR16_DeepgramRefusalsAreTheVendors(t *testing.T) {
	t.Parallel()
	facts := dialect.Facts{RequestID: "the-id"}
	for _, test := range []struct {
		method, path string
		reason       policy.Reason
		status       int
		body         string
		retry        int
	}{
		{"POST", "/v1/listen", policy.KeyUnknown, 401, `{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"the-id"}`, 0},
		{"GET", "/v1/listen", policy.CredentialMissing, 401, `{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"the-id"}`, 0},
		{"GET", "/v2/listen", policy.KeyRevoked, 401, `{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"the-id"}`, 0},
		{"GET", "/v1/models", policy.AddressRefused, 403, `{"err_code":"INSUFFICIENT_PERMISSIONS","err_msg":"User does not have sufficient permissions.","request_id":"the-id"}`, 0},
		{"POST", "/v1/listen", policy.LimitReached, 429, `{"err_code":"TOO_MANY_REQUESTS","err_msg":"Too many requests. Please try again later","request_id":"the-id"}`, 5},
		{"GET", "/v1/listen", policy.StreamLimit, 429, `{"err_code":"TOO_MANY_REQUESTS","err_msg":"Too many requests. Please try again later","request_id":"the-id"}`, 5},
		{"POST", "/v1/listen", policy.StoreUnavailable, 503, `{"err_code":"SERVICE_UNAVAILABLE","err_msg":"The service is temporarily unavailable.","request_id":"the-id"}`, 5},
		{"POST", "/v1/projects", policy.OperationUnlisted, 404, `{"err_code":"NOT_FOUND","err_msg":"Not found.","request_id":"the-id"}`, 0},
	} {
		call := dialect.Deepgram.Classify(test.method, test.path)
		got := dialect.Deepgram.Refusal(call, test.reason).Fill(func() dialect.Facts { return facts })
		if got.Status != test.status || got.Body != test.body || got.RetryAfter != test.retry {
			t.Errorf("%s %s, %s: %+v", test.method, test.path, test.reason, got)
		}
		fields := make(map[string]string)
		for _, f := range got.Header {
			fields[f.Name] = f.Value
		}
		want := ""
		if call.Operation == policy.Stream {
			want = http.StatusText(test.status)
		}
		if fields["Dg-Request-Id"] != "the-id" || fields["Dg-Error"] != want {
			t.Errorf("%s %s, %s: the header is %v", test.method, test.path, test.reason, fields)
		}
	}
}

// The vendor's library for JavaScript connects again after every code but 1000.
func TestR14_DeepgramCutsWithAnErrorAndACodeThatEndsTheClient(t *testing.T) {
	t.Parallel()
	for path, members := range map[string]string{"/v1/listen": "type description message variant request_id", "/v2/listen": "type sequence_id code description request_id"} {
		rules := dialect.Deepgram.Classify("GET", path).Route.Stream.Handshake
		end := rules.Cut.Fill(dialect.Facts{RequestID: "the-id"})
		var message map[string]any
		if err := json.Unmarshal([]byte(end.Text), &message); err != nil || message["type"] != "Error" || message["request_id"] != "the-id" {
			t.Errorf("%s: %v, %s", path, err, end.Text)
		}
		for member := range strings.SplitSeq(members, " ") {
			if _, ok := message[member]; !ok {
				t.Errorf("%s: the message has no %s: %s", path, member, end.Text)
			}
		}
		if end.Code != 1000 || rules.InBand {
			t.Errorf("%s: %+v", path, rules)
		}
	}
}
