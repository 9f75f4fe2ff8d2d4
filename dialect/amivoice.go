package dialect

import (
	"net/http"

	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/policy"
)

// The places of a key in the AmiVoice API. Sources: the vendor's manual, client
// libraries and plugins. The plugins send the key of a recognition or of a new job in
// the header.
var (
	amiQuery     = Place{Location: Query, Name: "u"}
	amiQueryPair = Place{Location: Query, Name: "d", SubKey: "authorization"}
	amiPart      = Place{Location: Part, Name: "u"}
	amiPartPair  = Place{Location: Part, Name: "d", SubKey: "authorization"}
	amiBearer    = Place{Location: Header, Name: "Authorization", Scheme: "Bearer"}

	amiUploadKeys = []Place{amiQuery, amiQueryPair, amiPart, amiPartPair, amiBearer}
	amiJobKeys    = []Place{amiBearer}
)

// amiError returns the body of a refused recognition. It ends in CRLF: some client
// libraries print nothing without it.
func amiError(code, message string) string {
	return `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"` + code +
		`","message":"` + message + `"}` + "\r\n"
}

const (
	amiDenied      = "received illegal service authorization"
	amiUnavailable = "service temporarily unavailable"
	amiUnreachable = "can't connect to recognizer server"
	amiUnreadable  = "received unreadable request"
	amiTooMany     = "too many requests"
)

var (
	amiRecognition = &Refusals{
		Denied: Answer{Status: http.StatusOK, Body: amiError("-", amiDenied), Session: true},
		By: map[policy.Reason]Answer{
			policy.EarlyData:         early,
			policy.OperationUnlisted: amiUnlisted,
			policy.StoreUnavailable:  amiRecognitionFault,
			policy.RequestMalformed:  {Status: http.StatusOK, Body: amiError("?", amiUnreadable), Session: true},
			policy.UpstreamRefused:   amiRecognitionGateway,
			policy.LimitReached: {
				Status: http.StatusTooManyRequests, Body: amiError("?", amiTooMany),
				Session: true, RetryAfter: retryAfter,
			},
		},
		Gateway: amiRecognitionGateway,
		// The vendor changes the wording of the message. The code does not change.
		KeyRefused: KeyRefused{Status: http.StatusOK, Member: jsonanswer.MustSet("code"), Value: "-"},
	}
	amiRecognitionFault = Answer{
		Status: http.StatusServiceUnavailable, Body: amiError("?", amiUnavailable),
		Session: true, RetryAfter: retryAfter,
	}
	amiRecognitionGateway = Answer{Status: http.StatusBadGateway, Body: amiError("!", amiUnreachable), Session: true}

	// A job of another account has the same answer as a job that does not exist.
	amiJobNotFound = Answer{Status: http.StatusNotFound, Body: `{"message":"not found"}`}
	amiJob         = &Refusals{
		Denied: Answer{Status: http.StatusUnauthorized, Body: `{"message":"` + amiDenied + `"}`},
		By: map[policy.Reason]Answer{
			policy.EarlyData:         early,
			policy.OperationUnlisted: amiUnlisted,
			policy.JobUnknown:        amiJobNotFound,
			policy.JobForeign:        amiJobNotFound,
			policy.StoreUnavailable:  amiStoreFault,
			policy.RequestMalformed:  amiBadRequest,
			policy.UpstreamRefused:   amiPlainGateway,
			policy.LimitReached:      amiLimit,
		},
		Gateway:    amiPlainGateway,
		KeyRefused: KeyRefused{Status: http.StatusUnauthorized},
	}

	// amiPlain has the answers to refused handshakes of live streams, and to refused
	// requests that match no route.
	amiPlain = Refusals{
		Denied: amiUnlisted,
		By: map[policy.Reason]Answer{
			policy.EarlyData:        early,
			policy.StoreUnavailable: amiStoreFault,
			policy.RequestMalformed: amiBadRequest,
			policy.UpstreamRefused:  amiPlainGateway,
			policy.LimitReached:     amiLimit,
		},
		Gateway: amiPlainGateway,
		// This is for the operations that also_allow opens. It is inferred from polls.
		KeyRefused: KeyRefused{Status: http.StatusUnauthorized},
	}

	amiPlainGateway = Answer{Status: http.StatusBadGateway, Body: `{"message":"` + amiUnreachable + `"}`}
	amiLimit        = Answer{Status: http.StatusTooManyRequests, Body: `{"message":"` + amiTooMany + `"}`, RetryAfter: retryAfter}
	amiBadRequest   = Answer{Status: http.StatusBadRequest, Body: `{"message":"` + amiUnreadable + `"}`}

	amiStoreFault = Answer{
		Status: http.StatusServiceUnavailable, Body: `{"message":"` + amiUnavailable + `"}`,
		RetryAfter: retryAfter,
	}

	amiUnlisted = Answer{Status: http.StatusNotFound, Body: `{}`}
)

