package manage

import (
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// Kind is a kind of records. Its text is the word for one such record.
type Kind string

// The kinds of records.
const (
	KindAccount Kind = "account"
	KindKey     Kind = "key"
	KindJob     Kind = "job"
	KindStream  Kind = "stream"
)

// idForm is the beginning of a text, and what messages call such a text.
type idForm struct {
	prefix string
	name   phrase.Text
}

// idForms has the beginning of the IDs that the gateway makes for each kind of records, and
// what messages call such an ID.
var idForms = map[Kind]idForm{
	KindAccount: {"acc_", phrase.New("an account ID")},
	KindKey:     {"key_", phrase.New("a key ID")},
	KindStream:  {"str_", phrase.New("a stream ID")},
}

// lookalikes has the beginnings of texts that people confuse with an ID, and what messages
// call them.
var lookalikes = []idForm{
	idForms[KindAccount],
	idForms[KindKey],
	{"svc_", phrase.New("a service ID")},
	{policy.KeyPrefix, phrase.New("an API key itself, which is a secret")},
	{policy.ServicePasswordPrefix, phrase.New("a service password, which is a secret")},
	{policy.SetupPrefix, phrase.New("the token of a set-up link, which is a secret")},
}

// lookalike returns what text looks like, such as "a key ID". found is false if text does not
// look like something that the gateway makes.
func lookalike(text string) (name phrase.Text, found bool) {
	for _, l := range lookalikes {
		if strings.HasPrefix(text, l.prefix) {
			return l.name, true
		}
	}
	return phrase.Text{}, false
}

// CheckID refuses a text that cannot be the ID of an account, a key or a stream. The
// message does not show a secret. The argument name is the name of the request's field, in
// JSON.
func CheckID(name string, kind Kind, id string) error {
	want := idForms[kind]
	if strings.HasPrefix(id, want.prefix) {
		return nil
	}
	is := phrase.New("is not %s", want.name)
	if name, found := lookalike(id); found {
		is = phrase.New("is %s", name)
	}
	return wrong(name, " %s %s: want %s, %s…%s", words.QuoteArgument(id), is, want.name, want.prefix, list{kind, ", as %s shows it"})
}

// checkIDIfAny does what CheckID does, but accepts an empty text.
func checkIDIfAny(name string, kind Kind, id string) error {
	if id == "" {
		return nil
	}
	return CheckID(name, kind, id)
}
