package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
	"time"
)

// The codes with which the vendor closes a WebSocket after an error.
const (
	closeWrongMessage uint16 = 1003 // protocol_error
	closePolicy       uint16 = 1008 // policy_violation
)

// realTimeError is an error that ends a session, in the API's words.
type realTimeError struct{ word, reason string }

func (e *realTimeError) Error() string { return e.reason }

func newRealTimeError(word, reason string) error { return &realTimeError{word, reason} }

// realTimeFormat is the layout of the audio of a session.
type realTimeFormat struct {
	Type     string `json:"type"`
	Encoding string `json:"encoding"`
	Rate     int    `json:"sample_rate"`
}

// realTimeConfig is what the sandbox reads of the configuration of a session.
type realTimeConfig struct {
	Language     *string `json:"language"`
	Partials     *bool   `json:"enable_partials"`
	Conversation *struct {
		Silence float64 `json:"end_of_utterance_silence_trigger"`
	} `json:"conversation_config"`
}

// realTimeMessage is a text message of the client.
type realTimeMessage struct {
	Message     string          `json:"message"`
	AudioFormat realTimeFormat  `json:"audio_format"`
	Config      *realTimeConfig `json:"transcription_config"`
}

// realTimeSession is the session of a WebSocket.
type realTimeSession struct {
	*wire
	language   string
	partials   bool // whether the client asks for results that are not final
	utterances bool // whether it asks for the ends of utterances

	added int           // the number of messages with audio
	ended int           // the number of stretches of speech that have ended
	due   time.Duration // the length of the speech at which the next partial result is sent
	left  []byte        // the unread audio of the last message
	err   error         // the error that ended the audio: io.EOF after EndOfStream
	ready bool          // whether the header of the audio has been read
}

// upgrade answers a handshake, and serves the WebSocket to its end.
func (s *Speechmatics) upgrade(w http.ResponseWriter, r *http.Request) *speechmaticsFailure {
	c, bad := openSocket(w, r, s.idle, "")
	if bad != nil {
		return &speechmaticsFailure{Code: bad.status, Error: "Bad Request", Detail: bad.message}
	}
	defer func() { _ = c.conn.Close() }()
	rt := &realTimeSession{wire: c}
	rt.finish(rt.serve())
	return nil
}

func (rt *realTimeSession) say(message string, members map[string]any) {
	if members == nil {
		members = make(map[string]any)
	}
	members["message"] = message
	if text, err := encode(members); err == nil {
		rt.write(opText, text)
	}
}

// serve answers StartRecognition, and measures the audio to its end. The error is nil after
// EndOfStream.
func (rt *realTimeSession) serve() error {
	var start realTimeMessage
	opcode, text, err := rt.read()
	switch {
	case err != nil:
		return err
	case opcode != opText || json.Unmarshal(text, &start) != nil || start.Message != "StartRecognition":
		return newRealTimeError("protocol_error", "want StartRecognition as the first message")
	case start.Config == nil || start.Config.Language == nil || *start.Config.Language == "":
		return newRealTimeError("invalid_config", "transcription_config.language is required")
	}
	layout, samples, err := rt.open(start.AudioFormat)
	if err != nil {
		return err
	}
	rt.configure(start.Config)
	rt.say("RecognitionStarted", map[string]any{
		"id": newUUID(), "orchestrator_version": "sandbox",
		"language_pack_info": map[string]any{
			"adapted": false, "itn": false, "language_description": rt.language, "word_delimiter": " ", "writing_direction": "left-to-right",
		},
	})
	if samples == nil { // the file says its layout
		layout, samples, err = audioSamples(rt, pcm{})
		switch {
		case err != nil && rt.added == 0: // there was no audio
			return rt.end()
		case err != nil:
			return errors.Join(rt.failure(), newRealTimeError("invalid_audio_type", "the file is of a type that cannot be read"))
		}
	}
	rt.ready = true
	m := newMeter(layout)
	m.watch = rt.hear
	measured := m.measure(samples, func() { rt.endUtterance(m.at(m.samples)) })
	for rt.err == nil { // what follows the samples, such as the last chunks of a WAV file
		if _, err := io.Copy(io.Discard, rt); errors.Is(err, errMark) {
			rt.endUtterance(measured.duration)
		}
	}
	return rt.end()
}

// open returns the layout and the reader of raw audio, or no reader for a file.
func (rt *realTimeSession) open(format realTimeFormat) (pcm, io.Reader, error) {
	layout := pcm{rate: format.Rate, channels: 1, bits: 16}
	switch {
	case format.Type == "file":
		return pcm{}, nil, nil
	case format.Type != "raw":
		return pcm{}, nil, newRealTimeError("invalid_audio_type", "audio_format.type: want raw or file")
	case format.Rate < 1 || format.Rate > 1<<20:
		return pcm{}, nil, newRealTimeError("invalid_audio_type", "audio_format.sample_rate: want a positive number")
	}
	switch format.Encoding {
	case "pcm_s16le":
		return layout, rt, nil
	case "pcm_f32le":
		return layout, &floatSamples{r: rt}, nil
	case "mulaw":
		layout.bits, layout.law = 8, muLaw
		return layout, rt, nil
	}
	return pcm{}, nil, newRealTimeError("invalid_audio_type", "audio_format.encoding: want pcm_f32le, pcm_s16le or mulaw")
}

// configure changes the settings that are in a configuration.
func (rt *realTimeSession) configure(c *realTimeConfig) {
	if c.Language != nil {
		rt.language = *c.Language
	}
	if c.Partials != nil {
		rt.partials = *c.Partials
	}
	if c.Conversation != nil {
		rt.utterances = c.Conversation.Silence > 0
	}
}

