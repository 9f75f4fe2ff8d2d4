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

// assemblyError returns an answer with a member error, which the vendor's libraries show.
func assemblyError(status int, message string) Answer {
	return Answer{Status: status, Body: `{"error":` + strconv.Quote(message) + `}`}
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
			policy.OperationRefused:  assemblyAddress,
			policy.EarlyData:         early,
			policy.OperationUnlisted: assemblyError(http.StatusNotFound, "Not found"),
			policy.JobUnknown:        assemblyUnknown,
			policy.JobForeign:        assemblyUnknown,
			policy.RequestMalformed:  assemblyError(http.StatusBadRequest, "The request cannot be read"),
			policy.StoreUnavailable:  assemblyError(http.StatusServiceUnavailable, "Service temporarily unavailable").later(),
			policy.LimitReached:      assemblyError(http.StatusTooManyRequests, "Too Many Requests").later(),
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
		policy.LimitReached:     assemblyEnd(policyViolation, "Too many requests"),
		policy.UpstreamRefused:  assemblyEnd(tryAgainLater, "The service cannot be reached"),
	},
	Cut: assemblyEnd(assemblyBadKey, "Unauthorized Connection: the key may not be used any more"),
}

// assemblyMint is from https://assemblyai.com/docs, "Authenticate with a temporary token". A token opens a
// stream for ten minutes at most.
var assemblyMint = mintOf([]string{"token"}, []string{"expires_in_seconds"}, 10*time.Minute)

// assemblyList filters the list of transcripts, whose links lead to the vendor's host.
var assemblyList = jsonanswer.Changes{
	Entries: []jsonanswer.Path{jsonanswer.MustPath("transcripts[].id")},
	Replace: []jsonanswer.Path{
		jsonanswer.MustPath("transcripts[].resource_url"), jsonanswer.MustPath("page_details.current_url"),
		jsonanswer.MustPath("page_details.prev_url"), jsonanswer.MustPath("page_details.next_url"),
	},
}.MustCompile()

var assemblyJobs = &Jobs{
	ID:    jsonanswer.MustSet("id"),
	State: jsonanswer.MustSet("status"),
	States: map[string]policy.JobState{
		"queued":     policy.JobQueued,
		"processing": policy.JobProcessing,
		"completed":  policy.JobCompleted,
		"error":      policy.JobFailed,
	},
	Ended: []int{http.StatusNotFound, http.StatusGone},
}

var (
	assemblyRoutes  = routes{assemblyKeys, &assemblyKey, &assemblyRefusals, assemblyJobs}
	assemblyAudio   = &Audio{Part: "audio", Encoding: "encoding", Samples: "sample_rate", Default: "pcm_s16le"}
	assemblyStreams = routes{assemblyStreamKeys, &assemblyKey, &assemblyRefusals, nil}
)

// AssemblyAI is the API of AssemblyAI: transcripts on api.assemblyai.com, short audio on
// sync.assemblyai.com, and live streams on streaming.assemblyai.com. The paths differ, so that clients
// of all three can use one gate.
var AssemblyAI = &API{
	Name: "assemblyai",
	Routes: []Route{
		assemblyRoutes.route(http.MethodPost, "/v2/upload", policy.Upload).withAudio(&Audio{}),
		assemblyRoutes.route(http.MethodPost, "/v2/transcript", policy.CreateJob),
		assemblyRoutes.list("/v2/transcript", assemblyList),
		assemblyRoutes.route(http.MethodGet, "/v2/transcript/{job}", policy.ReadJob),
		assemblyRoutes.route(http.MethodGet, "/v2/transcript/{job}/{name}", policy.ReadJob),
		assemblyRoutes.route(http.MethodDelete, "/v2/transcript/{job}", policy.DeleteJob),
		assemblyRoutes.route(http.MethodPost, "/v1/transcribe/live", policy.Recognize).withAudio(assemblyAudio),
		assemblyRoutes.route(http.MethodGet, "/v1/warm", policy.Info),
		assemblyRoutes.mint(http.MethodGet, "/v3/token", assemblyMint),
		assemblyStreams.stream("/v3/ws", assemblyStreaming).withAudio(assemblyAudio),
	},
	Places:   assemblyStreamKeys,
	Unlisted: assemblyRefusals,
	Secure:   true, // assemblyai for JavaScript
	// The vendor's library for JavaScript sends these fields.
	RequestHeaders: []string{"Authorization", "Content-Type", "User-Agent", "AssemblyAI-Agent", "X-AAI-Model"},
}
