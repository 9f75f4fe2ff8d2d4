package dialect

import (
	"net/http"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// The places of a key in the Deepgram API. Sources:
// https://developers.deepgram.com/docs/authenticating and
// https://developers.deepgram.com/docs/using-the-sec-websocket-protocol. The scheme Bearer is for
// tokens, and some clients write it before a key too.
var (
	deepgramToken       = Place{Location: Header, Name: "Authorization", Scheme: "Token"}
	deepgramBearer      = Place{Location: Header, Name: "Authorization", Scheme: "Bearer", Takes: KeysAndTokens}
	deepgramSubToken    = Place{Location: Subprotocol, Name: "token"}
	deepgramSubBearer   = Place{Location: Subprotocol, Name: "bearer", Takes: KeysAndTokens}
	deepgramHeaderKeys  = []Place{deepgramToken, deepgramBearer}
	deepgramKeys        = []Place{deepgramToken, deepgramBearer, deepgramSubToken, deepgramSubBearer}
	deepgramSubprotocol = []string{"token", "bearer"}
)

// deepgramError returns an answer in the form of https://developers.deepgram.com/reference/errors.
func deepgramError(status int, code, message string) Answer {
	return Answer{
		Status: status, Template: true,
		Body:   `{"err_code":"` + code + `","err_msg":` + strconv.Quote(message) + `,"request_id":"{request_id}"}`,
		Header: []Field{{"Dg-Request-Id", "{request_id}"}},
	}
}

var (
	deepgramDenied  = deepgramError(http.StatusUnauthorized, "INVALID_AUTH", "Invalid credentials.")
	deepgramAddress = deepgramError(http.StatusForbidden, "INSUFFICIENT_PERMISSIONS", "User does not have sufficient permissions.")
	deepgramGateway = deepgramError(http.StatusBadGateway, "BAD_GATEWAY", "The service cannot be reached.")

	deepgramRefusals = Refusals{
		Denied: deepgramDenied,
		By: map[policy.Reason]Answer{
			policy.AddressRefused:    deepgramAddress,
			policy.AddressUnknown:    deepgramAddress,
			policy.OperationRefused:  deepgramAddress,
			policy.EarlyData:         early,
			policy.OperationUnlisted: deepgramError(http.StatusNotFound, "NOT_FOUND", "Not found."),
			policy.RequestMalformed:  deepgramError(http.StatusBadRequest, "INVALID_REQUEST", "The request cannot be read."),
			policy.StoreUnavailable:  deepgramError(http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "The service is temporarily unavailable.").later(),
			policy.LimitReached:      deepgramError(http.StatusTooManyRequests, "TOO_MANY_REQUESTS", "Too many requests. Please try again later").later(),
			policy.StreamLimit:       deepgramError(http.StatusTooManyRequests, "TOO_MANY_REQUESTS", "Too many requests. Please try again later").later(),
			policy.UpstreamRefused:   deepgramGateway,
		},
		Gateway:    deepgramGateway,
		KeyRefused: KeyRefused{Status: http.StatusUnauthorized},
	}
	deepgramHandshake = withErrorHeader(&deepgramRefusals)
)

// withErrorHeader returns refusals for a handshake: the vendor also writes the message into the
// header, because a WebSocket client cannot read the body.
func withErrorHeader(from *Refusals) *Refusals {
	refusals := *from
	refusals.By = make(map[policy.Reason]Answer, len(from.By))
	for reason, answer := range from.By {
		refusals.By[reason] = deepgramWithError(answer)
	}
	refusals.Denied = deepgramWithError(from.Denied)
	refusals.Gateway = deepgramWithError(from.Gateway)
	return &refusals
}

func deepgramWithError(a Answer) Answer {
	if a.Template {
		a.Header = append([]Field{{"Dg-Error", http.StatusText(a.Status)}}, a.Header...)
	}
	return a
}

// deepgramListen and deepgramFlux end a stream with an error message and the code 1000: after every
// other code, the vendor's library for JavaScript connects again with the same key.
var (
	deepgramListen = &HandshakeRules{
		Denied: StreamEnd{
			Text: `{"type":"Error","description":"The stream cannot be read.","message":"The client has broken the WebSocket protocol.","variant":"INVALID_REQUEST","request_id":"{request_id}"}`,
			Code: normalClosure,
		},
		Cut: StreamEnd{
			Text: `{"type":"Error","description":"Invalid credentials.","message":"The key of this stream may not be used any more.","variant":"INVALID_AUTH","request_id":"{request_id}"}`,
			Code: normalClosure,
		},
		Subprotocols: deepgramSubprotocol,
	}
	deepgramAudio = &Audio{Encoding: "encoding", Samples: "sample_rate", Channels: "channels"}

	deepgramFlux = &HandshakeRules{
		Denied: StreamEnd{
			Text: `{"type":"Error","sequence_id":0,"code":"INVALID_REQUEST","description":"The client has broken the WebSocket protocol.","request_id":"{request_id}"}`,
			Code: normalClosure,
		},
		Cut: StreamEnd{
			Text: `{"type":"Error","sequence_id":0,"code":"INVALID_AUTH","description":"The key of this stream may not be used any more.","request_id":"{request_id}"}`,
			Code: normalClosure,
		},
		Subprotocols: deepgramSubprotocol,
	}
)

// deepgramGrant is from https://developers.deepgram.com/reference/auth/tokens/grant. A token is valid
// for an hour at most.
var deepgramGrant = mintOf([]string{"access_token"}, []string{"expires_in"}, time.Hour)

var (
	deepgramRoutes  = routes{deepgramHeaderKeys, &deepgramToken, &deepgramRefusals, nil}
	deepgramStreams = routes{deepgramKeys, &deepgramToken, deepgramHandshake, nil}
)

// Deepgram is the API of Deepgram at api.deepgram.com, and of Deepgram's own engines. A request with
// a callback has its result sent elsewhere, and there is nothing to poll.
var Deepgram = &API{
	Name: "deepgram",
	Routes: []Route{
		deepgramRoutes.route(http.MethodPost, "/v1/listen", policy.Recognize).withAudio(deepgramAudio),
		deepgramStreams.stream("/v1/listen", deepgramListen).withAudio(deepgramAudio),
		deepgramStreams.stream("/v2/listen", deepgramFlux).withAudio(deepgramAudio),
		deepgramRoutes.mint(http.MethodPost, "/v1/auth/grant", deepgramGrant),
		deepgramRoutes.route(http.MethodGet, "/v1/models", policy.Info),
		deepgramRoutes.route(http.MethodGet, "/v1/models/{name}", policy.Info),
	},
	Places:   deepgramKeys,
	Unlisted: deepgramRefusals,
	// The vendor's library for JavaScript sends the fields after Content-Type with each request.
	RequestHeaders: []string{
		"Authorization", "Content-Type", "User-Agent", "X-Deepgram-Session-Id",
		"X-Fern-Language", "X-Fern-Runtime", "X-Fern-Runtime-Version", "X-Fern-Sdk-Name", "X-Fern-Sdk-Version",
	},
}
