package dialect

import "github.com/speechgate/speechgate/policy"

// StreamRules say how live recognition runs over a WebSocket whose key comes in
// its messages: text commands that begin with a word, each one final frame, and
// binary messages of audio. Sessions follow one another on a connection, and
// each is started with a key of its own. Words are compared byte for byte.
type StreamRules struct {
	// Start is the word of the command that starts a session. It is followed by
	// tokens, each after a single space; name=value tokens may have the value
	// in quotation marks, inside which they are doubled.
	Start string
	// Pair names the one among the start command's name=value tokens that is
	// the key.
	Pair string
	// End is the command that ends a session; nothing follows the word.
	End string
	// Audio is the first byte of a binary message that carries audio.
	Audio byte

	// Started, Failed and Ended are the words of the backend's answers to the
	// start command, to audio and to the end command. An answer is the word, or
	// the word, a space and a message that says what went wrong; Failed only
	// comes where something did.
	Started, Failed, Ended string

	// KeyRefused has what an answer to the start command contains if the backend
	// does not accept the key, in lower case: any one of them is enough. Backends
	// reword their texts, so that these are the parts that stay.
	KeyRefused []string

	// Gateway is the message of a start that was allowed, where the backend opens
	// no stream.
	Gateway string
	// Denied is the message of every refused start that By does not name.
	Denied string
	By     map[policy.Reason]string
	// CutText is the whole text that stops a client in the middle of a session.
	CutText string
	// TimedOut is the whole text for a client whose first start command does not
	// come in time. It says nothing of a key.
	TimedOut string
}

// Refusal is the text that answers a start command that is refused.
func (r *StreamRules) Refusal(reason policy.Reason) string {
	message, ok := r.By[reason]
	if !ok {
		message = r.Denied
	}
	return r.Started + " " + message
}

// Unreachable is the text that answers a start command where the backend opens no
// stream.
func (r *StreamRules) Unreachable() string { return r.Started + " " + r.Gateway }