// amiStreaming is from the vendor's manual of its WebSocket interface. A client that
// receives a p message in the middle of a session stops at once.
var amiStreaming = &CommandRules{
	Start: "s", Pair: "authorization", End: "e", Audio: 'p',
	Started: "s", Failed: "p", Ended: "e",
	Gateway: amiUnreachable,
	Denied:  amiDenied,
	By: map[policy.Reason]string{
		policy.StoreUnavailable: amiUnreachable,
		policy.StreamLimit:      amiUnreachable,
		policy.StreamTooLong:    amiUnreachable,
		policy.CutByOperator:    amiUnreachable,
		policy.RequestMalformed: amiUnreadable,
		policy.UpstreamRefused:  amiUnreachable,
		policy.LimitReached:     amiUnreachable,
	},
	KeyRefused: []string{"authorization", "appkey", "api key"},
	CutText:    "p can't feed audio data to recognizer server",
	// The vendor sends this if no command arrives for 60 seconds before a session.
	TimedOut: "e timeout occurred",
}

var amiJobs = &Jobs{
	ID:    jsonanswer.MustSet("sessionid"),
	State: jsonanswer.MustSet("status"),
	States: map[string]policy.JobState{
		"queued":     policy.JobQueued,
		"started":    policy.JobStarted,
		"processing": policy.JobProcessing,
		"completed":  policy.JobCompleted,
		"error":      policy.JobFailed,
	},
}

// AmiVoice is the API of the AmiVoice Cloud Platform: synchronous recognition
// on acp-api.amivoice.com, asynchronous recognition on acp-api-async.amivoice.com.
// The paths differ, so that clients of both can use one gate.
var AmiVoice = &API{
	Name: "amivoice",
	Routes: []Route{
		amiUpload("/v1/recognize", policy.Recognize),
		amiUpload("/v1/nolog/recognize", policy.Recognize),
		amiNewJob("/v1/recognitions"),
		amiNewJob("/v2/recognitions"),
		amiPoll("/v1/recognitions/{job}"),
		amiPoll("/v2/recognitions/{job}"),
		amiStream("/v1/"),
		amiStream("/v1/nolog/"),
	},
	Places:         amiUploadKeys,
	Audio:          "a",
	Unlisted:       amiPlain,
	SessionHeader:  "X-Session-ID",
	RequestHeaders: []string{"Authorization", "Content-Type"},
}

func amiUpload(path string, op policy.Operation) Route {
	return Route{
		Method: http.MethodPost, Path: path, Operation: op,
		Keys: amiUploadKeys, Refusals: amiRecognition, Audio: &Audio{Part: "a", Format: "c"},
	}
}

func amiNewJob(path string) Route {
	route := amiUpload(path, policy.CreateJob)
	route.Jobs = amiJobs
	return route
}

func amiPoll(path string) Route {
	return Route{
		Method: http.MethodGet, Path: path, Operation: policy.ReadJob,
		Keys: amiJobKeys, Refusals: amiJob, Jobs: amiJobs,
	}
}

// amiStream is a WebSocket. The key comes in a message, not in the handshake.
func amiStream(path string) Route {
	return Route{
		Method: http.MethodGet, Path: path, Operation: policy.Stream,
		Refusals: &amiPlain, Stream: &Stream{Commands: amiStreaming},
	}
}
