package dialect

import "github.com/speechgate/speechgate/policy"

// Stream describes live recognition over a WebSocket. Either Commands or Handshake is set.
type Stream struct {
	// Commands is set if the key is in the commands of the client.
	Commands *CommandRules
	// Handshake is set if the key is in the handshake, in one of the places of the route.
	Handshake *HandshakeRules
}

// HandshakeRules describe live recognition over a WebSocket whose key is in its handshake.
type HandshakeRules struct {
	// InBand is true if the backend accepts the handshake of a bad key, and then refuses the
	// key on the stream. If it is false, the backend refuses the handshake, with the Refusals
	// of the route.
	InBand bool
	// By has the ends of refused streams for some reasons. Without InBand, a stream is refused only
	// if its client breaks the WebSocket protocol: policy.RequestMalformed.
	By map[policy.Reason]StreamEnd
	// Denied is the end of a refused stream for every reason that is not in By.
	Denied StreamEnd
	// Cut is the end of a running stream, such as when its key is revoked. The vendor's client
	// library must stop at it, and must not connect again at once.
	Cut StreamEnd
	// KeyRefused lists texts in lower case. If the first text message of the backend contains one
	// of them, the backend has refused the upstream key.
	KeyRefused []string
	// Subprotocols are the subprotocols that are no secret. If the backend names none in its
	// answer, the gate answers with the first of them that the client offers.
	Subprotocols []string
}

// Commands returns the rules of the API's live streams whose key is in a command. It returns
// nil if the API has none.
func (a *API) Commands() *CommandRules {
	for i := range a.Routes {
		if s := a.Routes[i].Stream; s != nil && s.Commands != nil {
			return s.Commands
		}
	}
	return nil
}

// StreamEnd is how a stream ends: a text message, and a Close frame after it.
type StreamEnd struct {
	Text   string // empty sends no message; it can have the placeholders of an Answer
	Code   uint16 // of the Close frame (RFC 6455, section 7.4)
	Reason string // of the Close frame
}

// Fill returns the end with the facts in place of the placeholders.
func (e StreamEnd) Fill(f Facts) StreamEnd {
	e.Text = f.replacer().Replace(e.Text)
	return e
}

// The codes of Close frames that several APIs use (RFC 6455, section 7.4.1, and the registry of IANA).
const (
	normalClosure   = 1000
	protocolError   = 1002
	policyViolation = 1008
	tryAgainLater   = 1013
)

// End returns how a stream ends that is refused for this reason, if InBand is true.
func (r *HandshakeRules) End(reason policy.Reason) StreamEnd {
	if end, ok := r.By[reason]; ok {
		return end
	}
	return r.Denied
}

// CommandRules describe live recognition over a WebSocket whose key comes in a
// message. The client sends text commands and binary messages with audio. A command
// begins with a word, and is a single frame. A connection can have several sessions,
// one after the other. Each session begins with a start command, which has a key.
// Words are compared byte for byte.
type CommandRules struct {
	// Start is the word of the start command. Tokens follow the word, each after a
	// single space. The value of a name=value token can be in quotation marks; a
	// quotation mark in the value is then doubled.
	Start string
	// Pair is the name of the name=value token that holds the key.
	Pair string
	// End is the command that ends a session. Nothing follows the word.
	End string
	// Audio is the first byte of a binary message with audio.
	Audio byte

	// Started, Failed and Ended are the words of the backend's answers to the start
	// command, to audio and to the end command. An answer is the word alone, or the
	// word, a space and an error message. The backend answers audio only if there is
	// an error.
	Started, Failed, Ended string

	// KeyRefused lists texts in lower case. If the answer to the start command
	// contains one of them, the backend has refused the key. Backends change the
	// wording of their messages, so the texts are the parts that do not change.
	KeyRefused []string

	// Gateway is the message that answers an allowed start command if the backend
	// opens no stream.
	Gateway string
	// By has the messages that answer refused start commands, for some reasons.
	By map[policy.Reason]string
	// Denied is the message for every reason that is not in By.
	Denied string
	// CutText is the whole text that stops a client in the middle of a session.
	CutText string
	// TimedOut is the whole text, with its word, for a client whose first start command
	// does not arrive within start_timeout. The text does not mention a key.
	TimedOut string
}

// Refusal returns the text that answers a refused start command.
func (r *CommandRules) Refusal(reason policy.Reason) string {
	message, ok := r.By[reason]
	if !ok {
		message = r.Denied
	}
	return r.Started + " " + message
}

// Unreachable returns the text that answers a start command if the backend opens no
// stream.
func (r *CommandRules) Unreachable() string { return r.Started + " " + r.Gateway }
