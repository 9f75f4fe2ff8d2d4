package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The codes of errors on a WebSocket. Each is the code of the Close frame too. Source:
// https://assemblyai.com/docs/streaming/common-session-errors-and-closures.
const (
	closeUnauthorized uint16 = 1008
	closeCancelled    uint16 = 3005
	closeInvalid      uint16 = 3006
	closeDuration     uint16 = 3007
)

// The limits of one message of audio.
const (
	shortestChunk = 50 * time.Millisecond
	longestChunk  = time.Second
)

// usedTokens are the tokens that have opened a stream, until they expire.
type usedTokens struct {
	mu   sync.Mutex
	ends map[string]time.Time
}

// use reports whether a token has not been used before.
func (u *usedTokens) use(token string, end, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.ends, func(_ string, end time.Time) bool { return !now.Before(end) })
	_, used := u.ends[token]
	u.ends[token] = end
	return !used
}

// assemblyTurn is a message Turn. Times are in milliseconds.
type assemblyTurn struct {
	Type       string       `json:"type"`
	Order      int          `json:"turn_order"`
	Formatted  bool         `json:"turn_is_formatted"`
	End        bool         `json:"end_of_turn"`
	Transcript string       `json:"transcript"` // of the words that are final
	Confidence float64      `json:"end_of_turn_confidence"`
	Words      []streamWord `json:"words"`
}

type streamWord struct {
	Text       string  `json:"text"`
	Start      int64   `json:"start"`
	End        int64   `json:"end"`
	Confidence float64 `json:"confidence"`
	Final      bool    `json:"word_is_final"`
}

// assemblyStream is the WebSocket of a client.
type assemblyStream struct {
	*wire
	layout pcm
	format bool // whether the client asks for a formatted turn too
	meter  *meter

	ended int           // the number of turns that have ended
	due   time.Duration // the length of the turn at which the next message is sent
}

// stream answers a handshake, and serves the WebSocket to its end. As with the API, the handshake
// succeeds with every key, and an error follows.
func (s *AssemblyAI) stream(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	layout, wrong := assemblyLayout(query)
	c, bad := openSocket(w, r, s.idle, "")
	if bad != nil {
		write(w, bad.status, assemblyError{Text: bad.message})
		return
	}
	defer func() { _ = c.conn.Close() }()
	st := &assemblyStream{wire: c, layout: layout, format: query.Get("format_turns") == "true"}
	switch {
	case !s.mayStream(r, query):
		st.fail(closeUnauthorized, "Unauthorized Connection: Missing Authorization header")
	case wrong != nil:
		st.fail(closeInvalid, wrong.Error())
	default:
		begun := s.now()
		st.say(map[string]any{"type": "Begin", "id": newUUID(), "expires_at": begun.Add(assemblyStreamTime).Unix()})
		st.serve(func() time.Duration { return s.now().Sub(begun) })
	}
}

// mayStream reports whether a handshake has the key, or a token that nobody has used.
func (s *AssemblyAI) mayStream(r *http.Request, query url.Values) bool {
	keys := assemblyKeys(r)
	var tokens credentials
	for _, value := range query["token"] {
		tokens.add(value)
	}
	if tokens.key == "" {
		return keys.open(s.key)
	}
	end, ok := s.grants.end(tokens.key)
	now := s.now()
	return keys.key == "" && !tokens.mixed && ok && now.Before(end) && s.used.use(tokens.key, end, now)
}

// assemblyLayout returns the layout that the parameters of a handshake say.
func assemblyLayout(query url.Values) (pcm, error) {
	rate, err := strconv.Atoi(query.Get("sample_rate"))
	if err != nil || rate < 8000 || rate > 48000 {
		return pcm{}, fmt.Errorf("sample_rate %q: want a number from 8000 to 48000", query.Get("sample_rate"))
	}
	switch encoding := query.Get("encoding"); encoding {
	case "", "pcm_s16le":
		return pcm{rate: rate, channels: 1, bits: 16}, nil
	case "pcm_mulaw":
		return pcm{rate: rate, channels: 1, bits: 8, law: muLaw}, nil
	default:
		return pcm{}, fmt.Errorf("encoding %q: the sandbox reads pcm_s16le and pcm_mulaw", encoding)
	}
}

