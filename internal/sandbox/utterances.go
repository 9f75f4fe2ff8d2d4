package sandbox

import (
	"fmt"
	"strconv"
	"time"
)

// interimEvery is how much speech there is between two interim results.
const interimEvery = 500 * time.Millisecond

// utterances sends the events of the speech in a session while the audio arrives.
type utterances struct {
	id  string // the session's ID
	now func() time.Time
	say func(string)

	ended int           // the number of utterances that have ended
	due   time.Duration // the length of the utterance at which the next interim result is sent
}

// hear sends the events of one moment. It is a watch.
func (u *utterances) hear(layout pcm, what moment, s segment) {
	switch what {
	case speechBegins:
		u.say("S " + milliseconds(s.start))
		u.say("C")
		u.due = interimEvery
	case speechGoesOn:
		if s.length() >= u.due {
			u.due = s.length() + interimEvery
			u.result("U ", newInterimAnswer(u.ended, s))
		}
	case speechEnds:
		u.say("E " + milliseconds(s.end))
		u.result("A ", newUtteranceAnswer(u.id, u.now(), layout, u.ended, s))
		u.ended++
	}
}

func (u *utterances) result(name string, body any) {
	if text, err := encode(body); err == nil {
		u.say(name + string(text))
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// newInterimAnswer returns an interim result. Its last token is dots, as in the
// vendor's interim results.
func newInterimAnswer(i int, s segment) interimAnswer {
	const more = "..."
	written := newToken(i, s).Written
	text := written + more
	return interimAnswer{Text: text, Results: []interimResult{{
		Tokens: []interimToken{{Written: written}, {Written: more}}, Text: text,
	}}}
}

// newUtteranceAnswer returns the result of one utterance, in the form of a synchronous
// answer.
func newUtteranceAnswer(id string, now time.Time, layout pcm, i int, s segment) syncAnswer {
	t := newToken(i, s)
	text := fmt.Sprintf("%s: %.2f-%.2f s of %s", t.Written, s.start.Seconds(), s.end.Seconds(), layout.words())
	return syncAnswer{Results: []result{t.result(text)}, UtteranceID: utteranceID(id, now), Text: text}
}
