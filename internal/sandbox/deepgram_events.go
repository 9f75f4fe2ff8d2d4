package sandbox

import "time"

// listenResults is a message Results of /v1/listen.
type listenResults struct {
	Type         string          `json:"type"`
	ChannelIndex [2]int          `json:"channel_index"`
	Duration     float64         `json:"duration"`
	Start        float64         `json:"start"`
	IsFinal      bool            `json:"is_final"`
	SpeechFinal  bool            `json:"speech_final"`
	FromFinalize bool            `json:"from_finalize"`
	Channel      deepgramChannel `json:"channel"`
	Metadata     struct {
		RequestID string            `json:"request_id"`
		ModelInfo deepgramModelInfo `json:"model_info"`
		ModelUUID string            `json:"model_uuid"`
	} `json:"metadata"`
}

// listenEvents are the messages of /v1/listen. Each stretch of speech has a final result.
type listenEvents struct {
	stream  *deepgramStream
	interim bool // whether the client asks for results that are not final
	vad     bool // whether it asks for SpeechStarted
	endings bool // whether it asks for UtteranceEnd

	ended int           // the number of stretches of speech that have ended
	due   time.Duration // the length of the speech at which the next interim result is sent
}

func newListenEvents(st *deepgramStream) liveEvents {
	return &listenEvents{
		stream: st, interim: st.req.asks("interim_results"), vad: st.req.asks("vad_events"),
		endings: st.req.r.URL.Query().Has("utterance_end_ms"),
	}
}

func (e *listenEvents) begin() {}

func (e *listenEvents) hear(_ pcm, what moment, s segment) {
	switch what {
	case speechBegins:
		e.due = interimEvery
		if e.vad {
			e.stream.say(map[string]any{"type": "SpeechStarted", "channel": [2]int{0, 1}, "timestamp": s.start.Seconds()})
		}
	case speechGoesOn:
		if e.interim && s.length() >= e.due {
			e.due = s.length() + interimEvery
			e.stream.say(e.results(s))
		}
	case speechEnds:
		r := e.results(s)
		r.IsFinal, r.SpeechFinal = true, true
		e.stream.say(r)
		e.ended++
		if e.endings {
			e.stream.say(map[string]any{"type": "UtteranceEnd", "channel": [2]int{0, 1}, "last_word_end": s.end.Seconds()})
		}
	}
}

// results returns the result of the speech in s so far.
func (e *listenEvents) results(s segment) listenResults {
	word := newDeepgramWord(e.ended, s)
	r := listenResults{
		Type: "Results", ChannelIndex: [2]int{0, 1}, Start: s.start.Seconds(), Duration: s.length().Seconds(),
		Channel: deepgramChannel{Alternatives: []deepgramAlternative{{
			Transcript: word.PunctuatedWord, Confidence: word.Confidence, Words: []deepgramWord{word},
		}}},
	}
	r.Metadata.RequestID = e.stream.req.id
	r.Metadata.ModelInfo, r.Metadata.ModelUUID = e.stream.req.modelInfo(), deepgramModelID
	return r
}

// finalize sends a result without words: the results before it are complete up to this time.
func (e *listenEvents) finalize(at time.Duration) {
	r := e.results(segment{start: at, end: at})
	r.IsFinal, r.SpeechFinal, r.FromFinalize = true, true, true
	r.Channel.Alternatives = []deepgramAlternative{{Words: []deepgramWord{}}}
	e.stream.say(r)
}

func (e *listenEvents) end(m deepgramMetadata) {
	m.Type = "Metadata"
	e.stream.say(m)
}

func (e *listenEvents) fail(code, description string) {
	e.stream.say(map[string]string{
		"type": "Error", "variant": code, "description": description, "message": description, "request_id": e.stream.req.id,
	})
}

// turnInfo is a message TurnInfo of /v2/listen.
type turnInfo struct {
	Type       string         `json:"type"`
	RequestID  string         `json:"request_id"`
	SequenceID int            `json:"sequence_id"`
	Event      string         `json:"event"`
	TurnIndex  int            `json:"turn_index"`
	Start      float64        `json:"audio_window_start"`
	End        float64        `json:"audio_window_end"`
	Transcript string         `json:"transcript"`
	Words      []deepgramWord `json:"words"`
	Confidence float64        `json:"end_of_turn_confidence"`
}

// fluxEvents are the messages of /v2/listen. Each stretch of speech is a turn.
type fluxEvents struct {
	stream   *deepgramStream
	sequence int           // the number of messages that have been sent
	turn     int           // the number of turns that have ended
	due      time.Duration // the length of the turn at which the next Update is sent
}

func newFluxEvents(st *deepgramStream) liveEvents { return &fluxEvents{stream: st} }

func (e *fluxEvents) begin() {
	e.stream.say(map[string]any{"type": "Connected", "request_id": e.stream.req.id, "sequence_id": e.next()})
}

// next returns the number of the next message.
func (e *fluxEvents) next() int {
	e.sequence++
	return e.sequence - 1
}

func (e *fluxEvents) hear(_ pcm, what moment, s segment) {
	switch what {
	case speechBegins:
		e.due = interimEvery
		e.tell("StartOfTurn", s, 0)
	case speechGoesOn:
		if s.length() >= e.due {
			e.due = s.length() + interimEvery
			e.tell("Update", s, 0)
		}
	case speechEnds:
		e.tell("EndOfTurn", s, 1)
		e.turn++
	}
}

func (e *fluxEvents) tell(event string, s segment, confidence float64) {
	word := newDeepgramWord(e.turn, s)
	e.stream.say(turnInfo{
		Type: "TurnInfo", RequestID: e.stream.req.id, SequenceID: e.next(), Event: event, TurnIndex: e.turn,
		Start: s.start.Seconds(), End: s.end.Seconds(), Transcript: word.PunctuatedWord, Words: []deepgramWord{word},
		Confidence: confidence,
	})
}

// finalize sends nothing: /v2/listen has no answer to Finalize.
func (e *fluxEvents) finalize(time.Duration) {}

func (e *fluxEvents) end(deepgramMetadata) {}

func (e *fluxEvents) fail(code, description string) {
	e.stream.say(map[string]any{
		"type": "Error", "sequence_id": e.next(), "code": code, "description": description, "request_id": e.stream.req.id,
	})
}
