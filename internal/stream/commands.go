package stream

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/policy"
)

// Verdict says whether a start command is accepted. The zero value refuses it.
type Verdict struct {
	OK bool
	// Message is the text message that the client gets if the command is refused. Default:
	// the refusal in CommandsConfig.Rules for the reason of the fault, or for
	// policy.CredentialMalformed if there is no fault.
	Message string
}

// CommandsConfig configures Commands.
type CommandsConfig struct {
	// Rules of the API. There is no default.
	Rules *dialect.CommandRules

	// Upstream says what the backend gets in place of the clients' keys.
	Upstream credential.Upstream

	// Secrets are the upstream keys. They are masked in what the backend sends.
	Secrets []policy.Secret

	// Authorize decides whether a start command is accepted. The goroutine that reads from
	// the client calls it once for each start command, and reads nothing more until it
	// returns. If no key can be read from the command, secret is empty and fault says why:
	// the command is then refused, whatever Authorize returns. Default: all commands are
	// refused.
	Authorize func(secret policy.Secret, fault *credential.Fault) Verdict
}

// Commands is the Protocol of an API whose key is in text commands: AmiVoice.
//
// Sessions follow one another on a connection. A start command with a key begins a session,
// and an end command ends it. A client may send the start command of its next session
// before the backend has answered the end command. Such a start command waits for the
// answer, and Authorize is called after the answer.
type Commands struct {
	cfg       CommandsConfig
	beginning int // how many bytes of an answer FromBackend needs: the longest word and one more
	session   atomic.Uint32
	asked     atomic.Bool // the backend has not answered a start command yet
	format    string      // see Format
}

// NewCommands returns the protocol of one stream.
func NewCommands(cfg CommandsConfig) *Commands {
	c := &Commands{cfg: cfg}
	for _, word := range []string{cfg.Rules.Started, cfg.Rules.Failed, cfg.Rules.Ended} {
		c.beginning = max(c.beginning, len(word)+1)
	}
	return c
}

var _ Protocol = (*Commands)(nil)

// The states of a connection's sessions, which follow one another.
const (
	sessionIdle    uint32 = iota // no session: the next command is a start command
	sessionRunning               // the backend has got a start command
	sessionFailed                // the backend has refused audio, and may accept a new start command
	sessionEnded                 // the backend has got the end command, and has not answered it yet
	sessionOver                  // the stream ends
)

// Shape implements Protocol.
func (c *Commands) Shape() Shape {
	return Shape{Audio: c.cfg.Rules.Audio, CheckAudio: true, Beginning: c.beginning, Secrets: c.cfg.Secrets, TimedOut: farewell(c.cfg.Rules.TimedOut)}
}

// closePolicyViolation is the Close frame that is sent after the text of a farewell.
var closePolicyViolation = wsframe.CloseFrame(wsframe.PolicyViolation, "")

// farewell returns a Farewell with this text. CloseAtOnce is false, because some client
// libraries of AmiVoice treat every frame as a message, and hang on a Close frame alone.
// After the text, the Close frame does no harm.
func farewell(text string) Farewell { return Farewell{Text: text, Close: closePolicyViolation} }

// Refusal implements Protocol.
func (c *Commands) Refusal(reason policy.Reason) Farewell {
	return farewell(c.cfg.Rules.Refusal(reason))
}

// Cut implements Protocol.
func (c *Commands) Cut() Farewell { return farewell(c.cfg.Rules.CutText) }

// Accepts implements Protocol. Audio is forwarded only while a session runs.
func (c *Commands) Accepts(opcode wsframe.Opcode) Action {
	if opcode == wsframe.Text {
		return Buffer
	}
	if state := c.session.Load(); state == sessionRunning || state == sessionFailed {
		return Forward
	}
	return Refuse
}

// FromClient implements Protocol.
func (c *Commands) FromClient(text string) Step {
	rules := c.cfg.Rules
	switch {
	case text == rules.End:
		if !c.become(sessionEnded, sessionRunning, sessionFailed) {
			return c.malformed("an end command while no session runs")
		}
		return Step{Action: Forward, Text: text}
	case text != rules.Start && !strings.HasPrefix(text, rules.Start+" "):
		return c.malformed("an unknown command")
	case c.Waiting():
		return Step{Action: Wait}
	}
	return c.start(text)
}

