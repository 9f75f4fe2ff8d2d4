package manage

import (
	"strings"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// Kind is a kind of records. Its text is the word for one of them.
type Kind string

// The kinds of records.
const (
	KindAccount Kind = "account"
	KindKey     Kind = "key"
	KindJob     Kind = "job"
	KindStream  Kind = "stream"
)

// idForms are the IDs that this gateway gives to the records of a kind.
var idForms = map[Kind]struct{ prefix, name string }{
	KindAccount: {"acc_", "an account ID"},
	KindKey:     {"key_", "a key ID"},
	KindStream:  {"str_", "a stream ID"},
}

// lookalikes are the texts that people give in place of an ID, by their beginning.
var lookalikes = []struct{ prefix, name string }{
	idForms[KindAccount],
	idForms[KindKey],
	{"svc_", "a service ID"},
	{policy.KeyPrefix, "an API key itself, which is a secret"},
	{policy.ServicePasswordPrefix, "a service password, which is a secret"},
}

// lookalike says what text looks like; empty if the gateway gives out no such text.
func lookalike(text string) string {
	for _, l := range lookalikes {
		if strings.HasPrefix(text, l.prefix) {
			return l.name
		}
	}
	return ""
}

// CheckID refuses a text that cannot be the ID of an account, a key or a stream. The
// message does not show a secret. Name is the field's name in JSON.
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

// checkIDIfAny is CheckID for a field that can be empty.
func checkIDIfAny(name string, kind Kind, id string) error {
	if id == "" {
		return nil
	}
	return CheckID(name, kind, id)
}
