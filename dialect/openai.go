package dialect

import (
	"net/http"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// The places of a key in the OpenAI API. Sources: the vendor's API reference,
// https://platform.openai.com/docs/api-reference/authentication, and, for the subprotocol, the
// vendor's library openai for JavaScript (realtime/websocket.ts), which uses it in browsers.
var (
	openAIBearer      = Place{Location: Header, Name: "Authorization", Scheme: "Bearer", Takes: KeysAndTokens}
	openAISubprotocol = Place{Location: Subprotocol, Prefix: "openai-insecure-api-key.", Takes: KeysAndTokens}

	openAIKeys = []Place{openAIBearer, openAISubprotocol}
)

// openAIMint returns where the token is in the answer of client_secrets, or in the older answer of
// transcription_sessions. Both have the instant of its expiry. A token is valid for two hours at most.
func openAIMint() *Mint {
	mint := mintOf([]string{"value", "client_secret.value"}, []string{"expires_at", "client_secret.expires_at"}, 2*time.Hour)
	mint.Instant = true
	return mint
}

// openAIError returns an answer whose body has the vendor's error object. The vendor's client
// libraries choose the type of their error by the status, and read the members of the object.
// The argument code is a JSON string, or null.
func openAIError(status int, kind, code, message string) Answer {
	return Answer{
		Status: status, Template: true,
		Body:   `{"error":{"message":` + strconv.Quote(message) + `,"type":"` + kind + `","param":null,"code":` + code + `}}`,
		Header: []Field{{"X-Request-Id", "req_{request_id}"}},
	}
}

const (
	openAIInvalid = "invalid_request_error"
	openAIServer  = "server_error"

	openAIMissingScope = `"missing_scope"`
	openAIPermission   = "You have insufficient permissions for this operation."
)

var (
	openAIKeyDenied = openAIError(http.StatusUnauthorized, openAIInvalid, `"invalid_api_key"`, "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.")
	openAIMissing   = openAIError(http.StatusUnauthorized, openAIInvalid, `null`, "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).")
	openAIAddress   = openAIError(http.StatusUnauthorized, openAIInvalid, `"ip_not_authorized"`, "Your IP address is not authorized for this API key.")
	openAIScope     = openAIError(http.StatusUnauthorized, openAIInvalid, openAIMissingScope, openAIPermission)
	openAINotFound  = openAIError(http.StatusNotFound, openAIInvalid, `null`, "Invalid URL.")
	openAIGateway   = openAIError(http.StatusBadGateway, openAIServer, `null`, "The server had an error while processing your request.")

	openAIRefusals = Refusals{
		Denied: openAIKeyDenied,
		By: map[policy.Reason]Answer{
			policy.CredentialMissing: openAIMissing,
			policy.AddressRefused:    openAIAddress,
			policy.AddressUnknown:    openAIAddress,
			policy.OperationRefused:  openAIScope,
			policy.EarlyData:         early,
			policy.OperationUnlisted: openAINotFound,
			policy.RequestMalformed:  openAIError(http.StatusBadRequest, openAIInvalid, `null`, "We could not read your request."),
			policy.StoreUnavailable:  openAIError(http.StatusServiceUnavailable, openAIServer, `null`, "The server is temporarily unavailable.").later(),
			policy.LimitReached:      openAIError(http.StatusTooManyRequests, "requests", `"rate_limit_exceeded"`, "Rate limit reached for requests.").later(),
			policy.UpstreamRefused:   openAIGateway,
		},
		Gateway:    openAIGateway,
		KeyRefused: KeyRefused{Status: http.StatusUnauthorized},
	}
)

// openAIEnd returns the end of a realtime stream: an error event, and a Close frame whose code
// makes the vendor's library stop. The library connects again after the codes 1006 and 1011.
func openAIEnd(kind, code, message string, closeCode uint16) StreamEnd {
	return StreamEnd{
		Text: `{"type":"error","event_id":"event_{request_id}","error":{"type":"` + kind + `","code":` + code +
			`,"message":` + strconv.Quote(message) + `,"param":null,"event_id":null}}`,
		Code: closeCode, Reason: kind,
	}
}

// openAIRealtime is from captures of the vendor's API: it accepts each handshake, and refuses a key
// with an error event and a Close frame.
var openAIRealtime = &HandshakeRules{
	InBand: true,
	Denied: openAIEnd(openAIInvalid, `"invalid_api_key"`, "Incorrect API key provided.", openAIBadKey),
	By: map[policy.Reason]StreamEnd{
		policy.CredentialMissing: openAIEnd(openAIInvalid, `null`, "Missing bearer or basic authentication in header", openAIBadKey),
		policy.AddressRefused:    openAIEnd(openAIInvalid, `"ip_not_authorized"`, "Your IP address is not authorized for this API key.", openAIBadKey),
		policy.AddressUnknown:    openAIEnd(openAIInvalid, `"ip_not_authorized"`, "Your IP address is not authorized for this API key.", openAIBadKey),
		policy.OperationRefused:  openAIEnd(openAIInvalid, openAIMissingScope, openAIPermission, openAIBadKey),
		policy.RequestMalformed:  openAIEnd(openAIInvalid, `null`, "We could not read your request.", policyViolation),
		policy.StoreUnavailable:  openAIEnd(openAIServer, `null`, "The server is temporarily unavailable.", tryAgainLater),
		policy.StreamLimit:       openAIEnd("requests", `"rate_limit_exceeded"`, "Rate limit reached for sessions.", policyViolation),
		policy.LimitReached:      openAIEnd("requests", `"rate_limit_exceeded"`, "Rate limit reached for requests.", policyViolation),
		policy.UpstreamRefused:   openAIEnd(openAIServer, `null`, "The server had an error while processing your request.", tryAgainLater),
	},
	Cut:          openAIEnd(openAIInvalid, `"invalid_api_key"`, "The key of this session may not be used any more.", policyViolation),
	KeyRefused:   []string{`"invalid_api_key"`},
	Subprotocols: []string{"realtime"},
}

// openAIBadKey is the code of the Close frame after a refused key.
const openAIBadKey = 3000

// openAIStream is the route of live streams. With call_id, a client would join a call (WebRTC or SIP) of
// the account of the upstream key: https://platform.openai.com/docs/guides/realtime-server-controls.
func openAIStream() Route {
	route := openAIStreams.stream("/v1/realtime", openAIRealtime)
	route.Unlisted = []string{"call_id"}
	return route
}

var (
	openAIRoutes  = routes{[]Place{openAIBearer}, &openAIBearer, &openAIRefusals, nil}
	openAIAudio   = &Audio{Part: "file"}
	openAIStreams = routes{openAIKeys, &openAIBearer, &openAIRefusals, nil}
)

// OpenAI is the audio API of OpenAI at api.openai.com, which nearly all engines that people
// run themselves speak too. Transcriptions can stream as server-sent events.
var OpenAI = &API{
	Name: "openai",
	Routes: []Route{
		openAIRoutes.route(http.MethodPost, "/v1/audio/transcriptions", policy.Recognize).withAudio(openAIAudio),
		openAIRoutes.route(http.MethodPost, "/v1/audio/translations", policy.Recognize).withAudio(openAIAudio),
		openAIRoutes.route(http.MethodGet, "/v1/models", policy.Info),
		openAIRoutes.route(http.MethodGet, "/v1/models/{name}", policy.Info),
		openAIRoutes.mint(http.MethodPost, "/v1/realtime/client_secrets", openAIMint()),
		openAIRoutes.mint(http.MethodPost, "/v1/realtime/transcription_sessions", openAIMint()),
		openAIStream(),
	},
	Places:         openAIKeys,
	Unlisted:       openAIRefusals,
	Secure:         true, // openai for JavaScript
	RequestHeaders: []string{"Authorization", "Content-Type"},
}
