package dialect_test

import (
	"fmt"
	"net/http"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// A gate asks the dialect what a request means and, if it refuses the request, how
// the API's backend would refuse it.
func ExampleAPI_Classify() {
	api, ok := dialect.ByName("amivoice")
	fmt.Println(api.Name, ok)

	poll := api.Classify("GET", "/v2/recognitions/0123456789abcdef")
	fmt.Println(poll.Operation, poll.JobID)
	fmt.Println(api.Classify("GET", "/v2/recognitions/..%2Fadmin").Operation)
	// Output:
	// amivoice true
	// read_job 0123456789abcdef
	// unlisted
}

func ExampleAPI_Refusal() {
	poll := dialect.AmiVoice.Classify("GET", "/v2/recognitions/0123456789abcdef")
	for _, reason := range []policy.Reason{policy.KeyExpired, policy.KeyRevoked, policy.JobForeign, policy.StoreUnavailable} {
		answer := dialect.AmiVoice.Refusal(poll, reason)
		fmt.Println(answer.Status, answer.Body)
	}
	fmt.Println(dialect.AmiVoice.Commands().Refusal(policy.KeyExpired))
	// Output:
	// 401 {"message":"received illegal service authorization"}
	// 401 {"message":"received illegal service authorization"}
	// 404 {"message":"not found"}
	// 503 {"message":"service temporarily unavailable"}
	// s received illegal service authorization
}

// A new dialect is a table: where its keys are, which operations pass, and how it refuses.
func ExampleAPI() {
	key := dialect.Place{Location: dialect.Header, Name: "X-Api-Key"}
	failure := func(status int, code string) dialect.Answer {
		return dialect.Answer{Status: status, Body: `{"error":"` + code + `"}`}
	}
	refusals := dialect.Refusals{
		Denied: failure(http.StatusUnauthorized, "invalid_key"),
		By: map[policy.Reason]dialect.Answer{
			policy.OperationUnlisted: failure(http.StatusNotFound, "not_found"),
			policy.RequestMalformed:  failure(http.StatusBadRequest, "invalid_request"),
			policy.UpstreamRefused:   failure(http.StatusBadGateway, "unavailable"),
		},
		Gateway:    failure(http.StatusBadGateway, "unavailable"),
		KeyRefused: dialect.KeyRefused{Status: http.StatusUnauthorized},
	}
	api := &dialect.API{
		Name: "example",
		Routes: []dialect.Route{
			{
				Method: http.MethodPost, Path: "/v1/transcribe", Operation: policy.Recognize,
				Keys: []dialect.Place{key}, UpstreamKey: &key, Refusals: &refusals,
			},
			{
				Method: http.MethodGet, Path: "/v1/models/{name}", Operation: policy.Info,
				Keys: []dialect.Place{key}, UpstreamKey: &key, Refusals: &refusals,
			},
		},
		Places:         []dialect.Place{key},
		Unlisted:       refusals,
		RequestHeaders: []string{"X-Api-Key", "Content-Type"},
	}

	call := api.Classify("POST", "/v1/transcribe")
	answer := api.Refusal(call, policy.KeyExpired)
	fmt.Println(call.Operation, answer.Status, answer.Body)
	call = api.Classify("DELETE", "/v1/models/large")
	answer = api.Refusal(call, policy.OperationUnlisted)
	fmt.Println(call.Operation, answer.Status, answer.Body)
	// Output:
	// recognize 401 {"error":"invalid_key"}
	// unlisted 404 {"error":"not_found"}
}