// failure returns the error that ended the audio; nil after EndOfStream.
func (rt *realTimeSession) failure() error {
	if errors.Is(rt.err, io.EOF) {
		return nil
	}
	return rt.err
}

// end ends a session whose audio has ended.
func (rt *realTimeSession) end() error {
	if err := rt.failure(); err != nil {
		return err
	}
	rt.say("EndOfTranscript", nil)
	return nil
}

// finish closes the WebSocket. If the client has made a mistake, it gets an error first.
func (rt *realTimeSession) finish(err error) {
	var mistake *realTimeError
	var wrong *violation
	switch {
	case err == nil:
		rt.bye(closeNormal, "")
	case errors.As(err, &wrong):
		rt.fail("protocol_error", wrong.reason)
		rt.bye(wrong.code, "protocol_error")
	case errors.Is(err, os.ErrDeadlineExceeded):
		rt.fail("idle_timeout", "Session timed out due to inactivity")
		rt.bye(closePolicy, "policy_violation")
	case errors.As(err, &mistake):
		rt.fail(mistake.word, mistake.reason)
		rt.bye(closeWrongMessage, "protocol_error")
	}
}

func (rt *realTimeSession) fail(word, reason string) {
	rt.say("Error", map[string]any{"type": word, "reason": reason})
}

// hear sends the results of a stretch of speech. It is a watch.
func (rt *realTimeSession) hear(_ pcm, what moment, s segment) {
	if rt.failure() != nil {
		return // the connection has ended, and with it the last speech
	}
	switch what {
	case speechBegins:
		rt.due = interimEvery
	case speechGoesOn:
		if rt.partials && s.length() >= rt.due {
			rt.due = s.length() + interimEvery
			rt.result("AddPartialTranscript", s)
		}
	case speechEnds:
		rt.result("AddTranscript", s)
		rt.ended++
		if rt.utterances {
			rt.endUtterance(s.end)
		}
	}
}

func (rt *realTimeSession) result(message string, s segment) {
	word := newSpokenResult(rt.ended, s, rt.language, "")
	rt.say(message, map[string]any{
		"format":   speechmaticsFormat,
		"metadata": map[string]any{"start_time": word.Start, "end_time": word.End, "transcript": word.Alternatives[0].Content},
		"results":  []spokenResult{word},
	})
}

func (rt *realTimeSession) endUtterance(at time.Duration) {
	rt.say("EndOfUtterance", map[string]any{"metadata": map[string]float64{"start_time": at.Seconds(), "end_time": at.Seconds()}})
}

// Read reads the audio of the client's messages. The error is io.EOF after EndOfStream, and
// errMark after ForceEndOfUtterance: audio can follow it.
func (rt *realTimeSession) Read(p []byte) (int, error) {
	for len(rt.left) == 0 {
		if rt.err != nil {
			return 0, rt.err
		}
		left, err := rt.next()
		switch {
		case errors.Is(err, errMark) && !rt.ready: // there is no utterance
		case errors.Is(err, errMark):
			return 0, err
		default:
			rt.left, rt.err = left, err
		}
	}
	n := copy(p, rt.left)
	rt.left = rt.left[n:]
	return n, nil
}

// next returns the audio of the next message.
func (rt *realTimeSession) next() ([]byte, error) {
	opcode, text, err := rt.read()
	switch {
	case err != nil:
		return nil, err
	case opcode == opBinary:
		rt.added++
		rt.say("AudioAdded", map[string]any{"seq_no": rt.added})
		return text, nil
	}
	var message realTimeMessage
	if json.Unmarshal(text, &message) != nil {
		return nil, newRealTimeError("invalid_message", "want a JSON object as text")
	}
	switch message.Message {
	case "EndOfStream":
		return nil, io.EOF
	case "ForceEndOfUtterance":
		return nil, errMark
	case "GetSpeakers":
		rt.say("SpeakersResult", map[string]any{"speakers": []string{}})
		return nil, nil
	case "SetRecognitionConfig":
		if message.Config == nil {
			return nil, newRealTimeError("invalid_config", "SetRecognitionConfig without transcription_config")
		}
		rt.configure(message.Config)
		return nil, nil
	case "StartRecognition":
		return nil, newRealTimeError("protocol_error", "a second StartRecognition")
	}
	return nil, newRealTimeError("invalid_message", "unknown message "+strings.ToValidUTF8(message.Message[:min(len(message.Message), 40)], ""))
}

// floatSamples reads samples of 32-bit floating point, little-endian, as 16-bit PCM.
type floatSamples struct {
	r    io.Reader
	buf  []byte
	held int // bytes of an incomplete sample at the beginning of buf
}

func (f *floatSamples) Read(p []byte) (int, error) {
	if len(f.buf) < 2*len(p) {
		f.buf = append(f.buf, make([]byte, 2*len(p)-len(f.buf))...)
	}
	n, err := f.r.Read(f.buf[f.held : len(p)/2*4])
	n += f.held
	whole := n - n%4
	for at := 0; at < whole; at += 4 {
		v := float64(math.Float32frombits(binary.LittleEndian.Uint32(f.buf[at:])))
		sample := int16(max(-fullScale, min(fullScale-1, math.Round(v*fullScale))))
		binary.LittleEndian.PutUint16(p[at/2:], uint16(sample))
	}
	f.held = copy(f.buf, f.buf[whole:n])
	return whole / 2, err
}
