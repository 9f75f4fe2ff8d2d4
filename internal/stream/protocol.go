package stream

import (
	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/policy"
)

// Protocol is what the messages of one API mean. It belongs to one Guard, which
// reads and writes the frames, buffers messages and ends the stream.
//
// The goroutine that reads from the client calls Accepts, FromClient and Waiting,
// and the one that writes to the client calls Watching, FromBackend and RefusesKey.
// Any goroutine may call the rest. No method may block, except for FromClient, which
// may ask the keystore.
type Protocol interface {
	// Shape is what is the same for every stream of the API. New asks once.
	Shape() Shape

	// Accepts returns the action for a message of the client that begins, and for each of
	// its fragments: Forward, Buffer (only for a text) or Refuse. It is called for each frame,
	// so it must be fast.
	Accepts(opcode wsframe.Opcode) Action

	// FromClient takes a whole text message of the client, which is valid UTF-8, and
	// says what happens to the message: Forward, Wait or Refuse. After Wait, the stream
	// keeps what the client sends until Waiting returns false. FromClient then gets the
	// same text again.
	FromClient(text string) Step

	// Waiting reports whether a message of the client must wait for the backend.
	Waiting() bool

	// Watching reports whether the text message of the backend that begins now can
	// say that the upstream key is refused. The message is then buffered.
	Watching() bool

	// FromBackend takes the beginning of a text message of the backend, before the
	// client gets the message: Shape.Beginning bytes, or the whole message if it is
	// shorter. It reports whether this ends the waiting of a message of the client.
	FromBackend(beginning []byte) (answered bool)

	// RefusesKey reports whether a text message of the backend, which Watching has
	// announced, says that the upstream key is refused. The client then gets the text
	// of Refusal(policy.UpstreamRefused) in its place.
	RefusesKey(answer []byte) bool

	// Refusal is the end of a stream that is refused for this reason.
	Refusal(reason policy.Reason) Farewell

	// Cut is the end of a stream that is stopped in the middle. It must make the
	// clients of the API stop, and not connect again at once.
	Cut() Farewell

	// End is called once, when the stream begins to end. FromClient, if it runs
	// meanwhile, starts no session any more.
	End()
}

// Shape is what is the same for every stream of an API.
type Shape struct {
	// KeyInHandshake says that the caller has authorized the stream before Wrap.
	// Without it, the stream is authorized when FromClient forwards a message for the
	// first time.
	KeyInHandshake bool

	// Audio, if CheckAudio is set, is the first byte of each binary message of the
	// client. A fragment of such a message goes on as a message of its own that begins
	// with Audio, since a backend may take every frame for a message.
	Audio      byte
	CheckAudio bool

	// Beginning is how many bytes of a text message FromBackend needs; 0 if it need
	// not be called.
	Beginning int

	// Secret must not reach the client: it is masked in what the backend sends.
	// Empty if no text is sent.
	Secret policy.Secret

	// TimedOut ends a stream whose first message has not come within
	// Config.StartTime.
	TimedOut Farewell
}

// Action says what to do with a message, or with the payload of a frame.
type Action uint8

// The actions. The zero value refuses.
const (
	Refuse  Action = iota // end the stream
	Forward               // pass the payload on as it comes
	Buffer                // keep the message until it is whole
	Wait                  // keep a whole message until the backend has answered
	redact                // pass the payload on as it comes, with the secret masked
)

// Step says what to do with a whole text message of the client.
type Step struct {
	Action Action
	// Text is what the backend gets, where Action is Forward.
	Text string
	// Farewell ends the stream, where Action is Refuse.
	Farewell Farewell
	// Reason and Detail are for Config.Refused, where Action is Refuse. Without a
	// Reason, Refused is not called: the Protocol has reported the refusal itself.
	Reason policy.Reason
	Detail string
}

// Farewell is what a client gets last.
type Farewell struct {
	// Text is a text message. It is not sent if it is empty.
	Text string
	// Close is a whole Close frame, as wsframe.CloseFrame renders it.
	Close []byte
	// CloseAtOnce sends Close together with Text. Without it, the client gets Close
	// when it has closed, or when Config.PartingTime is over.
	CloseAtOnce bool
}
