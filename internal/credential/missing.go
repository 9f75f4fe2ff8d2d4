package credential

import (
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// errUnread is met by every form whose body has not been read yet.
var errUnread = &Fault{Reason: policy.CredentialMissing, Detail: "the form has not been read yet"}

// missing says that there is no key, and which mistake of a beginner it is.
func (f *Found) missing() *Fault {
	if f.FormMayHoldKey() && f.form == nil {
		return errUnread // every form passes here, so nothing is made up
	}
	where := "want it in " + listPlaces(f.read)
	if len(f.read) == 0 {
		where = "this operation reads none at all"
	}
	return &Fault{Reason: policy.CredentialMissing, Detail: f.mistake() + ": " + where}
}

// mistake is what a client did in place of sending a key where it is read.
func (f *Found) mistake() string {
	switch {
	case f.elsewhere != nil:
		return "the key is in " + describePlace(f.elsewhere) + ", where this operation reads none"
	case f.body == bodyURLEncoded:
		return "the request has no key where one is read, and its body is labelled application/x-www-form-urlencoded, in which none is read (send multipart/form-data)"
	case f.body == bodyJSON:
		return "the request has no key where one is read, and its body is labelled as JSON, in which none is read (send multipart/form-data)"
	case f.form != nil && f.form.audio:
		return "the form has no key before the part " + f.audio + ", and none is read from there on (send the audio last)"
	}
	return "the request has no key"
}

// listPlaces names places for people.
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

// describePlace names a place for people.
func describePlace(p *dialect.Place) string {
	var of string
	switch p.Location {
	case dialect.Header:
		return strings.TrimSuffix("the header "+p.Name+": "+p.Scheme, ": ")
	case dialect.Query:
		of = "the query's " + p.Name
	case dialect.Part:
		of = "the part " + p.Name
	}
	if p.SubKey != "" {
		return "the pair " + p.SubKey + " of " + of
	}
	return of
}
