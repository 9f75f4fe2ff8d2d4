package console

import (
	"time"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/policy"
)

// Say returns a text of package manage in the reader's language. Its values are shown as on the rest
// of the page: instants in the reader's zone, numbers with separators.
func (v *visit) Say(text phrase.Text) string { return v.say(text) }

func (v *visit) say(text phrase.Text) string {
	text = text.With(v.value)
	return v.T(text.Format(), text.Values()...)
}

// value returns what a text shows for one of its values.
func (v *visit) value(value any) any {
	switch value := value.(type) {
	case phrase.Text:
		return v.say(value)
	case error:
		if text, ok := phrase.Of(value); ok {
			return v.say(text)
		}
		return value.Error()
	case policy.Time:
		return v.momentText(value)
	case policy.Expiry:
		if at, ok := value.Time(); ok {
			return v.momentText(at)
		}
		return v.T("never expires")
	case policy.Origin:
		return v.T(value.String())
	}
	return value
}

// momentText returns an instant with its second, in the reader's zone.
func (v *visit) momentText(at policy.Time) string {
	in := at.Std().In(v.zone)
	return in.Format(time.DateTime) + " " + zoneOffset(in)
}
