package dialect

import (
	"net/http"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/policy"
)

// The places of a key in the AssemblyAI API. Sources: https://assemblyai.com/docs and the vendor's
// library assemblyai for JavaScript. The key has no scheme. A browser shows a token in the query.
var (
	assemblyKey   = Place{Location: Header, Name: "Authorization"}
	assemblyToken = Place{Location: Query, Name: "token", Takes: TokensOnly}

	assemblyKeys       = []Place{assemblyKey}
	assemblyStreamKeys = []Place{assemblyKey, assemblyToken}
)

const assemblyRetryAfter = 5 // seconds

// assemblyError returns an answer with a member error, which the vendor's libraries show.
func assemblyError(status int, message string) Answer {
	return Answer{Status: status, Body: `{"error":` + strconv.Quote(message) + `}`}
}

func assemblyOverload(status int, message string) Answer {
	a := assemblyError(status, message)
	a.RetryAfter = assemblyRetryAfter
	return a
}

var (
	assemblyDenied  = assemblyError(http.StatusUnauthorized, "Authentication error, API token missing/invalid")
	assemblyAddress = assemblyError(http.StatusForbidden, "Forbidden")
	assemblyGateway = assemblyError(http.StatusBadGateway, "Server error, the service cannot be reached")
	// A job of another account has the same answer as a job that does not exist.
	assemblyUnknown = assemblyError(http.StatusBadRequest, "Transcript lookup error, transcript id not found")

	assemblyRefusals = Refusals{
		Denied: assemblyDenied,
		By: map[policy.Reason]Answer{
			policy.AddressRefused:    assemblyAddress,
			policy.AddressUnknown:    assemblyAddress,
			policy.EarlyData:         early,
			policy.OperationUnlisted: assemblyError(http.StatusNotFound, "Not found"),
			policy.JobUnknown:        assemblyUnknown,
			policy.JobForeign:        assemblyUnknown,
			policy.RequestMalformed:  assemblyError(http.StatusBadRequest, "The request cannot be read"),
			policy.StoreUnavailable:  assemblyOverload(http.StatusServiceUnavailable, "Service temporarily unavailable"),
			policy.LimitReached:      assemblyOverload(http.StatusTooManyRequests, "Too Many Requests"),
			policy.UpstreamRefused:   assemblyGateway,
		},
		Gateway:    assemblyGateway,
		KeyRefused: KeyRefused{Status: http.StatusUnauthorized},
	}
)

// assemblyEnd returns the end of a stream: an error message, and a Close frame.
func assemblyEnd(code uint16, message string) StreamEnd {
	return StreamEnd{
		Text: `{"type":"Error","error_code":` + strconv.Itoa(int(code)) + `,"error":` + strconv.Quote(message) + `}`,
		Code: code, Reason: message,
	}
}

const (
	assemblyUnauthorized = "Unauthorized Connection: Missing/invalid Authorization header"
	// assemblyBadKey is the code of the Close frame after a refused key. The vendor sends 1008 or 4001.
	// The vendor's library for JavaScript connects three times after 1008, and once after 4001.
	assemblyBadKey = 4001
)

// assemblyStreaming is from https://assemblyai.com/docs, "Common errors" of universal streaming.
var assemblyStreaming = &HandshakeRules{
	InBand: true,
	Denied: assemblyEnd(assemblyBadKey, assemblyUnauthorized),
	By: map[policy.Reason]StreamEnd{
		policy.RequestMalformed: assemblyEnd(policyViolation, "The request cannot be read"),
		policy.StoreUnavailable: assemblyEnd(tryAgainLater, "Service temporarily unavailable"),
		policy.StreamLimit:      assemblyEnd(policyViolation, "Too many concurrent sessions"),
		policy.UpstreamRefused:  assemblyEnd(tryAgainLater, "The service cannot be reached"),
	},
	Cut: assemblyEnd(assemblyBadKey, "Unauthorized Connection: the key may not be used any more"),
}

// assemblyMint is the answer of https://assemblyai.com/docs, "Authenticate with a temporary token".
var assemblyMint = &Mint{
	Members: jsonanswer.MustWants(
		jsonanswer.Want{Path: jsonanswer.MustPath("token")}, jsonanswer.Want{Path: jsonanswer.MustPath("expires_in_seconds"), Literal: true},
	),
	Tokens: 1, Longest: 10 * time.Minute, // the vendor's limit
}

// assemblyList filters the list of transcripts, whose links lead to the vendor's host.
var assemblyList = jsonanswer.Changes{
	Entry: jsonanswer.MustPath("transcripts[].id"),
	Replace: []jsonanswer.Path{
		jsonanswer.MustPath("transcripts[].resource_url"), jsonanswer.MustPath("page_details.current_url"),
		jsonanswer.MustPath("page_details.prev_url"), jsonanswer.MustPath("page_details.next_url"),
	},
}.MustCompile()

// AssemblyAI is the API of AssemblyAI: transcripts on api.assemblyai.com, short audio on
// sync.assemblyai.com, and live streams on streaming.assemblyai.com. The paths differ, so that clients
// of all three can use one gate.
var AssemblyAI = &API{
	Name: "assemblyai",
	Routes: []Route{
		assemblyRoute(http.MethodPost, "/v2/upload", policy.Upload),
		assemblyRoute(http.MethodPost, "/v2/transcript", policy.CreateJob),
		{
			Method: http.MethodGet, Path: "/v2/transcript", Operation: policy.ListJobs,
			Keys: assemblyKeys, UpstreamKey: &assemblyKey, Refusals: &assemblyRefusals, Edits: assemblyList,
		},
		assemblyRoute(http.MethodGet, "/v2/transcript/{job}", policy.ReadJob),
		assemblyRoute(http.MethodGet, "/v2/transcript/{job}/{name}", policy.ReadJob),
		assemblyRoute(http.MethodDelete, "/v2/transcript/{job}", policy.DeleteJob),
		assemblyRoute(http.MethodPost, "/v1/transcribe/live", policy.Recognize),
		assemblyRoute(http.MethodGet, "/v1/warm", policy.Info),
		{
			Method: http.MethodGet, Path: "/v3/token", Operation: policy.Mint,
			Keys: assemblyKeys, UpstreamKey: &assemblyKey, Refusals: &assemblyRefusals, Mint: assemblyMint,
		},
		{
			Method: http.MethodGet, Path: "/v3/ws", Operation: policy.Stream,
			Keys: assemblyStreamKeys, UpstreamKey: &assemblyKey, Refusals: &assemblyRefusals, Stream: &Stream{Handshake: assemblyStreaming},
		},
	},
	Places: assemblyStreamKeys,
	Jobs: Jobs{
		ID:    jsonanswer.MustSet("id"),
		State: jsonanswer.MustSet("status"),
		States: map[string]policy.JobState{
			"queued":     policy.JobQueued,
			"processing": policy.JobProcessing,
			"completed":  policy.JobCompleted,
			"error":      policy.JobFailed,
		},
		Gone: []int{http.StatusNotFound, http.StatusGone},
	},
	Unlisted:       assemblyRefusals,
	RequestHeaders: []string{"Authorization", "Content-Type"},
}

func assemblyRoute(method, path string, op policy.Operation) Route {
	return Route{
		Method: method, Path: path, Operation: op,
		Keys: assemblyKeys, UpstreamKey: &assemblyKey, Refusals: &assemblyRefusals,
	}
}
