package stream

import (
	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/policy"
)

// Protocol knows what the messages of one API mean, and decides what happens to them. It
// belongs to one Guard, which reads and writes the frames, buffers messages and ends the
// stream.
//
// The goroutine that reads from the client calls Accepts, FromClient and Waiting. The
// goroutine that writes to the client calls Watching, FromBackend and RefusesKey. Any
// goroutine may call the other methods. Only FromClient may block: it may ask the keystore.
type Protocol interface {
	// Shape returns what is the same for every stream of the API. New calls it once.
	Shape() Shape

	// Accepts returns the action for a message of the client with this opcode: Forward,
	// Buffer (only for a text) or Refuse. The Guard calls Accepts when a message begins,
	// and again for fragments of audio. Accepts must be fast.
	Accepts(opcode wsframe.Opcode) Action

	// FromClient takes a whole text message of the client, which is valid UTF-8, and
	// returns what happens to the message: Forward, Wait or Refuse. After Wait, the Guard
	// keeps the message and the messages after it until Waiting returns false. Then the
	// Guard calls FromClient again with the same text.
	FromClient(text string) Step

	// Waiting reports whether a message of the client must wait for the backend.
	Waiting() bool

	// Watching reports whether the text message of the backend that begins now can say that
	// the upstream key is refused. If so, the Guard buffers the message. The Guard calls
	// Watching once for each text message.
	Watching() bool

	// FromBackend takes the beginning of a text message of the backend, before the client
	// gets the message: Shape.Beginning bytes, or the whole message if it is shorter. It
	// returns true if a message of the client no longer has to wait for the backend.
	FromBackend(beginning []byte) (answered bool)

	// RefusesKey takes a whole text message of the backend, if Watching returned true when
	// the message began. It reports whether the message says that the upstream key is
	// refused. If so, the client gets the text of Refusal(policy.UpstreamRefused) in place
	// of the message. The stream goes on, unless the Farewell has CloseAtOnce.
	RefusesKey(answer []byte) bool

	// Refusal returns what the client gets when its stream is refused for this reason.
	Refusal(reason policy.Reason) Farewell

	// Cut returns what the client gets when its stream is cut. The client libraries of the
	// API must stop at it, and must not connect again at once.
	Cut() Farewell

	// The Guard calls End once, when the stream begins to end. If FromClient is running at
	// that time, it must not start a session any more.
	End()
}

// Shape has what is the same for every stream of an API.
type Shape struct {
	// KeyInHandshake is true if the caller has authorized the stream before Wrap. If it is
	// false, the stream is authorized when FromClient returns Forward for the first time.
	KeyInHandshake bool

	// If CheckAudio is true, each binary message of the client must begin with the byte
	// Audio. The Guard forwards each fragment of such a message as a whole message that
	// begins with Audio, because a backend may treat every frame as a message.
	Audio      byte
	CheckAudio bool

	// Beginning is how many bytes of a text message FromBackend needs. If it is 0,
	// FromBackend is not called.
	Beginning int

	// Secrets are the upstream keys. The Guard masks them in what the backend sends.
	Secrets []policy.Secret

	// TimedOut is what the client gets if its first text message has not arrived whole
	// within Config.StartTime.
	TimedOut Farewell
}

// Action says what to do with a message, or with the payload of a frame.
type Action uint8

// The actions. The zero value refuses.
const (
	Refuse  Action = iota // end the stream
	Forward               // pass the payload on as it comes
	Buffer                // keep the message until it is whole
	Wait                  // keep a whole message until Waiting returns false
	redact                // pass the payload on as it comes, with the secret masked
)

// Step says what to do with a whole text message of the client.
type Step struct {
	Action Action
	// Text is what the backend gets if Action is Forward.
	Text string
	// Farewell is what the client gets if Action is Refuse.
	Farewell Farewell
	// Reason and Detail are for Config.Refused if Action is Refuse. If Reason is
	// policy.Undecided, which is the zero value, Refused is not called: the Protocol has
	// reported the refusal itself.
	Reason policy.Reason
	Detail string
}

// Farewell is what a client gets at the end of its stream.
type Farewell struct {
	// Text is a text message. It is not sent if it is empty.
	Text string
	// Close is a whole Close frame, as wsframe.CloseFrame renders it.
	Close []byte
	// If CloseAtOnce is true, Close is sent together with Text. If it is false, Close is
	// sent after the client has sent a Close frame, or when Config.PartingTime is over.
	CloseAtOnce bool
}