func (st *assemblyStream) say(body any) {
	if text, err := encode(body); err == nil {
		st.write(opText, text)
	}
}

// fail sends an error, and closes the WebSocket with the error's code. If the text is too long for a
// Close frame, the reason there is the vendor's.
func (st *assemblyStream) fail(code uint16, text string) {
	st.say(struct {
		Type string `json:"type"`
		Code uint16 `json:"error_code"`
		Text string `json:"error"`
	}{"Error", code, text})
	if len(text) > maxControl-2 {
		text = "See Error message for details"
	}
	st.bye(code, text)
}

// serve measures the audio of the client's messages to the end of the stream. The function age
// returns how long the stream lasts.
func (st *assemblyStream) serve(age func() time.Duration) {
	st.meter = newMeter(st.layout)
	st.meter.watch = st.hear
	for {
		opcode, message, err := st.read()
		var wrong *violation
		switch {
		case errors.As(err, &wrong):
			st.bye(wrong.code, wrong.reason)
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			st.fail(closeCancelled, "Session Cancelled: no message for too long")
			return
		case err != nil: // the connection has ended
			return
		case opcode == opBinary:
			length := st.layout.at(int64(len(message) / st.layout.block()))
			if length < shortestChunk || length > longestChunk {
				st.fail(closeDuration, fmt.Sprintf("Input duration violation: %.1f ms. Expected between 50 and 1000 ms", float64(length)/float64(time.Millisecond)))
				return
			}
			st.meter.add(message)
			continue
		}
		end, failed := st.command(message)
		switch {
		case failed != "":
			st.fail(closeInvalid, failed)
			return
		case end:
			measured := st.meter.end()
			st.say(map[string]any{
				"type": "Termination", "audio_duration_seconds": measured.duration.Seconds(), "session_duration_seconds": age().Seconds(),
			})
			st.bye(closeNormal, "")
			return
		}
	}
}

// command takes a text message. It returns whether the message ends the stream, and what is wrong
// with it.
func (st *assemblyStream) command(message []byte) (end bool, failed string) {
	shown := strings.ToValidUTF8(string(message[:min(len(message), 60)]), "")
	if !json.Valid(message) {
		return false, "Invalid JSON: " + shown
	}
	var command struct {
		Type   string
		Format *bool `json:"format_turns"`
	}
	if json.Unmarshal(message, &command) != nil {
		return false, "Invalid Message: " + shown
	}
	switch command.Type {
	case "Terminate":
		return true, ""
	case "ForceEndpoint":
		st.meter.endStretch()
	case "UpdateConfiguration":
		if command.Format != nil {
			st.format = *command.Format
		}
	case "KeepAlive":
	default:
		return false, "Invalid Message Type: " + shown
	}
	return false, ""
}

// hear sends a message for every half second of speech, and one or two at the end of a turn. Each
// stretch of speech is a turn. It is a watch.
func (st *assemblyStream) hear(_ pcm, what moment, s segment) {
	switch what {
	case speechBegins:
		st.due = interimEvery
	case speechGoesOn:
		if s.length() >= st.due {
			st.due = s.length() + interimEvery
			st.say(st.turn(s))
		}
	case speechEnds:
		turn := st.turn(s)
		turn.End, turn.Confidence, turn.Transcript, turn.Words[0].Final = true, 1, turn.Words[0].Text, true
		st.say(turn)
		if st.format {
			turn.Formatted, turn.Transcript = true, newToken(st.ended, s).Written
			st.say(turn)
		}
		st.ended++
	}
}

// turn returns the turn with the speech in s so far. Its word is not final.
func (st *assemblyStream) turn(s segment) assemblyTurn {
	word := newAssemblyWord(st.ended, s)
	return assemblyTurn{
		Type: "Turn", Order: st.ended,
		Words: []streamWord{{Text: word.Text, Start: word.Start, End: word.End, Confidence: word.Confidence}},
	}
}
