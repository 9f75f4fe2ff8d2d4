package manage

import (
	"strings"

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

// idForms has the beginning of the IDs that the gateway makes for each kind of records, and
// what messages call such an ID.
var idForms = map[Kind]struct{ prefix, name string }{
	KindAccount: {"acc_", "an account ID"},
	KindKey:     {"key_", "a key ID"},
	KindStream:  {"str_", "a stream ID"},
}

// lookalikes has the beginnings of texts that people confuse with an ID, and what messages
// call them.
var lookalikes = []struct{ prefix, name string }{
	idForms[KindAccount],
	idForms[KindKey],
	{"svc_", "a service ID"},
	{policy.KeyPrefix, "an API key itself, which is a secret"},
	{policy.ServicePasswordPrefix, "a service password, which is a secret"},
	{policy.SetupPrefix, "the token of a set-up link, which is a secret"},
}

// lookalike returns what text looks like, such as "a key ID". It returns "" if text does
// not look like something that the gateway makes.
func lookalike(text string) string {
	for _, l := range lookalikes {
		if strings.HasPrefix(text, l.prefix) {
			return l.name
		}
	}
	return ""
}

// CheckID refuses a text that cannot be the ID of an account, a key or a stream. The
// message does not show a secret. The argument name is the name of the request's field, in
// JSON.
func CheckID(name string, kind Kind, id string) error {
	want := idForms[kind]
	if strings.HasPrefix(id, want.prefix) {
		return nil
	}
	is := "is not " + want.name
	if found := lookalike(id); found != "" {
		is = "is " + found
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
