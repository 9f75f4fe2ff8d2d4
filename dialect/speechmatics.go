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

// speechmaticsError returns an answer that the vendor's library can read: it accepts only the words of
// a fixed list in the member error.
func speechmaticsError(status int, word, detail string) Answer {
	return Answer{Status: status, Body: `{"code":` + strconv.Itoa(status) + `,"error":"` + word + `","detail":` + strconv.Quote(detail) + `}`}
}

// Words of the vendor's list.
const (
	speechmaticsPermission = "Permission Denied"
	speechmaticsForbidden  = "Forbidden"
	speechmaticsNotFound   = "Job not found"
	speechmaticsInternal   = "Internal Server Error"
	speechmaticsNoSuchPath = "Not Implemented"
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
			policy.OperationRefused:  speechmaticsAddress,
			policy.EarlyData:         early,
			policy.OperationUnlisted: speechmaticsError(http.StatusNotFound, speechmaticsNoSuchPath, "path not found"),
			policy.JobUnknown:        speechmaticsUnknown,
			policy.JobForeign:        speechmaticsUnknown,
			policy.RequestMalformed:  speechmaticsError(http.StatusBadRequest, "Malformed request", "The request cannot be read"),
			policy.StoreUnavailable:  speechmaticsError(http.StatusServiceUnavailable, speechmaticsInternal, "Service temporarily unavailable").later(),
			policy.LimitReached:      speechmaticsError(http.StatusTooManyRequests, speechmaticsForbidden, "Too many requests").later(),
			policy.StreamLimit:       speechmaticsError(http.StatusTooManyRequests, speechmaticsForbidden, "Too many concurrent sessions").later(),
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

// speechmaticsMint is from https://docs.speechmatics.com, "Temporary keys". The answer does not have the
// life of the key, which the request chooses: a day at most.
var speechmaticsMint = mintOf([]string{"key_value"}, nil, 24*time.Hour)

// speechmaticsList filters a list of jobs. The second path is of the vendor's worker: see
// https://docs.speechmatics.com, "Batch persistent worker".
var speechmaticsList = jsonanswer.Changes{
	Entries: []jsonanswer.Path{jsonanswer.MustPath("jobs[].id"), jsonanswer.MustPath("active_jobs[].job_id")},
}.MustCompile()

var speechmaticsJobs = &Jobs{
	// The second one is for a creation that waited for the result, the third one is of the vendor's worker.
	ID:    jsonanswer.MustSet("id", "job.id", "job_id"),
	State: jsonanswer.MustSet("job.status"),
	// The vendor's worker writes the words in capitals.
	States: map[string]policy.JobState{
		"running": policy.JobProcessing, "RUNNING": policy.JobProcessing,
		"done": policy.JobCompleted, "DONE": policy.JobCompleted,
		"rejected": policy.JobFailed, "REJECTED": policy.JobFailed,
		"deleted": policy.JobFailed, "DELETED": policy.JobFailed,
		"expired": policy.JobFailed, "EXPIRED": policy.JobFailed,
	},
	Ended: []int{http.StatusNotFound, http.StatusGone},
}

var (
	speechmaticsRoutes  = routes{speechmaticsKeys, &speechmaticsBearer, &speechmaticsRefusals, speechmaticsJobs}
	speechmaticsAudio   = &Audio{Part: "data_file"}
	speechmaticsStreams = routes{speechmaticsStreamKeys, &speechmaticsBearer, &speechmaticsRefusals, nil}
)

// Speechmatics is the API of Speechmatics: jobs on asr.api.speechmatics.com, live streams on
// eu2.rt.speechmatics.com, and temporary keys on mp.speechmatics.com. The paths differ, so that clients of
// all three can use one gate. The vendor's containers speak it too, without keys.
var Speechmatics = &API{
	Name: "speechmatics",
	Routes: []Route{
		speechmaticsRoutes.route(http.MethodPost, "/v2/jobs", policy.CreateJob).withAudio(speechmaticsAudio),
		speechmaticsRoutes.route(http.MethodPost, "/v2/jobs/", policy.CreateJob).withAudio(speechmaticsAudio), // as in the vendor's examples
		speechmaticsRoutes.list("/v2/jobs", speechmaticsList),
		speechmaticsRoutes.list("/v2/jobs/", speechmaticsList),
		speechmaticsRoutes.route(http.MethodGet, "/v2/jobs/{job}", policy.ReadJob),
		speechmaticsRoutes.route(http.MethodGet, "/v2/jobs/{job}/{name}", policy.ReadJob),
		speechmaticsRoutes.route(http.MethodDelete, "/v2/jobs/{job}", policy.DeleteJob),
		speechmaticsStreams.stream("/v2", speechmaticsRealTime),
		speechmaticsStreams.stream("/v2/", speechmaticsRealTime),
		speechmaticsRoutes.mint(http.MethodPost, "/v1/api_keys", speechmaticsMint),
	},
	Places:         speechmaticsStreamKeys,
	Unlisted:       speechmaticsRefusals,
	AtRoot:         true, // @speechmatics/batch-client
	RequestHeaders: []string{"Authorization", "Content-Type"},
}