func (c *Commands) malformed(detail string) Step {
	return Step{Reason: policy.RequestMalformed, Detail: detail, Farewell: c.Refusal(policy.RequestMalformed)}
}

// start calls Authorize for a start command, and rewrites the key of an accepted command as
// Upstream says.
func (c *Commands) start(text string) Step {
	_ = c.become(sessionIdle, sessionFailed)
	if c.session.Load() != sessionIdle {
		return c.malformed("a start command before the end of the session that runs")
	}
	c.format, _, _ = strings.Cut(strings.TrimPrefix(text[len(c.cfg.Rules.Start):], " "), " ")
	command, fault := credential.ScanCommand(text, c.cfg.Rules.Start, c.cfg.Rules.Pair)
	verdict := c.judge(&command, fault)
	if !verdict.OK {
		if verdict.Message != "" {
			return Step{Farewell: farewell(verdict.Message)}
		}
		reason := policy.CredentialMalformed
		if fault != nil {
			reason = fault.Reason
		}
		return Step{Farewell: c.Refusal(reason)}
	}
	if !c.become(sessionRunning, sessionIdle) { // the stream has ended meanwhile
		return Step{}
	}
	c.asked.Store(true)
	return Step{Action: Forward, Text: command.Rewrite(c.cfg.Upstream)}
}

// Format returns the audio format of the start command: the first word after Start. CommandsConfig.Authorize
// may call it.
func (c *Commands) Format() string { return c.format }

func (c *Commands) judge(command *credential.Command, fault *credential.Fault) Verdict {
	if c.cfg.Authorize == nil {
		return Verdict{}
	}
	var secret policy.Secret
	if fault == nil {
		secret = command.Key()
	}
	verdict := c.cfg.Authorize(secret, fault)
	verdict.OK = verdict.OK && fault == nil
	return verdict
}

// Waiting implements Protocol. A start command waits until the backend has answered the end
// command before it.
func (c *Commands) Waiting() bool { return c.session.Load() == sessionEnded }

// Watching implements Protocol. It returns false if the backend gets the clients' own keys:
// an answer that refuses a key is then about the client's key.
func (c *Commands) Watching() bool { return c.cfg.Upstream.Mode != credential.Pass && c.asked.Load() }

// FromBackend implements Protocol.
func (c *Commands) FromBackend(beginning []byte) (answered bool) {
	rules := c.cfg.Rules
	started, message := answers(beginning, rules.Started)
	ended, _ := answers(beginning, rules.Ended)
	if (started || ended) && c.asked.Load() {
		c.asked.Store(false)
	}
	switch {
	case ended:
		return c.become(sessionIdle, sessionRunning, sessionFailed, sessionEnded)
	case message:
		// In the state sessionEnded, the session goes on: the backend will still answer the
		// end command.
		return c.become(sessionIdle, sessionRunning, sessionFailed)
	}
	if failed, _ := answers(beginning, rules.Failed); failed {
		_ = c.become(sessionFailed, sessionRunning)
	}
	return false
}

// answers reports whether word is the first word of an answer of the backend, and whether a
// message follows the word.
func answers(beginning []byte, word string) (is, message bool) {
	if len(beginning) < len(word) || string(beginning[:len(word)]) != word {
		return false, false
	}
	message = len(beginning) > len(word) && beginning[len(word)] == ' '
	return message || len(beginning) == len(word), message
}

// RefusesKey implements Protocol.
func (c *Commands) RefusesKey(answer []byte) bool {
	rules := c.cfg.Rules
	if _, message := answers(answer, rules.Started); !message {
		return false
	}
	answer = bytes.ToLower(answer[len(rules.Started):])
	return slices.ContainsFunc(rules.KeyRefused, func(word string) bool { return bytes.Contains(answer, []byte(word)) })
}

// End implements Protocol.
func (c *Commands) End() { c.session.Store(sessionOver) }

// become moves from one of several states to another. If the session is in another state,
// become changes nothing and returns false.
func (c *Commands) become(to uint32, from ...uint32) bool {
	for {
		state := c.session.Load()
		if !slices.Contains(from, state) {
			return false
		}
		if c.session.CompareAndSwap(state, to) {
			return true
		}
	}
}
