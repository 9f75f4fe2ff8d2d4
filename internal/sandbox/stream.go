package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// The answers to commands that come at the wrong time.
const (
	cannotStart = "s can't start feeding audio data to recognizer server"
	cannotFeed  = "p can't feed audio data to recognizer server"
	cannotEnd   = "e can't end feeding audio data to recognizer server"

	// The API's texts for 60 seconds without data, between sessions and in a session.
	// Source: docs.amivoice.com, "Limitations".
	timedOut          = "e timeout occurred"
	timedOutInSession = "e timeout occurred while recognizing audio data from client"
)

// stream is the WebSocket of a client. Sessions follow one another on it.
type stream struct {
	*wire
	sandbox *AmiVoice
}

func (st *stream) say(text string) { st.write(opText, []byte(text)) }

// serve runs the client's commands until the connection ends.
func (st *stream) serve() {
	var wrong *violation
	switch err := st.commands(); {
	case errors.As(err, &wrong):
		st.bye(wrong.code, wrong.reason)
	case errors.Is(err, os.ErrDeadlineExceeded):
		st.timeOut(timedOut)
	}
}

// timeOut sends the text for a client that was silent for too long, and ends the
// connection.
func (st *stream) timeOut(text string) {
	st.say(text)
	st.bye(closeNormal, "timeout")
}

// commands runs the commands outside a session. It reads the next command after it has
// answered the last one, so a client may send s right after e.
func (st *stream) commands() error {
	for {
		name, rest, err := st.command()
		if err != nil {
			return err
		}
		switch name {
		case 's':
			if err := st.start(string(rest)); err != nil {
				return err
			}
		case 'p':
			st.say(cannotFeed)
		case 'e':
			st.say(cannotEnd)
		}
	}
}

// command reads the next command: s, e, or p with its audio. It refuses a p that is text.
// The rest is valid until the next command.
func (st *stream) command() (name byte, rest []byte, err error) {
	for {
		opcode, message, err := st.read()
		if err != nil {
			return 0, nil, err
		}
		name, rest = 0, nil
		if len(message) > 0 {
			name, rest = message[0], message[1:]
		}
		switch {
		case name == 'p' && opcode == opBinary:
			return name, rest, nil
		case name == 'p':
			st.say(cannotFeed)
			continue
		case opcode == opText && !utf8.Valid(message):
			return 0, nil, &violation{closeNotUTF8, "text that is not UTF-8"}
		case opcode == opText && name == 's' && (len(rest) == 0 || rest[0] == ' '):
			return name, rest, nil
		case opcode == opText && name == 'e' && len(rest) == 0:
			return name, nil, nil
		}
		// The answer quotes only the first byte, because the command can contain a key.
		st.say(fmt.Sprintf("? unknown command %q: want s or e as text, or p as binary", message[:min(len(message), 1)]))
		return 0, nil, &violation{closeProtocol, "unknown command"}
	}
}

// start answers a command s and, if it accepts the command, runs the session to its end.
// Rest is the text after the letter s.
func (st *stream) start(rest string) error {
	command, err := parseStart(rest)
	answer := "s"
	switch {
	case err != nil:
		answer += " " + err.Error()
	case !command.open(st.sandbox.key):
		answer += " " + errKey.message
	case !isFormat(command.format):
		answer += " " + errAudio.message
	}
	st.say(answer)
	if answer != "s" {
		return nil
	}
	return st.session(command.format)
}

// session measures the audio up to the command e, and sends the events of its speech. If
// the audio's format is unsupported, the session ends early.
func (st *stream) session(format string) error {
	fed := &feed{stream: st}
	told := utterances{id: newSessionID(), now: st.sandbox.now, say: func(text string) {
		// If the connection ends, no events are sent for its last utterance.
		if fed.err == nil || errors.Is(fed.err, io.EOF) {
			st.say(text)
		}
	}}
	_, err := measureWatched(fed, format, told.hear)
	if err != nil && fed.err == nil {
		st.say("p " + errAudio.message)
		return nil
	}
	_, _ = io.Copy(io.Discard, fed) // the bytes after the samples are not audio
	switch {
	case errors.Is(fed.err, os.ErrDeadlineExceeded):
		st.timeOut(timedOutInSession)
		return errClosed
	case !errors.Is(fed.err, io.EOF):
		return fed.err
	case err != nil && fed.size > 0:
		st.say("e " + errAudio.message)
	default:
		st.say("e")
	}
	return nil
}

// feed is the audio of a session, from its commands p, up to the command e.
type feed struct {
	stream *stream
	left   []byte // the unread audio of the last command p
	size   int64
	err    error // the error that ended the feed: io.EOF after the command e
}

func (f *feed) Read(p []byte) (int, error) {
	for len(f.left) == 0 && f.err == nil {
		f.left, f.err = f.stream.audio()
		f.size += int64(len(f.left))
	}
	if f.err != nil {
		return 0, f.err
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}

// audio returns the audio of the next command p, or io.EOF at the command e.
func (st *stream) audio() ([]byte, error) {
	for {
		name, rest, err := st.command()
		switch {
		case err != nil:
			return nil, err
		case name == 'p':
			return rest, nil
		case name == 'e':
			return nil, io.EOF
		}
		st.say(cannotStart)
	}
}
