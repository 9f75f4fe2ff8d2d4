package dialect_test

import (
	"fmt"

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
