package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// keySubprotocol comes before the key in a subprotocol that a page offers.
	keySubprotocol = "openai-insecure-api-key."

	// closeBadKey is the code with which the vendor closes a WebSocket after a refused key.
	closeBadKey uint16 = 3000

	minCommit = 100 * time.Millisecond // the shortest audio of a commit
)

// upgrade answers a handshake, and serves the WebSocket to its end. The API accepts the handshake
// of a client with a bad key, and then sends an error.
func (s *OpenAI) upgrade(w http.ResponseWriter, r *http.Request) {
	keys := bearer(r)
	fields := ""
	for _, list := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			if key, ok := strings.CutPrefix(name, keySubprotocol); ok {
				keys.add(key)
			} else if name == "realtime" {
				fields = "Sec-WebSocket-Protocol: realtime\r\n"
			}
		}
	}
	failed := s.refusal(keys)
	if s.secrets.good(keys, s.now()) {
		failed = nil
	}
	c, bad := openSocket(w, r, s.idle, fields)
	if bad != nil {
		write(w, bad.status, openAIError{Error: newFailure(bad.status, "", "", bad.message)})
		return
	}
	defer func() { _ = c.conn.Close() }()
	rt := &realtime{wire: c, session: newSession()}
	rt.serve(failed)
}

// realtime is a session for transcriptions on a WebSocket.
type realtime struct {
	*wire
	session session
	audio   *realtimeAudio // nil if none has arrived since the last commit
	last    string         // the ID of the last item; "" before the first
}

// serve runs the client's events until the connection ends. If failed is not nil, serve only sends
// it.
func (rt *realtime) serve(failed *openAIFailure) {
	if failed != nil {
		rt.fail(failed, nil)
		reason := failed.Type
		if failed.Code != nil {
			reason += "." + *failed.Code
		}
		rt.bye(closeBadKey, reason)
		return
	}
	rt.say("session.created", sessionEvent{Session: rt.session})
	for {
		opcode, message, err := rt.read()
		var wrong *violation
		switch {
		case errors.As(err, &wrong):
			rt.bye(wrong.code, wrong.reason)
			return
		case err != nil:
			return
		}
		var event clientEvent
		if opcode != opText || json.Unmarshal(message, &event) != nil {
			rt.fail(newFailure(http.StatusBadRequest, "invalid_json", "", "want a JSON object as text"), nil)
			continue
		}
		if failed := rt.run(event); failed != nil {
			rt.fail(failed, event.EventID)
		}
	}
}

// clientEvent is an event of the client.
type clientEvent struct {
	Type    string        `json:"type"`
	EventID *string       `json:"event_id"`
	Session sessionChange `json:"session"`
	Audio   string        `json:"audio"`
}

// run does what an event of the client asks for.
func (rt *realtime) run(event clientEvent) *openAIFailure {
	switch event.Type {
	case "session.update":
		if failed := rt.session.change(event.Session); failed != nil {
			return failed
		}
		rt.audio = nil // the audio so far may have another format
		rt.say("session.updated", sessionEvent{Session: rt.session})
	case "input_audio_buffer.append":
		audio, err := base64.StdEncoding.DecodeString(event.Audio)
		if err != nil {
			return newFailure(http.StatusBadRequest, "invalid_value", "audio", "Invalid 'audio'. Expected base64-encoded audio bytes.")
		}
		if rt.audio == nil {
			rt.audio = newRealtimeAudio(rt)
		}
		rt.audio.add(audio)
	case "input_audio_buffer.commit":
		if rt.audio == nil || rt.audio.uncommitted() < minCommit {
			return newFailure(http.StatusBadRequest, "input_audio_buffer_commit_empty", "", "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio.")
		}
		rt.audio.commit()
		rt.audio = nil
	case "input_audio_buffer.clear":
		rt.audio = nil
		rt.say("input_audio_buffer.cleared", bufferEvent{})
	default:
		return newFailure(http.StatusBadRequest, "invalid_value", "type", fmt.Sprintf("Invalid value: %q.", event.Type))
	}
	return nil
}

// realtimeAudio is the audio of a session up to a commit.
type realtimeAudio struct {
	rt    *realtime
	meter *meter
	left  []byte // an incomplete sample
	item  string // the ID of the item that is being spoken
	taken int64  // the sample frames that belong to items
}

func newRealtimeAudio(rt *realtime) *realtimeAudio {
	a := &realtimeAudio{rt: rt, meter: newMeter(rt.session.Audio.Input.Format.layout())}
	if rt.session.Audio.Input.TurnDetection != nil {
		a.meter.watch = a.hear
	}
	return a
}

func (a *realtimeAudio) add(audio []byte) {
	a.left = append(a.left, audio...)
	whole := len(a.left) - len(a.left)%a.meter.block()
	a.meter.add(a.left[:whole])
	a.left = append(a.left[:0], a.left[whole:]...)
}

// uncommitted returns the length of the audio that belongs to no item yet.
func (a *realtimeAudio) uncommitted() time.Duration { return a.meter.at(a.meter.samples - a.taken) }

// hear makes an item of each stretch of speech. It is a watch.
func (a *realtimeAudio) hear(layout pcm, what moment, s segment) {
	switch what {
	case speechBegins:
		a.item = "item_" + newSessionID()
		start := s.start.Milliseconds()
		a.rt.say("input_audio_buffer.speech_started", bufferEvent{ItemID: a.item, Start: &start})
	case speechGoesOn: // the API sends no event
	case speechEnds:
		end := s.end.Milliseconds()
		a.rt.say("input_audio_buffer.speech_stopped", bufferEvent{ItemID: a.item, End: &end})
		a.taken = a.meter.samples
		text := fmt.Sprintf("%s: %.2f-%.2f s of %s", newToken(a.meter.stretches-1, s).Written, s.start.Seconds(), s.end.Seconds(), layout.words())
		a.transcribed(text, s.length())
	}
}

// commit makes an item of the audio that belongs to no item yet.
func (a *realtimeAudio) commit() {
	heard := a.meter.end()
	switch {
	case a.meter.watch == nil:
		a.item = "item_" + newSessionID()
		a.transcribed(heard.text(), heard.duration)
	case a.uncommitted() > 0: // silence
		a.item = "item_" + newSessionID()
		a.transcribed("", a.uncommitted())
	}
}

// transcribed sends the events of an item.
func (a *realtimeAudio) transcribed(text string, length time.Duration) {
	const transcription = "conversation.item.input_audio_transcription."
	var before *string
	if a.rt.last != "" {
		before = &a.rt.last
	}
	a.rt.say("input_audio_buffer.committed", committedEvent{ItemID: a.item, Before: before})
	for _, piece := range deltas(text) {
		if piece != "" {
			a.rt.say(transcription+"delta", transcriptEvent{ItemID: a.item, Delta: piece})
		}
	}
	used := usageOf(length)
	a.rt.say(transcription+"completed", transcriptEvent{ItemID: a.item, Transcript: &text, Usage: &used})
	a.rt.last = a.item
}
