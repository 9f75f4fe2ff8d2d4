package sandbox

import (
	"cmp"
	"encoding/json"
	"net/http"
)

// session is the configuration of a session for transcriptions.
type session struct {
	Type   string       `json:"type"`
	Object string       `json:"object"`
	ID     string       `json:"id"`
	Audio  sessionAudio `json:"audio"`
}

type sessionAudio struct {
	Input sessionInput `json:"input"`
}

type sessionInput struct {
	Format         audioFormat     `json:"format"`
	Transcription  json.RawMessage `json:"transcription"`
	NoiseReduction json.RawMessage `json:"noise_reduction"`
	TurnDetection  json.RawMessage `json:"turn_detection"` // nil if only a commit ends a turn
}

// audioFormat is the format of the audio. The rate is that of audio/pcm.
type audioFormat struct {
	Type string `json:"type"`
	Rate int    `json:"rate,omitempty"`
}

// realtimeRate is the only rate of audio/pcm.
const realtimeRate = 24000

func (f audioFormat) layout() pcm {
	switch f.Type {
	case "audio/pcmu":
		return pcm{rate: lawRate, channels: 1, bits: 8, law: muLaw}
	case "audio/pcma":
		return pcm{rate: lawRate, channels: 1, bits: 8, law: aLaw}
	}
	return pcm{rate: realtimeRate, channels: 1, bits: 16}
}

func newSession() session {
	return session{
		Type: "transcription", Object: "realtime.transcription_session", ID: "sess_" + newSessionID(),
		Audio: sessionAudio{sessionInput{
			Format:        audioFormat{"audio/pcm", realtimeRate},
			TurnDetection: json.RawMessage(`{"type":"server_vad","threshold":0.5,"prefix_padding_ms":300,"silence_duration_ms":200}`),
		}},
	}
}

// sessionChange is what a client says about a session. A member that it does not have stays as it
// is.
type sessionChange struct {
	Type  string `json:"type"`
	Audio struct {
		Input struct {
			Format         *audioFormat    `json:"format"`
			Transcription  json.RawMessage `json:"transcription"`
			NoiseReduction json.RawMessage `json:"noise_reduction"`
			TurnDetection  json.RawMessage `json:"turn_detection"`
		} `json:"input"`
	} `json:"audio"`
}

// change makes a change, or returns what is wrong with it.
func (s *session) change(c sessionChange) *openAIFailure {
	if kind := cmp.Or(c.Type, s.Type); kind != s.Type {
		return newFailure(http.StatusBadRequest, "invalid_value", "session.type", "The sandbox has sessions of the type 'transcription' only.")
	}
	if f := c.Audio.Input.Format; f != nil {
		switch {
		case f.Type == "audio/pcm" && f.Rate != realtimeRate:
			return newFailure(http.StatusBadRequest, "invalid_value", "session.audio.input.format.rate", "Invalid value: want 24000.")
		case f.Type != "audio/pcm" && f.Type != "audio/pcmu" && f.Type != "audio/pcma":
			return newFailure(http.StatusBadRequest, "invalid_value", "session.audio.input.format.type", "Invalid value: want 'audio/pcm', 'audio/pcmu' or 'audio/pcma'.")
		}
		s.Audio.Input.Format = *f
	}
	for _, member := range []struct {
		into  *json.RawMessage
		value json.RawMessage
	}{
		{&s.Audio.Input.Transcription, c.Audio.Input.Transcription},
		{&s.Audio.Input.NoiseReduction, c.Audio.Input.NoiseReduction},
		{&s.Audio.Input.TurnDetection, c.Audio.Input.TurnDetection},
	} {
		switch {
		case string(member.value) == "null":
			*member.into = nil
		case member.value != nil:
			*member.into = member.value
		}
	}
	return nil
}

// The events of the server. Each also has a type and an event_id.
type (
	sessionEvent struct {
		Session session `json:"session"`
	}
	errorEvent struct {
		Error realtimeError `json:"error"`
	}
	realtimeError struct {
		*openAIFailure
		EventID *string `json:"event_id"`
	}
	bufferEvent struct {
		ItemID string `json:"item_id,omitempty"`
		Start  *int64 `json:"audio_start_ms,omitempty"`
		End    *int64 `json:"audio_end_ms,omitempty"`
	}
	committedEvent struct {
		ItemID string  `json:"item_id"`
		Before *string `json:"previous_item_id"`
	}
	transcriptEvent struct {
		ItemID     string  `json:"item_id"`
		Content    int     `json:"content_index"`
		Delta      string  `json:"delta,omitempty"`
		Transcript *string `json:"transcript,omitempty"`
		Usage      *usage  `json:"usage,omitempty"`
	}
)

// say sends an event.
func (rt *realtime) say(kind string, members any) {
	head, err := encode(struct {
		Type    string `json:"type"`
		EventID string `json:"event_id"`
	}{kind, "event_" + newSessionID()})
	if err != nil {
		return
	}
	rest, err := encode(members)
	if err != nil {
		return
	}
	text := string(head)
	if len(rest) > len("{}") {
		text = text[:len(text)-1] + "," + string(rest[1:])
	}
	rt.write(opText, []byte(text))
}

// fail sends an error. The ID is that of the client's event that failed; nil if it had none.
func (rt *realtime) fail(failed *openAIFailure, id *string) {
	rt.say("error", errorEvent{realtimeError{failed, id}})
}
