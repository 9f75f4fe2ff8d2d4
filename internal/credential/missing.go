package credential

import (
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// errUnread is the fault of every form before ReadForm.
var errUnread = &Fault{Reason: policy.CredentialMissing, Detail: "the form has not been read yet"}

// missing returns the fault of a request without a key. Its detail tells common mistakes
// apart.
func (f *Found) missing() *Fault {
	if f.FormMayHoldKey() {
		return errUnread // for every form, so without garbage
	}
	where := "want it in " + listPlaces(f.read)
	if len(f.read) == 0 {
		where = "this operation reads none at all"
	}
	return &Fault{Reason: policy.CredentialMissing, Detail: f.mistake() + ": " + where}
}

// mistake says what the client did instead of sending a key in a place that the
// operation reads.
func (f *Found) mistake() string {
	switch {
	case f.unreadPlace != nil:
		return "the key is in " + describePlace(f.unreadPlace) + ", where this operation reads none"
	case f.body == bodyURLEncoded:
		return "the request has no key where one is read, and its body is labelled application/x-www-form-urlencoded, in which none is read (send multipart/form-data)"
	case f.body == bodyJSON:
		return "the request has no key where one is read, and its body is labelled as JSON, in which none is read (send multipart/form-data)"
	case f.form != nil && f.form.hasAudio:
		return "the form has no key before the part " + f.audioPart + ", and none is read from there on (send the audio last)"
	}
	return "the request has no key"
}

// listPlaces names places for the operator.
func listPlaces(places []dialect.Place) string {
	var text strings.Builder
	for i := range places {
		switch {
		case i == 0:
		case i == len(places)-1:
			text.WriteString(" or ")
		default:
			text.WriteString(", ")
		}
		text.WriteString(describePlace(&places[i]))
	}
	return text.String()
}

// describePlace names a place for the operator.
func describePlace(p *dialect.Place) string {
	var whole string
	switch p.Location {
	case dialect.Header:
		return strings.TrimSuffix("the header "+p.Name+": "+p.Scheme, ": ")
	case dialect.Query:
		whole = "the query's " + p.Name
	case dialect.Part:
		whole = "the part " + p.Name
	case dialect.Subprotocol:
		if p.Prefix != "" {
			return "the subprotocol " + p.Prefix + "KEY"
		}
		return "the subprotocol after " + p.Name
	}
	if p.SubKey != "" {
		return "the pair " + p.SubKey + " of " + whole
	}
	return whole
}
