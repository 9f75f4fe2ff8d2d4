package dialect

import (
	"net/http"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/policy"
)

// The places of a key in the Speechmatics API. Sources: https://docs.speechmatics.com, "Authentication",
// and the vendor's library @speechmatics/real-time-client, which always uses the query.
var (
	speechmaticsBearer = Place{Location: Header, Name: "Authorization", Scheme: "Bearer", Takes: KeysAndTokens}
	speechmaticsJWT    = Place{Location: Query, Name: "jwt", Takes: KeysAndTokens}

	speechmaticsKeys       = []Place{speechmaticsBearer}
	speechmaticsStreamKeys = []Place{speechmaticsBearer, speechmaticsJWT}
)

const speechmaticsRetryAfter = 5 // seconds

// speechmaticsError returns an answer that the vendor's library can read: it accepts only the words of
// a fixed list in the member error.
func speechmaticsError(status int, word, detail string) Answer {
	return Answer{Status: status, Body: `{"code":` + strconv.Itoa(status) + `,"error":"` + word + `","detail":` + strconv.Quote(detail) + `}`}
}

func speechmaticsOverload(status int, word, detail string) Answer {
	a := speechmaticsError(status, word, detail)
	a.RetryAfter = speechmaticsRetryAfter
	return a
}

// Words of the vendor's list.
const (
	speechmaticsPermission = "Permission Denied"
	speechmaticsForbidden  = "Forbidden"
	speechmaticsNotFound   = "Job not found"
	speechmaticsInternal   = "Internal Server Error"
)

var (
	speechmaticsDenied  = speechmaticsError(http.StatusUnauthorized, speechmaticsPermission, "Missing or invalid API key")
	speechmaticsAddress = speechmaticsError(http.StatusForbidden, speechmaticsForbidden, "Entitlement check failed")
	speechmaticsGateway = speechmaticsError(http.StatusBadGateway, speechmaticsInternal, "The service cannot be reached")
	// A job of another account has the same answer as a job that does not exist.
	speechmaticsUnknown = Answer{Status: http.StatusNotFound, Body: `{"code":404,"error":"` + speechmaticsNotFound + `"}`}

	speechmaticsRefusals = Refusals{
		Denied: speechmaticsDenied,
		By: map[policy.Reason]Answer{
			policy.KeyExpired:        speechmaticsAddress,
			policy.AddressRefused:    speechmaticsAddress,
			policy.AddressUnknown:    speechmaticsAddress,
			policy.EarlyData:         early,
			policy.OperationUnlisted: speechmaticsError(http.StatusNotFound, "Not Found", "path not found"),
			policy.JobUnknown:        speechmaticsUnknown,
			policy.JobForeign:        speechmaticsUnknown,
			policy.RequestMalformed:  speechmaticsError(http.StatusBadRequest, "Malformed request", "The request cannot be read"),
			policy.StoreUnavailable:  speechmaticsOverload(http.StatusServiceUnavailable, speechmaticsInternal, "Service temporarily unavailable"),
			policy.LimitReached:      speechmaticsOverload(http.StatusTooManyRequests, speechmaticsForbidden, "Too many requests"),
			policy.StreamLimit:       speechmaticsOverload(http.StatusTooManyRequests, speechmaticsForbidden, "Too many concurrent sessions"),
			policy.UpstreamRefused:   speechmaticsGateway,
		},
		Gateway:    speechmaticsGateway,
		KeyRefused: KeyRefused{Status: http.StatusUnauthorized},
	}
)

// speechmaticsRealTime ends a stream as https://docs.speechmatics.com, "Real-time API reference", says.
// A handshake is refused by its status: an error message right after the handshake makes the vendor's
// library wait until its time limit.
var speechmaticsRealTime = &HandshakeRules{
	Denied: StreamEnd{
		Text: `{"message":"Error","type":"protocol_error","reason":"The client has broken the WebSocket protocol","code":1002}`,
		Code: protocolError, Reason: "protocol_error",
	},
	Cut: StreamEnd{
		Text: `{"message":"Error","type":"not_authorised","reason":"The key of this session may not be used any more","code":4001}`,
		Code: 4001, Reason: "not_authorised",
	},
}

// speechmaticsMint is the answer of https://docs.speechmatics.com, "Temporary keys". It does not have
// the life of the key, which the request says.
var speechmaticsMint = &Mint{Members: jsonanswer.MustSet("key_value"), Tokens: 1, Longest: 24 * time.Hour} // the vendor's limit

// Speechmatics is the API of Speechmatics: jobs on asr.api.speechmatics.com, live streams on
// eu2.rt.speechmatics.com, and temporary keys on mp.speechmatics.com. The paths differ, so that clients of
// all three can use one gate. The vendor's containers speak it too, without keys.
var Speechmatics = &API{
	Name: "speechmatics",
	Routes: []Route{
		speechmaticsRoute(http.MethodPost, "/v2/jobs", policy.CreateJob),
		{
			Method: http.MethodGet, Path: "/v2/jobs", Operation: policy.ListJobs,
			Keys: speechmaticsKeys, UpstreamKey: &speechmaticsBearer, Refusals: &speechmaticsRefusals,
			Edits: jsonanswer.Changes{Entry: jsonanswer.MustPath("jobs[].id")}.MustCompile(),
		},
		speechmaticsRoute(http.MethodGet, "/v2/jobs/{job}", policy.ReadJob),
		speechmaticsRoute(http.MethodGet, "/v2/jobs/{job}/{name}", policy.ReadJob),
		speechmaticsRoute(http.MethodDelete, "/v2/jobs/{job}", policy.DeleteJob),
		speechmaticsStream("/v2"),
		speechmaticsStream("/v2/"),
		{
			Method: http.MethodPost, Path: "/v1/api_keys", Operation: policy.Mint,
			Keys: speechmaticsKeys, UpstreamKey: &speechmaticsBearer, Refusals: &speechmaticsRefusals, Mint: speechmaticsMint,
		},
	},
	Places: speechmaticsStreamKeys,
	Jobs: Jobs{
		ID:    jsonanswer.MustSet("id", "job.id"), // the second one if the creation waited for the result
		State: jsonanswer.MustSet("job.status"),
		States: map[string]policy.JobState{
			"running":  policy.JobProcessing,
			"done":     policy.JobCompleted,
			"rejected": policy.JobFailed,
			"deleted":  policy.JobFailed,
			"expired":  policy.JobFailed,
		},
		Gone: []int{http.StatusNotFound, http.StatusGone},
	},
	Unlisted:       speechmaticsRefusals,
	RequestHeaders: []string{"Authorization", "Content-Type"},
}

func speechmaticsRoute(method, path string, op policy.Operation) Route {
	return Route{
		Method: method, Path: path, Operation: op,
		Keys: speechmaticsKeys, UpstreamKey: &speechmaticsBearer, Refusals: &speechmaticsRefusals,
	}
}

func speechmaticsStream(path string) Route {
	return Route{
		Method: http.MethodGet, Path: path, Operation: policy.Stream,
		Keys: speechmaticsStreamKeys, UpstreamKey: &speechmaticsBearer, Refusals: &speechmaticsRefusals,
		Stream: &Stream{Handshake: speechmaticsRealTime},
	}
}
